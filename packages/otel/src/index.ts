export type {
  CaptureOptions,
  CircuitBreakerSource,
  CircuitChange,
  OtelOptions,
  OtelSourceOptions,
  Redact,
  RedactInfo,
  RetryBudgetSource,
} from "./options.js";
export { otel } from "./otel.js";
export { otelAttempt } from "./otel-attempt.js";
export { otelServer } from "./otel-server.js";
export { contextOf } from "./telemetry.js";

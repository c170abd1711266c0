export type { StateChange, StateListener } from "./breaker.js";
export type { CircuitState } from "./circuit.js";
export { type CircuitBreaker, circuitBreaker } from "./circuit-breaker.js";
export { CircuitOpenError } from "./errors.js";
export type { FailureInfo, IsFailure } from "./judge.js";
export type {
  CircuitBreakerOptions,
  CountWindowOptions,
  HalfOpenOptions,
  RateOptions,
  TimeWindowOptions,
} from "./options.js";
export type { BreakerSnapshot, CircuitSnapshot } from "./snapshot.js";

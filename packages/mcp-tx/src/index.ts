export {
  type BreakerSnapshot,
  type CircuitBreaker,
  CircuitOpenError,
  type CircuitState,
  circuitBreaker,
} from "@mcp-tx/circuit-breaker";
export {
  AttemptTimeoutError,
  type CallContext,
  type Caller,
  type CallOptions,
  type CallReport,
  type ClientLike,
  compose,
  DeadlineError,
  type Execution,
  type Handler,
  type ListToolsOptions,
  listTools,
  McpTxError,
  type Middleware,
  type Outcome,
  type OutcomeCode,
  OutcomeUnknownError,
  RateLimitError,
  ReplayedError,
  reportOf,
  type Seat,
  StoreUnavailableError,
  ToolError,
  type ToolInfo,
  type ToolResult,
  textOf,
  transaction,
  type Verification,
  type Verify,
  type WrapOptions,
  when,
  wrapClient,
  wrapFetch,
  wrapServer,
  wrapTool,
  wrapTransport,
} from "@mcp-tx/core";
export {
  IdempotencyConflictError,
  IdempotencyInProgressError,
  idempotency,
  memoryStore,
  StoreMismatchError,
} from "@mcp-tx/idempotency";
export {
  adaptiveConcurrency,
  concurrencyLimit,
  QueueFullError,
  rateLimit,
} from "@mcp-tx/rate-limit";
export { hedge, type RetryBudget, retry, retryBudget } from "@mcp-tx/retry";
export type {
  CircuitBreakerConfig,
  ConcurrencyConfig,
  IdempotencyConfig,
  KeyFields,
  Logger,
  LoggingConfig,
  RateLimitConfig,
  ReconnectConfig,
  ReliableConfig,
  RetryConfig,
  SharedKey,
  ToolConfig,
  ToolIdempotencyConfig,
} from "./config-types.js";
export type { CircuitHealth, ConnectionState, Health, ServerHealth } from "./health.js";
export { reliable, type ServersSource } from "./reliable.js";
export type { CloseOptions, Reliable, ReliableClient } from "./reliable-types.js";
export { createRouter } from "./router.js";
export { orderProblems } from "./seats.js";
export { createSession } from "./session.js";
export { standardOrder, wrapOptions } from "./standard-order.js";
export type {
  Connect,
  ConnectSource,
  LossReason,
  ReplayAcrossSessions,
  ReplicasSource,
  ServerSource,
  Session,
  SessionEvent,
  SessionOptions,
} from "./types.js";

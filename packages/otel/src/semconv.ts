/**
 * Every name that this package gives to a span, an attribute, an event or a metric. Those of MCP and generative AI are copied from
 * the OpenTelemetry semantic conventions, where they are in Development; those that begin with `mcp_tx` are ours.
 */

/** Instrumentation scope of all spans and metrics. */
export const SCOPE = "@mcp-tx/otel";

export const METHOD_TOOLS_CALL = "tools/call";
export const OPERATION_EXECUTE_TOOL = "execute_tool";
/** Stands for what has too many values to be named. */
export const OTHER = "_OTHER";

export const ATTR_MCP_METHOD_NAME = "mcp.method.name";
export const ATTR_MCP_PROTOCOL_VERSION = "mcp.protocol.version";
export const ATTR_MCP_SESSION_ID = "mcp.session.id";
export const ATTR_TOOL_NAME = "gen_ai.tool.name";
export const ATTR_OPERATION_NAME = "gen_ai.operation.name";
/** Sensitive: on request only. */
export const ATTR_TOOL_ARGUMENTS = "gen_ai.tool.call.arguments";
/** Sensitive: on request only. */
export const ATTR_TOOL_RESULT = "gen_ai.tool.call.result";
export const ATTR_ERROR_TYPE = "error.type";
export const ATTR_STATUS_CODE = "rpc.response.status_code";

export const ATTR_CALL_ATTEMPTS = "mcp_tx.call.attempts";
export const ATTR_RESEND_COUNT = "mcp_tx.attempt.resend_count";
export const ATTR_ATTEMPT_NUMBER = "mcp_tx.attempt.number";
/** Seconds. */
export const ATTR_RETRY_DELAY = "mcp_tx.retry.delay";
export const ATTR_IDEMPOTENCY_OUTCOME = "mcp_tx.idempotency.outcome";
export const ATTR_CIRCUIT_NAME = "mcp_tx.circuit_breaker.name";
export const ATTR_CIRCUIT_STATE = "mcp_tx.circuit_breaker.state";
export const ATTR_CIRCUIT_PREVIOUS_STATE = "mcp_tx.circuit_breaker.previous_state";
/** Seconds. */
export const ATTR_WAIT_DURATION = "mcp_tx.rate_limit.wait_duration";
export const ATTR_SAGA_NAME = "mcp_tx.saga.name";
export const ATTR_SAGA_STEP = "mcp_tx.saga.step";
export const ATTR_SAGA_PHASE = "mcp_tx.saga.phase";

export const EVENT_RETRY = "mcp_tx.retry.scheduled";
export const EVENT_HEDGE = "mcp_tx.hedge.started";
export const EVENT_CIRCUIT_CHANGED = "mcp_tx.circuit_breaker.changed";
export const EVENT_CIRCUIT_REJECTED = "mcp_tx.circuit_breaker.rejected";
export const EVENT_LIMIT_WAITED = "mcp_tx.rate_limit.waited";
export const EVENT_LIMIT_REJECTED = "mcp_tx.rate_limit.rejected";
export const EVENT_RECONNECT = "mcp_tx.session.reconnect";

export const METRIC_CLIENT_DURATION = "mcp.client.operation.duration";
export const METRIC_SERVER_DURATION = "mcp.server.operation.duration";
export const METRIC_CALL_DURATION = "mcp_tx.call.duration";
export const METRIC_CALL_ATTEMPTS = "mcp_tx.call.attempts";
export const METRIC_RETRY_DELAY = "mcp_tx.retry.delay";
export const METRIC_IDEMPOTENCY_REQUESTS = "mcp_tx.idempotency.requests";
export const METRIC_CIRCUIT_STATE = "mcp_tx.circuit_breaker.state";
export const METRIC_CIRCUIT_TRANSITIONS = "mcp_tx.circuit_breaker.transitions";
export const METRIC_LIMIT_QUEUE = "mcp_tx.rate_limit.queue";
export const METRIC_LIMIT_WAIT = "mcp_tx.rate_limit.wait_duration";
export const METRIC_LIMIT_REJECTIONS = "mcp_tx.rate_limit.rejections";
export const METRIC_BUDGET_REMAINING = "mcp_tx.retry_budget.remaining";

/** Bucket boundaries of the durations, in seconds, as the conventions give them. */
export const DURATION_BUCKETS: readonly number[] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300];
export const ATTEMPT_BUCKETS: readonly number[] = [0, 1, 2, 3, 4, 5, 10, 20];

/** Where the stateless era of the protocol says its version, in `_meta`. */
export const META_PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion";

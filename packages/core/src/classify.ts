import type { Execution, Outcome, OutcomeCode, ToolResult } from "./contract.js";
import { causesOf } from "./errors.js";
import { SUCCESS } from "./outcome.js";
import { asBag, hintMs, type Receipt, readReceipt } from "./wire.js";

/**
 * Reads outcomes from evidence. Status and codes come from values and structure, execution from the wire; no message text is
 * ever interpreted.
 */

/** What a watched transport saw of one request. */
export interface WireEvidence {
  /** Whether the message was given to the transport. */
  readonly sent: boolean;
  /** The answer that arrived for it. */
  readonly answer?: WireAnswer | undefined;
  /** What the transport's `send` rejected with. */
  readonly sendError?: unknown;
  /** Whether the transport closed before an answer. */
  readonly closed: boolean;
  /** Whether a session id travelled with the request. */
  readonly session: boolean;
  /** What the fetch wrapper saw. */
  readonly http?: HttpEvidence | undefined;
}

/** A JSON-RPC answer: a result, or an error with its code and data. */
export type WireAnswer =
  | { readonly kind: "result" }
  | { readonly kind: "error"; readonly code: unknown; readonly data: unknown };

/** An HTTP response to a request. */
export interface HttpEvidence {
  readonly status: number;
  readonly retryAfterMs?: number | undefined;
}

function failure(execution: Execution, transient: boolean, code: OutcomeCode, retryAfterMs?: number): Outcome {
  return { status: "failure", execution, transient, code, retryAfterMs };
}

const SECOND = 1000;

/** Reads a `Retry-After` value: seconds or an HTTP date. */
export function parseRetryAfter(value: unknown, wallNow: number): number | undefined {
  if (typeof value === "number") return hintMs(value * SECOND);
  if (typeof value !== "string" || value.trim() === "") return undefined;
  const seconds = Number(value);
  if (!Number.isNaN(seconds)) return hintMs(seconds * SECOND);
  // Only what holds a time of day: Date.parse makes a date of "later 5" as well.
  const date = /\d\d:\d\d/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - wallNow);
}

interface Hints {
  readonly throttled: boolean;
  readonly transient: boolean;
  readonly retryAfterMs?: number | undefined;
}

const NO_HINTS: Hints = { throttled: false, transient: false };

/** The published error policy payload (version 1): `category` and `retryable` are its contract, the rest are hints. */
function readErrorPolicy(carrier: Readonly<Record<string, unknown>>): Hints | undefined {
  const policy = asBag(carrier["dev.mcp-fuse/error-policy"] ?? carrier["io.modelcontextprotocol/error-policy"]);
  if (policy === undefined || String(policy.version) !== "1") return undefined;
  const circuit = asBag(policy.circuit);
  const reopenAfterMs = circuit?.state === "open" ? hintMs(circuit.reopenAfterMs) : undefined;
  return {
    throttled: policy.category === "rate_limit",
    transient: policy.retryable === true,
    retryAfterMs: hintMs(asBag(policy.retry)?.afterMs) ?? reopenAfterMs,
  };
}

/** What the server says, in an error's `data` or a result's `_meta`, about trying again. */
function readHints(carrier: unknown, wallNow: number): Hints {
  const bag = asBag(carrier);
  if (bag === undefined) return NO_HINTS;
  const policy = readErrorPolicy(bag);
  if (policy !== undefined) return policy;
  const retryAfterMs =
    hintMs(bag.retryAfterMs) ?? parseRetryAfter(bag.retryAfter ?? bag.retry_after ?? bag["retry-after"], wallNow);
  return retryAfterMs === undefined ? NO_HINTS : { throttled: true, transient: true, retryAfterMs };
}

/** The outcome that a receipt or a hint in `carrier` tells; `code` is what it is without either. */
function answered(carrier: unknown, code: OutcomeCode, wallNow: number): Outcome {
  const receipt = readReceipt(carrier);
  if (receipt !== undefined && !isPlainFailure(receipt)) return fromReceipt(receipt, code);
  const hints = readHints(carrier, wallNow);
  const retryAfterMs = hints.retryAfterMs ?? receipt?.retryAfterMs;
  if (!hints.throttled) return failure("executed", hints.transient, receipt?.code ?? code, retryAfterMs);
  return { status: "throttled", execution: "executed", transient: true, code: "rate_limited", retryAfterMs };
}

/** A receipt that says no more than that the tool ran and failed: what the tool itself hints at still counts. */
function isPlainFailure({ execution, code }: Receipt): boolean {
  return execution === "executed" && (code === undefined || code === "tool_error");
}

const WAITING_HELPS: ReadonlySet<OutcomeCode> = new Set([
  "rate_limited",
  "queue_full",
  "circuit_open",
  "idempotency_in_progress",
  "store_unavailable",
]);

function fromReceipt(receipt: Receipt, fallback: OutcomeCode): Outcome {
  const code = receipt.code ?? fallback;
  const throttled = code === "rate_limited" || code === "queue_full";
  const refused = receipt.execution === "not-executed";
  return {
    status: throttled ? "throttled" : refused ? "rejected" : "failure",
    execution: receipt.execution,
    transient: receipt.execution === "unknown" ? isLost(receipt.ack, code) : WAITING_HELPS.has(code),
    code,
    retryAfterMs: receipt.retryAfterMs,
  };
}

/** A server's own "unknown" is final; a stream that ended unanswered, or a run in progress, is not. */
function isLost(ack: boolean, code: OutcomeCode): boolean {
  return code === "idempotency_in_progress" || (!ack && code === "transport_error");
}

/** The outcome of an attempt that returned a value. Also with an aborted signal: a result that arrived counts. */
export function classifyResult(result: ToolResult, wallNow: number): Outcome {
  return result.isError === true ? answered(result._meta, "tool_error", wallNow) : SUCCESS;
}

const METHOD_NOT_FOUND = -32_601;

/** A server of ours says of what its handlers throw that they ran, also where the code alone says otherwise. */
function ranBefore(data: unknown): boolean {
  return readReceipt(data)?.execution === "executed";
}

function classifyAnswer(answer: WireAnswer, wallNow: number): Outcome {
  // The result arrived and the SDK refused it afterwards (output schema): the tool ran.
  if (answer.kind === "result") return failure("executed", false, "protocol_error");
  if (answer.code === METHOD_NOT_FOUND && !ranBefore(answer.data))
    return failure("not-executed", false, "protocol_error");
  return answered(answer.data, "protocol_error", wallNow);
}

const REFUSED_STATUS: ReadonlySet<number> = new Set([400, 401, 403]);

function classifyStatus({ status, retryAfterMs }: HttpEvidence, session: boolean): Outcome {
  if (status === 429) {
    return { status: "throttled", execution: "not-executed", transient: true, code: "rate_limited", retryAfterMs };
  }
  if (status === 404) {
    return session
      ? failure("not-executed", true, "session_expired")
      : failure("not-executed", false, "transport_error");
  }
  if (REFUSED_STATUS.has(status)) return failure("not-executed", false, "transport_error");
  return failure("unknown", status >= 500 || status === 408, "transport_error", retryAfterMs);
}

/** DNS and connection set-up: the request never left. */
const NOT_CONNECTED: ReadonlySet<unknown> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EAI_FAIL",
  "EAI_NODATA",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused",
  "NOT_CONNECTED",
]);
/** Certificates that cannot be trusted: the request never left, and trying again does not help. */
const TLS_REFUSED: ReadonlySet<unknown> = new Set([
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "ERR_SSL_WRONG_VERSION_NUMBER",
]);
function classifyNetwork(error: unknown): Outcome {
  for (const cause of causesOf(error)) {
    const { code, syscall } = asBag(cause) ?? {};
    if (NOT_CONNECTED.has(code) || syscall === "connect") return failure("not-executed", true, "transport_error");
    if (TLS_REFUSED.has(code)) return failure("not-executed", false, "transport_error");
  }
  return failure("unknown", true, "transport_error");
}

/** What the SDKs throw, without a status, for a 401 or 403 that asks for an authorization the client does not have. */
const UNAUTHORIZED: ReadonlySet<unknown> = new Set(["UnauthorizedError", "InsufficientScopeError"]);

function httpStatusOf(error: unknown): number | undefined {
  const bag = asBag(error);
  if (UNAUTHORIZED.has(bag?.constructor?.name)) return 401;
  const status = bag?.status ?? asBag(bag?.data)?.status ?? bag?.code;
  return typeof status === "number" && Number.isInteger(status) && status >= 300 && status <= 599 ? status : undefined;
}

/** What the transport's `send` rejected with: HTTP status, network error, or something that tells nothing. */
function classifySendError(error: unknown, evidence: WireEvidence): Outcome {
  const status = httpStatusOf(error);
  if (status === undefined) return classifyNetwork(error);
  return classifyStatus({ status, retryAfterMs: evidence.http?.retryAfterMs }, evidence.session);
}

const TIMEOUT_CODES: ReadonlySet<unknown> = new Set([-32_001, "REQUEST_TIMEOUT", "attempt_timeout"]);

/** The outcome of an attempt over the wire that threw. */
export function classifyThrow(error: unknown, evidence: WireEvidence, aborted: boolean, wallNow: number): Outcome {
  try {
    return readThrow(error, evidence, aborted, wallNow);
  } catch {
    // Something was thrown that throws when it is looked at. Whether the request left is known all the same.
    return failure(evidence.sent ? "unknown" : "not-executed", false, "transport_error");
  }
}

function readThrow(error: unknown, evidence: WireEvidence, aborted: boolean, wallNow: number): Outcome {
  if (evidence.answer !== undefined) return classifyAnswer(evidence.answer, wallNow);
  if (!evidence.sent) return classifyUnsent(error, aborted, evidence.closed);
  const timedOut = TIMEOUT_CODES.has(asBag(error)?.code);
  if (evidence.sendError !== undefined) {
    const failed = classifySendError(evidence.sendError, evidence);
    // An SDK that stops the request itself, for an abort or a timeout, makes its send fail too: that says nothing more.
    if (failed.execution !== "unknown" || !(aborted || timedOut)) return failed;
  }
  if (aborted) return { status: "cancelled", execution: "unknown", transient: false, code: "cancelled" };
  if (evidence.closed) return failure("unknown", true, "transport_error");
  return failure("unknown", true, timedOut ? "attempt_timeout" : "transport_error");
}

function classifyUnsent(error: unknown, aborted: boolean, closed: boolean): Outcome {
  if (aborted) return { status: "cancelled", execution: "not-executed", transient: false, code: "cancelled" };
  if (closed) return failure("not-executed", true, "transport_error");
  // Rejected by the SDK before sending: a capability, a schema, a connection that was never made.
  const local = classifyNetwork(error);
  return local.execution === "not-executed" ? local : failure("not-executed", false, "protocol_error");
}

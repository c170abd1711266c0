import type { Execution, OutcomeCode } from "@mcp-tx/core";
import type { Route } from "./types.js";

/** Problems of the HTTP front itself. All others are the core's outcome codes. */
export type HttpProblemCode =
  | "bad_request"
  | "malformed_json"
  | "invalid_arguments"
  | "idempotency_unsupported"
  | "unauthorized"
  | "forbidden"
  | "host_not_allowed"
  | "origin_not_allowed"
  | "tool_not_allowed"
  | "tool_not_found"
  | "not_found"
  | "method_not_allowed"
  | "body_timeout"
  | "body_too_large"
  | "unsupported_media_type"
  | "unusable_schema"
  | "unusable_result"
  | "draining"
  | "internal_error";

/** The `code` of a problem; also the end of its `type`. */
export type ProblemCode = OutcomeCode | HttpProblemCode;

/** One argument, or member of the body, that is wrong. */
export interface ProblemPointer {
  /** JSON Pointer into the request's body, as a URI fragment: `"#/arguments/query"`. */
  readonly pointer: string;
  readonly detail: string;
}

/** A problem as RFC 9457 has it: the body of every answer that is no success. */
export interface Problem {
  /** URI of the documentation of the code; stable. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
  /** What ended a call whose outcome is unknown. */
  readonly reason?: OutcomeCode | undefined;
  /** Of the call, or of the answer where there was none. For logs and `onError`. */
  readonly requestId: string;
  /** Whether the tool ran; there once a call was asked for. */
  readonly execution?: Execution | undefined;
  /** Milliseconds; `Retry-After` is the same in seconds, rounded up. */
  readonly retryAfterMs?: number | undefined;
  readonly errors?: readonly ProblemPointer[] | undefined;
}

/** What `onError` is told beside the error. */
export interface ErrorInfo {
  readonly requestId: string;
  /** `undefined` before the route is known. */
  readonly route: Route | undefined;
  readonly code: ProblemCode;
}

interface Kind {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
}

function kind(status: number, title: string, detail: string): Kind {
  return { status, title, detail };
}

/** Whether nothing ran decides what a client may do next: say it. */
const NOTHING_RAN = "Nothing was executed.";

/**
 * Problems of calls. Texts are constant: whatever an error says may come from the inside.
 *
 * Where two statuses are possible, `refusalOf` in `failure.ts` decides by whether the tool ran.
 */
const CALL_KINDS: Readonly<Record<OutcomeCode, Kind>> = {
  idempotency_in_progress: kind(
    409,
    "Call in progress",
    "A call with this idempotency key is in progress. Ask again later with the same key for its result; do not use a new key.",
  ),
  idempotency_conflict: kind(
    422,
    "Idempotency key reused",
    `The idempotency key belongs to an earlier call with other arguments. ${NOTHING_RAN}`,
  ),
  rate_limited: kind(429, "Rate limited", "There are too many calls. Call again when Retry-After has passed."),
  cancelled: kind(499, "Cancelled", "The request was cancelled."),
  tool_error: kind(500, "Tool failed", "The tool ran and failed without giving a result."),
  protocol_error: kind(502, "Protocol error", "The MCP server did not take the call."),
  transport_error: kind(502, "Server unreachable", `The MCP server cannot be reached. ${NOTHING_RAN}`),
  session_expired: kind(502, "Session expired", `The MCP server has forgotten the session. ${NOTHING_RAN}`),
  store_mismatch: kind(502, "Store changed", `The MCP server no longer has the records of this call. ${NOTHING_RAN}`),
  circuit_open: kind(
    503,
    "Circuit open",
    `Too many calls of this tool failed; it is not called for now. ${NOTHING_RAN}`,
  ),
  queue_full: kind(503, "Overloaded", `Too many calls wait already. ${NOTHING_RAN}`),
  store_unavailable: kind(503, "Store unavailable", `The store that keeps track of calls is down. ${NOTHING_RAN}`),
  deadline: kind(504, "Deadline passed", "The call was not done in time."),
  attempt_timeout: kind(504, "Timed out", "The tool did not answer in time."),
  outcome_unknown: kind(
    504,
    "Outcome unknown",
    "It is unknown whether the tool ran. Check whether it had its effect, or ask again with the same idempotency key; a new call may do it twice.",
  ),
};

const HTTP_KINDS: Readonly<Record<HttpProblemCode, Kind>> = {
  bad_request: kind(400, "Bad request", `The request is not what this route takes. ${NOTHING_RAN}`),
  malformed_json: kind(400, "Malformed JSON", `The body is not JSON that this server takes. ${NOTHING_RAN}`),
  idempotency_unsupported: kind(
    400,
    "Idempotency key not supported",
    `Nothing behind this route honours an idempotency key for this tool. ${NOTHING_RAN}`,
  ),
  unauthorized: kind(401, "Unauthorized", `The request needs valid credentials. ${NOTHING_RAN}`),
  forbidden: kind(403, "Forbidden", `The caller may not do this. ${NOTHING_RAN}`),
  host_not_allowed: kind(403, "Host not allowed", `This server does not answer for the host named. ${NOTHING_RAN}`),
  origin_not_allowed: kind(403, "Origin not allowed", `Pages of this origin may not call this server. ${NOTHING_RAN}`),
  tool_not_allowed: kind(403, "Tool not allowed", `This tool is not offered here. ${NOTHING_RAN}`),
  tool_not_found: kind(404, "Tool not found", `There is no tool of this name. ${NOTHING_RAN}`),
  not_found: kind(404, "Not found", "There is nothing at this path."),
  method_not_allowed: kind(405, "Method not allowed", `The header Allow says which methods are. ${NOTHING_RAN}`),
  body_timeout: kind(408, "Body took too long", `The body did not arrive in time. ${NOTHING_RAN}`),
  body_too_large: kind(413, "Body too large", `The body is larger than this server takes. ${NOTHING_RAN}`),
  unsupported_media_type: kind(
    415,
    "Unsupported media type",
    `Send the body as application/json, without content encoding. ${NOTHING_RAN}`,
  ),
  invalid_arguments: kind(422, "Invalid arguments", `The arguments do not fit the tool's schema. ${NOTHING_RAN}`),
  unusable_result: kind(500, "Unusable result", "The tool ran, and its result cannot be shown as JSON."),
  unusable_schema: kind(500, "Unusable schema", `The schema of this tool cannot be used. ${NOTHING_RAN}`),
  internal_error: kind(500, "Internal error", `The server made a mistake. ${NOTHING_RAN}`),
  draining: kind(503, "Shutting down", `The server is shutting down. ${NOTHING_RAN}`),
};

/** Every problem. */
export const KINDS: Readonly<Record<ProblemCode, Kind>> = { ...CALL_KINDS, ...HTTP_KINDS };

/** Whether a code is one of the core's. Errors of others, and classifiers, may say anything. */
export function isOutcomeCode(code: unknown): code is OutcomeCode {
  return typeof code === "string" && Object.hasOwn(CALL_KINDS, code);
}

/** Prefix of every `type`: where the codes are documented. */
const DOCUMENTATION = "https://github.com/mcp-tx/mcp-tx/blob/main/docs/rest.md#";

/** The `type` of a problem. */
export function problemTypeOf(code: ProblemCode): string {
  return DOCUMENTATION + code;
}

import type { Call, Outcome, OutcomeCode } from "@mcp-tx/core";
import { quietly } from "./quietly.js";
import { OTHER } from "./semconv.js";

/** `error.type` of every code. A record, so that the compiler misses none. */
const TYPES: Readonly<Record<OutcomeCode, string>> = {
  circuit_open: "circuit_open",
  rate_limited: "rate_limited",
  queue_full: "queue_full",
  deadline: "timeout",
  attempt_timeout: "timeout",
  cancelled: "cancelled",
  outcome_unknown: "outcome_unknown",
  idempotency_conflict: "idempotency_conflict",
  idempotency_in_progress: "idempotency_in_progress",
  store_unavailable: "store_unavailable",
  store_mismatch: "store_mismatch",
  tool_error: "tool_error",
  protocol_error: "protocol_error",
  transport_error: "transport_error",
  session_expired: "session_expired",
};

/** What a code is in `error.type`. A classifier may give anything, and error text is nobody's business: unknown words are not passed on. */
export function errorTypeOf(code: unknown): string {
  return typeof code === "string" && Object.hasOwn(TYPES, code) ? TYPES[code as OutcomeCode] : OTHER;
}

/** How an operation ended. */
export interface Ending {
  /** `undefined` when it succeeded. */
  readonly errorType: string | undefined;
  /** Code of the JSON-RPC error that it ended with. */
  readonly statusCode: string | undefined;
}

const SUCCEEDED: Ending = Object.freeze({ errorType: undefined, statusCode: undefined });

/** Reads how an operation ended from what it returned or threw. */
export function endingOf(call: Call, thrown: boolean, value: unknown): Ending {
  let outcome: Outcome | undefined;
  try {
    outcome = call.outcomeOf(value, thrown);
  } catch {
    // What cannot even be looked at is no success.
  }
  if (outcome?.status === "success") return SUCCEEDED;
  const isAnswer = thrown && (outcome?.code === "protocol_error" || call.side === "server");
  return { errorType: errorTypeOf(outcome?.code), statusCode: isAnswer ? statusCodeOf(value) : undefined };
}

/** The code of an error answer; a positive one is a status of HTTP. */
function statusCodeOf(error: unknown): string | undefined {
  const code = quietly(() => (error as { readonly code?: unknown } | null | undefined)?.code);
  return typeof code === "number" && Number.isSafeInteger(code) && code < 0 ? String(code) : undefined;
}

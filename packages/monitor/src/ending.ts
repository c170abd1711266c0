import { type Call, type CallContext, type OutcomeCode, readReceipt } from "@mcp-tx/core";
import type { Status } from "./window.js";

/** How a call ended, without anything of what it was about. */
export interface Ending {
  readonly status: Status;
  readonly code: OutcomeCode | undefined;
  /** Whether it ended with the answer of a tool that ran. */
  readonly isAnswer: boolean;
}

const CODES: readonly OutcomeCode[] = [
  "circuit_open",
  "rate_limited",
  "queue_full",
  "deadline",
  "attempt_timeout",
  "cancelled",
  "outcome_unknown",
  "idempotency_conflict",
  "idempotency_in_progress",
  "store_unavailable",
  "store_mismatch",
  "tool_error",
  "protocol_error",
  "transport_error",
  "session_expired",
];
const MAX_CAUSES = 8;
const COMPLETED: Ending = Object.freeze({ status: "completed", code: undefined, isAnswer: true });
const UNREADABLE: Ending = Object.freeze({ status: "failed", code: undefined, isAnswer: false });

/** A code that we know: what a classifier says may be anything, and anything would grow for ever. */
function known(code: OutcomeCode | undefined): OutcomeCode | undefined {
  return code !== undefined && CODES.includes(code) ? code : undefined;
}

function causeOf(error: unknown): unknown {
  try {
    // Anything can be thrown; what is no object has no cause.
    return (Object(error) as { readonly cause?: unknown }).cause;
  } catch {
    return undefined;
  }
}

/** Whether a timeout of this call is behind an error. */
function isTimeout(call: Call, error: unknown): boolean {
  let current = error;
  for (let depth = 0; current !== undefined && depth < MAX_CAUSES; depth += 1) {
    const outcome = call.outcomeOf(current, true);
    if (outcome.code === "attempt_timeout" || outcome.code === "deadline") return true;
    // What lies behind an attempt's own error is another call's business.
    if (call.attempts.some((attempt) => attempt.outcome === outcome)) return false;
    current = causeOf(current);
  }
  return false;
}

/** As the call's report will say, which is not made before the call has left the pipeline. */
function read({ call, signal }: CallContext, value: unknown, thrown: boolean): Ending {
  const outcome = call.outcomeOf(value, thrown);
  if (outcome.status === "success") return COMPLETED;
  const { execution } = call;
  const code = known(outcome.code);
  if (thrown) {
    // Whoever raced it may have stopped it: the call itself was not aborted then.
    const isStopped = signal?.aborted === true && (outcome.status === "cancelled" || value === signal.reason);
    if (isStopped || (outcome.status === "cancelled" && call.signal?.aborted === true)) {
      return { status: "cancelled", code: "cancelled", isAnswer: false };
    }
    if (isTimeout(call, value)) return { status: "timeout", code, isAnswer: false };
    if (execution === "unknown") return { status: "unknown", code, isAnswer: false };
  }
  const isRefused = outcome.status === "rejected" || outcome.status === "throttled";
  if (isRefused && execution === "not-executed") return { status: "rejected", code, isAnswer: false };
  return { status: "failed", code, isAnswer: outcome.execution === "executed" };
}

/** How a call ended. What cannot even be looked at is a failure. */
export function endingOf(ctx: CallContext, value: unknown, thrown: boolean): Ending {
  try {
    return read(ctx, value, thrown);
  } catch {
    return UNREADABLE;
  }
}

/** Whether the server says that it answered from a record. */
export function isReplay(value: unknown, thrown: boolean): boolean {
  try {
    // Anything may come back; what is no object has no members.
    const bag = Object(value) as { readonly _meta?: unknown; readonly data?: unknown };
    const carrier = thrown ? bag.data : bag._meta;
    if (carrier === undefined) return false;
    const receipt = readReceipt(carrier);
    return receipt?.duplicate === true && receipt.execution === "executed";
  } catch {
    return false;
  }
}

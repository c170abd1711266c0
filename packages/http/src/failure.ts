import { type CallReport, type Execution, McpTxError, type OutcomeCode, reportOf } from "@mcp-tx/core";
import { isOutcomeCode, KINDS } from "./problem-codes.js";
import { Refusal, type RefusalDetails } from "./refusal.js";

/** What is known of a call that threw, beside the error. */
export interface FailedCall {
  /** Whether the pipeline was entered, which it is before anything is sent. */
  readonly wasEntered: boolean;
  /** Whether the pipeline would have been entered if the call had got that far: callers of another making tell nothing. */
  readonly isOurs: boolean;
  readonly hasKey: boolean;
  /** Whether the handler itself ended the call, because it is closing. */
  readonly isClosing: boolean;
  readonly requestId: string;
}

/** Codes that say themselves, more exactly than "unknown", what became of the call. */
const SAY_THEMSELVES: readonly OutcomeCode[] = ["idempotency_in_progress"];

interface Facts {
  readonly code: OutcomeCode | undefined;
  readonly execution: Execution;
  readonly retryAfterMs: number | undefined;
}

/** Evidence alone: report, code, hints. Nothing of the error's own words. */
function factsOf(error: unknown, report: CallReport | undefined, call: FailedCall): Facts {
  const own = McpTxError.isInstance(error) ? error : undefined;
  const code = report?.error?.code ?? own?.code;
  const retryAfterMs = report?.error?.retryAfterMs ?? own?.retryAfterMs;
  return {
    code: isOutcomeCode(code) ? code : undefined,
    execution: report?.execution ?? own?.outcome.execution ?? executionOf(call),
    retryAfterMs: typeof retryAfterMs === "number" ? retryAfterMs : undefined,
  };
}

/** Without a report there was no call of ours, or the caller is of another making and may have done anything. */
function executionOf({ wasEntered, isOurs }: FailedCall): Execution {
  return isOurs && !wasEntered ? "not-executed" : "unknown";
}

/** A status for a failure of which it is known that the tool ran: nothing upstream is to blame, and coming again is no help. */
const RAN_STATUS = 500;
const UPSTREAM: readonly OutcomeCode[] = ["transport_error", "session_expired", "protocol_error", "store_mismatch"];

/** Whatever a middleware throws counts as the tool's to the core; of one that did not run it cannot be. */
function codeOfFinished({ code, execution }: Facts): Refusal["code"] {
  if (code !== undefined && code !== "tool_error") return code;
  return execution === "executed" ? "tool_error" : "internal_error";
}

function statusOfFinished({ code, execution }: Facts): number | undefined {
  return execution === "executed" && code !== undefined && UPSTREAM.includes(code) ? RAN_STATUS : undefined;
}

/** The text of a code may say that nothing ran. */
function detailOfFinished({ execution }: Facts, code: Refusal["code"]): string | undefined {
  const { detail } = KINDS[code];
  if (execution !== "executed" || code === "tool_error") return undefined;
  return `${detail.replace(" Nothing was executed.", "")} The tool ran, and its answer did not come.`;
}

/** The problem of a call that threw. Decides by whether the tool ran, and then by the code. */
export function refusalOf(error: unknown, call: FailedCall): Refusal {
  const report = reportOf(error);
  const facts = factsOf(error, report, call);
  const details: RefusalDetails = {
    requestId: report?.requestId ?? call.requestId,
    execution: facts.execution,
    cause: error,
  };
  if (isRefusedKey(error, report, call)) return new Refusal("idempotency_unsupported", details);
  if (report?.status === "cancelled") return cancelled(facts, details, call);
  if (facts.execution === "unknown" && !(facts.code !== undefined && SAY_THEMSELVES.includes(facts.code))) {
    return new Refusal("outcome_unknown", { ...details, reason: facts.code });
  }
  const code = codeOfFinished(facts);
  return new Refusal(code, {
    ...details,
    detail: detailOfFinished(facts, code),
    status: statusOfFinished(facts),
    retryAfterMs: facts.retryAfterMs,
  });
}

function isTypeError(error: unknown): boolean {
  try {
    return error instanceof TypeError;
  } catch {
    // Anything can be thrown, a revoked proxy too.
    return false;
  }
}

/** The core refuses a key that nothing honours before the pipeline is entered; by then everything else has been checked. */
function isRefusedKey(error: unknown, report: CallReport | undefined, call: FailedCall): boolean {
  return call.hasKey && call.isOurs && !call.wasEntered && report === undefined && isTypeError(error);
}

function cancelled(facts: Facts, details: RefusalDetails, { isClosing }: FailedCall): Refusal {
  if (facts.execution === "unknown") return new Refusal("outcome_unknown", { ...details, reason: "cancelled" });
  return new Refusal(isClosing ? "draining" : "cancelled", details);
}

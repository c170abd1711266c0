import {
  type CallContext,
  type Execution,
  McpTxError,
  type Outcome,
  readReceipt,
  storeCovers,
  type ToolResult,
} from "@mcp-tx/core";
import { Ending } from "./ending.js";
import { epochOf } from "./epoch.js";
import { encodeError, encodeResult } from "./outcome-codec.js";

/** How a run ended that gave a result. */
export function endingOfResult(ctx: CallContext, result: ToolResult): Ending {
  const { call, side } = ctx;
  const outcome = call.outcomeOf(result, false);
  believeReceipt(ctx, outcome, () => result._meta);
  const known = call.attempts.length === 0 ? outcome.execution : call.execution;
  const execution = outcome.status === "success" ? "executed" : known;
  return new Ending(false, result, { outcome, execution, text: encodeResult(result, side), epoch: epochOf(ctx) });
}

/** What is known of a run that threw. */
export interface ThrowEvidence {
  /** Whether the run made attempts: then they tell. */
  readonly hasAttempts: boolean;
  /** The signal that aborts the run. */
  readonly abort: AbortSignal | undefined;
}

/** Of something thrown that cannot even be looked at. */
const UNREADABLE: Outcome = { status: "failure", execution: "unknown", transient: false, code: "tool_error" };

/** How a run ended that threw. */
export function endingOfThrow(ctx: CallContext, error: unknown, { hasAttempts, abort }: ThrowEvidence): Ending {
  const { call, side } = ctx;
  const outcome = quietly(() => call.outcomeOf(error, true)) ?? UNREADABLE;
  believeReceipt(ctx, outcome, () => (error as { readonly data?: unknown } | undefined)?.data);
  const execution = hasAttempts ? call.execution : (quietly(() => executionWithout(ctx, error, abort)) ?? "unknown");
  const text = execution === "executed" ? encodeError(error, outcome, side) : undefined;
  return new Ending(true, error, { outcome, execution, text, epoch: epochOf(ctx) });
}

/** What something says that was thrown without any attempt: mostly by a middleware further in. */
function executionWithout({ call }: CallContext, error: unknown, abort: AbortSignal | undefined): Execution {
  const { execution } = call;
  if (execution !== "not-executed" || (abort?.aborted === true && abort.reason === error)) return execution;
  // A handler that keeps no book of attempts may have run.
  if (!McpTxError.isInstance(error)) return "unknown";
  return error.code === "idempotency_in_progress" ? execution : error.outcome.execution;
}

/**
 * The server's own record answers for every attempt that went there under this key: with it, what was unresolved before is
 * resolved too.
 */
function believeReceipt({ call }: CallContext, { execution }: Outcome, carrier: () => unknown): void {
  if (execution !== "executed" || call.execution !== "unknown") return;
  if (quietly(() => readReceipt(carrier())?.execution) === "executed" && storeCovers(call))
    call.resolveAttempts("executed");
}

/** Whether a result asks for something before the work goes on: nothing final has happened. */
export function isOpenRound({ value, thrown }: Ending): boolean {
  if (thrown) return false;
  return quietly(() => (value as { readonly resultType?: unknown }).resultType) === "input_required";
}

/** Anything can be returned and thrown, so that even looking may throw. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

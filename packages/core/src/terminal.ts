import { classifyResult, SUCCESS } from "./classify.js";
import type { Attempt, CallContext, Handler, Outcome, ToolResult } from "./contract.js";
import { AttemptTimeoutError, DeadlineError } from "./errors.js";
import { startTimer } from "./runtime.js";

/** How long an attempt may take, and which of the two limits it is. */
export interface Limit {
  readonly ms: number;
  readonly isDeadline: boolean;
}

/** The time an attempt has: its own timeout or what is left of the call, whichever is less; `undefined` for no limit. */
export function limitOf(ctx: CallContext): Limit | undefined {
  const own = ctx.options.attemptTimeoutMs;
  if (ctx.deadline === Infinity) return own === undefined || own === Infinity ? undefined : { ms: own, isDeadline: false };
  const left = ctx.deadline - ctx.call.runtime.now();
  return own !== undefined && own < left ? { ms: own, isDeadline: false } : { ms: left, isDeadline: true };
}

/** What a timed-out attempt ends with. */
export function timeoutOutcome(limit: Limit): Outcome {
  return {
    status: "failure",
    execution: "unknown",
    transient: !limit.isDeadline,
    code: limit.isDeadline ? "deadline" : "attempt_timeout",
  };
}

/** The error of an attempt that must not start any more, or of one that the deadline ended. */
export function deadlineError(ctx: CallContext, execution: Outcome["execution"]): DeadlineError {
  const { tool } = ctx;
  const message =
    execution === "unknown"
      ? `Tool "${tool}" did not answer before the deadline of the call. It may still be running; check what it did before calling it again.`
      : `Tool "${tool}" was not called: the deadline of the call had passed.`;
  return new DeadlineError(message, { execution });
}

/**
 * What every terminal checks right before it dispatches.
 *
 * @throws the caller's reason, a DeadlineError, or the refusal of a gate
 */
export function admitDispatch(ctx: CallContext, limit: Limit | undefined): void {
  ctx.signal?.throwIfAborted();
  if (limit !== undefined && limit.ms <= 0) throw deadlineError(ctx, "not-executed");
  ctx.admit?.();
}

/** The context's call, or an error that says what a context is. */
export function callOf(ctx: CallContext): CallContext["call"] {
  if (ctx?.call === undefined) throw new TypeError("next was called with something that is no call context; write next(ctx)");
  return ctx.call;
}

const TOOL_THREW: Outcome = Object.freeze({
  status: "failure",
  execution: "executed",
  transient: false,
  code: "tool_error",
});
const TOOL_ABORTED: Outcome = Object.freeze({
  status: "cancelled",
  execution: "unknown",
  transient: false,
  code: "cancelled",
});

function accept(attempt: Attempt, ctx: CallContext, result: ToolResult): ToolResult {
  if (typeof result !== "object" || result === null) {
    const error = new TypeError(
      `The terminal for tool "${ctx.tool}" returned ${result === null ? "null" : typeof result}; it must return a tool result object.`,
    );
    attempt.end(TOOL_THREW, error);
    throw error;
  }
  attempt.end(result.isError === true ? classifyResult(result, ctx.call.runtime.wallNow()) : SUCCESS, result);
  return result;
}

function refuse(attempt: Attempt, ctx: CallContext, error: unknown): never {
  attempt.end(ctx.signal?.aborted === true ? TOOL_ABORTED : TOOL_THREW, error, true);
  attempt.release();
  throw error;
}

/**
 * Makes a terminal of a plain handler that runs here: counts the attempt, enforces deadline and attempt timeout, and settles
 * at once when the caller aborts. What the handler throws is an executed failure, whatever it says about itself.
 */
export function localTerminal(handler: Handler): Handler {
  return (ctx) => {
    let attempt: Attempt;
    let limit: Limit | undefined;
    try {
      const call = callOf(ctx);
      limit = limitOf(ctx);
      admitDispatch(ctx, limit);
      attempt = call.beginAttempt(ctx);
      attempt.handOver(call.verify === undefined ? undefined : {});
    } catch (error) {
      return Promise.reject(error);
    }
    if (limit !== undefined || ctx.signal !== undefined) return runBounded(handler, ctx, attempt, limit);
    return start(handler, ctx).then(
      (result) => accept(attempt, ctx, result),
      (error) => refuse(attempt, ctx, error),
    );
  };
}

function start(handler: Handler, ctx: CallContext): Promise<ToolResult> {
  try {
    const started = handler(ctx);
    return typeof started?.then === "function" ? started : Promise.resolve(started);
  } catch (error) {
    return Promise.reject(error);
  }
}

function runBounded(handler: Handler, ctx: CallContext, attempt: Attempt, limit: Limit | undefined): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const { signal } = ctx;
    // The handler gets a signal of its own only where something other than the caller can stop it.
    const controller = limit === undefined ? undefined : new AbortController();
    const cancelTimer = limit === undefined ? undefined : startTimer(ctx.call.runtime, limit.ms, () => expire(limit));
    signal?.addEventListener("abort", abort, { once: true });

    function stop(outcome: Outcome, error: unknown): void {
      detach();
      attempt.end(outcome, error, false);
      controller?.abort(error);
      reject(error);
    }
    function detach(): void {
      cancelTimer?.();
      signal?.removeEventListener("abort", abort);
    }
    function abort(): void {
      stop(TOOL_ABORTED, signal?.reason);
    }
    function expire(passed: Limit): void {
      const error = passed.isDeadline ? deadlineError(ctx, "unknown") : new AttemptTimeoutError(ctx.tool, passed.ms);
      stop(timeoutOutcome(passed), error);
    }

    const running = start(handler, controller === undefined ? ctx : { ...ctx, signal: controller.signal });
    running
      .then(
        (result) => {
          detach();
          if (attempt.outcome === undefined) resolve(accept(attempt, ctx, result));
        },
        (error) => {
          detach();
          if (attempt.outcome === undefined) refuse(attempt, ctx, error);
        },
      )
      .catch(reject)
      .finally(() => attempt.release());
  });
}

import type { Attempt, CallContext, Handler, Outcome, ToolResult } from "./contract.js";
import { AttemptTimeoutError, DeadlineError, type McpTxError } from "./errors.js";
import { frozen } from "./frozen.js";
import { outcomeOfResult, TOOL_FAILED } from "./outcome.js";
import { startTimer } from "./runtime.js";

/** How long an attempt may take, and which of the two limits it is. */
export interface Limit {
  readonly ms: number;
  readonly isDeadline: boolean;
}

/** The time an attempt has: its own timeout or what is left of the call, whichever is less; `undefined` for no limit. */
export function limitOf(ctx: CallContext): Limit | undefined {
  const own = ctx.options.attemptTimeoutMs;
  if (ctx.deadline === Infinity)
    return own === undefined || own === Infinity ? undefined : { ms: own, isDeadline: false };
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

/** What a timed-out attempt throws. */
export function timeoutError(ctx: CallContext, { isDeadline, ms }: Limit): McpTxError {
  return isDeadline ? deadlineError(ctx, "unknown") : new AttemptTimeoutError(ctx.tool, ms);
}

/** The error of an attempt that must not start any more, or of one that the deadline ended. */
function deadlineError(ctx: CallContext, execution: Outcome["execution"]): DeadlineError {
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
  if (ctx?.call === undefined)
    throw new TypeError("next was called with something that is no call context; write next(ctx)");
  return ctx.call;
}

const TOOL_ABORTED: Outcome = frozen({
  status: "cancelled",
  execution: "unknown",
  transient: false,
  code: "cancelled",
});

function accept<T>(attempt: Attempt, ctx: CallContext, value: T, convert: (value: T) => ToolResult): ToolResult {
  let result: ToolResult;
  try {
    result = convert(value);
  } catch (error) {
    // A value that cannot even be looked at: the tool ran all the same.
    attempt.end(TOOL_FAILED, error);
    throw error;
  }
  if (typeof result !== "object" || result === null) {
    const error = new TypeError(
      `The terminal for tool "${ctx.tool}" returned ${result === null ? "null" : typeof result}; it must return a tool result object.`,
    );
    attempt.end(TOOL_FAILED, error);
    throw error;
  }
  attempt.end(outcomeOfResult(result), result);
  return result;
}

function fail(attempt: Attempt, ctx: CallContext, error: unknown): void {
  attempt.end(ctx.signal?.aborted === true ? TOOL_ABORTED : TOOL_FAILED, error, true);
  attempt.release();
}

/** What the end of a call makes of the pipeline's result, or of what the pipeline threw. */
export interface Conclusion<C extends CallContext, T> {
  completed(ctx: C, result: ToolResult): T;
  /** Returns what to throw. */
  failed(ctx: C, error: unknown): unknown;
}

/** Runs a handler to the end of its call. */
export function conclude<C extends CallContext, T>(handler: Handler, ctx: C, conclusion: Conclusion<C, T>): Promise<T> {
  return start(handler, ctx).then(
    (result) => conclusion.completed(ctx, result),
    (error) => {
      throw conclusion.failed(ctx, error);
    },
  );
}

/** The last handler of a pipeline. */
export interface Terminal extends Handler {
  /**
   * The terminal and the end of its call in one, for a pipeline without middleware: where the end of the only attempt is the
   * end of the call, one promise does for both.
   */
  readonly alone?: (<C extends CallContext, T>(conclusion: Conclusion<C, T>) => (ctx: C) => Promise<T>) | undefined;
}

/**
 * Makes a terminal of a plain handler that runs here: counts the attempt, enforces deadline and attempt timeout, and settles
 * at once when the caller aborts. What the handler throws is an executed failure, whatever it says about itself.
 */
export function localTerminal(handler: Handler): Terminal;
export function localTerminal<T>(work: Work<T>, convert: (value: T) => ToolResult): Terminal;
export function localTerminal<T>(work: Work<T>, convert: (value: T) => ToolResult = unchanged): Terminal {
  function terminal(ctx: CallContext): Promise<ToolResult> {
    let attempt: Attempt;
    let limit: Limit | undefined;
    try {
      callOf(ctx);
      limit = limitOf(ctx);
      admitDispatch(ctx, limit);
      attempt = handOver(ctx);
    } catch (error) {
      return Promise.reject(error);
    }
    if (limit !== undefined || ctx.signal !== undefined) return runBounded(work, convert, ctx, attempt, limit);
    return start(work, ctx).then(
      (value) => accept(attempt, ctx, value, convert),
      (error) => {
        fail(attempt, ctx, error);
        throw error;
      },
    );
  }

  function alone<C extends CallContext, R>(conclusion: Conclusion<C, R>): (ctx: C) => Promise<R> {
    return (ctx) => {
      if (ctx.signal !== undefined || limitOf(ctx) !== undefined) return conclude(terminal, ctx, conclusion);
      const attempt = handOver(ctx);
      return start(work, ctx).then(
        (value) => {
          let result: ToolResult;
          try {
            result = accept(attempt, ctx, value, convert);
          } catch (error) {
            throw conclusion.failed(ctx, error);
          }
          return conclusion.completed(ctx, result);
        },
        (error) => {
          fail(attempt, ctx, error);
          throw conclusion.failed(ctx, error);
        },
      );
    };
  }
  return Object.assign(terminal, { alone });
}

/** Counts an attempt that starts now. */
function handOver(ctx: CallContext): Attempt {
  const attempt = ctx.call.beginAttempt(ctx);
  attempt.handOver(ctx.call.verify === undefined ? undefined : {});
  return attempt;
}

/** What runs here: a handler, or a function whose value is converted to a result. */
type Work<T> = (ctx: CallContext) => T | Promise<T>;

function unchanged<T>(value: T): ToolResult {
  // Only for handlers, whose T is ToolResult: see the signatures of localTerminal.
  return value as ToolResult;
}

function start<T>(work: Work<T>, ctx: CallContext): Promise<T> {
  try {
    return Promise.resolve(work(ctx));
  } catch (error) {
    return Promise.reject(error);
  }
}

function runBounded<T>(
  work: Work<T>,
  convert: (value: T) => ToolResult,
  ctx: CallContext,
  attempt: Attempt,
  limit: Limit | undefined,
): Promise<ToolResult> {
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
      stop(timeoutOutcome(passed), timeoutError(ctx, passed));
    }

    const running = start(work, controller === undefined ? ctx : { ...ctx, signal: controller.signal });
    running
      .then(
        (value) => {
          detach();
          if (attempt.outcome === undefined) resolve(accept(attempt, ctx, value, convert));
        },
        (error) => {
          detach();
          if (attempt.outcome !== undefined) return;
          fail(attempt, ctx, error);
          reject(error);
        },
      )
      .catch(reject)
      .finally(() => attempt.release());
  });
}

import type { CallContext, ToolResult } from "./contract.js";
import { startTimer } from "./runtime.js";
import { type Limit, timeoutError } from "./terminal.js";
import type { Wire } from "./wire-attempt.js";

/** What ends an attempt before its answer. */
export interface Bounds {
  /** The signal that the SDK was given. */
  readonly signal: AbortSignal | undefined;
  readonly limit: Limit | undefined;
  /** Called when the limit has passed. */
  onExpire(): void;
}

/**
 * Keeps the bounds of an attempt over all its rounds. SDK v2 fulfils by itself what a server asks for before it goes on
 * (`input_required`): between two rounds no timer of the SDK runs, each round has the whole timeout, and whoever is asked may
 * ignore the signal. So from the first round on the bounds are kept here.
 */
export function overRounds(
  answer: Promise<ToolResult>,
  ctx: CallContext,
  wire: Wire,
  { signal, limit, onExpire }: Bounds,
): Promise<ToolResult> {
  const { runtime } = ctx.call;
  const due = limit === undefined ? Infinity : runtime.now() + limit.ms;
  return new Promise((resolve, reject) => {
    let cancelTimer: (() => void) | undefined;
    function detach(): void {
      wire.onInputRequired = undefined;
      cancelTimer?.();
      signal?.removeEventListener("abort", abort);
    }
    function stop(error: unknown): void {
      detach();
      wire.interrupt();
      reject(error);
    }
    function abort(): void {
      stop(signal?.reason);
    }
    function expire(passed: Limit): void {
      onExpire();
      stop(timeoutError(ctx, passed));
    }
    wire.onInputRequired = () => {
      wire.onInputRequired = undefined;
      signal?.addEventListener("abort", abort, { once: true });
      if (limit !== undefined) cancelTimer = startTimer(runtime, due - runtime.now(), () => expire(limit));
    };
    answer.then(resolve, reject).finally(detach);
  });
}

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
  bounds: Bounds,
): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    let detach: (() => void) | undefined;
    // Everything else is made in there: nearly no call has a second round.
    wire.onInputRequired = () => {
      wire.onInputRequired = undefined;
      detach = keepBounds(ctx, wire, bounds, reject);
    };
    answer.then(
      (result) => {
        wire.onInputRequired = undefined;
        detach?.();
        resolve(result);
      },
      (error) => {
        wire.onInputRequired = undefined;
        detach?.();
        reject(error);
      },
    );
  });
}

/** Ends the attempt when its signal aborts or its limit passes; returns what stops that. */
function keepBounds(
  ctx: CallContext,
  wire: Wire,
  { signal, limit, onExpire }: Bounds,
  reject: (error: unknown) => void,
): () => void {
  const { runtime } = ctx.call;
  const now = runtime.now();
  const cancelTimer =
    limit === undefined
      ? undefined
      : startTimer(runtime, (wire.attempt.sentAt ?? now) + limit.ms - now, () => expire(limit));
  signal?.addEventListener("abort", abort, { once: true });

  function detach(): void {
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
  return detach;
}

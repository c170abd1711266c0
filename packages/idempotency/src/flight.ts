import { type CallContext, DeadlineError, startTimer } from "@mcp-tx/core";
import type { IdempotencyRecord } from "@mcp-tx/core/stores";
import type { Ending } from "./ending.js";
import { Pins } from "./pins.js";

function canLeave({ signal, deadline }: CallContext): boolean {
  return signal !== undefined || deadline !== Infinity;
}

/** One run in this process, and all the calls that wait for its end. */
export class Flight {
  /** Known before it is recorded: whoever leaves from then on gets it all the same. */
  ending: Ending | undefined;
  /** The record of the same call elsewhere, while this one waits for its end. */
  waitsFor: IdempotencyRecord | undefined;
  /** Whether the call that makes the run has given up: its attempts go on, but nothing is repeated for it any more. */
  leaderLeft = false;
  /** Also of those that have left: they may come back for its outcome. */
  readonly pins: Pins = new Pins();
  /** When the run began, in milliseconds since the epoch. */
  readonly startedAtWall: number;
  readonly #controller: AbortController | undefined;
  #completion: Promise<Ending> = new Promise(() => undefined);
  #present = 0;

  constructor(
    /** The call that makes the run. */
    readonly leader: CallContext,
    readonly fingerprint: string,
  ) {
    this.startedAtWall = leader.call.runtime.wallNow();
    // On a server the work is detached from whoever asked: the effect happens anyway, so that its outcome must be recorded.
    const isDetached = leader.side === "server";
    this.#controller = isDetached || !canLeave(leader) ? undefined : new AbortController();
  }

  /** Aborts when the last participant has left; `undefined` where that cannot be, or does not stop the run. */
  get signal(): AbortSignal | undefined {
    return this.#controller?.signal;
  }

  /** Whether there is no point in starting the work: nobody waits for it. */
  get isAbandoned(): boolean {
    return this.#present === 0 || this.#controller?.signal.aborted === true;
  }

  /** @param run - never rejects */
  start(run: () => Promise<Ending>): void {
    this.#completion = run();
  }

  /**
   * Waits for the end, no longer than the call's own signal and deadline allow.
   *
   * @param farewell - makes what a call rejects with that leaves before the end
   * @param accepts - whether an end is this call's end as well; without one that is, it leaves with nothing
   */
  attend(
    ctx: CallContext,
    farewell: (isDeadline: boolean) => unknown,
    accepts: (ending: Ending) => boolean,
  ): Promise<Ending> {
    this.#present += 1;
    if (!canLeave(ctx)) return this.#completion;
    return new Promise((resolve, reject) => {
      const { signal, deadline } = ctx;
      const { runtime } = ctx.call;
      const leave = (isDeadline: boolean): void => {
        detach();
        if (this.ending === undefined || !accepts(this.ending)) {
          this.#depart(ctx, isDeadline);
          reject(farewell(isDeadline));
        } else resolve(this.ending);
      };
      const abort = (): void => leave(false);
      const cancelTimer =
        deadline === Infinity ? undefined : startTimer(runtime, deadline - runtime.now(), () => leave(true));
      function detach(): void {
        cancelTimer?.();
        signal?.removeEventListener("abort", abort);
      }
      signal?.addEventListener("abort", abort, { once: true });
      if (signal?.aborted === true) abort();
      this.#completion.then((ending) => {
        detach();
        resolve(ending);
      });
    });
  }

  #depart(ctx: CallContext, isDeadline: boolean): void {
    this.#present -= 1;
    if (ctx.call === this.leader.call) this.leaderLeft = true;
    if (this.#present > 0) return;
    const { tool } = ctx;
    const passed = `Nobody waits for tool "${tool}" any more: the deadline of the call has passed.`;
    this.#controller?.abort(isDeadline ? new DeadlineError(passed, { execution: "unknown" }) : ctx.signal?.reason);
  }
}

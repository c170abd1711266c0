import { type Runtime, startTimer } from "@mcp-tx/core";
import type { Refusal } from "./refusal.js";

/** How long somebody waits, and what they are told when it is over. */
export interface Patience {
  readonly runtime: Runtime;
  readonly ms: number;
  readonly signal?: AbortSignal | undefined;
  /** Why the wait ended: the time was up, or the client has gone. */
  readonly refusal: (isGone: boolean) => Refusal;
}

/** Settles as the work does, or rejects when patience is over. The work goes on, for others; nothing here waits for it then. */
export function within<T>(work: Promise<T>, { runtime, ms, signal, refusal }: Patience): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const cancelTimer = startTimer(runtime, ms, () => settle(() => reject(refusal(false))));
    const gone = (): void => settle(() => reject(refusal(true)));
    function settle(end: () => void): void {
      cancelTimer();
      signal?.removeEventListener("abort", gone);
      end();
    }
    signal?.addEventListener("abort", gone, { once: true });
    if (signal?.aborted === true) gone();
    work.then(
      (value) => settle(() => resolve(value)),
      (error) => settle(() => reject(error)),
    );
  });
}

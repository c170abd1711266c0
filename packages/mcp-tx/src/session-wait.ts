import { type Runtime, startTimer } from "@mcp-tx/core";

/** How long somebody waits. */
export interface Patience {
  readonly signal?: AbortSignal | undefined;
  /** On the runtime's clock; `Infinity` for no limit. */
  readonly deadline: number;
}

/**
 * Waits for work that others may wait for too, and stops waiting without stopping the work.
 *
 * @param onOver - makes what is thrown when the deadline passes
 * @throws the signal's reason
 */
export function waitFor<T>(
  work: Promise<T>,
  { signal, deadline }: Patience,
  runtime: Runtime,
  onOver: () => unknown,
): Promise<T> {
  if (signal === undefined && deadline === Infinity) return work;
  return new Promise((resolve, reject) => {
    const cancel =
      deadline === Infinity ? undefined : startTimer(runtime, Math.max(0, deadline - runtime.now()), expire);
    function detach(): void {
      cancel?.();
      signal?.removeEventListener("abort", abort);
    }
    function abort(): void {
      detach();
      reject(signal?.reason);
    }
    function expire(): void {
      detach();
      reject(onOver());
    }
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) return abort();
    work.then(resolve, reject).finally(detach);
  });
}

import type { Call, Runtime } from "./contract.js";

/** The longest delay that `setTimeout` takes; anything longer fires at once. */
export const MAX_TIMER_MS = 2_147_483_647;

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const cancel = processTimer(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    function onAbort(): void {
      cancel();
      reject(signal?.reason);
    }
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** Runs `callback` after at least `ms`: Node fires up to 1 ms early and overflows past 2^31 - 1, so it re-checks and waits on. */
function processTimer(ms: number, callback: () => void): () => void {
  const due = performance.now() + ms;
  let timer = setTimeout(tick, Math.min(ms, MAX_TIMER_MS));
  function tick(): void {
    const rest = due - performance.now();
    if (rest > 0) timer = setTimeout(tick, Math.min(Math.max(rest, 1), MAX_TIMER_MS));
    else callback();
  }
  return () => clearTimeout(timer);
}

const registry: { [key: symbol]: Runtime | undefined } = globalThis as never;
const RegistryKey: symbol = Symbol.for("@mcp-tx/core.runtime.v1");
registry[RegistryKey] ??= Object.freeze({
  now: () => performance.now(),
  wallNow: () => Date.now(),
  sleep,
  random: Math.random,
});

/** The process clock: one per process, so that two copies of this package agree. */
export const defaultRuntime: Runtime = registry[RegistryKey];

/**
 * Runs `callback` once, after at least `ms` on a runtime's clock. Longer delays than a process timer takes are fine.
 *
 * @returns the cancellation
 */
export function startTimer(runtime: Runtime, ms: number, callback: () => void): () => void {
  if (runtime === defaultRuntime) return processTimer(ms, callback);
  const controller = new AbortController();
  const ring = (): void => {
    // Cancelled after the sleep was over: too late for the sleep, not for us.
    if (!controller.signal.aborted) callback();
  };
  sleepUntil(runtime, runtime.now() + ms, controller.signal).then(ring, () => undefined);
  return () => controller.abort();
}

/**
 * Keeps a stateful middleware on the clock of its first call: the times of two clocks cannot be compared.
 *
 * @param owner - whose state it is, for the message: `"circuitBreaker"`
 * @returns the call's runtime; throws a TypeError for a call with another one
 */
export function oneRuntime(owner: string): (call: Call) => Runtime {
  let kept: Runtime | undefined;
  return ({ runtime }) => {
    kept ??= runtime;
    if (runtime === kept) return runtime;
    throw new TypeError(
      `${owner}: runtime must be the same for every call of one instance, whose times it keeps; make an instance for each`,
    );
  };
}

/**
 * Sleeps until `due` on the runtime's clock, also when a timer fires early.
 *
 * @throws the signal's reason when it aborts
 */
export async function sleepUntil(runtime: Runtime, due: number, signal?: AbortSignal): Promise<void> {
  let now = runtime.now();
  while (now < due) {
    await runtime.sleep(due - now, signal);
    const woken = runtime.now();
    // A clock that stands still would keep us here for ever: trust its sleep.
    if (woken <= now) return;
    now = woken;
  }
}

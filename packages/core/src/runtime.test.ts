import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Runtime } from "./contract.js";
import { defaultRuntime, MAX_TIMER_MS, oneRuntime, sleepUntil, startTimer } from "./runtime.js";
import { context, countingSignal, virtualTime } from "./testing/index.js";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** Wakes every sleep that much too early. */
function earlyRuntime(byMs: number): { readonly runtime: Runtime; readonly sleeps: number[] } {
  let now = 100;
  const sleeps: number[] = [];
  const runtime: Runtime = {
    now: () => now,
    wallNow: () => now,
    random: () => 0,
    sleep: async (ms) => {
      sleeps.push(ms);
      now += ms > byMs ? ms - byMs : ms;
    },
  };
  return { runtime, sleeps };
}

test("waits on when a sleep ends early", async () => {
  const { runtime, sleeps } = earlyRuntime(1);
  await sleepUntil(runtime, 150);
  expect(runtime.now()).toBe(150);
  expect(sleeps).toEqual([50, 1]);
});

test("does not let a timer of a runtime run out early", async () => {
  const { runtime } = earlyRuntime(1);
  const firedAt = await new Promise((resolve) => startTimer(runtime, 50, () => resolve(runtime.now())));
  expect(firedAt).toBe(150);
});

test("trusts the sleep of a clock that stands still", async () => {
  let sleeps = 0;
  const runtime: Runtime = {
    ...defaultRuntime,
    now: () => 0,
    sleep: async () => {
      sleeps += 1;
    },
  };
  await sleepUntil(runtime, 10);
  expect(sleeps).toBe(1);
});

test("does not sleep when the time has come already", async () => {
  const { runtime, sleeps } = earlyRuntime(0);
  await sleepUntil(runtime, 100);
  await sleepUntil(runtime, 99);
  expect(sleeps).toEqual([]);
});

test("does not fire a timer that was cancelled", async () => {
  const time = virtualTime();
  let fired = false;
  const cancel = startTimer(time.runtime, 10, () => {
    fired = true;
  });
  cancel();
  expect(time.timers).toBe(0);
  await time.advance(20);
  expect(fired).toBe(false);
});

test("sleeps longer than setTimeout can", async () => {
  const ms = MAX_TIMER_MS * 2 + 5000;
  const setTimeoutSpy = vi.spyOn(globalThis, "setTimeout");
  let isAwake = false;
  defaultRuntime.sleep(ms).then(() => {
    isAwake = true;
  });
  await vi.advanceTimersByTimeAsync(ms - 1);
  expect(isAwake).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(isAwake).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
  const delays = setTimeoutSpy.mock.calls.map(([, delayMs]) => Number(delayMs));
  setTimeoutSpy.mockRestore();
  expect(delays).toEqual([MAX_TIMER_MS, MAX_TIMER_MS, 5000]);
});

test("times longer than setTimeout can, and cancels in the midst", async () => {
  let fired = 0;
  const fire = (): void => {
    fired += 1;
  };
  startTimer(defaultRuntime, MAX_TIMER_MS + 10, fire);
  const cancel = startTimer(defaultRuntime, MAX_TIMER_MS + 10, fire);
  await vi.advanceTimersByTimeAsync(MAX_TIMER_MS + 5);
  expect(fired).toBe(0);
  cancel();
  await vi.advanceTimersByTimeAsync(5);
  expect(fired).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
});

test("waits on when the process timer fires early", async () => {
  const realSetTimeout = globalThis.setTimeout;
  vi.spyOn(globalThis, "setTimeout").mockImplementation(((fire: () => void, ms: number) =>
    realSetTimeout(fire, ms > 1 ? ms - 1 : ms)) as typeof setTimeout);
  const start = performance.now();
  let wokeAt = 0;
  defaultRuntime.sleep(50).then(() => {
    wokeAt = performance.now();
  });
  await vi.advanceTimersByTimeAsync(60);
  vi.restoreAllMocks();
  expect(wokeAt - start).toBe(50);
});

test("rejects a sleep with the very reason of the abort, at once, and leaves neither timer nor listener", async () => {
  const reason = { because: "gone" };
  const controller = new AbortController();
  const sleeping = defaultRuntime.sleep(1000, controller.signal);
  controller.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
  await expect(defaultRuntime.sleep(1000, controller.signal)).rejects.toBe(reason);
  expect(vi.getTimerCount()).toBe(0);
});

test("leaves no listener after a sleep that ended", async () => {
  const counting = countingSignal();
  const sleeping = defaultRuntime.sleep(5, counting.signal);
  expect(counting.listeners).toBe(1);
  await vi.advanceTimersByTimeAsync(5);
  await sleeping;
  expect(counting.listeners).toBe(0);
});

test("passes an abort on out of sleepUntil", async () => {
  const reason = new Error("gone");
  const time = virtualTime();
  const controller = new AbortController();
  const sleeping = sleepUntil(time.runtime, 10, controller.signal);
  controller.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
});

test("is one runtime for all copies of the package", () => {
  expect((globalThis as { readonly [key: symbol]: unknown })[Symbol.for("@mcp-tx/core.runtime.v1")]).toBe(
    defaultRuntime,
  );
  expect(Object.isFrozen(defaultRuntime)).toBe(true);
});

test("a timer that is cancelled just after its sleep is over does not call back", async () => {
  let now = 0;
  let wake = (): void => undefined;
  const sleep = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });
  const callback = vi.fn();
  const cancel = startTimer({ now: () => now, wallNow: () => now, random: () => 0, sleep }, 5, callback);
  now = 5;
  wake();
  cancel();
  await vi.advanceTimersByTimeAsync(1);
  expect(callback).not.toHaveBeenCalled();
});

test("keeps an instance on the runtime of its first call, and names who refuses another", () => {
  const runtimeOf = oneRuntime("limiter");
  const [first, second] = [virtualTime().runtime, virtualTime().runtime];
  expect(runtimeOf(context({}, { runtime: first }).call)).toBe(first);
  expect(runtimeOf(context({}, { runtime: first }).call)).toBe(first);
  expect(() => runtimeOf(context({}, { runtime: second }).call)).toThrow(/^limiter: runtime must be the same/);
});

import { expect, test, vi } from "vitest";
import { countingSignal } from "./counting-signal.js";
import { virtualTime } from "./virtual-time.js";

test("stands still until it is advanced", async () => {
  const time = virtualTime({ now: 5, wallNow: 1000 });
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect([time.now(), time.runtime.now(), time.runtime.wallNow()]).toEqual([5, 5, 1000]);
});

test("wakes sleeps in the order in which they fall due, those of one instant in the order they began", async () => {
  const time = virtualTime();
  const woken: string[] = [];
  const sleep = async (name: string, ms: number): Promise<void> => {
    await time.runtime.sleep(ms);
    woken.push(`${name}@${time.now()}`);
  };
  const all = Promise.all([sleep("late", 30), sleep("first", 10), sleep("second", 10), sleep("now", 0)]);
  await time.advance(100);
  await all;
  expect(woken).toEqual(["now@0", "first@10", "second@10", "late@30"]);
  expect(time.now()).toBe(100);
});

test("lets what a sleep sets off happen before the next one wakes", async () => {
  const time = virtualTime();
  const seen: string[] = [];
  const chain = (async () => {
    await time.runtime.sleep(10);
    await Promise.resolve();
    await time.runtime.sleep(5);
    seen.push(`chained@${time.now()}`);
  })();
  const other = time.runtime.sleep(20).then(() => seen.push(`other@${time.now()}`));
  await time.advance(20);
  await Promise.all([chain, other]);
  expect(seen).toEqual(["chained@15", "other@20"]);
});

test("does not wake a sleep that falls due later", async () => {
  const time = virtualTime();
  let isAwake = false;
  const sleeping = time.runtime.sleep(10).then(() => {
    isAwake = true;
  });
  await time.advance(9.999);
  expect([isAwake, time.timers]).toEqual([false, 1]);
  await time.advance(0.001);
  await sleeping;
  expect([isAwake, time.timers]).toEqual([true, 0]);
});

test("steps the wall clock without letting time pass", async () => {
  const time = virtualTime({ wallNow: 1000 });
  const sleeping = time.runtime.sleep(10);
  time.stepWall(-500);
  expect([time.now(), time.runtime.wallNow(), time.timers]).toEqual([0, 500, 1]);
  await time.run(sleeping);
  expect(time.runtime.wallNow()).toBe(510);
});

test("runs a work to its end, whatever it sleeps", async () => {
  const time = virtualTime();
  const day = 86_400_000;
  const work = async (): Promise<number> => {
    for (let index = 0; index < 10; index += 1) await time.runtime.sleep(day);
    return time.now();
  };
  expect(await time.run(work)).toBe(10 * day);
});

test("gives back the very error that the work rejects with, also when it throws at once", async () => {
  const time = virtualTime();
  const error = new Error("no");
  await expect(time.run(time.runtime.sleep(1).then(() => Promise.reject(error)))).rejects.toBe(error);
  await expect(
    time.run(() => {
      throw error;
    }),
  ).rejects.toBe(error);
});

test("names the deadlock when the work waits for nothing that can happen", async () => {
  const time = virtualTime({ now: 7 });
  await expect(time.run(new Promise(() => undefined))).rejects.toThrow(/deadlock at 7 ms.*neither settles nor waits/);
  await expect(time.run(time.runtime.sleep(Infinity))).rejects.toThrow("1 sleep without end");
});

test("waits for a macrotask before it speaks of a deadlock", async () => {
  const time = virtualTime();
  const work = new Promise((resolve) => setTimeout(resolve, 3, "done"));
  expect(await time.run(work)).toBe("done");
});

test("lets a work advance the clock by itself", async () => {
  const time = virtualTime();
  const work = async (): Promise<number> => {
    const sleeping = time.runtime.sleep(50);
    await time.advance(20);
    expect(time.now()).toBe(20);
    await sleeping;
    return time.now();
  };
  expect(await time.run(work)).toBe(50);
});

test("rejects a sleep with the signal's reason as soon as it aborts, and forgets it", async () => {
  const time = virtualTime();
  const controller = new AbortController();
  const reason = new Error("gone");
  const sleeping = time.runtime.sleep(10, controller.signal);
  controller.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
  await expect(time.runtime.sleep(10, controller.signal)).rejects.toBe(reason);
  expect(time.timers).toBe(0);
});

test("aborts the one sleep meant, among many of the same instant", async () => {
  const time = virtualTime();
  const controller = new AbortController();
  const woken: number[] = [];
  const sleeps = Array.from({ length: 9 }, (_, index) =>
    time.runtime.sleep(10, index === 4 ? controller.signal : undefined).then(
      () => woken.push(index),
      () => undefined,
    ),
  );
  controller.abort();
  await time.run(Promise.all(sleeps));
  expect(woken).toEqual([0, 1, 2, 3, 5, 6, 7, 8]);
});

test("leaves no listener on the signal of a sleep that ended", async () => {
  const time = virtualTime();
  const counting = countingSignal();
  const sleeps = Promise.all([time.runtime.sleep(1, counting.signal), time.runtime.sleep(2, counting.signal)]);
  expect(counting.listeners).toBe(2);
  await time.run(sleeps);
  expect(counting.listeners).toBe(0);
});

test("gives the same random numbers every time, spread over [0, 1)", () => {
  const draw = (): number[] => {
    const { random } = virtualTime().runtime;
    return Array.from({ length: 1000 }, () => random());
  };
  const numbers = draw();
  expect(draw()).toEqual(numbers);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  expect(new Set(numbers).size).toBe(1000);
  const mean = numbers.reduce((sum, number) => sum + number, 0) / 1000;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.05);
});

test("takes the caller's random numbers", () => {
  expect(virtualTime({ random: () => 0.25 }).runtime.random()).toBe(0.25);
});

test("goes on while the process timers are faked", async () => {
  vi.useFakeTimers();
  try {
    const time = virtualTime();
    await time.run(time.runtime.sleep(1000));
    expect(time.now()).toBe(1000);
  } finally {
    vi.useRealTimers();
  }
});

test("refuses durations that are no numbers, and to go back", async () => {
  const time = virtualTime();
  await expect(time.runtime.sleep(Number.NaN)).rejects.toThrow(/sleep.*NaN/);
  await expect(time.advance(-1)).rejects.toThrow("must be >= 0");
  await expect(time.advance(Infinity)).rejects.toThrow("finite");
  expect(() => virtualTime({ now: Number.NaN })).toThrow("virtualTime: now");
});

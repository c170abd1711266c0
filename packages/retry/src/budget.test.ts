import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { retryBudget } from "./budget.js";

const drain = (budget: ReturnType<typeof retryBudget>, now: number): number => {
  let taken = 0;
  while (taken < 100_000 && budget.withdraw(now)) taken += 1;
  return taken;
};

describe("retryBudget", () => {
  test("permits the floor when nothing ever succeeded", () => {
    expect(drain(retryBudget({ ratio: 0.2, minPerSecond: 2, ttlMs: 10_000 }), 0)).toBe(20);
  });

  test("permits one repetition for every five successes at a ratio of 0.2", () => {
    const budget = retryBudget({ ratio: 0.2, minPerSecond: 0, ttlMs: 10_000 });
    for (let n = 0; n < 100; n += 1) budget.deposit(0);
    expect(drain(budget, 0)).toBe(20);
  });

  test("refuses everything with no ratio and no floor", () => {
    const budget = retryBudget({ ratio: 0, minPerSecond: 0 });
    budget.deposit(0);
    expect(budget.withdraw(0)).toBe(false);
  });

  test("forgets successes and repetitions after ttlMs", () => {
    const budget = retryBudget({ ratio: 1, minPerSecond: 1, ttlMs: 1000 });
    for (let n = 0; n < 10; n += 1) budget.deposit(0);
    expect(drain(budget, 500)).toBe(11);
    expect(budget.withdraw(999)).toBe(false);
    expect(drain(budget, 2000)).toBe(1);
  });

  test("is not refilled by a clock that goes back", () => {
    const budget = retryBudget({ ratio: 1, minPerSecond: 1, ttlMs: 1000 });
    expect(drain(budget, 100_000)).toBe(1);
    expect(budget.withdraw(0)).toBe(false);
    expect(budget.remaining(0)).toBe(0);
  });

  test("never permits more than floor plus ratio times successes within a window, whatever the arrival pattern", () => {
    const steps = fc.array(fc.record({ gapMs: fc.integer({ min: 0, max: 300 }), success: fc.boolean() }), {
      maxLength: 300,
    });
    fc.assert(
      fc.property(steps, fc.double({ min: 0, max: 2, noNaN: true }), (pattern, ratio) => {
        const budget = retryBudget({ ratio, minPerSecond: 3, ttlMs: 1000 });
        let now = 0;
        let successes = 0;
        let permitted = 0;
        for (const { gapMs, success } of pattern) {
          now += gapMs;
          if (now >= 900) break;
          if (success) {
            budget.deposit(now);
            successes += 1;
          } else if (budget.withdraw(now)) permitted += 1;
          expect(permitted).toBeLessThanOrEqual(3 + ratio * successes + 1e-6);
        }
      }),
    );
  });

  test.each([
    [{ ratio: -1 }, /retryBudget: ratio/],
    [{ minPerSecond: Number.NaN }, /retryBudget: minPerSecond/],
    [{ ttlMs: 0 }, /retryBudget: ttlMs/],
    [{ tokens: 1 }, /unknown option "tokens"/],
  ])("refuses %j and names the option", (options, message) => {
    expect(() => retryBudget(options as object)).toThrow(message);
  });
});

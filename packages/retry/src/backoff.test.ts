import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type BackoffOptions, backoff, type Jitter } from "./backoff.js";

const options = (jitter: Jitter, given: Partial<BackoffOptions> = {}): BackoffOptions => ({
  baseDelayMs: 1000,
  maxDelayMs: 30_000,
  multiplier: 2,
  jitter,
  ...given,
});

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const anyOptions = fc.record({
  baseDelayMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
  maxDelayMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
  multiplier: fc.double({ min: 1, max: 100, noNaN: true }),
  jitter: fc.constantFrom<Jitter>("full", "equal", "decorrelated", "none"),
});

describe("backoff", () => {
  test("grows exponentially up to the cap without jitter", () => {
    const delay = backoff(options("none"), () => 0.5);
    expect([1, 2, 3, 4, 5, 6, 7].map(delay)).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  });

  test("draws full jitter from 0 to the capped delay", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), random, (n, draw) => {
        const x = Math.min(30_000, 1000 * 2 ** (n - 1));
        expect(backoff(options("full"), () => draw)(n)).toBeCloseTo(draw * x, 6);
      }),
    );
  });

  test("draws equal jitter from the upper half of the capped delay", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), random, (n, draw) => {
        const x = Math.min(30_000, 1000 * 2 ** (n - 1));
        expect(backoff(options("equal"), () => draw)(n)).toBeCloseTo(x / 2 + (draw * x) / 2, 6);
      }),
    );
  });

  test("follows the decorrelated formula, step by step", () => {
    fc.assert(
      fc.property(fc.array(random, { minLength: 1, maxLength: 12 }), (draws) => {
        let index = -1;
        const delay = backoff(options("decorrelated"), () => draws[index] ?? 0);
        let previous = 0;
        for (let n = 0; n < draws.length; n += 1) {
          index = n;
          const t = n + (draws[n] ?? 0);
          const f = 2 ** t * Math.tanh(Math.sqrt(4 * t));
          const expected = Math.min(30_000, Math.max(0, ((f - previous) / 1.4) * 1000));
          expect(delay(n + 1)).toBeCloseTo(expected, 6);
          previous = f;
        }
      }),
    );
  });

  test("never exceeds the cap and never is negative or not a number, up to the thousandth repetition", () => {
    fc.assert(
      fc.property(anyOptions, fc.array(random, { minLength: 1, maxLength: 50 }), (given, draws) => {
        let index = 0;
        const delay = backoff(given, () => draws[index++ % draws.length] ?? 0);
        for (let n = 1; n <= 1100; n += 1) {
          const ms = delay(n);
          if (!(ms >= 0 && ms <= given.maxDelayMs)) throw new Error(`delay ${ms} at repetition ${n}`);
        }
      }),
      { numRuns: 50 },
    );
  });
});

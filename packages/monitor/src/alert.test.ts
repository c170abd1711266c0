import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AlertState, type Health } from "./alert.js";
import type { AlertRules } from "./options.js";

const RULES: AlertRules = { threshold: 0.95, recoverAt: 0.97, minSamples: 20, cooldownMs: 1000 };

const health = (succeeded: number, samples: number): Health => ({ succeeded, samples });

describe("does not fire", () => {
  test("under minSamples, however bad it is", () => {
    expect(new AlertState().next(RULES, health(0, 19), 0)).toBeUndefined();
    expect(new AlertState().next(RULES, health(0, 20), 0)).toBe("below-threshold");
  });

  test("at the threshold itself", () => {
    expect(new AlertState().next(RULES, health(19, 20), 0)).toBeUndefined();
    expect(new AlertState().next(RULES, health(18, 20), 0)).toBe("below-threshold");
  });

  test("with a threshold of 0", () => {
    expect(new AlertState().next({ ...RULES, threshold: 0 }, health(0, 100), 0)).toBeUndefined();
  });

  test("again within the cooldown", () => {
    const state = new AlertState();
    state.next(RULES, health(0, 20), 0);
    expect(state.next(RULES, health(97, 100), 10)).toBe("recovered");
    expect(state.next(RULES, health(0, 20), 1009)).toBeUndefined();
    expect(state.next(RULES, health(0, 20), 1010)).toBe("below-threshold");
  });

  test("by time alone", () => {
    expect(new AlertState().end(RULES, health(0, 20), 0)).toBeUndefined();
  });
});

describe("keeps firing", () => {
  test("between threshold and recoverAt", () => {
    const state = new AlertState();
    state.next(RULES, health(94, 100), 0);
    expect(state.next(RULES, health(96, 100), 1)).toBeUndefined();
    expect(state.isFiring).toBe(true);
    expect(state.next(RULES, health(97, 100), 2)).toBe("recovered");
  });

  test("while the few calls that are left fail", () => {
    const state = new AlertState();
    state.next(RULES, health(0, 20), 0);
    expect(state.end(RULES, health(0, 1), 1)).toBeUndefined();
    expect(state.end(RULES, health(0, 0), 2)).toBe("idle");
  });
});

/** What must happen, said once more and without any state but the history. */
class Model {
  isFiring = false;
  #resolvedAt = Number.NEGATIVE_INFINITY;

  change(rules: AlertRules, { succeeded, samples }: Health, now: number, isCall: boolean): string | undefined {
    const rate = samples === 0 ? undefined : succeeded / samples;
    if (this.isFiring) {
      if (rate !== undefined && rate < rules.recoverAt) return undefined;
      this.isFiring = false;
      this.#resolvedAt = now;
      return rate === undefined ? "idle" : "recovered";
    }
    const isBad = rate !== undefined && rate < rules.threshold && samples >= rules.minSamples;
    this.isFiring = isCall && isBad && now - this.#resolvedAt >= rules.cooldownMs;
    return this.isFiring ? "below-threshold" : undefined;
  }
}

describe("an alert", () => {
  const rules = fc
    .record({
      threshold: fc.double({ min: 0, max: 1, noNaN: true }),
      above: fc.double({ min: 0, max: 1, noNaN: true }),
      minSamples: fc.integer({ min: 1, max: 30 }),
      cooldownMs: fc.integer({ min: 0, max: 500 }),
    })
    .map(({ threshold, above, ...rest }) => ({ ...rest, threshold, recoverAt: threshold + (1 - threshold) * above }));
  const look = fc.record({
    passedMs: fc.integer({ min: 0, max: 200 }),
    samples: fc.integer({ min: 0, max: 40 }),
    good: fc.double({ min: 0, max: 1, noNaN: true }),
    isCall: fc.boolean(),
  });

  test("never fires twice without resolving, and changes when it must and only then", () => {
    fc.assert(
      fc.property(rules, fc.array(look, { maxLength: 80 }), (given, looks) => {
        const state = new AlertState();
        const model = new Model();
        const changes: (string | undefined)[] = [];
        let now = 0;
        for (const { passedMs, samples, good, isCall } of looks) {
          now += passedMs;
          const seen = health(Math.round(samples * good), samples);
          const change = isCall ? state.next(given, seen, now) : state.end(given, seen, now);
          expect(change).toBe(model.change(given, seen, now, isCall));
          expect(state.isFiring).toBe(model.isFiring);
          if (change !== undefined) changes.push(change);
        }
        // One after the other, whatever the model says.
        const isFiring = changes.map((change) => change === "below-threshold");
        expect(isFiring).toEqual(isFiring.map((_, index) => index % 2 === 0));
      }),
      { numRuns: 300 },
    );
  });
});

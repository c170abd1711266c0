import { DDSketch } from "@datadog/sketches-js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Latency, type Quantiles } from "./latency.js";

function sketchOf(samples: readonly number[]): Latency {
  const latency = new Latency();
  for (const ms of samples) latency.record(ms);
  return latency;
}

function exact(samples: readonly number[], quantile: number): number {
  const sorted = [...samples].sort((left, right) => left - right);
  return sorted[Math.floor(quantile * (sorted.length - 1))] ?? Number.NaN;
}

/** Within 1 %, and a thousandth of a millisecond where that is more. */
function expectNear(actual: number | undefined, expected: number): void {
  expect(Math.abs((actual ?? Number.NaN) - expected)).toBeLessThanOrEqual(expected * 0.01001 + 0.001);
}

const duration = fc.oneof(
  fc.integer({ min: 0, max: 100 }),
  fc.double({ min: 0, max: 5, noNaN: true }),
  fc.double({ min: 0, max: 2 ** 31, noNaN: true }),
);

test("has no quantiles without samples", () => {
  expect(new Latency().quantiles()).toBeUndefined();
});

test("gives a single duration back as it was", () => {
  expect(sketchOf([250]).quantiles()).toEqual({ p50: 250, p90: 250, p99: 250, max: 250 });
  expect(sketchOf([0]).quantiles()).toEqual({ p50: 0, p90: 0, p99: 0, max: 0 });
});

test("keeps durations of a microsecond and less as none", () => {
  expect(sketchOf([0.001, 0.0005, 0]).quantiles()).toEqual({ p50: 0, p90: 0, p99: 0, max: 0.001 });
});

test("keeps every quantile within its accuracy, however the samples are split and merged", () => {
  fc.assert(
    fc.property(fc.array(fc.array(duration, { maxLength: 60 }), { minLength: 1, maxLength: 8 }), (parts) => {
      const samples = parts.flat();
      const merged = new Latency();
      for (const part of parts) merged.merge(sketchOf(part));
      const quantiles: Quantiles | undefined = merged.quantiles();
      expect(quantiles === undefined).toBe(samples.length === 0);
      if (quantiles === undefined) return;
      expectNear(quantiles.p50, exact(samples, 0.5));
      expectNear(quantiles.p90, exact(samples, 0.9));
      expectNear(quantiles.p99, exact(samples, 0.99));
      expectNear(quantiles.max, Math.max(...samples));
    }),
    { numRuns: 300 },
  );
});

test("gives what the library of the algorithm's authors gives", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.002, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 200 }),
      (samples) => {
        const theirs = new DDSketch({ relativeAccuracy: 0.01 });
        for (const ms of samples) theirs.accept(ms * 1000);
        const ours = sketchOf(samples).quantiles();
        const clamped = (quantile: number): number =>
          Math.min(theirs.max, Math.max(theirs.min, theirs.getValueAtQuantile(quantile))) / 1000;
        expect(ours?.p50).toBeCloseTo(clamped(0.5), 6);
        expect(ours?.p90).toBeCloseTo(clamped(0.9), 6);
        expect(ours?.p99).toBeCloseTo(clamped(0.99), 6);
      },
    ),
  );
});

test("takes durations that no timer knows", () => {
  const quantiles = sketchOf([Number.MAX_VALUE, Infinity]).quantiles();
  expect(quantiles?.max).toBe(2_147_483_647);
});

import type { OutcomeCode } from "@mcp-tx/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Sample, STATUSES, type Status, Window } from "./window.js";

const CODES: readonly (OutcomeCode | undefined)[] = [undefined, "tool_error", "circuit_open"];

function sample(status: Status, rest: Partial<Sample> = {}): Sample {
  return { status, code: undefined, attempts: 1, duplicate: false, waitedMs: 0, latencyMs: 10, ...rest };
}

function completedAt(window: Window, now: number): number {
  window.advance(now);
  return window.outcomes.completed;
}

describe("forgets", () => {
  test("everything when it saw no call for longer than its length, to the millisecond", () => {
    const window = new Window(1000, 10);
    window.record(sample("completed"), 0);
    expect(completedAt(window, 999)).toBe(1);
    expect(completedAt(window, 1000)).toBe(0);
    expect(window.isEmpty).toBe(true);
    expect(window.total().latency).toBeUndefined();
  });

  test("nothing that is younger than its length less one step", () => {
    const window = new Window(1000, 10);
    window.record(sample("completed"), 99);
    expect(completedAt(window, 998)).toBe(1);
    expect(completedAt(window, 1000)).toBe(0);
  });

  test("nothing when the clock goes back", () => {
    const window = new Window(1000, 10);
    window.record(sample("completed"), 5000);
    window.record(sample("completed"), 100);
    expect(completedAt(window, -4000)).toBe(2);
    expect(completedAt(window, 5900)).toBe(2);
    expect(completedAt(window, 6000)).toBe(0);
  });

  test("all of it in one step of a million window lengths", () => {
    const window = new Window(1000, 1000);
    window.record(sample("failed"), -1e6);
    window.advance(1e12);
    expect([window.outcomes.failed, window.isEmpty]).toEqual([0, true]);
  });
});

test("with one bucket keeps what came in the present step", () => {
  const window = new Window(1000, 1);
  window.record(sample("completed"), 900);
  expect(completedAt(window, 999)).toBe(1);
  expect(completedAt(window, 1000)).toBe(0);
});

test("leaves refused and cancelled calls out of the latencies", () => {
  const window = new Window(1000, 10);
  window.record(sample("rejected", { latencyMs: 0 }), 0);
  window.record(sample("cancelled", { latencyMs: 1 }), 0);
  expect(window.total().latency).toBeUndefined();
  window.record(sample("timeout", { latencyMs: 500 }), 0);
  expect(window.total().latency?.quantiles()?.p50).toBe(500);
});

describe("agrees with a list of all samples", () => {
  const step = fc.record({
    passedMs: fc.oneof(
      fc.integer({ min: 0, max: 50 }),
      fc.integer({ min: 0, max: 3000 }),
      fc.integer({ min: -500, max: 0 }),
    ),
    sample: fc.option(
      fc.record({
        status: fc.constantFrom(...STATUSES),
        code: fc.constantFrom(...CODES),
        attempts: fc.integer({ min: 0, max: 4 }),
        duplicate: fc.boolean(),
        waitedMs: fc.integer({ min: 0, max: 3 }),
        latencyMs: fc.double({ min: 0, max: 5000, noNaN: true }),
      }),
      { nil: undefined },
    ),
  });

  function expected(samples: readonly Sample[]) {
    const count = (is: (entry: Sample) => boolean) => samples.filter(is).length;
    const sum = (of: (entry: Sample) => number) => samples.reduce((total, entry) => total + of(entry), 0);
    const codes = CODES.filter((code) => code !== undefined).flatMap((code) => {
      const calls = count((entry) => entry.code === code);
      return calls === 0 ? [] : [[code, calls] as const];
    });
    return {
      outcomes: Object.fromEntries(STATUSES.map((status) => [status, count((entry) => entry.status === status)])),
      codes: new Map(codes),
      attempts: sum(({ attempts }) => attempts),
      attempted: count(({ attempts }) => attempts > 0),
      duplicates: count(({ duplicate }) => duplicate),
      waited: count(({ waitedMs }) => waitedMs > 0),
      waitedMs: sum(({ waitedMs }) => waitedMs),
    };
  }

  function quantile(samples: readonly Sample[], share: number): number | undefined {
    const measured = samples.filter(({ status }) => status !== "rejected" && status !== "cancelled");
    const sorted = measured.map(({ latencyMs }) => latencyMs).sort((left, right) => left - right);
    return sorted[Math.floor(share * (sorted.length - 1))];
  }

  function expectQuantile(actual: number | undefined, wanted: number | undefined): void {
    expect(actual === undefined).toBe(wanted === undefined);
    if (actual === undefined || wanted === undefined) return;
    expect(Math.abs(actual - wanted)).toBeLessThanOrEqual(wanted * 0.01001 + 0.001);
  }

  test("whatever comes, whenever", () => {
    const setting = fc.record({
      windowMs: fc.integer({ min: 1, max: 2000 }),
      buckets: fc.integer({ min: 1, max: 12 }),
    });
    fc.assert(
      fc.property(setting, fc.array(step, { maxLength: 60 }), ({ windowMs, buckets }, steps) => {
        const window = new Window(windowMs, buckets);
        const stepMs = windowMs / buckets;
        const all: { readonly sample: Sample; readonly at: number }[] = [];
        let clock = -700;
        /** The latest time seen: the window takes no step back. */
        let now = Number.NEGATIVE_INFINITY;
        for (const { passedMs, sample: next } of steps) {
          clock += passedMs;
          now = Math.max(now, clock);
          if (next === undefined) window.advance(clock);
          else {
            window.record(next, clock);
            all.push({ sample: next, at: now });
          }
          const present = Math.floor(now / stepMs);
          const inside = all.filter(({ at }) => Math.floor(at / stepMs) > present - buckets);
          const samples = inside.map((entry) => entry.sample);
          // What the steps mean: nothing that is as old as the window, everything that is a step younger.
          expect(inside.every(({ at }) => now - at < windowMs + 1e-6)).toBe(true);
          expect(all.every((entry) => inside.includes(entry) || now - entry.at > windowMs - stepMs - 1e-6)).toBe(true);
          const { latency, codes, ...rest } = window.total();
          expect({ ...rest, codes: codes ?? new Map() }).toEqual(expected(samples));
          expect(window.outcomes).toEqual(rest.outcomes);
          expect(window.isEmpty).toBe(samples.length === 0);
          expectQuantile(latency?.quantiles()?.p50, quantile(samples, 0.5));
          expectQuantile(latency?.quantiles()?.p90, quantile(samples, 0.9));
          expectQuantile(latency?.quantiles()?.p99, quantile(samples, 0.99));
        }
      }),
      { numRuns: 200 },
    );
  });
});

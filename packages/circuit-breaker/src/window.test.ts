import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CountWindow, createWindow, TimeWindow, type Window } from "./window.js";

interface Event {
  readonly failed: boolean;
  readonly slow: boolean;
  readonly afterMs: number;
}

const events = fc.array(
  fc.record({ failed: fc.boolean(), slow: fc.boolean(), afterMs: fc.integer({ min: 0, max: 700 }) }),
  { maxLength: 120, size: "max" },
);

const countsOf = ({ calls, failures, slow }: Window) => ({ calls, failures, slow });
const countOf = (kept: readonly Pick<Event, "failed" | "slow">[]) => ({
  calls: kept.length,
  failures: kept.filter(({ failed }) => failed).length,
  slow: kept.filter(({ slow }) => slow).length,
});

describe("CountWindow", () => {
  test("knows exactly the last calls, whatever came before", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), events, (size, all) => {
        const window = new CountWindow(size);
        for (const [index, { failed, slow }] of all.entries()) {
          window.record(failed, slow);
          expect(countsOf(window)).toEqual(countOf(all.slice(0, index + 1).slice(-size)));
        }
      }),
    );
  });

  test("takes memory for the calls it saw, not for its size", () => {
    const window = new CountWindow(2 ** 31);
    window.record(true, false);
    expect(countsOf(window)).toEqual({ calls: 1, failures: 1, slow: 0 });
  });
});

describe("TimeWindow", () => {
  test("counts nothing older than its length, and everything younger than nine tenths of it", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(10, 100, 1000),
        fc.integer({ min: -5000, max: 5000 }),
        events,
        (length, start, all) => {
          const window = new TimeWindow(length);
          let now = start;
          const seen: (Event & { readonly at: number })[] = [];
          for (const event of all) {
            now += event.afterMs;
            seen.push({ ...event, at: now });
            window.record(event.failed, event.slow, now);
            const [least, most] = [0.9, 1].map((share) => countOf(seen.filter(({ at }) => now - at < length * share)));
            for (const name of ["calls", "failures", "slow"] as const) {
              expect(window[name]).toBeGreaterThanOrEqual(least?.[name] ?? Number.NaN);
              expect(window[name]).toBeLessThanOrEqual(most?.[name] ?? Number.NaN);
            }
          }
        },
      ),
    );
  });

  test("is empty after a pause longer than its length", () => {
    const window = new TimeWindow(1000);
    for (let call = 0; call < 50; call += 1) window.record(true, true, call * 10);
    window.record(false, false, 1_000_000_000);
    expect(countsOf(window)).toEqual({ calls: 1, failures: 0, slow: 0 });
  });

  test("loses nothing to a clock that goes back", () => {
    const window = new TimeWindow(1000);
    window.record(true, false, 5000);
    window.record(true, false, 1000);
    window.record(false, false, 5001);
    expect(countsOf(window)).toEqual({ calls: 3, failures: 2, slow: 0 });
  });

  test("costs the same after a year without calls as after a moment", () => {
    const window = new TimeWindow(0.001);
    window.record(true, false, 0);
    window.record(false, false, 365 * 86_400_000);
    expect(countsOf(window)).toEqual({ calls: 1, failures: 0, slow: 0 });
  });
});

test("createWindow makes the kind of window that is asked for", () => {
  const rates = { failureRate: 0.5, minimumCalls: 1, slowCallMs: Infinity, slowCallRate: 0.5 };
  expect(createWindow({ ...rates, type: "count", length: 3 })).toBeInstanceOf(CountWindow);
  expect(createWindow({ ...rates, type: "time", length: 3 })).toBeInstanceOf(TimeWindow);
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GradientLimit, type GradientTerms } from "./gradient.js";

const TERMS: GradientTerms = { min: 1, max: 200, initial: 10, tolerance: 1.5, backoffRatio: 0.75 };

/** A server with `capacity` workers that need `serviceMs` each, and a queue in front of them. */
interface Phase {
  readonly forMs: number;
  readonly capacity: number;
  readonly serviceMs: number;
  /** Calls at once that somebody wants; without it as many as the limit lets through. */
  readonly demand?: number;
}

interface Observed {
  /** Mean of the limit over the second half of the phase. */
  readonly limit: number;
  /** Share of what the server can do, in the second half. */
  readonly throughput: number;
  readonly least: number;
  readonly most: number;
}

/** Numbers from 0 to 1, the same every time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Runs a limit against a server, event by event. `noise` is the sigma of a lognormal service time. */
function simulate(limit: GradientLimit, phases: readonly Phase[], noise = 0): readonly Observed[] {
  const next = random(1);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const events: { readonly at: number; readonly happen: () => void }[] = [];
  const queue: (() => void)[] = [];
  let [now, running, working, finished] = [0, 0, 0, 0];

  function later(ms: number, happen: () => void): void {
    const at = now + ms;
    let index = events.length;
    while (index > 0 && (events[index - 1]?.at ?? 0) > at) index -= 1;
    events.splice(index, 0, { at, happen });
  }
  function serve({ capacity, serviceMs }: Phase): void {
    while (working < capacity) {
      const finish = queue.shift();
      if (finish === undefined) return;
      working += 1;
      later(serviceMs * Math.exp(noise * normal()), () => {
        working -= 1;
        finish();
      });
    }
  }
  function callAsAllowed({ demand = Infinity }: Phase): void {
    while (running < Math.min(limit.limit, demand)) {
      running += 1;
      const [window, start] = [limit.begin(running), now];
      queue.push(() => {
        running -= 1;
        finished += 1;
        limit.answered(window, now - start);
      });
    }
  }

  function step(phase: Phase): number {
    callAsAllowed(phase);
    serve(phase);
    const event = events.shift();
    if (event === undefined) throw new Error("nothing happens any more");
    const passed = event.at - now;
    now = event.at;
    event.happen();
    return passed;
  }

  return phases.map((phase) => {
    const [half, end] = [now + phase.forMs / 2, now + phase.forMs];
    while (now < half) step(phase);
    const [from, finishedBefore] = [now, finished];
    let [area, least, most] = [0, Infinity, 0];
    while (now < end) {
      const present = limit.limit;
      area += present * step(phase);
      [least, most] = [Math.min(least, present), Math.max(most, present)];
    }
    const possible = (Math.min(phase.capacity, phase.demand ?? Infinity) * (now - from)) / phase.serviceMs;
    return { limit: area / (now - from), throughput: (finished - finishedBefore) / possible, least, most };
  });
}

function expectFit(
  { limit, throughput }: Observed = { limit: 0, throughput: 0, least: 0, most: 0 },
  capacity: number,
): void {
  expect(limit).toBeGreaterThan(capacity * 0.9);
  expect(limit).toBeLessThan(capacity * 1.9);
  expect(throughput).toBeGreaterThan(0.9);
}

/** One whole window of answers, with that many running at once. */
function window(limit: GradientLimit, latencyMs: number, running = limit.limit): void {
  const present = limit.window;
  for (let count = 0; count < 20; count += 1) {
    limit.begin(running);
    limit.answered(present, latencyMs);
  }
}

/** A limit that knows that answers take 100 ms. */
function settled(terms: Partial<GradientTerms> = {}): GradientLimit {
  const limit = new GradientLimit({ ...TERMS, ...terms });
  window(limit, 100, 1);
  return limit;
}

describe("converges on what a server can do at once", () => {
  test("when its capacity goes from 20 to 5 to 40", () => {
    const phases = [20, 5, 40].map((capacity) => ({ forMs: 60_000, capacity, serviceMs: 100 }));
    const seen = simulate(new GradientLimit(TERMS), phases);
    for (const [index, { capacity }] of phases.entries()) expectFit(seen[index], capacity);
  });

  test("when its service time doubles and halves", () => {
    const phases = [100, 200, 100, 50].map((serviceMs) => ({ forMs: 40_000, capacity: 20, serviceMs }));
    const seen = simulate(new GradientLimit(TERMS), phases);
    for (const phase of seen) expectFit(phase, 20);
  });

  test("when its service time doubles for somebody who hardly uses it, and all want it afterwards", () => {
    const [, slower, wanted] = simulate(new GradientLimit(TERMS), [
      { forMs: 20_000, capacity: 20, serviceMs: 100, demand: 2 },
      { forMs: 20_000, capacity: 20, serviceMs: 200, demand: 2 },
      { forMs: 40_000, capacity: 20, serviceMs: 200 },
    ]);
    expect(slower?.throughput).toBeGreaterThan(0.9);
    expectFit(wanted, 20);
  });

  test.each([
    [1, 100],
    [200, 5],
    [10, 1],
  ])("from an initial limit of %i for a capacity of %i", (initial, capacity) => {
    const [, seen] = simulate(
      new GradientLimit({ ...TERMS, initial }),
      [120_000, 60_000].map((forMs) => ({ forMs, capacity, serviceMs: 100 })),
    );
    expect(seen?.limit).toBeGreaterThanOrEqual(capacity * 0.9);
    expect(seen?.limit).toBeLessThan(capacity * 2 + 1);
    expect(seen?.throughput).toBeGreaterThan(0.85);
  });

  test("where answers take now long and now short", () => {
    const [seen] = simulate(new GradientLimit(TERMS), [{ forMs: 120_000, capacity: 20, serviceMs: 100 }], 0.5);
    // The mean of the service time is exp(0.5 ** 2 / 2) of the 100 ms.
    expect(seen?.throughput).toBeGreaterThan(0.75);
    expect(seen?.limit).toBeLessThan(50);
  });

  test("and stays between min and max, where the capacity is not", () => {
    const terms = { ...TERMS, min: 8, max: 30, initial: 10 };
    for (const capacity of [2, 100]) {
      const [seen] = simulate(new GradientLimit(terms), [{ forMs: 30_000, capacity, serviceMs: 100 }]);
      expect(seen?.least).toBeGreaterThanOrEqual(8);
      expect(seen?.most).toBeLessThanOrEqual(30);
    }
  });

  test("in the same way every time", () => {
    const run = (): unknown => simulate(new GradientLimit(TERMS), [{ forMs: 20_000, capacity: 7, serviceMs: 30 }], 0.3);
    expect(run()).toEqual(run());
  });
});

test("is an integer between min and max, whatever happens", () => {
  const happening = fc.oneof(
    fc.record({
      kind: fc.constant("answered" as const),
      ms: fc.oneof(fc.double({ min: 0, max: 1e6, noNaN: true }), fc.constant(0)),
    }),
    fc.record({ kind: fc.constant("throttled" as const), ms: fc.constant(0) }),
    fc.record({ kind: fc.constant("timedOut" as const), ms: fc.double({ min: 0, max: 1e6, noNaN: true }) }),
  );
  const bounds = fc.tuple(fc.integer({ min: 1, max: 20 }), fc.nat(20), fc.nat(20));
  const terms = fc.tuple(fc.double({ min: 1, max: 5, noNaN: true }), fc.double({ min: 0.01, max: 1, noNaN: true }));
  fc.assert(
    fc.property(
      bounds,
      terms,
      fc.array(happening, { minLength: 50, maxLength: 400 }),
      ([min, room, above], [tolerance, backoffRatio], events) => {
        const initial = min + Math.min(room, above);
        const limit = new GradientLimit({ min, max: min + room, initial, tolerance, backoffRatio });
        for (const { kind, ms } of events) {
          const present = limit.begin(limit.limit);
          if (kind === "throttled") limit.throttled(present);
          else limit[kind](present, ms);
          expect(Number.isInteger(limit.limit)).toBe(true);
          expect(limit.limit).toBeGreaterThanOrEqual(min);
          expect(limit.limit).toBeLessThanOrEqual(min + room);
        }
      },
    ),
  );
});

describe("shrinks", () => {
  test("in proportion when answers take longer than the tolerance allows", () => {
    const limit = settled({ initial: 100 });
    window(limit, 187.5);
    expect(limit.limit).toBe(80);
  });

  test("by no more than half in one window, however slow it was", () => {
    const limit = settled({ initial: 100 });
    const present = limit.window;
    window(limit, 1_000_000);
    expect(limit.window).toBe(present + 1);
    // Half of the half: the next window measures what answers take without a queue.
    expect(limit.limit).toBe(25);
    window(limit, 1_000_000, 25);
    expect(limit.limit).toBe(50);
  });

  test("once for all the calls of one window that are throttled", () => {
    const limit = settled({ initial: 100 });
    const present = limit.window;
    for (let count = 0; count < 50; count += 1) limit.throttled(present);
    expect(limit.limit).toBe(75);
    limit.throttled(limit.window);
    expect(limit.limit).toBe(56);
  });

  test("when a call gets no answer in time", () => {
    const limit = settled({ initial: 100 });
    limit.timedOut(limit.window, 30_000);
    expect(limit.limit).toBe(75);
  });

  test("when nobody was ever answered", () => {
    const limit = new GradientLimit({ ...TERMS, initial: 100 });
    limit.timedOut(limit.window, 10);
    expect(limit.limit).toBe(75);
  });
});

describe("does not shrink", () => {
  test("for a timeout that is shorter than answers take", () => {
    const limit = settled({ initial: 100 });
    limit.timedOut(limit.window, 150);
    expect(limit.limit).toBe(100);
  });

  test("for a few slow answers among many", () => {
    const limit = settled({ initial: 100 });
    for (let count = 0; count < 9; count += 1) limit.answered(limit.window, 60_000);
    for (let count = 0; count < 11; count += 1) {
      limit.begin(100);
      limit.answered(limit.window, 100);
    }
    expect(limit.limit).toBeGreaterThanOrEqual(100);
  });

  test("for news of calls that began before it shrank", () => {
    const limit = settled({ initial: 100 });
    const before = limit.window;
    limit.throttled(before);
    for (let count = 0; count < 100; count += 1) limit.answered(before, 60_000);
    limit.timedOut(before, 60_000);
    expect(limit.limit).toBe(75);
  });
});

describe("grows", () => {
  test("by its square root while answers take no longer and it is in use", () => {
    const limit = settled({ initial: 100 });
    window(limit, 140, 50);
    expect(limit.limit).toBe(110);
  });

  test("not while less than half of it is in use", () => {
    const limit = settled({ initial: 100 });
    for (let count = 0; count < 100; count += 1) window(limit, 100, 49);
    expect(limit.limit).toBe(100);
  });
});

describe("the baseline", () => {
  test("is measured again after a while, at half of what ran at once, and the limit comes back", () => {
    const limit = settled({ initial: 100, max: 100 });
    const seen: number[] = [];
    for (let count = 0; count < 30; count += 1) {
      window(limit, 100);
      seen.push(limit.limit);
    }
    expect(seen.filter((each) => each === 50)).toHaveLength(2);
    expect(seen.filter((each) => each === 100)).toHaveLength(28);
  });

  test("is measured as it is where a single call runs, which cannot be halved", () => {
    const limit = settled();
    window(limit, 400, 1);
    expect(limit.limit).toBe(1);
    window(limit, 400, 1);
    expect(limit.limit).toBe(5);
  });

  test("is measured soon when the limit is at its least and answers still seem slow", () => {
    const limit = new GradientLimit({ ...TERMS, min: 10, max: 15 });
    // As fast as only failures are.
    for (let count = 0; count < 8; count += 1) window(limit, 10);
    let windows = 0;
    while ((limit.limit < 15 || windows === 0) && windows < 20) {
      window(limit, 18);
      windows += 1;
    }
    expect(windows).toBeLessThan(10);
  });

  test("stays unknown when the server is overloaded meanwhile, and the limit does not come back", () => {
    const limit = settled({ initial: 100 });
    window(limit, 1_000_000);
    limit.throttled(limit.window);
    expect(limit.limit).toBe(18);
    window(limit, 1_000_000);
    expect(limit.limit).toBeLessThan(25);
  });

  test("stays at the half that gets as much through as the whole did", () => {
    const limit = settled({ initial: 100, max: 100 });
    // Latency is in proportion to what runs: all of it is queue.
    for (let count = 0; count < 6; count += 1) window(limit, limit.limit);
    expect(limit.limit).toBeLessThanOrEqual(60);
  });

  test("follows at once what is clearly faster", () => {
    const limit = settled({ initial: 100 });
    window(limit, 20);
    expect(limit.limit).toBe(110);
    window(limit, 60);
    expect(limit.limit).toBe(55);
  });

  test("does not follow what is a little faster, which may be chance", () => {
    const limit = settled({ initial: 100 });
    window(limit, 70);
    window(limit, 150);
    expect(limit.limit).toBe(120);
  });
});

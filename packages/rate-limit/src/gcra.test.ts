import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GcraTable, limitOf } from "./gcra.js";

const TEN_PER_SECOND = limitOf({ rate: 10, burst: 5 });
const INTERVAL_MS = 100;

/** Takes tokens of one until there are none; gives how many there were. */
function drain(table: GcraTable, key: string, now: number, limit = TEN_PER_SECOND): number {
  let count = 0;
  while (table.take(key, 1, limit, now) === 0) count += 1;
  return count;
}

describe("take", () => {
  test("gives burst tokens at once and then says when the next one is there", () => {
    const table = new GcraTable();
    expect(drain(table, "a", 1000)).toBe(5);
    expect(table.take("a", 1, TEN_PER_SECOND, 1000)).toBe(INTERVAL_MS);
    expect(table.take("a", 2, TEN_PER_SECOND, 1050)).toBe(150);
  });

  test("takes nothing when it denies", () => {
    const table = new GcraTable();
    drain(table, "a", 0);
    for (let asked = 0; asked < 1000; asked += 1) table.take("a", 5, TEN_PER_SECOND, 1);
    expect(table.take("a", 1, TEN_PER_SECOND, 100)).toBe(0);
  });

  test("lets no 9 through at 5 per second, as a limiter with windows does at their edges", () => {
    const table = new GcraTable();
    const limit = limitOf({ rate: 5, burst: 5 });
    expect(table.take("a", 1, limit, 0)).toBe(0);
    const late = drain(table, "a", 990, limit);
    const early = drain(table, "a", 1010, limit);
    expect(late + early).toBe(5);
  });

  test("never holds more than burst, however long nobody came", () => {
    const table = new GcraTable();
    table.take("a", 1, TEN_PER_SECOND, 0);
    expect(drain(table, "a", 1e9)).toBe(5);
  });

  test("keeps keys apart", () => {
    const table = new GcraTable();
    expect(drain(table, "a", 0)).toBe(5);
    expect(drain(table, "__proto__", 0)).toBe(5);
  });

  test("changes nothing when a clock goes back, but lets nobody wait longer than for the way back", () => {
    const table = new GcraTable();
    drain(table, "a", 1000);
    expect(table.take("a", 1, TEN_PER_SECOND, 900)).toBe(200);
    expect(table.take("a", 1, TEN_PER_SECOND, 1100)).toBe(0);
  });

  test("says waits beyond 2^31 ms as they are", () => {
    const table = new GcraTable();
    const limit = limitOf({ rate: 1e-7, burst: 1 });
    table.take("a", 1, limit, 0);
    expect(table.take("a", 1, limit, 0)).toBeCloseTo(1e10);
  });

  test("lets a call through that comes back exactly when it was told to, on any clock", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1e-4, max: 1e5, noNaN: true }),
        fc.double({ min: 0.01, max: 1000, noNaN: true }),
        fc.double({ min: 0, max: 2e12, noNaN: true }),
        fc.array(fc.double({ min: 0.001, max: 1, noNaN: true }), { minLength: 1, maxLength: 30 }),
        (rate, burst, start, shares) => {
          const table = new GcraTable();
          const limit = limitOf({ rate, burst });
          let now = start;
          for (const share of shares) {
            const waitMs = table.take("a", share * burst, limit, now);
            if (waitMs === 0) continue;
            now += waitMs;
            expect(table.take("a", share * burst, limit, now)).toBe(0);
          }
        },
      ),
    );
  });
});

test("waitFor says what take says, and adds up what stands before", () => {
  const table = new GcraTable();
  expect(table.waitFor("a", 5, TEN_PER_SECOND, 0)).toBe(0);
  drain(table, "a", 0);
  expect(table.waitFor("a", 1, TEN_PER_SECOND, 0)).toBe(100);
  expect(table.waitFor("a", 12, TEN_PER_SECOND, 50)).toBe(1150);
  expect(table.take("a", 1, TEN_PER_SECOND, 100)).toBe(0);
});

describe("refund", () => {
  test("gives all back at once", () => {
    const table = new GcraTable();
    table.take("a", 5, TEN_PER_SECOND, 0);
    table.refund("a", 5, TEN_PER_SECOND, 0, 0);
    expect(drain(table, "a", 0)).toBe(5);
  });

  test("gives back less what the rate has refilled meanwhile", () => {
    const table = new GcraTable();
    table.take("a", 3, TEN_PER_SECOND, 0);
    table.take("a", 2, TEN_PER_SECOND, 0);
    table.refund("a", 3, TEN_PER_SECOND, 0, 100);
    expect(drain(table, "a", 100)).toBe(3);
  });

  test("gives back nothing that is refilled already, and takes nothing away", () => {
    const table = new GcraTable();
    table.take("a", 5, TEN_PER_SECOND, 0);
    table.refund("a", 1, TEN_PER_SECOND, 0, 200);
    expect(drain(table, "a", 200)).toBe(2);
  });

  test("knows nothing of a key that was forgotten, and makes no more than burst of one that is full", () => {
    const table = new GcraTable();
    table.refund("a", 5, TEN_PER_SECOND, 0, 0);
    expect(table.size).toBe(0);
    table.take("a", 1, TEN_PER_SECOND, 0);
    table.refund("a", 5, TEN_PER_SECOND, 0, 0);
    expect(drain(table, "a", 0)).toBe(5);
  });
});

describe("pause", () => {
  test("lets nothing through, whatever it costs, and says when it ends", () => {
    const table = new GcraTable();
    table.pause("a", 1000, TEN_PER_SECOND, 0);
    expect(table.take("a", 0.01, TEN_PER_SECOND, 400)).toBe(600);
    expect(table.take("a", 1, TEN_PER_SECOND, 400)).toBe(600);
    expect(table.take("b", 1, TEN_PER_SECOND, 400)).toBe(0);
  });

  test("ends with one token, and more come at the rate", () => {
    const table = new GcraTable();
    table.pause("a", 1000, TEN_PER_SECOND, 0);
    expect(drain(table, "a", 1000)).toBe(1);
    expect(drain(table, "a", 1099)).toBe(0);
    expect(drain(table, "a", 1300)).toBe(3);
  });

  test("brings no token that was not there without it", () => {
    const table = new GcraTable();
    drain(table, "a", 0);
    table.pause("a", 10, TEN_PER_SECOND, 0);
    expect(table.take("a", 1, TEN_PER_SECOND, 10)).toBe(90);
  });

  test("is not shortened by another, and prolonged by one that ends later", () => {
    const table = new GcraTable();
    table.pause("a", 1000, TEN_PER_SECOND, 0);
    table.pause("a", 10, TEN_PER_SECOND, 500);
    expect(table.take("a", 1, TEN_PER_SECOND, 500)).toBe(500);
    table.pause("a", 1000, TEN_PER_SECOND, 500);
    expect(table.take("a", 1, TEN_PER_SECOND, 500)).toBe(1000);
  });

  test("is not shortened by a refund, and swallows what could still have come back", () => {
    const table = new GcraTable();
    table.take("a", 5, TEN_PER_SECOND, 0);
    table.pause("a", 200, TEN_PER_SECOND, 0);
    table.refund("a", 5, TEN_PER_SECOND, 0, 0);
    expect(table.take("a", 0.1, TEN_PER_SECOND, 100)).toBe(100);
    table.refund("a", 5, TEN_PER_SECOND, 0, 200);
    expect(drain(table, "a", 200)).toBe(1);
    table.refund("a", 1, TEN_PER_SECOND, 200, 200);
    expect(drain(table, "a", 200)).toBe(1);
  });

  test("holds with a burst below one token", () => {
    const table = new GcraTable();
    const limit = limitOf({ rate: 10, burst: 0.5 });
    table.pause("a", 1000, limit, 0);
    expect(table.take("a", 0.5, limit, 999)).toBe(1);
    expect(table.take("a", 0.5, limit, 1000)).toBe(0);
    expect(table.take("a", 0.5, limit, 1000)).toBe(50);
  });
});

type Step =
  | { readonly kind: "take"; readonly cost: number }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "pause"; readonly ms: number }
  | { readonly kind: "refund"; readonly which: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("take" as const), cost: fc.double({ min: 0.01, max: 1, noNaN: true }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.double({ min: 0, max: 2000, noNaN: true }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("pause" as const), ms: fc.double({ min: 0, max: 2000, noNaN: true }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("refund" as const), which: fc.nat() }) },
);

test("admits no more than burst + rate * t in any window, for any arrivals, costs, refunds and pauses", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.1, max: 100, noNaN: true }),
      fc.double({ min: 0.5, max: 20, noNaN: true }),
      fc.array(step, { maxLength: 120 }),
      (rate, burst, steps) => {
        const table = new GcraTable();
        const limit = limitOf({ rate, burst });
        let taken: { readonly at: number; readonly cost: number }[] = [];
        let now = 0;
        let pausedUntil = 0;
        const play: { readonly [K in Step["kind"]]: (step: Extract<Step, { kind: K }>) => void } = {
          wait({ ms }) {
            now += ms;
          },
          take({ cost: share }) {
            const cost = share * burst;
            if (table.take("a", cost, limit, now) !== 0) return;
            expect(now).toBeGreaterThanOrEqual(pausedUntil - 1e-6);
            taken.push({ at: now, cost });
          },
          pause({ ms }) {
            table.pause("a", ms, limit, now);
            pausedUntil = Math.max(pausedUntil, now + ms);
          },
          refund({ which }) {
            const back = taken[which % Math.max(1, taken.length)];
            if (back === undefined) return;
            table.refund("a", back.cost, limit, back.at, now);
            taken = taken.filter((other) => other !== back);
          },
        };
        for (const each of steps) play[each.kind](each as never);
        for (const [index, { at }] of taken.entries()) {
          let sum = 0;
          for (const later of taken.slice(index)) {
            sum += later.cost;
            expect(sum).toBeLessThanOrEqual(burst + (rate * (later.at - at)) / 1000 + 1e-6);
          }
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("wastes nothing: a call that comes back whenever it is told gets the full rate", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 50 }), (rate, burst) => {
      const table = new GcraTable();
      const limit = limitOf({ rate, burst });
      let now = 0;
      for (let count = 0; count < 200; count += 1) {
        now += table.take("a", 1, limit, now);
        // Who has waited takes; who has not has taken already.
        if (count >= burst) table.take("a", 1, limit, now);
      }
      expect(now).toBeLessThanOrEqual(((200 - burst) * 1000) / rate + 1e-6);
    }),
  );
});

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  gc();
}

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

const KEYS = 100_000;

test("keeps 100 000 keys in 64 bytes each beside the key string", () => {
  const keys = Array.from({ length: KEYS }, (_, index) => `tenant-${index}`);
  const table = new GcraTable();
  const slow = limitOf({ rate: 0.001, burst: 5 });
  const before = heapUsed();
  for (const key of keys) table.take(key, 1, slow, 0.5);
  const perKey = (heapUsed() - before) / KEYS;
  expect(table.size).toBe(KEYS);
  expect(perKey).toBeLessThanOrEqual(64);
  expect(perKey).toBeGreaterThan(8);
});

test("forgets idle keys while others are used, and without a timer", () => {
  const table = new GcraTable();
  for (let index = 0; index < KEYS; index += 1) {
    table.take(`tenant-${index}`, 1, TEN_PER_SECOND, 0);
    if (index % 1000 === 0) table.pause(`tenant-${index}`, 100, TEN_PER_SECOND, 0);
  }
  expect(table.size).toBe(KEYS);
  const later = 10_000;
  for (let count = 0; count < KEYS; count += 1) table.take("busy", 1, TEN_PER_SECOND, later + count);
  expect(table.size).toBeLessThanOrEqual(64);
});

test("forgets no key that has not come to rest, nor a pause", () => {
  const table = new GcraTable();
  const slow = limitOf({ rate: 0.001, burst: 1 });
  for (let index = 0; index < 1000; index += 1) table.take(`slow-${index}`, 1, slow, 0);
  for (let index = 0; index < 1000; index += 1) table.pause(`paused-${index}`, 900_000, slow, 0);
  for (let count = 0; count < 10_000; count += 1) table.take("busy", 1, TEN_PER_SECOND, 1000 + count);
  for (let index = 0; index < 1000; index += 1) {
    expect(table.take(`slow-${index}`, 1, slow, 20_000)).toBe(980_000);
    expect(table.take(`paused-${index}`, 1, slow, 20_000)).toBe(880_000);
  }
});

test("a flood of new keys does not outrun the forgetting", () => {
  const table = new GcraTable();
  let most = 0;
  for (let index = 0; index < 300_000; index += 1) {
    table.take(`flood-${index}`, 1, TEN_PER_SECOND, index);
    most = Math.max(most, table.size);
  }
  // 100 ms each, one per millisecond.
  expect(most).toBeLessThan(400);
});

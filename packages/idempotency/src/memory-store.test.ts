import type { IdempotencyClaim } from "@mcp-tx/core/stores";
import { idempotencyStoreContract, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { type MemoryStoreOptions, memoryStore } from "./memory-store.js";

describe("idempotencyStoreContract", () => {
  const cases = idempotencyStoreContract(() => {
    const time = virtualTime();
    return { store: memoryStore({ runtime: time.runtime }), advance: (ms) => time.advance(ms) };
  });
  for (const { name, run } of cases) test(name, run);
});

let tokens = 0;

function claim(given: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  tokens += 1;
  return { fingerprint: "f", token: `t${tokens}`, leaseMs: 1000, epoch: 0, sentAtWall: 0, ...given };
}

function make(options: MemoryStoreOptions = {}) {
  const time = virtualTime();
  const store = memoryStore({ runtime: time.runtime, ...options });
  return {
    time,
    store,
    async done(key: string, ttlMs: number) {
      const { record } = await store.claim(key, claim());
      await store.settle(key, record.token, { state: "done", outcome: "1", ttlMs });
    },
  };
}

test("refuses new keys when it is full, and only those", async () => {
  const { store, done } = make({ maxRecords: 3 });
  await done("done", 60_000);
  const { record } = await store.claim("pending", claim());
  await store.claim("other", claim());
  await expect(store.claim("new", claim())).rejects.toThrow(/memoryStore: full: it keeps 3 records \(maxRecords\)/);
  expect(await store.get("new")).toBeUndefined();
  expect(await store.claim("done", claim())).toMatchObject({ won: false, record: { state: "done" } });
  expect(await store.extend("pending", record.token, 1000)).toBe(true);
  expect(await store.settle("pending", record.token, { state: "unknown", ttlMs: 1 })).toBe(true);
  expect(await store.claim("pending", claim({ takeover: record.token }))).toMatchObject({ won: true });
});

test("makes room by what has expired, never by what is unknown", async () => {
  const { time, store, done } = make({ maxRecords: 4 });
  for (const key of ["a", "b", "c"]) await store.claim(key, claim({ leaseMs: 10 }));
  await done("done", 20);
  await time.advance(30);
  expect(await store.claim("new", claim())).toMatchObject({ won: true });
  for (const key of ["a", "b", "c"]) expect(await store.get(key)).toMatchObject({ state: "unknown" });
  await expect(store.claim("another", claim())).rejects.toThrow("full");
});

test("makes room when a record is released", async () => {
  const { store } = make({ maxRecords: 1 });
  const { record } = await store.claim("a", claim());
  await store.release("a", record.token);
  expect(await store.claim("b", claim())).toMatchObject({ won: true });
});

test("forgets expired records as new ones come, without a sweep", async () => {
  const { time, store, done } = make({ maxRecords: 1000 });
  for (let index = 0; index < 100; index += 1) await done(`old-${index}`, 10);
  await time.advance(20);
  for (let index = 0; index < 51; index += 1) await done(`new-${index}`, 1000);
  expect(await store.sweep(1000)).toBe(0);
});

test("sweeps a limited number, leases that are over and expired records together", async () => {
  const { time, store, done } = make();
  for (let index = 0; index < 5; index += 1) await done(`done-${index}`, 10);
  for (let index = 0; index < 5; index += 1) await store.claim(`pending-${index}`, claim({ leaseMs: 10 }));
  await time.advance(20);
  expect([await store.sweep(4), await store.sweep(4), await store.sweep(4), await store.sweep(4)]).toEqual([
    4, 4, 2, 0,
  ]);
  expect(await store.sweep(-1)).toBe(0);
});

test("is not moved by a step of the wall clock", async () => {
  const { time, store, done } = make();
  await store.claim("pending", claim({ leaseMs: 1000 }));
  await done("done", 1000);
  time.stepWall(3_600_000);
  expect(await store.get("pending")).toMatchObject({ state: "pending" });
  expect(await store.get("done")).toMatchObject({ state: "done" });
  time.stepWall(-7_200_000);
  await time.advance(1000);
  expect(await store.get("pending")).toMatchObject({ state: "unknown" });
  expect(await store.get("done")).toBeUndefined();
});

test("tells times in milliseconds since the epoch", async () => {
  const { time, store } = make();
  const { record } = await store.claim("a", claim({ leaseMs: 1000 }));
  expect(record.leaseUntil).toBe(time.runtime.wallNow() + 1000);
});

test("gives out records that nobody can change", async () => {
  const { store } = make();
  const { record } = await store.claim("a", claim());
  expect(() => Object.assign(record, { token: "mine" })).toThrow(TypeError);
  await store.extend("a", record.token, 5);
  expect(Object.isFrozen(await store.get("a"))).toBe(true);
});

test("keeps records and its identity to itself", async () => {
  const [first, second] = [memoryStore(), memoryStore()];
  await first.claim("a", claim());
  expect(await second.get("a")).toBeUndefined();
  expect(first.storeId).not.toBe(second.storeId);
  expect(first.durable).toBe(false);
});

test("checks its options", () => {
  expect(() => memoryStore({ maxRecords: 0 })).toThrow("memoryStore: maxRecords must be an integer >= 1, got 0");
  expect(() => memoryStore({ size: 1 } as never)).toThrow(/unknown option "size"/);
  expect(() => memoryStore({ runtime: {} as never })).toThrow(/runtime must be an object with a method now/);
});

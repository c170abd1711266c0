import type { SagaCreation } from "@mcp-tx/core/stores";
import { sagaStoreContract, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { type MemorySagaStoreOptions, memorySagaStore } from "./memory-saga-store.js";

describe("sagaStoreContract", () => {
  const cases = sagaStoreContract(() => {
    const time = virtualTime();
    const store = memorySagaStore({ runtime: time.runtime });
    const records = async () => {
      const sagas = await store.list({ limit: Infinity });
      const journals = await Promise.all(sagas.map(({ id }) => store.entries(id)));
      return sagas.length + journals.flat().length;
    };
    return { store, advance: (ms) => time.advance(ms), records };
  });
  for (const { name, run } of cases) test(name, run);
});

let tokens = 0;

function creation(given: Partial<SagaCreation> = {}): SagaCreation {
  tokens += 1;
  return { name: "order", definition: "d", input: "{}", token: `t${tokens}`, leaseMs: 1000, ...given };
}

function make(options: MemorySagaStoreOptions = {}) {
  const time = virtualTime();
  const store = memorySagaStore({ runtime: time.runtime, ...options });
  return {
    time,
    store,
    async ended(id: string, status: "completed" | "stuck", ttlMs: number) {
      const { saga } = await store.create(id, creation());
      await store.end(id, saga.token, { status, outcome: "1", ttlMs });
      return saga.token;
    },
  };
}

test("refuses new sagas when it is full, and only those", async () => {
  const { time, store, ended } = make({ maxSagas: 3 });
  await ended("ended", "completed", 60_000);
  const stuck = await ended("stuck", "stuck", 1);
  const { saga } = await store.create("running", creation({ leaseMs: 1 }));
  await time.advance(1000);
  await expect(store.create("new", creation())).rejects.toThrow(/memorySagaStore: full: it keeps 3 sagas \(maxSagas\)/);
  expect(await store.get("new")).toBeUndefined();
  expect(await store.create("ended", creation())).toMatchObject({ created: false, saga: { status: "completed" } });
  expect(await store.append("running", saga.token, [{ seq: 1, body: "1" }])).toBe(true);
  expect(await store.extend("stuck", stuck, 1000)).toBe(true);
});

test("makes room by what has ended and expired, and by nothing else", async () => {
  const { time, store, ended } = make({ maxSagas: 4 });
  await ended("a", "completed", 10);
  await ended("b", "stuck", 10);
  await ended("c", "completed", Infinity);
  await store.create("d", creation({ leaseMs: 10 }));
  await time.advance(20);
  expect(await store.create("new", creation())).toMatchObject({ created: true });
  expect((await store.list({ limit: 9 })).map(({ id }) => id)).toEqual(["b", "c", "d", "new"]);
  await expect(store.create("another", creation())).rejects.toThrow("full");
});

test("gives an expired saga until there is need for room", async () => {
  const { time, store, ended } = make({ maxSagas: 1 });
  await ended("a", "completed", 10);
  await time.advance(20);
  expect(await store.create("a", creation())).toMatchObject({ created: false });
  expect(await store.create("b", creation())).toMatchObject({ created: true });
  expect(await store.get("a")).toBeUndefined();
});

test("sweeps as much as it is told, also with limits that are none", async () => {
  const { time, store, ended } = make();
  for (let index = 0; index < 4; index += 1) await ended(`${index}`, "completed", 10);
  await time.advance(20);
  for (const limit of [-1, 0, 0.5, Number.NaN]) expect(await store.sweep(limit)).toBe(0);
  expect(await store.sweep(2.5)).toBe(2);
  expect(await store.sweep(Infinity)).toBe(2);
});

test("reads what it is given at once, and keeps no reference to it", async () => {
  const { store } = make();
  const given = { ...creation({ token: "mine" }) };
  const created = store.create("a", given);
  given.token = "yours";
  expect(await created).toMatchObject({ saga: { token: "mine" } });
  const entries = [{ seq: 1, body: "one" }];
  const appended = store.append("a", "mine", entries);
  entries.splice(0, 1, { seq: 1, body: "changed" }, { seq: 2, body: "two" });
  expect(await appended).toBe(true);
  expect(await store.entries("a")).toMatchObject([{ seq: 1, body: "one" }]);
});

test("gives out sagas and entries that nobody can change", async () => {
  const { store } = make();
  const { saga } = await store.create("a", creation());
  await store.append("a", saga.token, [{ seq: 1, body: "one" }]);
  expect(() => Object.assign(saga, { token: "mine" })).toThrow(TypeError);
  const [entry] = await store.entries("a");
  expect(Object.isFrozen(entry)).toBe(true);
});

test("is not moved by a step of the wall clock", async () => {
  const { time, store } = make();
  await store.create("a", creation({ leaseMs: 1000 }));
  const claim = { token: "next", leaseMs: 1000, from: ["running"] } as const;
  time.stepWall(3_600_000);
  expect(await store.claim("a", claim)).toMatchObject({ won: false });
  time.stepWall(-7_200_000);
  await time.advance(1000);
  expect(await store.claim("a", claim)).toMatchObject({ won: true });
});

test("keeps sagas and its identity to itself", async () => {
  const [first, second] = [memorySagaStore(), memorySagaStore()];
  await first.create("a", creation());
  expect(await second.get("a")).toBeUndefined();
  expect(first.storeId).not.toBe(second.storeId);
  expect(first.durable).toBe(false);
});

test("checks its options", () => {
  expect(() => memorySagaStore({ maxSagas: 0 })).toThrow("memorySagaStore: maxSagas must be an integer >= 1, got 0");
  expect(() => memorySagaStore({ size: 1 } as never)).toThrow(/unknown option "size"/);
  expect(() => memorySagaStore({ runtime: {} as never })).toThrow(/runtime must be an object with a method now/);
});

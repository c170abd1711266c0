import type { SagaClaim, SagaCreation, SagaStore } from "@mcp-tx/core/stores";
import { type PostgresClient, postgresStore } from "@mcp-tx/postgres";
import pg from "pg";
import { afterAll, test as base, expect, onTestFinished, vi } from "vitest";
import { dropTables, type OpenStore, openStore } from "./fixtures/postgres-tables.js";
import { postgres } from "./fixtures/services.js";

// Statements that meet on one saga, each way round, and replies that are lost.

const server = await postgres();
const test = base.skipIf(server.missing !== undefined);
afterAll(() => server.close());

vi.setConfig({ testTimeout: 120_000 });

const SERIALIZABLE: pg.PoolConfig = { options: "-c default_transaction_isolation=serializable" };
const REPEATABLE: pg.PoolConfig = { options: "-c default_transaction_isolation=repeatable\\ read" };
const DONE = { status: "completed", outcome: "{}", ttlMs: 600_000 } as const;
const ONE = [{ seq: 1, body: "one" }];
const LOST = "Connection terminated unexpectedly";

function creationOf(creation: Partial<SagaCreation> = {}): SagaCreation {
  return { name: "order", definition: "d", input: "{}", token: "old", leaseMs: 600_000, ...creation };
}

function claimOf(claim: Partial<SagaClaim> = {}): SagaClaim {
  return { token: "new", leaseMs: 600_000, from: ["running"], ...claim };
}

async function open(settings: pg.PoolConfig = {}): Promise<OpenStore> {
  const store = await openStore(server.url, {}, settings);
  onTestFinished(async () => {
    await dropTables(store.pool, store.table);
    await store.pool.end();
  });
  return store;
}

/** A saga whose owner let it go, with one entry. */
async function orphaned(settings?: pg.PoolConfig): Promise<OpenStore> {
  const store = await open(settings);
  await store.saga.create("a", creationOf());
  await store.saga.append("a", "old", ONE);
  await store.saga.release("a", "old");
  return store;
}

/** How many sessions wait for a lock on tables of the test. */
async function waiting({ pool, table }: OpenStore): Promise<number> {
  const text = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0`;
  return (await pool.query(text, [`${table}_saga`])).rowCount ?? 0;
}

/**
 * Does `first` in a transaction that stays open until `second`, on another connection, waits for it.
 *
 * @param meanwhile - awaited before the transaction ends
 */
async function meeting<A, B>(
  store: OpenStore,
  first: (saga: SagaStore) => Promise<A>,
  second: (saga: SagaStore) => Promise<B>,
  { ends = "COMMIT", meanwhile }: { readonly ends?: "COMMIT" | "ROLLBACK"; meanwhile?(): Promise<unknown> } = {},
): Promise<readonly [A, B]> {
  const holder = new pg.Client(server.url);
  await holder.connect();
  onTestFinished(() => holder.end());
  // The store refuses a client of which it knows that it is inside a transaction.
  const unaware: PostgresClient = { query: (query) => holder.query({ ...query }) };
  await holder.query("BEGIN");
  const done = await first(postgresStore({ pool: unaware, table: store.table }).saga);
  const pending = second(store.saga);
  await expect.poll(() => waiting(store), { timeout: 10_000 }).toBe(1);
  await meanwhile?.();
  await holder.query(ends);
  return [done, await pending];
}

const append =
  (seq: number, token = "old") =>
  (saga: SagaStore) =>
    saga.append("a", token, [{ seq, body: `by ${token}` }]);
const claim =
  (given: Partial<SagaClaim> = {}) =>
  (saga: SagaStore) =>
    saga.claim("a", claimOf(given));
const bodies = async ({ saga }: OpenStore): Promise<string[]> => (await saga.entries("a")).map(({ body }) => body);

for (const [isolation, settings] of [
  ["read committed", {}],
  ["repeatable read", REPEATABLE],
  ["serializable", SERIALIZABLE],
] as const) {
  test(`an append that meets a takeover under way is refused: ${isolation}`, async () => {
    const store = await orphaned(settings);
    const [claimed, appended] = await meeting(store, claim(), append(2));
    expect(claimed).toMatchObject({ won: true, saga: { token: "new" } });
    expect(appended).toBe(false);
    expect(await bodies(store)).toEqual(["one"]);
  });

  test(`a takeover that meets an append under way reads what it appended: ${isolation}`, async () => {
    const store = await orphaned(settings);
    const [appended, [claimed, seen]] = await meeting(store, append(2), async (saga) => [
      await saga.claim("a", claimOf()),
      await saga.entries("a"),
    ]);
    expect(appended).toBe(true);
    expect(claimed).toMatchObject({ won: true, saga: { token: "new" } });
    expect(seen).toMatchObject([{ seq: 1 }, { seq: 2, body: "by old" }]);
    expect(await store.saga.append("a", "old", [{ seq: 3, body: "late" }])).toBe(false);
  });

  test(`an append that meets itself under way is taken once: ${isolation}`, async () => {
    const store = await orphaned(settings);
    const again = (saga: SagaStore) =>
      saga.append("a", "old", [
        { seq: 2, body: "again" },
        { seq: 3, body: "three" },
      ]);
    expect(await meeting(store, append(2), again)).toEqual([true, true]);
    expect(await bodies(store)).toEqual(["one", "by old", "three"]);
    const times = (await store.saga.entries("a")).map(({ at }) => at);
    expect(times).toEqual(times.toSorted((left, right) => left - right));
  });

  test(`a takeover that meets another loses and is told the owner: ${isolation}`, async () => {
    const store = await orphaned(settings);
    const [first, second] = await meeting(store, claim({ token: "first" }), claim({ token: "second" }));
    expect(first.won).toBe(true);
    expect(second).toMatchObject({ won: false, saga: { token: "first", leaseUntil: first.saga?.leaseUntil } });
  });
}

test("an append that waited for a takeover that came to nothing is accepted", async () => {
  const store = await orphaned();
  const [, appended] = await meeting(store, claim(), append(2), { ends: "ROLLBACK" });
  expect(appended).toBe(true);
  expect(await bodies(store)).toEqual(["one", "by old"]);
});

test("a takeover that waited for an append that came to nothing does not read it", async () => {
  const store = await orphaned();
  const [, claimed] = await meeting(store, append(2), claim(), { ends: "ROLLBACK" });
  expect(claimed.won).toBe(true);
  expect(await bodies(store)).toEqual(["one"]);
});

test("a takeover that meets a heartbeat under way loses", async () => {
  const store = await orphaned();
  const [extended, claimed] = await meeting(store, (saga) => saga.extend("a", "old", 600_000), claim());
  expect(extended).toBe(true);
  expect(claimed).toMatchObject({ won: false, saga: { token: "old" } });
  expect(claimed.saga?.leaseUntil).toBeGreaterThan(Date.now());
});

test("a heartbeat, a release and an end that meet a takeover under way are refused", async () => {
  const writes: ((saga: SagaStore) => Promise<boolean>)[] = [
    (saga) => saga.extend("a", "old", 600_000),
    (saga) => saga.release("a", "old"),
    (saga) => saga.end("a", "old", DONE),
  ];
  for (const write of writes) {
    const store = await orphaned();
    const [claimed, written] = await meeting(store, claim(), write);
    expect([claimed.won, written]).toEqual([true, false]);
    const owned = { status: "running", token: "new", leaseUntil: claimed.saga?.leaseUntil };
    expect(await store.saga.get("a")).toMatchObject(owned);
  }
});

test("a takeover and an append that meet an end under way find a saga that has ended", async () => {
  const end = (saga: SagaStore) => saga.end("a", "old", DONE);
  const one = await orphaned();
  const [, claimed] = await meeting(one, end, claim());
  expect(claimed).toMatchObject({ won: false, saga: { status: "completed", outcome: "{}", token: "old" } });
  const other = await orphaned();
  expect(await meeting(other, end, append(2))).toEqual([true, false]);
  expect(await bodies(other)).toEqual(["one"]);
});

test("an end that meets itself under way is heard once", async () => {
  const store = await orphaned();
  const end = (outcome: string) => (saga: SagaStore) => saga.end("a", "old", { ...DONE, outcome });
  expect(await meeting(store, end("first"), end("second"))).toEqual([true, true]);
  expect(await store.saga.get("a")).toMatchObject({ status: "completed", outcome: "first" });
});

test("a claim that had to wait judges the lease by when its turn came, and its own counts from then on", async () => {
  const store = await orphaned();
  await store.saga.extend("a", "old", 300);
  let over = Infinity;
  const meanwhile = async (): Promise<void> => {
    await expect.poll(() => store.saga.list({ unowned: true, limit: 1 })).toHaveLength(1);
    const { rows } = await store.pool.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now");
    over = rows[0].now;
  };
  // A claim that loses locks the saga and changes nothing.
  const [lost, won] = await meeting(store, claim({ from: [] }), claim({ leaseMs: 1000 }), { meanwhile });
  expect([lost.won, won.won]).toEqual([false, true]);
  expect(won.saga?.leaseUntil).toBeGreaterThanOrEqual(over + 1000);
});

test("a creation that meets another under way is told of it, and one that came to nothing leaves room", async () => {
  for (const ends of ["COMMIT", "ROLLBACK"] as const) {
    const store = await open();
    const create = (token: string) => (saga: SagaStore) => saga.create("a", creationOf({ token, input: token }));
    const [first, second] = await meeting(store, create("first"), create("second"), { ends });
    expect(first.created).toBe(true);
    const isFirst = ends === "COMMIT";
    const input = isFirst ? "first" : "second";
    expect(second).toMatchObject({ created: !isFirst, saga: { token: input, input } });
    expect(await store.saga.get("a")).toMatchObject({ token: input, input });
  }
});

test("a creation that meets the sweep of the saga before it starts afresh", async () => {
  const store = await orphaned();
  await store.saga.end("a", "old", { ...DONE, ttlMs: 0 });
  const create = (saga: SagaStore) => saga.create("a", creationOf({ token: "new", input: "new" }));
  const [swept, created] = await meeting(store, (saga) => saga.sweep(10), create);
  expect(swept).toBe(1);
  expect(created).toMatchObject({ created: true, saga: { token: "new", input: "new", status: "running" } });
  expect(await bodies(store)).toEqual([]);
});

test("a sweep leaves what another one is sweeping, and does not wait for it", async () => {
  const { pool, table, saga } = await open();
  for (const id of ["a", "b"]) {
    await saga.create(id, creationOf());
    await saga.append(id, "old", ONE);
    await saga.end(id, "old", { ...DONE, ttlMs: 0 });
  }
  const holder = await pool.connect();
  await holder.query(`BEGIN; SELECT 1 FROM "${table}_saga" WHERE id = 'a' FOR UPDATE`);
  expect(await saga.sweep(10)).toBe(1);
  await holder.query("COMMIT");
  holder.release();
  expect(await saga.entries("a")).toHaveLength(1);
  expect(await saga.sweep(10)).toBe(1);
  expect((await pool.query(`SELECT FROM "${table}_saga_entry"`)).rowCount).toBe(0);
});

// Many pools

function pools(count: number, table: string, settings: pg.PoolConfig = {}): SagaStore[] {
  const made = Array.from({ length: count }, () => new pg.Pool({ connectionString: server.url, max: 4, ...settings }));
  onTestFinished(async () => void (await Promise.all(made.map((pool) => pool.end()))));
  return made.map((pool) => postgresStore({ pool, table }).saga);
}

/** Takes over whatever nobody owns, page by page, until there is nothing left; gives the ids that were won. */
async function recover(saga: SagaStore, token: string): Promise<string[]> {
  const won: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await saga.list({ status: "running", unowned: true, after, limit: 20 });
    if (page.length === 0) return won;
    for (const { id } of page) if ((await saga.claim(id, claimOf({ token }))).won) won.push(id);
    after = page.at(-1)?.id;
  }
}

for (const [isolation, settings, count] of [
  ["read committed", {}, 200],
  ["serializable", SERIALIZABLE, 40],
] as const) {
  test(`8 pools that recover at once win each of ${count} sagas once: ${isolation}`, async () => {
    const { saga, table } = await open();
    const ids = Array.from({ length: count }, (_, index) => `saga ${index}`);
    await Promise.all(ids.map((id) => saga.create(id, creationOf({ leaseMs: 0 }))));
    const runners = pools(8, table, settings);
    const won = await Promise.all(runners.map((runner, index) => recover(runner, `runner ${index}`)));
    expect(won.flat().toSorted()).toEqual(ids.toSorted());
    for (const [index, own] of won.entries()) {
      for (const id of own.slice(0, 5)) expect(await saga.get(id)).toMatchObject({ token: `runner ${index}` });
    }
  });
}

test("64 appends in flight to 8 sagas through 8 pools are all kept, each saga's in order", async () => {
  const { saga, table } = await open();
  const runners = pools(8, table);
  const ids = runners.map((_, index) => `saga ${index}`);
  await Promise.all(ids.map((id) => saga.create(id, creationOf())));
  const appends = Array.from({ length: 64 * 8 }, (_, index) => {
    const [id, runner] = [ids[index % 8] ?? "", runners[(index >> 3) % 8] ?? saga];
    return runner.append(id, "old", [{ seq: 1 + (index >> 3), body: `${index}` }]);
  });
  expect((await Promise.all(appends)).every(Boolean)).toBe(true);
  for (const id of ids) {
    const numbers = (await saga.entries(id)).map(({ seq }) => seq);
    expect(numbers).toEqual(Array.from({ length: 64 }, (_, index) => index + 1));
  }
});

// Lost replies

interface Faulty {
  readonly store: OpenStore;
  readonly saga: SagaStore;
  /** The next statement fails before it is sent, or is executed and its reply lost. */
  fail(when: "before" | "after"): void;
}

function faulty(store: OpenStore): Faulty {
  const script: ("before" | "after")[] = [];
  const pool: PostgresClient = {
    query: async (query) => {
      const fault = script.shift();
      if (fault === "before") throw new Error(LOST);
      const result = await store.pool.query({ ...query });
      if (fault === "after") throw new Error(LOST);
      return result;
    },
  };
  return {
    store,
    saga: postgresStore({ pool, table: store.table }).saga,
    fail: (when) => void script.push(when),
  };
}

for (const when of ["before", "after"] as const) {
  /** The same again, after it failed. */
  async function twice<T>({ saga, fail }: Faulty, write: (saga: SagaStore) => Promise<T>): Promise<T> {
    fail(when);
    await expect(write(saga)).rejects.toThrow(LOST);
    return write(saga);
  }

  test(`a creation that fails ${when} it is committed is the creator's when it is repeated`, async () => {
    const faults = faulty(await open());
    const { created, saga } = await twice(faults, (store) => store.create("a", creationOf()));
    expect([created, saga.token]).toEqual([true, "old"]);
    expect(await faults.store.saga.create("a", creationOf({ token: "other" }))).toMatchObject({ created: false });
  });

  test(`a claim that fails ${when} it is committed wins when it is repeated`, async () => {
    const faults = faulty(await orphaned());
    expect(await twice(faults, claim())).toMatchObject({ won: true, saga: { token: "new" } });
    expect(await faults.store.saga.claim("a", claimOf({ token: "other" }))).toMatchObject({ won: false });
  });

  test(`an append that fails ${when} it is committed is there once when it is repeated`, async () => {
    const faults = faulty(await orphaned());
    expect(await twice(faults, append(2))).toBe(true);
    expect(await bodies(faults.store)).toEqual(["one", "by old"]);
  });

  test(`an append that fails ${when} it is committed is refused when somebody took over meanwhile`, async () => {
    const faults = faulty(await orphaned());
    faults.fail(when);
    await expect(append(2)(faults.saga)).rejects.toThrow(LOST);
    expect((await faults.store.saga.claim("a", claimOf())).won).toBe(true);
    const seen = await bodies(faults.store);
    expect(await append(2)(faults.saga)).toBe(false);
    expect(await bodies(faults.store)).toEqual(seen);
    expect(seen).toEqual(when === "after" ? ["one", "by old"] : ["one"]);
  });

  test(`an end, an extension and a release that fail ${when} they are committed hold when repeated`, async () => {
    const faults = faulty(await orphaned());
    expect(await twice(faults, (saga) => saga.extend("a", "old", 600_000))).toBe(true);
    expect(await twice(faults, (saga) => saga.release("a", "old"))).toBe(true);
    expect(await twice(faults, (saga) => saga.end("a", "old", DONE))).toBe(true);
    expect(await faults.store.saga.get("a")).toMatchObject({ status: "completed", outcome: "{}" });
  });
}

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { IdempotencyClaim } from "@mcp-tx/core/stores";
import { idempotencyStoreContract, rateLimitStoreContract } from "@mcp-tx/core/testing";
import { type PostgresClient, type PostgresQuery, postgresStore } from "@mcp-tx/postgres";
import pg from "pg";
import { afterAll, test as base, expect, onTestFinished } from "vitest";
import { dropTables, type OpenStore, openStore, tableName } from "./fixtures/postgres-tables.js";
import { postgres, REAL_CLOCK } from "./fixtures/services.js";

const server = await postgres();
const test = base.skipIf(server.missing !== undefined);
afterAll(() => server.close());

/** For cases that measure time: nothing here needs a commit to reach the disk, and a disk may take longer than they wait. */
const SWIFT: pg.PoolConfig = { options: "-c synchronous_commit=off" };
const TERMS = { rate: 1, burst: 2, cost: 1 };

async function open(
  options?: Parameters<typeof openStore>[1],
  settings?: Parameters<typeof openStore>[2],
): Promise<OpenStore> {
  const store = await openStore(server.url, options, settings);
  onTestFinished(() => store.end());
  return store;
}

async function connected(): Promise<pg.Client> {
  const client = new pg.Client(server.url);
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}

/** A pool whose tables are dropped at the end, if the test made any. */
function poolFor(table: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: server.url });
  onTestFinished(async () => {
    await dropTables(pool, table);
    await pool.end();
  });
  return pool;
}

function claimOf(claim: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  return { fingerprint: "f", token: "token", leaseMs: 60_000, epoch: 0, sentAtWall: 1, ...claim };
}

const DONE = { state: "done", ttlMs: 60_000 } as const;

for (const prepare of [false, true]) {
  const statements = prepare ? "prepared by name" : "unnamed";
  const idempotencyCases = idempotencyStoreContract(async () => {
    const store = await openStore(server.url, { prepare }, SWIFT);
    const pool = new pg.Pool({ connectionString: server.url, ...SWIFT });
    const other = postgresStore({ pool, table: store.table, prepare });
    await other.ready();
    return {
      store: store.idempotency,
      other: other.idempotency,
      advance: (ms) => sleep(ms + 2),
      records: async () => {
        const { rows } = await pool.query(`SELECT count(*)::int AS count FROM "${store.table}_idempotency"`);
        return rows[0].count;
      },
      close: async () => {
        await pool.end();
        await store.end();
      },
    };
  });
  for (const { name, run } of idempotencyCases) test(`idempotency, ${statements}: ${name}`, run);

  const rateLimitCases = rateLimitStoreContract(async () => {
    const store = await openStore(server.url, { prepare }, SWIFT);
    return { store: store.rateLimit, advance: (ms) => sleep(ms + 2), close: () => store.end() };
  }, REAL_CLOCK);
  for (const { name, run } of rateLimitCases) test.concurrent(`rate limit, ${statements}: ${name}`, run);
}

// Schema

test("ready fails when migrate was never run, and says what to do", async () => {
  const table = tableName();
  const store = postgresStore({ pool: poolFor(table), table });
  await expect(store.ready()).rejects.toThrow(/schema of table "t_\w+" is not there\. Run `await store\.migrate\(\)`/);
  expect(() => store.idempotency.storeId).toThrow("await migrate() or ready()");
});

test("every method says what to do when migrate was never run", async () => {
  const table = tableName();
  const { idempotency, rateLimit } = postgresStore({ pool: poolFor(table), table });
  const methods: Promise<unknown>[] = [
    idempotency.claim("k", claimOf()),
    idempotency.extend("k", "token", 1),
    idempotency.settle("k", "token", DONE),
    idempotency.release("k", "token"),
    idempotency.get("k"),
    idempotency.expire("k", "token", 1),
    idempotency.sweep(1),
    rateLimit.take("k", TERMS),
    rateLimit.take("k", TERMS),
    rateLimit.refund("k", TERMS, 0),
    rateLimit.pause("k", TERMS, 1),
  ];
  for (const result of await Promise.allSettled(methods)) {
    expect(result).toMatchObject({
      status: "rejected",
      reason: { message: expect.stringContaining("store.migrate()") },
    });
  }
});

test("ready learns what migrate made, again and from anywhere", async () => {
  const { table, idempotency, pool } = await open();
  const other = postgresStore({ pool, table });
  await other.ready();
  await other.ready();
  expect(other.idempotency.storeId).toBe(idempotency.storeId);
  expect(idempotency.storeId).toMatch(/^[0-9a-f]{8}-/);
});

test("migrate changes nothing when it is run again", async () => {
  const store = await open();
  const { storeId } = store.idempotency;
  await store.idempotency.claim("k", claimOf());
  await store.migrate();
  expect(store.idempotency.storeId).toBe(storeId);
  expect(await store.idempotency.get("k")).toMatchObject({ state: "pending" });
});

test("8 connections migrate at once and agree on the identity of the data", async () => {
  const table = tableName();
  const pool = poolFor(table);
  const stores = Array.from({ length: 8 }, () => postgresStore({ pool, table }));
  await Promise.all(stores.map((store) => store.migrate()));
  expect(new Set(stores.map(({ idempotency }) => idempotency.storeId)).size).toBe(1);
});

test("migrate and ready refuse a schema that a newer version made, and leave it", async () => {
  const store = await open();
  await store.pool.query(`UPDATE "${store.table}_meta" SET version = 99`);
  await expect(store.migrate()).rejects.toThrow(/has schema version 99, made by a newer @mcp-tx\/postgres/);
  await expect(store.ready()).rejects.toThrow(/newer/);
  const { rows } = await store.pool.query(`SELECT version FROM "${store.table}_meta"`);
  expect(rows).toEqual([{ version: 99 }]);
});

test("ready refuses a schema that an older version made, and says to migrate", async () => {
  const store = await open();
  await store.pool.query(`UPDATE "${store.table}_meta" SET version = 0`);
  await expect(store.ready()).rejects.toThrow(/has schema version 0, and 2 is needed\. Run `await store\.migrate\(\)`/);
});

test("lost records are another store", async () => {
  const store = await open();
  const { storeId } = store.idempotency;
  await store.pool.query(`DROP TABLE "${store.table}_idempotency"`);
  await store.migrate();
  expect(store.idempotency.storeId).not.toBe(storeId);
  expect(await store.idempotency.get("k")).toBeUndefined();
});

test("two tables in one database do not see each other", async () => {
  const [one, two] = [await open(), await open()];
  expect(one.idempotency.storeId).not.toBe(two.idempotency.storeId);
  await one.idempotency.claim("k", claimOf());
  expect(await two.idempotency.get("k")).toBeUndefined();
});

test("a table in a schema, in capitals and with reserved words, is found whatever the search path", async () => {
  const client = await connected();
  const schema = `S_${tableName()}`;
  await client.query(`CREATE SCHEMA "${schema}"`);
  onTestFinished(async () => void (await client.query(`DROP SCHEMA "${schema}" CASCADE`)));
  const { idempotency, rateLimit } = await open({ table: `${schema}.Select` }, { options: "-c search_path=pg_temp" });
  expect(await idempotency.claim("k", claimOf())).toMatchObject({ won: true });
  expect(await rateLimit.take("k", TERMS)).toEqual({ allowed: true, retryAfterMs: 0 });
  const { rows } = await client.query(`SELECT count(*)::int AS count FROM "${schema}"."Select_idempotency"`);
  expect(rows).toEqual([{ count: 1 }]);
});

test("a schema that does not exist is named by the error of migrate", async () => {
  const pool = new pg.Pool({ connectionString: server.url });
  onTestFinished(() => pool.end());
  await expect(postgresStore({ pool, table: "no_such_schema.t" }).migrate()).rejects.toThrow(/no_such_schema/);
});

// Statements

/** Counts what a store sends. */
function counting(pool: PostgresClient): PostgresClient & { readonly sent: PostgresQuery[] } {
  const sent: PostgresQuery[] = [];
  return {
    sent,
    query: (query) => {
      sent.push(query);
      return pool.query(query);
    },
  };
}

test("each method is one statement, whatever comes of it", async () => {
  const { pool, table } = await open();
  const counted = counting(pool);
  const { idempotency, rateLimit } = postgresStore({ pool: counted, table });
  const methods: Record<string, () => Promise<unknown>> = {
    "claim of a new key": () => idempotency.claim("a", claimOf()),
    "claim again": () => idempotency.claim("a", claimOf()),
    "claim by another": () => idempotency.claim("a", claimOf({ token: "other" })),
    extend: () => idempotency.extend("a", "token", 60_000),
    settle: () => idempotency.settle("a", "token", DONE),
    "claim of what is done": () => idempotency.claim("a", claimOf({ token: "other" })),
    get: () => idempotency.get("a"),
    expire: () => idempotency.expire("a", "token", 60_000),
    release: () => idempotency.release("a", "token"),
    sweep: () => idempotency.sweep(10),
    take: () => rateLimit.take("a", TERMS),
    "take again": () => rateLimit.take("a", TERMS),
    "take what is not there": () => rateLimit.take("a", TERMS),
    refund: () => rateLimit.refund("a", TERMS, 0),
    pause: () => rateLimit.pause("a", TERMS, 10),
  };
  for (const [name, method] of Object.entries(methods)) {
    counted.sent.length = 0;
    await method();
    expect(counted.sent, name).toHaveLength(1);
    expect(counted.sent[0]?.text, name).not.toContain(";");
  }
});

test("values are bound: a key that is SQL is a key", async () => {
  const { idempotency, rateLimit } = await open();
  const key = `'); DROP TABLE x; -- $1 \\ " %s`;
  expect(await idempotency.claim(key, claimOf({ token: key, fingerprint: key, sentTo: key }))).toMatchObject({
    won: true,
    record: { key, token: key, fingerprint: key, sentTo: key },
  });
  expect(await rateLimit.take(key, TERMS)).toMatchObject({ allowed: true });
});

test("nothing depends on a session: each statement on another connection, that forgets all after each", async () => {
  const { table } = await open();
  const sessions = await Promise.all([connected(), connected(), connected()]);
  let turn = 0;
  const pooler: PostgresClient = {
    query: async (query) => {
      const session = sessions[turn % sessions.length];
      turn += 1;
      if (session === undefined) throw new Error("no session");
      const result = await session.query({ ...query });
      await session.query("DISCARD ALL");
      return result;
    },
  };
  const store = postgresStore({ pool: pooler, table });
  await store.migrate();
  for (let index = 0; index < 6; index += 1) {
    const key = `key ${index}`;
    expect(await store.idempotency.claim(key, claimOf())).toMatchObject({ won: true });
    expect(await store.idempotency.extend(key, "token", 60_000)).toBe(true);
    expect(await store.idempotency.settle(key, "token", DONE)).toBe(true);
    expect(await store.idempotency.get(key)).toMatchObject({ state: "done" });
    expect((await store.rateLimit.take("k", TERMS)).allowed).toBe(index < TERMS.burst);
  }
});

test("prepared statements of two stores with other tables share a connection", async () => {
  const client = await connected();
  const tables = [tableName(), tableName()];
  onTestFinished(async () => {
    for (const table of tables) await dropTables(client, table);
  });
  for (const table of tables) {
    const store = postgresStore({ pool: client, table, prepare: true });
    await store.migrate();
    expect(await store.idempotency.claim("k", claimOf())).toMatchObject({ won: true });
    expect(await store.idempotency.claim("k", claimOf({ token: "other" }))).toMatchObject({ won: false });
  }
  const { rows } = await client.query("SELECT name FROM pg_prepared_statements WHERE name LIKE 'mcp_tx_%'");
  expect(rows).toHaveLength(2);
});

test("type parsers that the user changed change nothing", async () => {
  const { idempotency, rateLimit } = await open();
  const { BOOL, INT2, INT4, INT8, FLOAT8, NUMERIC, TIMESTAMPTZ, UUID } = pg.types.builtins;
  for (const type of [BOOL, INT2, INT4, INT8, FLOAT8, NUMERIC, TIMESTAMPTZ, UUID]) {
    const before = pg.types.getTypeParser(type);
    pg.types.setTypeParser(type, () => ({ changed: true }));
    onTestFinished(() => pg.types.setTypeParser(type, before));
  }
  const { record } = await idempotency.claim("k", claimOf({ epoch: 7, sentAtWall: 1_700_000_000_000.25 }));
  expect(record).toMatchObject({ epoch: 7, sentAtWall: 1_700_000_000_000.25, expiresAt: Infinity });
  expect(Math.abs(record.leaseUntil - Date.now() - 60_000)).toBeLessThan(10_000);
  expect(await idempotency.settle("k", "token", DONE)).toBe(true);
  expect(await idempotency.sweep(10)).toBe(0);
  await rateLimit.take("k", TERMS);
  await rateLimit.take("k", TERMS);
  const { allowed, retryAfterMs } = await rateLimit.take("k", TERMS);
  expect(allowed).toBe(false);
  expect(retryAfterMs).toBeLessThanOrEqual(1000);
});

// Clients and transactions

test("a client that is in no transaction serves as well as a pool", async () => {
  const { table } = await open();
  const { idempotency } = postgresStore({ pool: await connected(), table });
  expect(await idempotency.claim("k", claimOf())).toMatchObject({ won: true });
  expect(await idempotency.settle("k", "token", DONE)).toBe(true);
});

test("a client inside a transaction is refused, and its transaction goes on", async () => {
  const { table, idempotency } = await open();
  const client = await connected();
  const inside = postgresStore({ pool: client, table });
  await client.query("BEGIN");
  await expect(inside.idempotency.claim("k", claimOf())).rejects.toThrow(/inside a transaction.*Give the store a Pool/);
  await expect(inside.rateLimit.take("k", TERMS)).rejects.toThrow(/inside a transaction/);
  expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  await client.query("COMMIT");
  expect(await idempotency.get("k")).toBeUndefined();
  expect(await inside.idempotency.claim("k", claimOf())).toMatchObject({ won: true });
});

test("a client inside a transaction that failed is refused too", async () => {
  const { table } = await open();
  const client = await connected();
  await client.query("BEGIN");
  await client.query("SELECT 1 / 0").catch(() => undefined);
  await expect(postgresStore({ pool: client, table }).idempotency.get("k")).rejects.toThrow(/inside a transaction/);
  await client.query("ROLLBACK");
});

test("close leaves the pool to its owner", async () => {
  const { close, pool, idempotency } = await open();
  await close();
  expect((await pool.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  expect(await idempotency.get("k")).toBeUndefined();
});

// Waiting for somebody else's transaction

/** Holds what `text` locks or changes until `work`, which waits for it, is to go on. */
async function whileHeld<T>(text: string, work: () => Promise<T>, heldMs: number): Promise<T> {
  const holder = await connected();
  await holder.query(`BEGIN; ${text}`);
  const working = work();
  await sleep(heldMs);
  await holder.query("COMMIT");
  return working;
}

test("a claim that had to wait judges time by when its turn came", async () => {
  const { idempotency, table } = await open();
  await idempotency.claim("k", claimOf({ token: "gone", leaseMs: 300 }));
  const claimed = await whileHeld(
    `SELECT 1 FROM "${table}_idempotency" FOR UPDATE`,
    () => idempotency.claim("k", claimOf({ takeover: "gone", leaseMs: 60_000 })),
    400,
  );
  expect(claimed).toMatchObject({ won: true, record: { state: "pending", token: "token" } });
});

test("a take that had to wait judges time by when its turn came", async () => {
  const { rateLimit, table } = await open();
  const terms = { rate: 5, burst: 1, cost: 1 };
  await rateLimit.take("k", terms);
  const decided = await whileHeld(
    `SELECT 1 FROM "${table}_rate_limit" FOR UPDATE`,
    () => rateLimit.take("k", terms),
    300,
  );
  expect(decided).toEqual({ allowed: true, retryAfterMs: 0 });
});

test("a release finds that the release before it, still under way, removed the record", async () => {
  const { idempotency, table } = await open();
  await idempotency.claim("k", claimOf());
  const remove = `DELETE FROM "${table}_idempotency"`;
  expect(await whileHeld(remove, () => idempotency.release("k", "token"), 100)).toBe(true);
});

test("a release that waits while somebody takes over removes nothing", async () => {
  const { idempotency, table } = await open();
  await idempotency.claim("k", claimOf());
  const takeOver = `UPDATE "${table}_idempotency" SET token = 'other'`;
  expect(await whileHeld(takeOver, () => idempotency.release("k", "token"), 100)).toBe(false);
  expect(await idempotency.get("k")).toMatchObject({ state: "pending", token: "other" });
});

test("a settlement that waits while somebody takes over changes nothing", async () => {
  const { idempotency, table } = await open();
  await idempotency.claim("k", claimOf());
  const takeOver = `UPDATE "${table}_idempotency" SET token = 'other'`;
  expect(await whileHeld(takeOver, () => idempotency.settle("k", "token", DONE), 100)).toBe(false);
  expect(await idempotency.get("k")).toMatchObject({ state: "pending", token: "other" });
});

// Values

test("a result of 20 MB is recorded and replayed as it was", async () => {
  const { idempotency } = await open();
  const outcome = JSON.stringify({ text: randomBytes(15_000_000).toString("base64") });
  await idempotency.claim("k", claimOf());
  expect(await idempotency.settle("k", "token", { ...DONE, outcome })).toBe(true);
  const { won, record } = await idempotency.claim("k", claimOf({ token: "other" }));
  expect(won).toBe(false);
  expect(record.outcome === outcome).toBe(true);
  expect((await idempotency.get("k"))?.outcome === outcome).toBe(true);
});

test("a claim that loses writes no large result again", async () => {
  const { idempotency, pool, table } = await open();
  await idempotency.claim("k", claimOf());
  await idempotency.settle("k", "token", { ...DONE, outcome: randomBytes(1_000_000).toString("base64") });
  const size = async (): Promise<number> => {
    const { rows } = await pool.query(`SELECT pg_total_relation_size('"${table}_idempotency"')::float8 AS size`);
    return rows[0].size;
  };
  const before = await size();
  for (let index = 0; index < 20; index += 1) await idempotency.claim("k", claimOf({ token: `other ${index}` }));
  expect(await size()).toBeLessThan(before + 500_000);
});

test("a pinned record stands, and no sweep removes it", async () => {
  const { idempotency } = await open();
  await idempotency.claim("k", claimOf());
  await idempotency.settle("k", "token", { state: "done", ttlMs: Infinity, outcome: "{}" });
  expect(await idempotency.sweep(Infinity)).toBe(0);
  expect(await idempotency.get("k")).toMatchObject({ state: "done", expiresAt: Infinity });
});

test.each([
  ["a NUL", "a\0b"],
  ["a lone surrogate", "a\ud800b"],
])("a key or a result with %s is refused, not altered", async (_, text) => {
  const { idempotency, rateLimit } = await open();
  await expect(idempotency.claim(text, claimOf())).rejects.toThrow(/key holds a NUL or a lone surrogate/);
  await expect(rateLimit.take(text, TERMS)).rejects.toThrow(/key holds/);
  await idempotency.claim("k", claimOf());
  await expect(idempotency.settle("k", "token", { ...DONE, outcome: text })).rejects.toThrow(/the outcome holds/);
  expect(await idempotency.get("k")).toMatchObject({ state: "pending" });
});

test("a key as long as is allowed is held, also where nothing in it can be compressed; a longer one is refused", async () => {
  const { idempotency } = await open();
  const key = randomBytes(2000).toString("base64").slice(0, 2600);
  expect(await idempotency.claim(key, claimOf())).toMatchObject({ won: true });
  expect(await idempotency.claim(key, claimOf({ token: "other" }))).toMatchObject({ won: false });
  await expect(idempotency.claim(`${key}x`, claimOf())).rejects.toThrow(RangeError);
  await expect(idempotency.claim("\u{1f600}".repeat(651), claimOf())).rejects.toThrow(/at most 2600 bytes/);
});

// Sweeping

async function planOf(pool: pg.Pool, { text, values }: PostgresQuery): Promise<string> {
  const { rows } = await pool.query(`EXPLAIN ${text}`, values);
  return rows.map((row) => row["QUERY PLAN"]).join("\n");
}

test("sweeping finds what is due by an index, in tables of some size", async () => {
  const { pool, table } = await open();
  const counted = counting(pool);
  const { idempotency, rateLimit } = postgresStore({ pool: counted, table });
  await idempotency.sweep(1000);
  await rateLimit.take("k", TERMS);
  await pool.query(`INSERT INTO "${table}_idempotency"
    SELECT 'key ' || n, 'f', 't', 'done', 0, NULL, 0, 1e15 + n, 0, NULL FROM generate_series(1, 20000) AS n`);
  await pool.query(`INSERT INTO "${table}_rate_limit" (key, full_at, idle_at)
    SELECT 'key ' || n, 1e15, 1e15 + n FROM generate_series(1, 20000) AS n`);
  await pool.query(`ANALYZE "${table}_idempotency"; ANALYZE "${table}_rate_limit"`);
  for (const query of counted.sent) {
    const plan = await planOf(pool, query);
    expect(plan).toMatch(/Index Scan using t_\w+_(idempotency_due|rate_limit_idle)/);
    expect(plan).not.toMatch(/Seq Scan on t_/);
  }
});

test("two that sweep at once do not wait for each other and change each record once", async () => {
  const { idempotency } = await open();
  const keys = Array.from({ length: 200 }, (_, index) => `key ${index}`);
  await Promise.all(keys.map((key) => idempotency.claim(key, claimOf({ leaseMs: 1 }))));
  await sleep(20);
  const changed = await Promise.all(Array.from({ length: 4 }, () => idempotency.sweep(100)));
  const rest = await idempotency.sweep(1000);
  expect(changed.reduce((sum, count) => sum + count, rest)).toBe(keys.length);
  expect(await idempotency.get("key 0")).toMatchObject({ state: "unknown" });
});

test("keys that were idle for long are forgotten by later takes, others are not", async () => {
  const { rateLimit, pool, table } = await open();
  for (let index = 0; index < 70; index += 1) await rateLimit.take(`idle ${index}`, TERMS);
  await rateLimit.pause("paused", TERMS, 600_000);
  await pool.query(`UPDATE "${table}_rate_limit" SET idle_at = idle_at - 600000`);
  for (let index = 0; index < 64; index += 1) await rateLimit.take("busy", TERMS);
  const { rows } = await pool.query(`SELECT key FROM "${table}_rate_limit" ORDER BY key`);
  expect(rows).toEqual([{ key: "busy" }, { key: "paused" }]);
});

test("more than a burst at once is refused as a mistake", async () => {
  const { rateLimit } = await open();
  await expect(rateLimit.take("k", { ...TERMS, cost: 3 })).rejects.toThrow(/cost must be at most burst \(2\), got 3/);
});

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { SagaCreation, SagaQuery, SagaStore } from "@mcp-tx/core/stores";
import { sagaStoreContract } from "@mcp-tx/core/testing";
import { type PostgresClient, type PostgresQuery, type PostgresStore, postgresStore } from "@mcp-tx/postgres";
import pg from "pg";
import { afterAll, test as base, expect, onTestFinished } from "vitest";
import { processes } from "./fixtures/contenders.js";
import { dropTables, type OpenStore, openStore, tableName } from "./fixtures/postgres-tables.js";
import { postgres } from "./fixtures/services.js";

const server = await postgres();
const test = base.skipIf(server.missing !== undefined);
afterAll(() => server.close());

/** For cases that measure time: nothing here needs a commit to reach the disk, and a disk may take longer than they wait. */
const SWIFT: pg.PoolConfig = { options: "-c synchronous_commit=off" };
const DONE = { status: "completed", outcome: "{}", ttlMs: 600_000 } as const;

async function opened(prepare: boolean, settings: pg.PoolConfig = {}): Promise<OpenStore> {
  const store = await openStore(server.url, { prepare }, settings);
  const end = async (): Promise<void> => {
    await dropTables(store.pool, store.table);
    await store.pool.end();
  };
  return { ...store, end };
}

async function open(): Promise<OpenStore> {
  const store = await opened(false);
  onTestFinished(() => store.end());
  return store;
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

function creationOf(creation: Partial<SagaCreation> = {}): SagaCreation {
  return { name: "order", definition: "d", input: "{}", token: "token", leaseMs: 600_000, ...creation };
}

/** Each method once, in an order in which each has something to do. */
function methodsOf(saga: SagaStore): Record<string, () => Promise<unknown>> {
  const from = ["running", "stuck"] as const;
  return {
    create: () => saga.create("a", creationOf()),
    "create again": () => saga.create("a", creationOf()),
    "create by another": () => saga.create("a", creationOf({ token: "other" })),
    "claim by another": () => saga.claim("a", { token: "other", leaseMs: 1, from }),
    claim: () => saga.claim("a", { token: "token", leaseMs: 600_000, from }),
    "claim of none": () => saga.claim("b", { token: "token", leaseMs: 1, from }),
    extend: () => saga.extend("a", "token", 600_000),
    append: () =>
      saga.append(
        "a",
        "token",
        [1, 2, 3].map((seq) => ({ seq, body: `${seq}` })),
      ),
    "append again": () => saga.append("a", "token", [{ seq: 1, body: "1" }]),
    "append of nothing": () => saga.append("a", "token", []),
    "append by another": () => saga.append("a", "other", [{ seq: 4, body: "4" }]),
    release: () => saga.release("a", "token"),
    get: () => saga.get("a"),
    entries: () => saga.entries("a"),
    list: () => saga.list({ limit: 10 }),
    "list with filters": () => saga.list({ status: "running", name: "order", unowned: true, after: "0", limit: 10 }),
    end: () => saga.end("a", "token", DONE),
    "end again": () => saga.end("a", "token", DONE),
    sweep: () => saga.sweep(10),
  };
}

for (const prepare of [false, true]) {
  const cases = sagaStoreContract(async () => {
    const store = await opened(prepare, SWIFT);
    const pool = new pg.Pool({ connectionString: server.url, ...SWIFT });
    const other = postgresStore({ pool, table: store.table, prepare });
    await other.ready();
    return {
      store: store.saga,
      other: other.saga,
      advance: (ms) => sleep(ms + 2),
      records: async () => {
        const count = (suffix: string): string => `(SELECT count(*)::int FROM "${store.table}_${suffix}")`;
        const { rows } = await pool.query(`SELECT ${count("saga")} + ${count("saga_entry")} AS count`);
        return rows[0].count;
      },
      close: async () => {
        await pool.end();
        await store.end();
      },
    };
  });
  for (const { name, run } of cases) test(`sagas, ${prepare ? "prepared by name" : "unnamed"}: ${name}`, run);
}

// Schema

/** Version 1 as it was released, with a record of each kind; gives its identity. */
async function version1(pool: pg.Pool, table: string): Promise<string> {
  await pool.query(`
    CREATE TABLE "${table}_meta" (
      only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
      version integer NOT NULL,
      store_id uuid NOT NULL
    );
    INSERT INTO "${table}_meta" (version, store_id) VALUES (1, gen_random_uuid());
    CREATE TABLE "${table}_idempotency" (
      key text COLLATE "C" PRIMARY KEY,
      fingerprint text NOT NULL,
      token text NOT NULL,
      state text NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'unknown')),
      epoch bigint NOT NULL,
      outcome text,
      lease_until float8 NOT NULL,
      expires_at float8 NOT NULL,
      sent_at_wall float8 NOT NULL,
      sent_to text
    ) WITH (fillfactor = 70);
    CREATE INDEX "${table}_idempotency_due" ON "${table}_idempotency"
      ((CASE WHEN state = 'pending' THEN lease_until ELSE expires_at END)) WHERE state <> 'unknown';
    INSERT INTO "${table}_idempotency" VALUES ('k', 'f', 't', 'done', 3, 'kept', 0, 'Infinity', 1, NULL);
    CREATE TABLE "${table}_rate_limit" (
      key text COLLATE "C" PRIMARY KEY,
      full_at float8 NOT NULL,
      paused_until float8 NOT NULL DEFAULT '-Infinity',
      wait_ms float8 NOT NULL DEFAULT 0,
      idle_at float8 NOT NULL
    ) WITH (fillfactor = 50);
    CREATE INDEX "${table}_rate_limit_idle" ON "${table}_rate_limit" (idle_at);
    INSERT INTO "${table}_rate_limit" (key, full_at, idle_at) VALUES ('k', 1, 2);`);
  return identityOf(pool, table);
}

async function identityOf(pool: pg.Pool, table: string): Promise<string> {
  const { rows } = await pool.query(`SELECT store_id::text AS id FROM "${table}_meta"`);
  return rows[0].id;
}

async function expectWhatVersion1Kept({ idempotency, rateLimit, saga }: PostgresStore): Promise<void> {
  expect(await idempotency.get("k")).toMatchObject({ state: "done", epoch: 3, outcome: "kept", expiresAt: Infinity });
  expect(await rateLimit.take("k", { rate: 1, burst: 1, cost: 1 })).toMatchObject({ allowed: true });
  expect(await saga.create("a", creationOf())).toMatchObject({ created: true });
  expect(await saga.append("a", "token", [{ seq: 1, body: "one" }])).toBe(true);
}

test("tables of version 1 are brought to this one with all that they hold, and stay the same store", async () => {
  const table = tableName();
  const pool = poolFor(table);
  const storeId = await version1(pool, table);
  const store = postgresStore({ pool, table });
  await expect(store.ready()).rejects.toThrow(/has schema version 1, and 2 is needed\. Run `await store\.migrate\(\)`/);
  await expect(store.saga.get("a")).rejects.toThrow(/store\.migrate\(\)/);
  await store.migrate();
  await store.migrate();
  expect([store.saga.storeId, store.idempotency.storeId]).toEqual([storeId, storeId]);
  await expectWhatVersion1Kept(store);
});

test("8 connections bring version 1 to this one at once", async () => {
  const table = tableName();
  const pool = poolFor(table);
  const storeId = await version1(pool, table);
  const stores = Array.from({ length: 8 }, () => postgresStore({ pool, table }));
  await Promise.all(stores.map((store) => store.migrate()));
  expect(new Set(stores.map(({ saga }) => saga.storeId))).toEqual(new Set([storeId]));
  await expectWhatVersion1Kept(postgresStore({ pool, table }));
});

test("6 processes bring version 1 to this one at once", async () => {
  const table = tableName();
  const pool = poolFor(table);
  const storeId = await version1(pool, table);
  const migrating = await processes(6, "./postgres-contender.mjs", { url: server.url, table });
  onTestFinished(() => migrating.end());
  expect(new Set(await migrating.all("migrate", {}))).toEqual(new Set([storeId]));
  const store = postgresStore({ pool, table });
  await store.ready();
  await expectWhatVersion1Kept(store);
});

test("idempotency records that are lost make another store, in which the sagas stand", async () => {
  const { pool, table, saga, migrate, idempotency } = await open();
  const { storeId } = saga;
  await saga.create("a", creationOf());
  await saga.append("a", "token", [{ seq: 1, body: "one" }]);
  await pool.query(`DROP TABLE "${table}_idempotency"`);
  await migrate();
  expect(saga.storeId).not.toBe(storeId);
  expect(idempotency.storeId).toBe(saga.storeId);
  expect(await saga.get("a")).toMatchObject({ status: "running", token: "token" });
  expect(await saga.entries("a")).toMatchObject([{ seq: 1, body: "one" }]);
});

test("sagas that are lost make another store, in which the idempotency records stand", async () => {
  const { pool, table, saga, idempotency, migrate } = await open();
  const { storeId } = saga;
  const claim = { fingerprint: "f", token: "t", leaseMs: 600_000, epoch: 0, sentAtWall: 1 };
  await idempotency.claim("k", claim);
  await saga.create("a", creationOf());
  await pool.query(`DROP TABLE "${table}_saga", "${table}_saga_entry"`);
  await migrate();
  expect(saga.storeId).not.toBe(storeId);
  expect(await saga.get("a")).toBeUndefined();
  expect(await idempotency.get("k")).toMatchObject({ state: "pending" });
});

test.each(["saga", "saga_entry"])("sagas of which only _%s is lost are left to somebody who knows", async (lost) => {
  const { pool, table, saga, migrate } = await open();
  await saga.create("a", creationOf());
  await saga.append("a", "token", [{ seq: 1, body: "one" }]);
  const storeId = await identityOf(pool, table);
  await pool.query(`DROP TABLE "${table}_${lost}"`);
  await expect(migrate()).rejects.toThrow(
    `one of the tables "${table}_saga" and "${table}_saga_entry" is lost. Restore it, or drop the other one too.`,
  );
  expect(await identityOf(pool, table)).toBe(storeId);
  const rest = lost === "saga" ? "saga_entry" : "saga";
  expect((await pool.query(`SELECT FROM "${table}_${rest}"`)).rowCount).toBe(1);
});

test("a role that may not create anything serves after ready, and may migrate what is up to date", async () => {
  const { pool, table } = await open();
  const role = `r_${table}`;
  await pool.query(`CREATE ROLE "${role}" LOGIN`);
  onTestFinished(async () => void (await pool.query(`DROP OWNED BY "${role}"; DROP ROLE "${role}"`)));
  await pool.query(`GRANT SELECT ON "${table}_meta" TO "${role}"`);
  const tables = ["idempotency", "rate_limit", "saga", "saga_entry"].map((suffix) => `"${table}_${suffix}"`);
  await pool.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${tables.join(", ")} TO "${role}"`);
  const url = new URL(server.url);
  url.username = role;
  const worker = new pg.Pool({ connectionString: url.href });
  onTestFinished(() => worker.end());
  await expect(worker.query(`CREATE TABLE "${table}_more" ()`)).rejects.toThrow(/permission denied/);
  const store = postgresStore({ pool: worker, table });
  await store.ready();
  await store.migrate();
  expect(store.saga.storeId).toBe(await identityOf(pool, table));
  for (const method of Object.values(methodsOf(store.saga))) await method();
});

test("every method says what to do when migrate was never run", async () => {
  const table = tableName();
  const { saga } = postgresStore({ pool: poolFor(table), table });
  for (const [name, method] of Object.entries(methodsOf(saga))) {
    await expect(method(), name).rejects.toThrow(/schema of table "t_\w+" is not there\. Run `await store\.migrate/);
  }
  expect(() => saga.storeId).toThrow("await migrate() or ready()");
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
  const { saga } = postgresStore({ pool: counted, table });
  for (const [name, method] of Object.entries(methodsOf(saga))) {
    counted.sent.length = 0;
    await method();
    expect(counted.sent, name).toHaveLength(1);
    expect(counted.sent[0]?.text, name).not.toMatch(/;|\bnow\(\)/);
  }
});

test("a list is prepared once for each set of filters, whatever their values", async () => {
  const { pool, table } = await open();
  const counted = counting(pool);
  const { saga } = postgresStore({ pool: counted, table, prepare: true });
  const queries: SagaQuery[] = [
    { name: "a", after: "b", limit: 1 },
    { name: "c", after: "d", limit: 2 },
    { status: "completed", limit: 1 },
    { status: "abandoned", limit: Infinity },
    { status: "running", unowned: true, limit: 1 },
    { status: "running", unowned: true, limit: 9 },
  ];
  for (const query of queries) expect(await saga.list(query)).toEqual([]);
  const [a, b, c, d, e, f] = counted.sent.map(({ name }) => name);
  expect([a, c, e]).toEqual([b, d, f]);
  expect(new Set([a, c, e]).size).toBe(3);
});

test("type parsers that the user changed change nothing", async () => {
  const { saga } = await open();
  const { BOOL, INT4, INT8, FLOAT8, NUMERIC } = pg.types.builtins;
  for (const type of [BOOL, INT4, INT8, FLOAT8, NUMERIC]) {
    const before = pg.types.getTypeParser(type);
    pg.types.setTypeParser(type, () => ({ changed: true }));
    onTestFinished(() => pg.types.setTypeParser(type, before));
  }
  const created = await saga.create("a", creationOf({ deadlineAt: 1_700_000_000_000.25 }));
  expect(created).toMatchObject({ created: true, saga: { deadlineAt: 1_700_000_000_000.25, expiresAt: Infinity } });
  expect(Math.abs(created.saga.createdAt - Date.now())).toBeLessThan(10_000);
  expect(await saga.append("a", "token", [{ seq: 7, body: "seven" }])).toBe(true);
  expect(await saga.entries("a")).toEqual([{ seq: 7, at: expect.any(Number), body: "seven" }]);
  expect(await saga.sweep(Infinity)).toBe(0);
});

test("nothing depends on a session: each statement on another connection, that forgets all after each", async () => {
  const { table } = await open();
  const sessions = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const client = new pg.Client(server.url);
      await client.connect();
      onTestFinished(() => client.end());
      return client;
    }),
  );
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
  for (const method of Object.values(methodsOf(store.saga))) await method();
  expect(await store.saga.entries("a")).toHaveLength(3);
});

test("a client inside a transaction is refused", async () => {
  const { table } = await open();
  const client = new pg.Client(server.url);
  await client.connect();
  onTestFinished(() => client.end());
  await client.query("BEGIN");
  const { saga } = postgresStore({ pool: client, table });
  await expect(saga.append("a", "token", [])).rejects.toThrow(/inside a transaction.*Give the store a Pool/);
});

// Values

const NUL_OR_LONE = ["a\0b", "a\ud800b"] as const;

test.each(NUL_OR_LONE)("a text that cannot be stored is refused and named, %j", async (text) => {
  const { saga } = await open();
  const refusals: [() => Promise<unknown>, string][] = [
    [() => saga.create(text, creationOf()), "the id"],
    [() => saga.create("a", creationOf({ name: text })), "the name"],
    [() => saga.create("a", creationOf({ definition: text })), "the definition"],
    [() => saga.create("a", creationOf({ input: text })), "the input"],
    [() => saga.create("a", creationOf({ token: text })), "the token"],
    [() => saga.claim("a", { token: text, leaseMs: 1, from: ["running"] }), "the token"],
    [
      () =>
        saga.append("a", "token", [
          { seq: 1, body: "" },
          { seq: 2, body: text },
        ]),
      "an entry",
    ],
    [() => saga.end("a", "token", { ...DONE, outcome: text }), "the outcome"],
    [() => saga.list({ after: text, limit: 1 }), "after"],
    [() => saga.list({ name: text, limit: 1 }), "the name"],
  ];
  for (const method of ["get", "entries"] as const) refusals.push([() => saga[method](text), "the id"]);
  for (const [method, what] of refusals) {
    await expect(method(), what).rejects.toThrow(TypeError);
    await expect(method(), what).rejects.toThrow(`postgresStore: ${what} holds a NUL or a lone surrogate`);
  }
  expect(await saga.list({ limit: 1 })).toEqual([]);
});

test("an id as long as is allowed is held, also where nothing in it can be compressed; a longer one is refused", async () => {
  const { saga } = await open();
  const id = randomBytes(2000).toString("base64").slice(0, 2600);
  expect(await saga.create(id, creationOf())).toMatchObject({ created: true });
  expect(await saga.append(id, "token", [{ seq: 1, body: "one" }])).toBe(true);
  expect(await saga.end(id, "token", { ...DONE, status: "stuck" })).toBe(true);
  expect(await saga.list({ status: "stuck", limit: 1 })).toMatchObject([{ id }]);
  await expect(saga.create(`${id}x`, creationOf())).rejects.toThrow(/the id must be at most 2600 bytes/);
});

test("an append of 20 MB is kept as it was, and costs nothing when it is repeated", async () => {
  const { saga, pool, table } = await open();
  const body = JSON.stringify({ text: randomBytes(15_000_000).toString("base64") });
  await saga.create("a", creationOf());
  expect(await saga.append("a", "token", [{ seq: 1, body }])).toBe(true);
  const size = async (): Promise<number> => {
    const { rows } = await pool.query(`SELECT pg_total_relation_size('"${table}_saga_entry"')::float8 AS size`);
    return rows[0].size;
  };
  const before = await size();
  expect(await saga.append("a", "token", [{ seq: 1, body: "another" }])).toBe(true);
  expect(await size()).toBe(before);
  expect((await saga.entries("a"))[0]?.body === body).toBe(true);
});

// Indexes

async function planOf(pool: pg.Pool, { text, values }: PostgresQuery): Promise<string> {
  const { rows } = await pool.query(`EXPLAIN ${text}`, values);
  return rows.map((row) => row["QUERY PLAN"]).join("\n");
}

/** The plan that serves all values, which a prepared statement may change to. */
async function genericPlanOf(pool: pg.Pool, { text, values = [] }: PostgresQuery): Promise<string> {
  const client = await pool.connect();
  try {
    await client.query(`SET plan_cache_mode = force_generic_plan; PREPARE generic AS ${text}`);
    const given = values.map((value) => `'${value}'`).join(", ");
    const { rows } = await client.query(`EXPLAIN EXECUTE generic (${given})`);
    return rows.map((row) => row["QUERY PLAN"]).join("\n");
  } finally {
    await client.query("DISCARD ALL");
    client.release();
  }
}

test("unfinished sagas and those to forget are found by an index among a hundred thousand", async () => {
  const { pool, table } = await open();
  const counted = counting(pool);
  const { saga } = postgresStore({ pool: counted, table });
  await pool.query(`INSERT INTO "${table}_saga"
    SELECT md5(n::text), 'name ' || n % 3, 'd', 'x',
      CASE WHEN n % 500 = 0 THEN 'running' WHEN n % 500 = 1 THEN 'stuck' ELSE 'completed' END, 't',
      CASE WHEN n % 1000 = 0 THEN 1e15 ELSE 0 END, NULL, NULL, 0, 0,
      CASE WHEN n % 500 < 2 THEN 'Infinity' WHEN n % 1000 = 2 THEN 1 ELSE 1e15 + n END
    FROM generate_series(1, 100000) AS n`);
  await pool.query(`INSERT INTO "${table}_saga_entry"
    SELECT md5(n::text), seq, 0, 'x' FROM generate_series(1, 100000) AS n, generate_series(1, 2) AS seq`);
  await pool.query(`ANALYZE "${table}_saga"; ANALYZE "${table}_saga_entry"`);
  expect(await saga.list({ status: "running", unowned: true, limit: 1000 })).toHaveLength(100);
  expect((await saga.list({ status: "running", unowned: true, after: "8", name: "name 1", limit: 10 })).length).toBe(
    10,
  );
  expect(await saga.list({ status: "stuck", limit: 1000 })).toHaveLength(200);
  for (const query of counted.sent) {
    for (const plan of [await planOf(pool, query), await genericPlanOf(pool, query)]) {
      expect(plan).toMatch(/Index Scan using t_\w+_saga_unfinished/);
      // Found in order: nothing is sorted, and a page costs what is on it.
      expect(plan).not.toMatch(/Seq Scan|Sort/);
    }
  }
  counted.sent.length = 0;
  expect(await saga.sweep(60)).toBe(60);
  expect(await saga.sweep(60)).toBe(40);
  for (const query of counted.sent) {
    const plan = await planOf(pool, query);
    expect(plan).toMatch(/Index Scan using t_\w+_saga_due/);
    expect(plan).not.toMatch(/Seq Scan/);
  }
  const { rows } = await pool.query(`SELECT count(*)::int AS count FROM "${table}_saga_entry"`);
  expect(rows).toEqual([{ count: 199_800 }]);
});

import { setTimeout as sleep } from "node:timers/promises";
import type { IdempotencyClaim, IdempotencyStore } from "@mcp-tx/core/stores";
import { type PostgresClient, postgresStore } from "@mcp-tx/postgres";
import pg from "pg";
import { afterAll, test as base, expect, onTestFinished } from "vitest";
import { type OpenStore, openStore, tableName } from "./fixtures/postgres-tables.js";
import { cannotStart, ownPostgres, postgres } from "./fixtures/services.js";

// Replies that are lost, servers that are down, slow, or restarted in the middle of the work.

const server = await postgres();
const test = base.skipIf(server.missing !== undefined);
const ownTest = base.skipIf(cannotStart("postgres") !== undefined);
afterAll(() => server.close());

const TERMS = { rate: 0.001, burst: 3, cost: 1 };
const DONE = { state: "done", ttlMs: 600_000, outcome: "{}" } as const;
const LOST = "Connection terminated unexpectedly";

function claimOf(claim: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  return { fingerprint: "f", token: "token", leaseMs: 600_000, epoch: 0, sentAtWall: 1, ...claim };
}

interface Faults {
  /** What happens to the next statements: fails before it is sent, or is executed and its reply lost. */
  readonly script: ("before" | "after")[];
  readonly store: OpenStore;
  readonly idempotency: IdempotencyStore;
  readonly rateLimit: OpenStore["rateLimit"];
}

async function faulty(): Promise<Faults> {
  const store = await openStore(server.url);
  onTestFinished(() => store.end());
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
  return { script, store, ...postgresStore({ pool, table: store.table }) };
}

test.each(["before", "after"] as const)(
  "a claim that fails %s it is committed wins when it is repeated",
  async (fault) => {
    const { script, idempotency, store } = await faulty();
    script.push(fault);
    await expect(idempotency.claim("k", claimOf())).rejects.toThrow(LOST);
    expect((await store.idempotency.get("k"))?.state).toBe(fault === "before" ? undefined : "pending");
    expect(await idempotency.claim("k", claimOf())).toMatchObject({ won: true, record: { token: "token" } });
    expect(await store.idempotency.claim("k", claimOf({ token: "other" }))).toMatchObject({ won: false });
  },
);

test.each(["before", "after"] as const)(
  "a takeover that fails %s it is committed wins when it is repeated",
  async (fault) => {
    const { script, idempotency, store } = await faulty();
    await store.idempotency.claim("k", claimOf({ token: "gone" }));
    await store.idempotency.settle("k", "gone", { state: "unknown", ttlMs: 0 });
    script.push(fault);
    await expect(idempotency.claim("k", claimOf({ takeover: "gone" }))).rejects.toThrow(LOST);
    expect(await idempotency.claim("k", claimOf({ takeover: "gone" }))).toMatchObject({ won: true });
    expect(await store.idempotency.claim("k", claimOf({ token: "other", takeover: "gone" }))).toMatchObject({
      won: false,
    });
  },
);

test.each(["before", "after"] as const)(
  "a settlement that fails %s it is committed holds when it is repeated",
  async (fault) => {
    const { script, idempotency } = await faulty();
    await idempotency.claim("k", claimOf());
    script.push(fault);
    await expect(idempotency.settle("k", "token", DONE)).rejects.toThrow(LOST);
    expect(await idempotency.settle("k", "token", DONE)).toBe(true);
    expect(await idempotency.get("k")).toMatchObject({ state: "done", outcome: "{}" });
  },
);

test.each(["before", "after"] as const)(
  "a release that fails %s it is committed holds when it is repeated",
  async (fault) => {
    const { script, idempotency } = await faulty();
    await idempotency.claim("k", claimOf());
    script.push(fault);
    await expect(idempotency.release("k", "token")).rejects.toThrow(LOST);
    expect(await idempotency.release("k", "token")).toBe(true);
    expect(await idempotency.get("k")).toBeUndefined();
  },
);

test.each(["before", "after"] as const)(
  "a take that fails %s it is committed never gives more than there is",
  async (fault) => {
    const { script, rateLimit } = await faulty();
    script.push(fault);
    await expect(rateLimit.take("k", TERMS)).rejects.toThrow(LOST);
    let granted = 0;
    while ((await rateLimit.take("k", TERMS)).allowed) granted += 1;
    expect(granted).toBe(fault === "before" ? 3 : 2);
  },
);

test("a connection that the server ends in the middle of a claim rejects, and the claim can be repeated", async () => {
  const store = await openStore(server.url);
  onTestFinished(() => store.end());
  await store.idempotency.claim("k", claimOf({ token: "gone", leaseMs: 1 }));
  const holder = await store.pool.connect();
  await holder.query("BEGIN");
  await holder.query(`SELECT 1 FROM "${store.table}_idempotency" FOR UPDATE`);
  const claimed = store.idempotency.claim("k", claimOf({ takeover: "gone" }));
  const rejected = expect(claimed).rejects.toThrow(/terminat/);
  const waiting = `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%${store.table}%'`;
  await expect.poll(async () => (await store.pool.query(waiting)).rowCount).toBe(1);
  await store.pool.query(`SELECT pg_terminate_backend(pid) FROM (${waiting}) AS w`);
  await rejected;
  await holder.query("COMMIT");
  holder.release();
  expect(await store.idempotency.claim("k", claimOf({ takeover: "gone" }))).toMatchObject({ won: true });
});

test("a server that is slow leaves the time to the pool, and what it did in the end is found by the repeated claim", async () => {
  const store = await openStore(server.url, {}, { query_timeout: 100 });
  onTestFinished(() => store.end());
  const [holder, watcher] = [new pg.Client(server.url), new pg.Client(server.url)];
  for (const client of [holder, watcher]) {
    await client.connect();
    onTestFinished(() => client.end());
  }
  await holder.query(`BEGIN; LOCK TABLE "${store.table}_idempotency" IN EXCLUSIVE MODE`);
  await expect(store.idempotency.claim("k", claimOf())).rejects.toThrow(/timeout/i);
  await holder.query("COMMIT");
  const count = `SELECT count(*)::int AS count FROM "${store.table}_idempotency" WHERE token = 'token'`;
  await expect.poll(async () => (await watcher.query(count)).rows[0].count).toBe(1);
  expect(await store.idempotency.claim("k", claimOf())).toMatchObject({ won: true });
});

ownTest("a server that is down rejects, and one that is back serves", async () => {
  const own = await ownPostgres();
  onTestFinished(() => own.close());
  const store = await openStore(own.url, {}, { connectionTimeoutMillis: 2000 });
  onTestFinished(() => store.pool.end());
  await store.idempotency.claim("k", claimOf());
  await own.stop();
  await expect(store.idempotency.get("k")).rejects.toThrow();
  await expect(store.idempotency.claim("l", claimOf())).rejects.toThrow(/ECONNREFUSED|terminat/);
  await expect(store.ready()).rejects.toThrow(/ECONNREFUSED|terminat/);
  await own.start();
  expect(await store.idempotency.settle("k", "token", DONE)).toBe(true);
});

ownTest("a role that may not create tables runs migrate on a schema that is there", async () => {
  const own = await ownPostgres();
  onTestFinished(() => own.close());
  const store = await openStore(own.url, { table: "app" });
  onTestFinished(() => store.pool.end());
  await store.pool.query(`CREATE ROLE worker LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT SELECT, INSERT, UPDATE, DELETE ON app_idempotency, app_rate_limit TO worker; GRANT SELECT ON app_meta TO worker`);
  const pool = new pg.Pool({ connectionString: own.url.replace("postgres@", "worker@") });
  onTestFinished(() => pool.end());
  const asWorker = postgresStore({ pool, table: "app" });
  await asWorker.migrate();
  expect(await asWorker.idempotency.claim("k", claimOf())).toMatchObject({ won: true });
  expect(await asWorker.idempotency.release("k", "token")).toBe(true);
  expect(await asWorker.idempotency.sweep(10)).toBe(0);
  expect(await asWorker.rateLimit.take("k", TERMS)).toMatchObject({ allowed: true });
  await expect(postgresStore({ pool, table: "other" }).migrate()).rejects.toThrow(/permission denied/);
});

/** Repeats what fails, as somebody does who wants an answer. */
async function insist<T>(action: () => Promise<T>, failures: unknown[]): Promise<T> {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      failures.push(error);
      await sleep(5);
    }
  }
}

ownTest("crashes of the server under load lose no record and let nobody in twice", async () => {
  const own = await ownPostgres();
  onTestFinished(() => own.close());
  const table = tableName();
  const first = await openStore(own.url, { table });
  const pools = [first.pool, new pg.Pool({ connectionString: own.url, max: 10 })];
  onTestFinished(async () => void (await Promise.all(pools.map((pool) => pool.end()))));
  for (const pool of pools) pool.on("error", () => undefined);
  const stores = pools.map((pool) => postgresStore({ pool, table }).idempotency);

  const owners = new Map<string, string[]>();
  const failures: unknown[] = [];
  let working = true;
  let next = 0;

  async function contender(name: number): Promise<void> {
    const store = stores[name % stores.length];
    if (store === undefined) throw new Error("no store");
    while (working) {
      // Four contenders for each key.
      const key = `key ${Math.floor(next / 4)}`;
      next += 1;
      const token = `${key} of ${name} at ${next}`;
      const { won } = await insist(() => store.claim(key, claimOf({ token })), failures);
      if (!won) continue;
      owners.set(key, [...(owners.get(key) ?? []), token]);
      expect(await insist(() => store.settle(key, token, { ...DONE, outcome: token }), failures)).toBe(true);
    }
  }

  const contenders = Array.from({ length: 12 }, (_, index) => contender(index));
  for (let crash = 0; crash < 3; crash += 1) {
    await sleep(300);
    await own.kill();
    await own.start();
  }
  await sleep(300);
  working = false;
  await Promise.all(contenders);

  expect(failures.length).toBeGreaterThan(0);
  expect(owners.size).toBeGreaterThan(100);
  for (const [key, tokens] of owners) {
    expect(tokens, key).toHaveLength(1);
    expect(await first.idempotency.get(key)).toMatchObject({ state: "done", token: tokens[0], outcome: tokens[0] });
  }
});

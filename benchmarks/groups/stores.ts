import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IdempotencyClaim, IdempotencySettlement, IdempotencyStore } from "@mcp-tx/core/stores";
import { type PostgresQuery, postgresStore } from "@mcp-tx/postgres";
import { type RedisStoreClient, redisStore } from "@mcp-tx/redis";
import { type SqliteDatabase, type SqlValue, sqliteStore } from "@mcp-tx/sqlite";
import { Redis } from "ioredis";
import pg from "pg";
import { createClient } from "redis";
import type { Group, Target, Task } from "../harness/group.js";
import { isThere, POSTGRES, REDIS } from "../harness/services.js";

const IN_FLIGHT = 64;
/** On a disk each transaction of the floor waits for it, 64 of them for a tenth of a second. */
const IN_FLIGHT_ON_DISK = 4;
/** What every call gives alike. */
const FINGERPRINT = "a".repeat(64);
const DONE: IdempotencySettlement = { state: "done", outcome: '{"content":[]}', ttlMs: 60_000 };

/** A claim, and the settlement that follows it. */
interface Work {
  claim(key: string, claim: IdempotencyClaim): Promise<unknown>;
  settle(key: string, token: string): Promise<unknown>;
}

/** A store, and what it sends, sent through the driver alone. */
interface Subject {
  readonly name: string;
  readonly store: IdempotencyStore;
  /** The floor: the very same statements on the same connections, and as durable. */
  readonly raw: Work;
  /** The claim with less around it than is needed, to be compared with and not judged. */
  readonly bare?: Work["claim"];
  readonly inFlight?: number;
  close(): void | Promise<void>;
}

function newClaim(): IdempotencyClaim {
  return { fingerprint: FINGERPRINT, token: randomUUID(), leaseMs: 60_000, epoch: 0, sentAtWall: Date.now() };
}

const claiming = (work: Work) => () => work.claim(randomUUID(), newClaim());

const settling = (work: Work) => async (): Promise<unknown> => {
  const key = randomUUID();
  const claim = newClaim();
  await work.claim(key, claim);
  return work.settle(key, claim.token);
};

function atOnce(count: number, task: () => Promise<unknown>): Task {
  return () => Promise.all(Array.from({ length: count }, task));
}

const OURS = "store";
const FLOOR = "driver alone";
const BARE = "driver, no transaction";

function groupsOf({ name, store, raw, bare, inFlight = IN_FLIGHT, close }: Subject): readonly Group[] {
  const ours: Work = {
    claim: (key, claim) => store.claim(key, claim),
    settle: (key, token) => store.settle(key, token, DONE),
  };
  const bareOnes: Record<string, Task> = bare === undefined ? {} : { [BARE]: () => bare(randomUUID(), newClaim()) };
  const informing: readonly Target[] =
    bare === undefined ? [] : [{ ours: OURS, peer: BARE, what: `${name}: a claim, against a statement by itself` }];
  const shared = { measure: "time", reference: FLOOR } as const;
  const sequential: Target = { ours: OURS, peer: FLOOR, atMost: 1.05 };
  // At least 0.9 of the rate.
  const concurrent: Target = { ours: OURS, peer: FLOOR, atMost: 1 / 0.9 };
  return [
    {
      title: `stores: a claim in ${name}, one after the other`,
      contenders: { [OURS]: claiming(ours), [FLOOR]: claiming(raw), ...bareOnes },
      targets: [sequential, ...informing],
      ...shared,
    },
    {
      title: `stores: a claim and its settlement in ${name}, one after the other`,
      contenders: { [OURS]: settling(ours), [FLOOR]: settling(raw) },
      targets: [sequential],
      ...shared,
    },
    {
      title: `stores: ${inFlight} claims in ${name} at a time`,
      contenders: { [OURS]: atOnce(inFlight, claiming(ours)), [FLOOR]: atOnce(inFlight, claiming(raw)) },
      targets: [concurrent],
      ...shared,
    },
    {
      title: `stores: ${inFlight} claims and settlements in ${name} at a time`,
      contenders: { [OURS]: atOnce(inFlight, settling(ours)), [FLOOR]: atOnce(inFlight, settling(raw)) },
      targets: [concurrent],
      ...shared,
      close,
    },
  ];
}

/** Has a store claim and settle once; what its driver was given is read from what was recorded meanwhile. */
async function sendBoth(store: IdempotencyStore): Promise<{ readonly key: string; readonly claim: IdempotencyClaim }> {
  const [key, claim] = [randomUUID(), newClaim()];
  await store.claim(key, claim);
  await store.settle(key, claim.token, DONE);
  return { key, claim };
}

function found<T>(what: string, value: T | undefined): T {
  if (value === undefined) throw new Error(`stores: the store sent no ${what}`);
  return value;
}

async function postgres(connectionString: string, prepare: boolean): Promise<Subject> {
  const pool = new pg.Pool({ connectionString, max: 16 });
  const table = `bench_${randomUUID().slice(0, 8)}`;
  const seen: PostgresQuery[] = [];
  const spy = {
    query: (query: PostgresQuery) => {
      seen.push(query);
      return pool.query({ ...query, values: [...(query.values ?? [])] });
    },
  };
  const spied = postgresStore({ pool: spy, table, prepare });
  await spied.migrate();
  seen.length = 0;
  await sendBoth(spied.idempotency);
  const [claimed, settled] = [found("claim", seen[0]), found("settlement", seen[1])];
  const store = postgresStore({ pool, table, prepare });
  await store.ready();
  return {
    name: prepare ? "Postgres, prepared" : "Postgres",
    store: store.idempotency,
    raw: {
      claim(key, { fingerprint, token, leaseMs, epoch, sentAtWall }) {
        return pool.query({
          ...claimed,
          values: [key, fingerprint, token, leaseMs, epoch, sentAtWall, null, null],
        });
      },
      settle: (key, token) =>
        pool.query({ ...settled, values: [key, token, DONE.state, DONE.outcome, DONE.ttlMs, null] }),
    },
    async close() {
      const tables = ["meta", "idempotency", "rate_limit", "saga", "saga_entry"].map((part) => `${table}_${part}`);
      await pool.query(`DROP TABLE ${tables.join(", ")}`);
      await pool.end();
    },
  };
}

/** A script as a driver is given it. */
interface Evaluation {
  readonly sha: string;
  readonly keys: readonly string[];
  readonly given: readonly string[];
}

/** What a store evaluates for a key and a token, when that is another key and another token. */
function evaluations(seen: readonly Evaluation[], { key, claim }: { key: string; claim: IdempotencyClaim }) {
  const [claimed, settled] = [found("claim", seen[0]), found("settlement", seen[1])];
  const recordPrefix = found("key", claimed.keys[0]).slice(0, -key.length);
  const [, marker = ""] = claimed.keys;
  const [, , , , , ...identity] = claimed.given;
  return {
    claim(newKey: string, { token, fingerprint, leaseMs, epoch, sentAtWall }: IdempotencyClaim): Evaluation {
      const given = [token, fingerprint, String(leaseMs), String(epoch), String(sentAtWall), ...identity];
      return { sha: claimed.sha, keys: [recordPrefix + newKey, marker], given };
    },
    settle(newKey: string, newToken: string): Evaluation {
      const given = settled.given.map((value) => (value === claim.token ? newToken : value));
      return { sha: settled.sha, keys: [recordPrefix + newKey], given };
    },
  };
}

interface Evaluating {
  readonly client: RedisStoreClient;
  evaluate(evaluation: Evaluation): Promise<unknown>;
  /** The same client, telling what is evaluated. */
  spy(seen: (evaluation: Evaluation) => void): RedisStoreClient;
  removeAll(prefix: string): Promise<void>;
}

async function redis(name: string, { client, evaluate, spy, removeAll }: Evaluating): Promise<Subject> {
  const prefix = `bench-${randomUUID()}:`;
  const seen: Evaluation[] = [];
  const spied = redisStore({ client: spy((evaluation) => seen.push(evaluation)), prefix });
  await spied.ready();
  // Twice: the first time the scripts themselves may be sent.
  await sendBoth(spied.idempotency);
  seen.length = 0;
  const raw = evaluations(seen, await sendBoth(spied.idempotency));
  const store = redisStore({ client, prefix });
  await store.ready();
  return {
    name,
    store: store.idempotency,
    raw: {
      claim: (key, claim) => evaluate(raw.claim(key, claim)),
      settle: (key, token) => evaluate(raw.settle(key, token)),
    },
    close: () => removeAll(prefix),
  };
}

async function removeBy(client: Redis, prefix: string): Promise<void> {
  for await (const keys of client.scanStream({ match: `${prefix}*`, count: 1000 })) {
    if (keys.length > 0) await client.unlink(...(keys as string[]));
  }
}

function byIoredis(url: string): Promise<Subject> {
  const client = new Redis(url, { maxRetriesPerRequest: 1 });
  return redis("Redis (ioredis)", {
    client,
    evaluate: ({ sha, keys, given }) => client.evalsha(sha, keys.length, ...keys, ...given),
    spy: (seen) =>
      Object.create(client, {
        evalsha: {
          value(sha: string, count: number, ...sent: string[]) {
            seen({ sha, keys: sent.slice(0, count), given: sent.slice(count) });
            return client.evalsha(sha, count, ...sent);
          },
        },
      }) as Redis,
    async removeAll(prefix) {
      await removeBy(client, prefix);
      client.disconnect();
    },
  });
}

async function byNodeRedis(url: string): Promise<Subject> {
  const client = await createClient({ url, socket: { reconnectStrategy: false } }).connect();
  return redis("Redis (redis)", {
    client,
    evaluate: ({ sha, keys, given }) => client.evalSha(sha, { keys: [...keys], arguments: [...given] }),
    spy: (seen) =>
      Object.create(client, {
        evalSha: {
          value(sha: string, { keys, arguments: given }: { keys: string[]; arguments: string[] }) {
            seen({ sha, keys, given });
            return client.evalSha(sha, { keys, arguments: given });
          },
        },
      }) as typeof client,
    async removeAll(prefix) {
      const remover = new Redis(url);
      await removeBy(remover, prefix);
      remover.disconnect();
      client.destroy();
    },
  });
}

type DatabaseClass = new (path: string) => SqliteDatabase;

/** The drivers of SQLite that this Node has. */
function sqliteDrivers(): Readonly<Record<string, DatabaseClass>> {
  const require = createRequire(import.meta.url);
  // The class is the module itself.
  const libsql = require("libsql") as DatabaseClass;
  const builtIn = process.getBuiltinModule?.("node:sqlite") as { readonly DatabaseSync: DatabaseClass } | undefined;
  return builtIn === undefined ? { libsql } : { libsql, "node:sqlite": builtIn.DatabaseSync };
}

interface Ran {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

/** A database that tells what statements of it ran. */
function recording(database: SqliteDatabase, seen: Ran[]): SqliteDatabase {
  return {
    exec: (sql) => database.exec(sql),
    close: () => database.close(),
    prepare(sql) {
      const statement = database.prepare(sql);
      return {
        all: (...values) => statement.all(...values),
        get: (...values) => statement.get(...values),
        run(...values) {
          seen.push({ sql, values });
          return statement.run(...values);
        },
      };
    },
  };
}

/** Each side has a database of its own, with the same settings. */
async function sqlite(name: string, open: (side: string) => SqliteDatabase, given: Partial<Subject>): Promise<Subject> {
  const seen: Ran[] = [];
  const spied = sqliteStore({ database: recording(open("spied"), seen) });
  // What made the tables does not count.
  seen.length = 0;
  const { key, claim } = await sendBoth(spied.idempotency);
  const [claimed, settled] = [found("claim", seen[0]), found("settlement", seen[1])];
  const database = open("floor");
  // For its tables.
  sqliteStore({ database });
  const runs = ({ sql, values }: Ran) => {
    const statement = database.prepare(sql);
    return (newKey: string, newToken: string): unknown =>
      statement.run(...values.map((value) => (value === key ? newKey : value === claim.token ? newToken : value)));
  };
  const [claiming, settling] = [runs(claimed), runs(settled)];
  // In a transaction, because a statement of libsql that is refused by a lock would stay active.
  const inTransaction = async (work: () => unknown): Promise<unknown> => {
    database.exec("BEGIN IMMEDIATE");
    const value = work();
    database.exec("COMMIT");
    return value;
  };
  return {
    name,
    store: sqliteStore({ database: open("store") }).idempotency,
    raw: {
      claim: (newKey, { token }) => inTransaction(() => claiming(newKey, token)),
      settle: (newKey, token) => inTransaction(() => settling(newKey, token)),
    },
    bare: async (newKey, { token }) => claiming(newKey, token),
    close: () => undefined,
    ...given,
  };
}

function sqliteInMemory(driver: string, Database: DatabaseClass): Promise<Subject> {
  return sqlite(`SQLite (${driver}) in memory`, () => new Database(":memory:"), {});
}

/** As the store itself sets up a file. */
function sqliteOnDisk(driver: string, Database: DatabaseClass): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "mcp-tx-bench-"));
  const opened: SqliteDatabase[] = [];
  const open = (side: string): SqliteDatabase => {
    const database = new Database(join(folder, `${side}.db`));
    database.exec("PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA");
    opened.push(database);
    return database;
  };
  return sqlite(`a file of SQLite (${driver})`, open, {
    inFlight: IN_FLIGHT_ON_DISK,
    close() {
      for (const database of opened) database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  });
}

export default async (): Promise<readonly Group[]> => {
  const groups: Group[] = [];
  const add = async (making: Promise<Subject>): Promise<void> => {
    groups.push(...groupsOf(await making));
  };
  for (const [driver, Database] of Object.entries(sqliteDrivers())) {
    await add(sqliteInMemory(driver, Database));
    await add(sqliteOnDisk(driver, Database));
  }
  if (await isThere(POSTGRES)) {
    await add(postgres(POSTGRES.url, false));
    await add(postgres(POSTGRES.url, true));
  }
  if (await isThere(REDIS)) {
    await add(byIoredis(REDIS.url));
    await add(byNodeRedis(REDIS.url));
  }
  return groups;
};

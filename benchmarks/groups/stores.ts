import { randomUUID } from "node:crypto";
import type { IdempotencyClaim, IdempotencyStore } from "@mcp-tx/core/stores";
import { type PostgresQuery, postgresStore } from "@mcp-tx/postgres";
import { redisStore } from "@mcp-tx/redis";
import { type SqliteDatabase, type SqlValue, sqliteStore } from "@mcp-tx/sqlite";
import { Redis } from "ioredis";
import Database from "libsql";
import pg from "pg";
import type { Group, Task } from "../harness/group.js";

const IN_FLIGHT = 64;
const SPIED = "spied";
const FINGERPRINT = "a".repeat(64);

/** A store, and its claim sent through the driver alone. */
interface Subject {
  readonly name: string;
  readonly store: IdempotencyStore;
  /** Sends the very statement of a claim for a new key. */
  raw(): Promise<unknown>;
  close(): void;
}

function newClaim(): IdempotencyClaim {
  return { fingerprint: FINGERPRINT, token: randomUUID(), leaseMs: 60_000, epoch: 0, sentAtWall: Date.now() };
}

function atOnce(task: () => Promise<unknown>): Task {
  return () => Promise.all(Array.from({ length: IN_FLIGHT }, task));
}

function groupsOf({ name, store, raw, close }: Subject): readonly Group[] {
  const claim = (): Promise<unknown> => store.claim(randomUUID(), newClaim());
  return [
    {
      title: `stores: a claim in ${name}, one after the other`,
      measure: "time",
      contenders: { "store.claim": claim, "raw statement": raw },
      reference: "raw statement",
      targets: [{ ours: "store.claim", peer: "raw statement", atMost: 1.05 }],
    },
    {
      title: `stores: ${IN_FLIGHT} claims in ${name} at a time`,
      measure: "time",
      contenders: { "store.claim": atOnce(claim), "raw statement": atOnce(raw) },
      reference: "raw statement",
      // At least 0.9 of the rate.
      targets: [{ ours: "store.claim", peer: "raw statement", atMost: 1 / 0.9 }],
      close,
    },
  ];
}

async function postgres(connectionString: string): Promise<Subject> {
  const pool = new pg.Pool({ connectionString, max: 16 });
  const table = `bench_${randomUUID().slice(0, 8)}`;
  let seen: PostgresQuery | undefined;
  const spy = {
    query: (query: PostgresQuery) => {
      seen = query;
      return pool.query({ ...query, values: [...(query.values ?? [])] });
    },
  };
  const spied = postgresStore({ pool: spy, table });
  await spied.migrate();
  await spied.idempotency.claim(SPIED, newClaim());
  const store = postgresStore({ pool, table });
  await store.ready();
  const query = seen;
  return {
    name: "Postgres",
    store: store.idempotency,
    raw: () => {
      const { fingerprint, token, leaseMs, epoch, sentAtWall } = newClaim();
      const values = [randomUUID(), fingerprint, token, leaseMs, epoch, sentAtWall, null, null];
      return pool.query({ ...query, text: query?.text ?? "", values });
    },
    close: () => {
      const tables = ["meta", "idempotency", "rate_limit", "saga", "saga_entry"].map((part) => `${table}_${part}`);
      void pool.query(`DROP TABLE ${tables.join(", ")}`).then(() => pool.end());
    },
  };
}

async function redis(url: string): Promise<Subject> {
  const client = new Redis(url, { maxRetriesPerRequest: 1 });
  const prefix = `bench-${randomUUID()}:`;
  let seen: readonly (string | number)[] = [];
  const spy = Object.create(client, {
    evalsha: {
      value: (...sent: [string, number, ...(string | number)[]]) => {
        seen = sent;
        return client.evalsha(...sent);
      },
    },
  }) as Redis;
  const spied = redisStore({ client: spy, prefix });
  await spied.ready();
  await spied.idempotency.claim(SPIED, newClaim());
  // Once more: the first time the script itself was sent.
  await spied.idempotency.claim("spied again", newClaim());
  const store = redisStore({ client, prefix });
  await store.ready();
  const [script, keyCount, recordKey, ...rest] = seen;
  const others = rest.slice(0, Number(keyCount) - 1);
  const [, , , , , ...identity] = rest.slice(Number(keyCount) - 1);
  return {
    name: "Redis",
    store: store.idempotency,
    raw: () => {
      const { fingerprint, token, leaseMs, epoch, sentAtWall } = newClaim();
      const key = String(recordKey).replace("spied again", randomUUID());
      const given = [token, fingerprint, String(leaseMs), String(epoch), String(sentAtWall), ...identity];
      return client.evalsha(String(script), Number(keyCount), key, ...others, ...given);
    },
    close: () => {
      const remove = async (): Promise<void> => {
        for await (const keys of client.scanStream({ match: `${prefix}*`, count: 1000 })) {
          if (keys.length > 0) await client.unlink(...(keys as string[]));
        }
        client.disconnect();
      };
      void remove();
    },
  };
}

/** In memory, so that the disk has no part in it. */
async function sqlite(): Promise<Subject> {
  let seen: { readonly sql: string; readonly values: readonly SqlValue[] } | undefined;
  const spied = new Database(":memory:") as unknown as SqliteDatabase;
  const recording: SqliteDatabase = {
    exec: (sql) => spied.exec(sql),
    close: () => spied.close(),
    prepare(sql) {
      const statement = spied.prepare(sql);
      return {
        all: (...values) => statement.all(...values),
        get: (...values) => statement.get(...values),
        run: (...values) => {
          seen = { sql, values };
          return statement.run(...values);
        },
      };
    },
  };
  await sqliteStore({ database: recording }).idempotency.claim(SPIED, newClaim());
  const database = new Database(":memory:") as unknown as SqliteDatabase;
  const store = sqliteStore({ database });
  const claim = database.prepare(seen?.sql ?? "");
  const raw = async (): Promise<unknown> => {
    const { token } = newClaim();
    const values = seen?.values.map((value) => (value === SPIED ? randomUUID() : value)) ?? [];
    return { token, ...claim.run(...values) };
  };
  return { name: "SQLite", store: store.idempotency, raw, close: () => undefined };
}

/** A server that is not there leaves its rows out, loudly. */
async function ifThere(name: string, make: () => Promise<Subject>): Promise<readonly Group[]> {
  try {
    return groupsOf(await make());
  } catch (error) {
    process.stderr.write(`SKIPPED: the rows of ${name}: ${String(error)}\n`);
    return [];
  }
}

export default async (): Promise<readonly Group[]> => [
  ...(await ifThere("SQLite", sqlite)),
  ...(await ifThere("Postgres", () =>
    postgres(process.env["MCP_TX_POSTGRES_URL"] ?? "postgres://root@127.0.0.1/test"),
  )),
  ...(await ifThere("Redis", () => redis(process.env["MCP_TX_REDIS_URL"] ?? "redis://127.0.0.1"))),
];

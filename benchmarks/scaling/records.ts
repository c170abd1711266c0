import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { postgresStore } from "@mcp-tx/postgres";
import { redisStore } from "@mcp-tx/redis";
import { type SqliteDatabase, sqliteStore } from "@mcp-tx/sqlite";
import { Redis } from "ioredis";
import pg from "pg";
import type { Curve, CurveFactory, Series } from "../harness/scaling.js";
import { isThere, POSTGRES, REDIS } from "../harness/services.js";
import { median } from "../harness/statistics.js";

const SIZES = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000];
/** All sizes have their turn in every round, so that a disk or a machine that slows down slows all of them down. */
const ROUNDS = 15;
const CLAIMS_PER_ROUND = 12;
const WARM_UP_CLAIMS = 40;
const DAY_MS = 86_400_000;
const FINGERPRINT = "a".repeat(64);

/** A kind of database. */
interface Subject {
  readonly name: string;
  /** A store apart from the others, with so many settled records in it. */
  filled(size: number): Promise<IdempotencyStore>;
  close(): Promise<void>;
}

/** Microseconds of a claim for a new key, which is released, so that as many records are there as before. */
async function claimOnce(store: IdempotencyStore): Promise<number> {
  const [key, token] = [randomUUID(), randomUUID()];
  const claim = { fingerprint: FINGERPRINT, token, leaseMs: 60_000, epoch: 0, sentAtWall: Date.now() };
  const start = performance.now();
  const { won } = await store.claim(key, claim);
  const elapsedMs = performance.now() - start;
  if (!won) throw new Error("records: a claim for a new key was lost");
  await store.release(key, token);
  return elapsedMs * 1000;
}

async function claims(store: IdempotencyStore, count: number): Promise<readonly number[]> {
  const times: number[] = [];
  for (let index = 0; index < count; index += 1) times.push(await claimOnce(store));
  return times;
}

async function seriesOf({ name, filled }: Subject): Promise<Series> {
  const field: { x: number; store: IdempotencyStore; times: number[] }[] = [];
  for (const x of SIZES) field.push({ x, store: await filled(x), times: [] });
  for (const { store } of field) await claims(store, WARM_UP_CLAIMS);
  for (let round = 0; round < ROUNDS; round += 1) {
    const first = round % field.length;
    for (const { store, times } of [...field.slice(first), ...field.slice(0, first)]) {
      times.push(...(await claims(store, CLAIMS_PER_ROUND)));
    }
  }
  return { name, points: field.map(({ x, times }) => ({ x, y: median(times) })) };
}

/** A file for each size. */
async function sqlite(): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "mcp-tx-bench-"));
  // The class is the module itself.
  const Database = createRequire(import.meta.url)("libsql") as new (path: string) => SqliteDatabase;
  const opened: SqliteDatabase[] = [];
  return {
    name: "SQLite (libsql, a file)",
    async filled(size) {
      const database = new Database(join(folder, `${size}.db`));
      opened.push(database);
      database.exec("PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA");
      const store = sqliteStore({ database });
      // Keys in no order, as those of calls are.
      database.exec(`WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${size})
        INSERT INTO mcp_tx_idempotency
          (key, fingerprint, token, state, epoch, lease_until, expires_at, sent_at_wall, sent_to, outcome)
        SELECT hex(randomblob(16)), '${FINGERPRINT}', 't' || n, 'done', 0, 0, ${Date.now() + DAY_MS} + n, 0, NULL, '{}'
        FROM numbers`);
      return store.idempotency;
    },
    async close() {
      for (const database of opened) database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Tables for each size. */
async function postgres(connectionString: string): Promise<Subject> {
  const pool = new pg.Pool({ connectionString, max: 1 });
  await pool.query("SELECT 1");
  const prefix = `records_${randomUUID().slice(0, 8)}`;
  const made: string[] = [];
  return {
    name: "Postgres",
    async filled(size) {
      const table = `${prefix}_${size}`;
      const store = postgresStore({ pool, table, prepare: true });
      made.push(...["meta", "idempotency", "rate_limit", "saga", "saga_entry"].map((part) => `${table}_${part}`));
      await store.migrate();
      await pool.query(
        `INSERT INTO ${table}_idempotency
          (key, fingerprint, token, state, epoch, outcome, lease_until, expires_at, sent_at_wall)
        SELECT md5(n::text), $1, 't' || n, 'done', 0, '{}', 0, $2::float8 + n, 0 FROM generate_series(1, $3::int) AS n`,
        [FINGERPRINT, Date.now() + DAY_MS, size],
      );
      await pool.query(`ANALYZE ${table}_idempotency`);
      return store.idempotency;
    },
    async close() {
      if (made.length > 0) await pool.query(`DROP TABLE IF EXISTS ${made.join(", ")}`);
      await pool.end();
    },
  };
}

/** KEYS none; ARGV prefix, from, to, fingerprint, expiry. Of one server only: the keys are not announced. */
const FILL_REDIS = `
for n = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  local key = ARGV[1] .. 'record:{' .. string.format('%02x', n % 64) .. '}:' .. n
  redis.call('HSET', key, 's', 'done', 'f', ARGV[4], 't', 't' .. n, 'e', '0', 'l', '0', 'x', ARGV[5], 'w', '0', 'o', '{}')
end`;
/** So that no script holds up the server for long. */
const FILL_AT_ONCE = 2000;
/** Numbered databases of the server that are used, one for each size: keys of all prefixes share what finds them. */
const FIRST_DATABASE = 9;

async function redis(url: string): Promise<Subject> {
  const prefix = `records-${randomUUID()}:`;
  const clients: Redis[] = [];
  return {
    name: "Redis",
    async filled(size) {
      const client = new Redis(url, { maxRetriesPerRequest: 1, db: FIRST_DATABASE + clients.length });
      clients.push(client);
      const store = redisStore({ client, prefix });
      await store.ready();
      const expiry = String(Date.now() + DAY_MS);
      for (let start = 1; start <= size; start += FILL_AT_ONCE) {
        const end = Math.min(start + FILL_AT_ONCE - 1, size);
        await client.eval(FILL_REDIS, 0, prefix, start, end, FINGERPRINT, expiry);
      }
      return store.idempotency;
    },
    async close() {
      for (const client of clients) {
        for await (const keys of client.scanStream({ match: `${prefix}*`, count: 5000 })) {
          if (keys.length > 0) await client.unlink(...(keys as string[]));
        }
        client.disconnect();
      }
    },
  };
}

async function measured(making: Subject | Promise<Subject>): Promise<Series> {
  const subject = await making;
  return seriesOf(subject).finally(() => subject.close());
}

const records: CurveFactory = async (): Promise<readonly Curve[]> => {
  const series = [await measured(sqlite())];
  if (await isThere(POSTGRES)) series.push(await measured(postgres(POSTGRES.url)));
  if (await isThere(REDIS)) series.push(await measured(redis(REDIS.url)));
  return [
    {
      title: "A claim, by how many records are stored",
      xLabel: "stored records",
      unit: "µs",
      expectation: "logarithmic",
      // A tree of a million keys is four levels deep, and more of its pages are in no cache.
      maxGrowth: 3,
      series,
    },
  ];
};

export default records;

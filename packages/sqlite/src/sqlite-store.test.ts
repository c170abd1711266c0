import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { IdempotencyClaim } from "@mcp-tx/core/stores";
import { idempotencyStoreContract, rateLimitStoreContract, sagaStoreContract, virtualTime } from "@mcp-tx/core/testing";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import type { SqliteDatabase } from "./database.js";
import { removeSql, turnSql } from "./idempotency-sql.js";
import { type SqliteStore, type SqliteStoreOptions, sqliteStore } from "./sqlite-store.js";

type Open = (path: string) => SqliteDatabase;

const require = createRequire(import.meta.url);
const betterSqlite3 = process.env["MCP_TX_BETTER_SQLITE3"];

function openWith(module: string): Open {
  const Database = require(module) as new (path: string) => SqliteDatabase;
  return (path) => new Database(path);
}

const nodeSqlite = process.getBuiltinModule?.("node:sqlite") as
  | { readonly DatabaseSync: new (path: string) => SqliteDatabase }
  | undefined;

/**
 * What a store opens a path with. Within one process a file must not be open in two copies of SQLite: the locks of POSIX belong
 * to the process.
 */
const openDatabase: Open =
  nodeSqlite === undefined ? openWith("libsql") : (path: string) => new nodeSqlite.DatabaseSync(path);

/** What can be given, beside a path. */
const given: Readonly<Record<string, Open>> = {
  libsql: openWith("libsql"),
  ...(nodeSqlite === undefined ? {} : { "node:sqlite": openDatabase }),
  ...(betterSqlite3 === undefined ? {} : { "better-sqlite3": openWith(betterSqlite3) }),
};

if (betterSqlite3 === undefined) {
  process.stderr.write("SKIPPED: better-sqlite3 is not tested; set MCP_TX_BETTER_SQLITE3 to the path of the module\n");
}

/** In memory where there is such a folder: thousands of writes that wait for a disk take their time. */
const shared = "/dev/shm";
const folder = mkdtempSync(join(existsSync(shared) ? shared : tmpdir(), "mcp-tx-sqlite-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

function newFile(): string {
  files += 1;
  return join(folder, `${files}.db`);
}

let tokens = 0;

function claim(given: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  tokens += 1;
  return { fingerprint: "f", token: `t${tokens}`, leaseMs: 60_000, epoch: 0, sentAtWall: 0, ...given };
}

/** A store on a file, closed at the end of the test. */
function open(options: SqliteStoreOptions): SqliteStore {
  const store = sqliteStore(options);
  onTestFinished(() => store.close());
  return store;
}

for (const [driver, openGiven] of [["a path", undefined] as const, ...Object.entries(given)]) {
  function subject() {
    const path = newFile();
    const { runtime, advance } = virtualTime();
    const databases: SqliteDatabase[] = [];
    const openDriver: Open = (file) => {
      const database = (openGiven ?? openDatabase)(file);
      databases.push(database);
      return database;
    };
    const make = () =>
      sqliteStore({ runtime, ...(openGiven === undefined ? { path } : { database: openDriver(path) }) });
    const [first, second] = [make(), make()];
    const counter = openDriver(path);
    const count = (...names: string[]) => {
      const sum = names.map((name) => `(SELECT count(*) FROM mcp_tx_${name})`).join(" + ");
      return async () => (counter.prepare(`SELECT ${sum} AS n`).get() as { n: number }).n;
    };
    return {
      first,
      second,
      advance: (ms: number) => advance(ms),
      count,
      async close() {
        for (const store of [first, second]) await store.close();
        for (const database of databases) database.close();
        rmSync(path);
      },
    };
  }

  describe(`with ${driver}`, () => {
    const idempotency = idempotencyStoreContract(() => {
      const { first, second, count, ...rest } = subject();
      return { store: first.idempotency, other: second.idempotency, records: count("idempotency"), ...rest };
    });
    for (const { name, run } of idempotency) test(`idempotency ${name}`, run);

    const rateLimit = rateLimitStoreContract(() => {
      const { first, advance, close } = subject();
      return { store: first.rateLimit, advance, close };
    });
    for (const { name, run } of rateLimit) test(`rate limit ${name}`, run);

    const saga = sagaStoreContract(() => {
      const { first, second, count, ...rest } = subject();
      return { store: first.saga, other: second.saga, records: count("saga", "saga_entry"), ...rest };
    });
    for (const { name, run } of saga) test(`saga ${name}`, run);
  });
}

test("waits for the lock of another connection without blocking, and gets it", async () => {
  const path = newFile();
  const { idempotency } = open({ path });
  const other = openDatabase(path);
  other.exec("BEGIN EXCLUSIVE");
  let turns = 0;
  const ticking = setInterval(() => {
    turns += 1;
  }, 1);
  const claimed = idempotency.claim("a", claim());
  await sleep(150);
  clearInterval(ticking);
  other.exec("COMMIT");
  expect(await claimed).toMatchObject({ won: true });
  // Had the wait been SQLite's own, nothing would have run meanwhile.
  expect(turns).toBeGreaterThan(3);
  other.close();
});

test("says so when the lock is held for too long, and has then changed nothing", async () => {
  const path = newFile();
  const { idempotency, rateLimit } = open({ path, busyTimeoutMs: 30 });
  const other = openDatabase(path);
  other.exec("BEGIN EXCLUSIVE");
  await expect(idempotency.claim("a", claim())).rejects.toThrow(
    "another process has held the lock on the file for 30 ms",
  );
  await expect(rateLimit.take("a", { rate: 1, burst: 1, cost: 1 })).rejects.toThrow("held the lock");
  expect(() => sqliteStore({ path, busyTimeoutMs: 30 })).toThrow("held the lock");
  other.exec("ROLLBACK");
  expect(await idempotency.get("a")).toBeUndefined();
  expect(await rateLimit.take("a", { rate: 1, burst: 1, cost: 1 })).toEqual({ allowed: true, retryAfterMs: 0 });
  other.close();
});

test("stops waiting for a lock when the store is closed", async () => {
  const path = newFile();
  const store = sqliteStore({ path });
  const other = openDatabase(path);
  other.exec("BEGIN EXCLUSIVE");
  const claimed = store.idempotency.claim("a", claim());
  await store.close();
  await expect(claimed).rejects.toThrow("the store is closed");
  other.close();
});

test("waits for the lock while it opens", () => {
  const path = newFile();
  const other = openDatabase(path);
  other.exec("BEGIN EXCLUSIVE");
  const runtime = virtualTime().runtime;
  let asked = 0;
  const database = openDatabase(path);
  const exec = database.exec.bind(database);
  database.exec = (sql) => {
    asked += 1;
    if (asked === 3) other.exec("COMMIT");
    return exec(sql);
  };
  expect(() => sqliteStore({ database, runtime, busyTimeoutMs: 0 })).toThrow("held the lock");
  const prepare = database.prepare.bind(database);
  database.prepare = (sql) => {
    asked += 1;
    if (asked === 3) other.exec("COMMIT");
    return prepare(sql);
  };
  expect(sqliteStore({ database, runtime, busyTimeoutMs: 5000 }).idempotency.storeId).toMatch(/^[0-9a-f-]{36}$/);
  other.close();
  database.close();
});

test("keeps records and identity when the file is opened again", async () => {
  const path = newFile();
  const first = sqliteStore({ path });
  await first.idempotency.claim("a", claim({ token: "mine" }));
  await first.close();
  const second = open({ path });
  expect(second.idempotency.storeId).toBe(first.idempotency.storeId);
  expect(second.idempotency.durable).toBe(true);
  expect(await second.idempotency.get("a")).toMatchObject({ token: "mine", state: "pending" });
});

test("has another identity when its records are lost", async () => {
  const path = newFile();
  const first = sqliteStore({ path });
  await first.close();
  const database = openDatabase(path);
  database.exec("DROP TABLE mcp_tx_idempotency");
  database.close();
  const second = sqliteStore({ path });
  await second.close();
  expect(second.idempotency.storeId).not.toBe(first.idempotency.storeId);
  rmSync(path);
  expect(open({ path }).idempotency.storeId).not.toBe(second.idempotency.storeId);
});

test("refuses tables that a newer version made", async () => {
  const path = newFile();
  await sqliteStore({ path }).close();
  const database = openDatabase(path);
  database.exec("UPDATE mcp_tx_meta SET version = 99");
  database.close();
  expect(() => sqliteStore({ path })).toThrow(/schema version 99, made by a newer @mcp-tx\/sqlite.*Upgrade/);
});

test("writes nothing when it opens a file that is ready", async () => {
  const path = newFile();
  await sqliteStore({ path }).close();
  const before = readFileSync(path);
  const reader = openDatabase(path);
  // A reader in a transaction keeps everybody from writing.
  reader.exec("BEGIN; SELECT * FROM mcp_tx_meta");
  const again = sqliteStore({ path, busyTimeoutMs: 0 });
  await again.close();
  reader.exec("COMMIT");
  reader.close();
  expect(readFileSync(path).equals(before)).toBe(true);
});

test("keeps several stores apart in one file", async () => {
  const path = newFile();
  const [first, second] = [open({ path }), open({ path, table: "Other_1" })];
  await first.idempotency.claim("a", claim());
  await first.rateLimit.take("a", { rate: 0.001, burst: 1, cost: 1 });
  expect(await second.idempotency.get("a")).toBeUndefined();
  expect((await second.rateLimit.take("a", { rate: 0.001, burst: 1, cost: 1 })).allowed).toBe(true);
  expect(second.idempotency.storeId).not.toBe(first.idempotency.storeId);
});

test("keeps everything in memory when it is told to", async () => {
  const store = open({ path: ":memory:" });
  expect(store.idempotency.durable).toBe(false);
  expect(await store.idempotency.claim("a", claim())).toMatchObject({ won: true });
});

test("closes what it opened, more than once, and refuses work after that", async () => {
  const store = sqliteStore({ path: newFile() });
  await store.close();
  await store.close();
  await expect(store.idempotency.claim("a", claim())).rejects.toThrow("sqliteStore: the store is closed");
  await expect(store.rateLimit.take("a", { rate: 1, burst: 1, cost: 1 })).rejects.toThrow("the store is closed");
});

test("leaves a given database open", async () => {
  const database = openDatabase(newFile());
  await sqliteStore({ database }).close();
  expect(database.prepare("SELECT 1 AS one").get()).toMatchObject({ one: 1 });
  database.close();
});

test("does nothing inside a transaction of the user's", async () => {
  const database = openDatabase(newFile());
  const { idempotency } = open({ database });
  database.exec("BEGIN");
  await expect(idempotency.claim("a", claim())).rejects.toThrow("a transaction is open on the given database");
  database.exec("COMMIT");
  expect(await idempotency.get("a")).toBeUndefined();
  database.close();
});

test("refuses texts that SQLite would alter", async () => {
  const { idempotency, rateLimit } = open({ path: newFile() });
  const terms = { rate: 1, burst: 1, cost: 1 };
  for (const key of ["nul\0", "lone\ud800"]) {
    await expect(idempotency.claim(key, claim())).rejects.toThrow(
      "sqliteStore: the key holds a NUL or a lone surrogate",
    );
    await expect(idempotency.claim("a", claim({ sentTo: key }))).rejects.toThrow("the claim holds");
    await expect(rateLimit.take(key, terms)).rejects.toThrow("the key holds");
    const { token } = (await idempotency.claim("b", claim({ token: "b" }))).record;
    const settlement = { state: "done", outcome: key, ttlMs: 1 } as const;
    await expect(idempotency.settle("b", token, settlement)).rejects.toThrow("the outcome holds");
  }
  await expect(rateLimit.take("a", { ...terms, cost: 2 })).rejects.toThrow("cost must be > 0 and <= burst");
  await expect(rateLimit.take("a", { ...terms, rate: 0 })).rejects.toThrow("rate must be a number > 0");
});

test("loses a claim, and is denied tokens, without writing", async () => {
  const path = newFile();
  const { idempotency, rateLimit } = open({ path });
  const terms = { rate: 0.001, burst: 1, cost: 1 };
  await idempotency.claim("a", claim());
  await rateLimit.take("a", terms);
  // Every transaction that writes changes a counter in the header.
  const before = readFileSync(path);
  expect(await idempotency.claim("a", claim())).toMatchObject({ won: false });
  expect(await idempotency.settle("a", "nobody", { state: "unknown", ttlMs: 1 })).toBe(false);
  expect(await rateLimit.take("a", terms)).toMatchObject({ allowed: false });
  expect(readFileSync(path).equals(before)).toBe(true);
  await idempotency.claim("b", claim());
  expect(readFileSync(path).equals(before)).toBe(false);
});

test("is not moved backwards by a step of the wall clock", async () => {
  const time = virtualTime();
  const { idempotency } = open({ path: newFile(), runtime: time.runtime });
  await idempotency.claim("a", claim({ leaseMs: 1000 }));
  time.stepWall(-3_600_000);
  await time.advance(1000);
  expect(await idempotency.get("a")).toMatchObject({ state: "unknown" });
});

test("sweeps as much as it is told, also with limits that are none", async () => {
  const path = newFile();
  const time = virtualTime();
  const { idempotency } = open({ path, runtime: time.runtime });
  for (let index = 0; index < 3; index += 1) await idempotency.claim(`${index}`, claim({ leaseMs: 10 }));
  await time.advance(20);
  for (const limit of [-1, 0, 0.5, Number.NaN]) expect(await idempotency.sweep(limit)).toBe(0);
  expect(await idempotency.sweep(2.5)).toBe(2);
  expect(await idempotency.sweep(Infinity)).toBe(1);
});

test("forgets rate limits that are idle", async () => {
  const path = newFile();
  const time = virtualTime();
  const { rateLimit } = open({ path, runtime: time.runtime });
  const database = openDatabase(path);
  const count = database.prepare("SELECT count(*) AS n FROM mcp_tx_rate_limit");
  for (let index = 0; index < 300; index += 1) await rateLimit.take(`${index}`, { rate: 10, burst: 10, cost: 1 });
  await rateLimit.pause("paused", { rate: 10, burst: 10 }, 60_000);
  await time.advance(1000);
  for (let index = 0; index < 256; index += 1) await rateLimit.take("busy", { rate: 1000, burst: 1000, cost: 1 });
  expect(count.get()).toMatchObject({ n: 2 });
  expect((await rateLimit.take("paused", { rate: 10, burst: 10, cost: 1 })).allowed).toBe(false);
  database.close();
});

test("finds what is due by an index", () => {
  const database = openDatabase(newFile());
  sqliteStore({ database });
  for (const sql of [removeSql("mcp_tx_idempotency"), turnSql("mcp_tx_idempotency")]) {
    const plan = database.prepare(
      `EXPLAIN QUERY PLAN ${sql.replace(":now", "1").replace(":limit", "1")}`,
    ) as unknown as {
      all(): { readonly detail: string }[];
    };
    const details = plan.all().map(({ detail }) => detail);
    expect(details).toContainEqual(
      expect.stringMatching(/SEARCH mcp_tx_idempotency USING INDEX mcp_tx_idempotency_due/),
    );
  }
  database.close();
});

test("leaves a file in the write-ahead log to Node, and takes it out of it for libsql", async () => {
  const path = newFile();
  const database = openDatabase(path);
  database.exec("PRAGMA journal_mode = WAL; CREATE TABLE mine (a)");
  database.close();
  open({ path });
  const reader = openDatabase(path);
  const mode = nodeSqlite === undefined ? "delete" : "wal";
  expect(reader.prepare("PRAGMA journal_mode").get()).toMatchObject({ journal_mode: mode });
  reader.close();
});

test("checks its options", () => {
  expect(() => sqliteStore({})).toThrow("sqliteStore: give either path, the file to open, or database, an open one");
  expect(() => sqliteStore({ path: "a", database: {} as never })).toThrow("database must be an object with a method");
  expect(() => sqliteStore({ path: "" })).toThrow('path must be the path of a file, got ""');
  expect(() => sqliteStore({ path: 1 as never })).toThrow("path must be the path of a file, got number");
  expect(() => sqliteStore({ file: "a" } as never)).toThrow(/unknown option "file"/);
  for (const table of ["", "1a", "a b", 'a"b', "sqlite_a", "a".repeat(64), 1]) {
    expect(() => sqliteStore({ path: newFile(), table: table as never })).toThrow("sqliteStore: table must be a name");
  }
  expect(() => sqliteStore({ path: "a", busyTimeoutMs: -1 })).toThrow("busyTimeoutMs must be a number >= 0, got -1");
  expect(() => sqliteStore({ path: join(folder, "none", "a.db") })).toThrow();
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultRuntime } from "@mcp-tx/core";
import { expect, onTestFinished, test } from "vitest";
import { Connection } from "./connection.js";
import { configure, isBusy, openDatabase, type SqliteDatabase, type SqliteStatement } from "./database.js";
import { sqliteStore } from "./sqlite-store.js";

/** Two connections to one file. */
function twoDatabases(): { readonly database: SqliteDatabase; readonly other: SqliteDatabase } {
  const folder = mkdtempSync(join(tmpdir(), "sqlite-connection-"));
  const path = join(folder, "file.db");
  const [database, other] = [openDatabase(path), openDatabase(path)];
  configure(database);
  configure(other);
  onTestFinished(() => {
    database.close();
    other.close();
    rmSync(folder, { recursive: true });
  });
  database.exec("CREATE TABLE done (number INTEGER)");
  return { database, other };
}

/** A database that counts how often the lock was asked for. */
function counted(database: SqliteDatabase) {
  const seen = { begins: 0 };
  const counting: SqliteDatabase = {
    prepare: (sql) => database.prepare(sql),
    exec: (sql) => {
      if (sql === "BEGIN IMMEDIATE") seen.begins += 1;
      return database.exec(sql);
    },
    close: () => database.close(),
  };
  return { counting, seen };
}

function connect(database: SqliteDatabase, busyTimeoutMs: number): Connection {
  return new Connection(database, { owned: false, busyTimeoutMs, runtime: defaultRuntime });
}

function insertInto(connection: Connection, count: number): readonly Promise<number>[] {
  const insert = connection.prepare("INSERT INTO done (number) VALUES (:number)");
  return Array.from({ length: count }, (_, number) => connection.write(() => insert.run({ number })));
}

const numbersIn = (connection: Connection): readonly unknown[] =>
  connection
    .prepare("SELECT number FROM done ORDER BY rowid")
    .all({})
    .map(({ number }) => number);

test("while another process holds the lock one write tries at a time, reads do not wait, and all are done in order", async () => {
  const { database, other } = twoDatabases();
  const { counting, seen } = counted(database);
  const connection = connect(counting, 60_000);
  other.exec("BEGIN IMMEDIATE");
  const writes = insertInto(connection, 20);
  expect(seen.begins).toBe(1);
  await expect.poll(() => seen.begins).toBeGreaterThan(3);
  expect(await connection.read(() => numbersIn(connection))).toEqual([]);
  other.exec("COMMIT");
  await Promise.all(writes);
  expect(numbersIn(connection)).toEqual(Array.from({ length: 20 }, (_, number) => number));
});

test("all that wait fail when the lock is held for too long, and what comes later does not", async () => {
  const { database, other } = twoDatabases();
  const connection = connect(database, 100);
  other.exec("BEGIN EXCLUSIVE");
  const waiting = [...insertInto(connection, 3), connection.read(() => 0)];
  for (const end of await Promise.allSettled(waiting)) {
    expect(end).toMatchObject({
      status: "rejected",
      reason: { message: "sqliteStore: another process has held the lock on the file for 100 ms" },
    });
  }
  other.exec("ROLLBACK");
  await Promise.all(insertInto(connection, 3));
});

test("a write that fails leaves its place to the next, and closing refuses those that wait", async () => {
  const { database, other } = twoDatabases();
  const connection = connect(database, 60_000);
  other.exec("BEGIN IMMEDIATE");
  const [first] = insertInto(connection, 1);
  const broken = connection.write(() => {
    throw new RangeError("broken");
  });
  const next = connection.write(() => "next");
  other.exec("COMMIT");
  await first;
  await expect(broken).rejects.toThrow("broken");
  expect(await next).toBe("next");

  other.exec("BEGIN IMMEDIATE");
  const waiting = insertInto(connection, 2);
  connection.close();
  for (const end of await Promise.allSettled(waiting)) {
    expect(end).toMatchObject({ status: "rejected", reason: { message: "sqliteStore: the store is closed" } });
  }
});

/** Statements that tell when they are refused because of a lock. */
function watching(database: SqliteDatabase, refused: string[]): SqliteDatabase {
  const watched =
    <A extends readonly unknown[], T>(sql: string, act: (...values: A) => T) =>
    (...values: A): T => {
      try {
        return act(...values);
      } catch (error) {
        if (isBusy(error)) refused.push(sql);
        throw error;
      }
    };
  return {
    prepare(sql): SqliteStatement {
      const statement = database.prepare(sql);
      return {
        run: watched(sql, (...values) => statement.run(...values)),
        get: watched(sql, (...values) => statement.get(...values)),
        all: watched(sql, (...values) => statement.all(...values)),
      };
    },
    exec: (sql) => database.exec(sql),
    close: () => database.close(),
  };
}

/** With libsql a refused one stays active, and what this connection writes next is not committed, or keeps the file locked. */
test("no prepared statement is ever refused because of a lock, and what was answered is there for others", async () => {
  const { database, other } = twoDatabases();
  const refused: string[] = [];
  const store = sqliteStore({ database: watching(database, refused), busyTimeoutMs: 60_000 });
  const claim = { fingerprint: "f", token: "t", leaseMs: 60_000, epoch: 0, sentAtWall: 1 };
  for (let round = 0; round < 20; round += 1) {
    const key = `key ${round}`;
    other.exec("BEGIN EXCLUSIVE");
    const working = [
      store.idempotency.claim(key, claim),
      store.idempotency.claim(key, { ...claim, token: "other" }),
      store.idempotency.get(key),
      store.rateLimit.take(key, { rate: 1, burst: 1, cost: 1 }),
      store.rateLimit.take(key, { rate: 1, burst: 1, cost: 1 }),
      store.saga.create(key, { name: "s", definition: "d", input: "{}", token: "t", leaseMs: 60_000 }),
      store.saga.get(key),
      store.saga.list({ limit: 10 }),
    ];
    await new Promise((resolve) => setImmediate(resolve));
    other.exec("COMMIT");
    await Promise.all(working);
    // Nobody holds a lock any more, and whoever looks finds it all.
    other.exec("BEGIN EXCLUSIVE");
    const count = "SELECT count(*) AS count FROM mcp_tx_idempotency UNION ALL SELECT count(*) FROM mcp_tx_saga";
    expect(other.prepare(count).all()).toEqual([{ count: round + 1 }, { count: round + 1 }]);
    other.exec("ROLLBACK");
  }
  expect(refused).toEqual([]);
});

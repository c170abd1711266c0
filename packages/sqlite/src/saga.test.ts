import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SagaCreation } from "@mcp-tx/core/stores";
import { virtualTime } from "@mcp-tx/core/testing";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { openDatabase, type SqliteDatabase, type SqlValue } from "./database.js";
import { listSql, sweepEntriesSql, sweepSql } from "./saga-sql.js";
import { type SqliteStoreOptions, sqliteStore } from "./sqlite-store.js";
import { tables } from "./tables.js";

/** In memory where there is such a folder: hundreds of writes that wait for a disk take their time. */
const shared = "/dev/shm";
const folder = mkdtempSync(join(existsSync(shared) ? shared : tmpdir(), "mcp-tx-sqlite-saga-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

function newFile(): string {
  files += 1;
  return join(folder, `${files}.db`);
}

/** A store, closed at the end of the test. */
function open(options: SqliteStoreOptions) {
  const store = sqliteStore(options);
  onTestFinished(() => store.close());
  return store;
}

/** A database beside a store, closed at the end of the test. */
function openBeside(path: string): SqliteDatabase {
  const database = openDatabase(path);
  onTestFinished(() => {
    database.close();
  });
  return database;
}

/** A store on a database whose every `exec` is seen, and may be made to fail. */
function openWatched(fail: (sql: string) => void = () => undefined, options: SqliteStoreOptions = {}) {
  const path = newFile();
  const database = openBeside(path);
  const said: string[] = [];
  const exec = database.exec.bind(database);
  const { saga } = open({ database, ...options });
  database.exec = (sql) => {
    said.push(sql);
    fail(sql);
    return exec(sql);
  };
  return { path, database, saga, said };
}

let tokens = 0;

function creation(given: Partial<SagaCreation> = {}): SagaCreation {
  tokens += 1;
  return { name: "order", definition: "d", input: "{}", token: `t${tokens}`, leaseMs: 60_000, ...given };
}

function entry(seq: number, body = `${seq}`) {
  return [{ seq, body }];
}

const completed = { status: "completed", outcome: "1", ttlMs: 10 } as const;

test("writes that are asked for in one turn share a transaction, in their order", async () => {
  const { saga, said } = openWatched();
  const own = creation();
  const answers = await Promise.all([
    saga.append("a", own.token, entry(1)),
    saga.create("a", own),
    saga.append("a", own.token, entry(1)),
    Promise.resolve().then(() => saga.append("a", own.token, entry(2))),
    saga.release("a", own.token),
    saga.claim("a", { token: "next", leaseMs: 60_000, from: ["running"] }),
    saga.append("a", own.token, entry(3)),
    saga.end("a", "next", completed),
  ]);
  expect(answers).toMatchObject([false, { created: true }, true, false, true, { won: true }, false, true]);
  expect(said).toEqual(["BEGIN IMMEDIATE", "COMMIT"]);
  await saga.extend("a", "next", 1);
  expect(said).toEqual(["BEGIN IMMEDIATE", "COMMIT", "BEGIN IMMEDIATE", "COMMIT"]);
});

test("a thousand sagas at once take a few transactions", async () => {
  const { saga, said } = openWatched();
  const chains = Array.from({ length: 1000 }, async (_, index) => {
    const { token } = (await saga.create(`${index}`, creation())).saga;
    for (let seq = 1; seq <= 5; seq += 1) expect(await saga.append(`${index}`, token, entry(seq))).toBe(true);
  });
  await Promise.all(chains);
  expect(said.filter((sql) => sql === "COMMIT").length).toBe(6);
  for (const id of ["0", "999"]) expect((await saga.entries(id)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
});

test("answers nothing before the transaction is committed", async () => {
  let answered = 0;
  const seen: number[] = [];
  const { saga } = openWatched((sql) => {
    if (sql === "COMMIT") seen.push(answered);
  });
  await Promise.all(["a", "b"].map((id) => saga.create(id, creation()).then(() => (answered += 1))));
  expect([seen, answered]).toEqual([[0], 2]);
});

test("a write that fails fails alone", async () => {
  const { saga, said } = openWatched();
  const own = creation();
  await saga.create("a", own);
  const answers = await Promise.allSettled([
    saga.append("a", own.token, entry(1)),
    // SQLite refuses it: there is no text.
    saga.append("a", own.token, [...entry(2), { seq: 3, body: null as never }]),
    saga.create("b", creation({ definition: null as never })),
    saga.append("a", own.token, [{ seq: 1.5, body: "one and a half" }]),
    saga.append("a", own.token, entry(2, "two")),
    saga.create("c", creation()),
  ]);
  expect(said.at(-1)).toBe("COMMIT");
  expect(answers.map(({ status }) => status)).toEqual([
    ...(["fulfilled", "rejected", "rejected", "rejected", "fulfilled", "fulfilled"] as const),
  ]);
  expect(answers[1]).toMatchObject({ reason: { message: expect.stringMatching(/NOT NULL/) } });
  expect((await saga.entries("a")).map(({ body }) => body)).toEqual(["1", "two"]);
  expect((await saga.list({ limit: 9 })).map(({ id }) => id)).toEqual(["a", "c"]);
});

test("fails every write of a transaction that cannot be committed, and keeps none", async () => {
  let isFull = true;
  const { saga } = openWatched((sql) => {
    if (sql === "COMMIT" && isFull) throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
  });
  const answers = await Promise.allSettled(["a", "b"].map((id) => saga.create(id, creation())));
  for (const answer of answers) expect(answer).toMatchObject({ status: "rejected", reason: { code: "SQLITE_FULL" } });
  expect(await saga.list({ limit: 9 })).toEqual([]);
  isFull = false;
  expect(await saga.create("a", creation())).toMatchObject({ created: true });
});

test("waits for the lock of another connection with all that it was asked for, in order", async () => {
  const path = newFile();
  const { saga } = open({ path });
  const own = creation();
  await saga.create("a", own);
  const other = openBeside(path);
  other.exec("BEGIN IMMEDIATE");
  const answered: string[] = [];
  const first = saga.append("a", own.token, entry(1)).then(() => answered.push("first"));
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const second = saga.end("a", own.token, completed).then(() => answered.push("second"));
  const late = saga.append("a", own.token, entry(2));
  // What reads does not wait for who writes.
  expect(await saga.entries("a")).toEqual([]);
  expect(answered).toEqual([]);
  other.exec("COMMIT");
  await Promise.all([first, second]);
  expect([answered, await late]).toEqual([["first", "second"], false]);
});

test("commits again when a reader was in the way of the commit", async () => {
  let busy = 2;
  const { saga } = openWatched((sql) => {
    if (sql !== "COMMIT" || busy === 0) return;
    busy -= 1;
    throw Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
  });
  const own = creation();
  const [created, appended] = await Promise.all([saga.create("a", own), saga.append("a", own.token, entry(1))]);
  expect([busy, created.created, appended]).toEqual([0, true, true]);
  expect((await saga.entries("a")).length).toBe(1);
});

test("does all of it again when the lock is missing in the middle, and fails nothing for it", async () => {
  const database = openBeside(newFile());
  const prepare = database.prepare.bind(database);
  let busy = 2;
  database.prepare = (sql) => {
    const statement = prepare(sql);
    const run = (...values: SqlValue[]) => {
      if (!/^INSERT INTO "mcp_tx_saga_entry"/.test(sql) || busy === 0) return statement.run(...values);
      busy -= 1;
      throw Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
    };
    return { run, get: (...values) => statement.get(...values), all: (...values) => statement.all(...values) };
  };
  const { saga } = open({ database });
  const own = creation();
  const answers = [saga.create("a", own), saga.append("a", own.token, entry(1)), saga.append("a", own.token, entry(2))];
  expect(await Promise.all(answers)).toMatchObject([{ created: true }, true, true]);
  expect([busy, (await saga.entries("a")).length]).toEqual([0, 2]);
});

test("says so when the lock is held for too long, and has then changed nothing", async () => {
  const path = newFile();
  const { saga } = open({ path, busyTimeoutMs: 30 });
  const other = openBeside(path);
  other.exec("BEGIN EXCLUSIVE");
  const answers = await Promise.allSettled(["a", "b"].map((id) => saga.create(id, creation())));
  for (const answer of answers) {
    expect(answer).toMatchObject({
      reason: { message: expect.stringContaining("held the lock on the file for 30 ms") },
    });
  }
  other.exec("ROLLBACK");
  expect(await saga.list({ limit: 9 })).toEqual([]);
  expect(await saga.create("a", creation())).toMatchObject({ created: true });
});

test("writes what it was asked for when it is closed, and refuses the rest", async () => {
  const path = newFile();
  const store = sqliteStore({ path });
  const before = store.saga.create("a", creation());
  const closed = store.close();
  const after = store.saga.create("b", creation());
  expect(await before).toMatchObject({ created: true });
  await expect(after).rejects.toThrow("sqliteStore: the store is closed");
  await closed;
  await expect(store.saga.get("a")).rejects.toThrow("the store is closed");
  expect((await open({ path }).saga.list({ limit: 9 })).map(({ id }) => id)).toEqual(["a"]);
});

test("refuses the rest also when it is closed while it waits for a lock", async () => {
  const path = newFile();
  const store = sqliteStore({ path });
  const other = openBeside(path);
  other.exec("BEGIN IMMEDIATE");
  const created = store.saga.create("a", creation());
  await store.close();
  await expect(created).rejects.toThrow("the store is closed");
});

test("writes nothing that would come before what waits for a lock, also when it is closed", async () => {
  const path = newFile();
  const store = sqliteStore({ path });
  const own = creation();
  await store.saga.create("a", own);
  const other = openBeside(path);
  other.exec("BEGIN IMMEDIATE");
  const first = store.saga.append("a", own.token, entry(1));
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const second = store.saga.append("a", own.token, entry(2));
  other.exec("COMMIT");
  await store.close();
  await expect(first).rejects.toThrow("the store is closed");
  await expect(second).rejects.toThrow("the store is closed");
  expect(await open({ path }).saga.entries("a")).toEqual([]);
});

test("does nothing inside a transaction of the user's, and its own is over before anybody else runs", async () => {
  const { saga, database } = openWatched();
  database.exec("BEGIN");
  await expect(saga.create("a", creation())).rejects.toThrow("a transaction is open on the given database");
  await expect(saga.get("a")).rejects.toThrow("a transaction is open on the given database");
  database.exec("ROLLBACK");
  const created = saga.create("a", creation());
  database.exec("BEGIN; COMMIT");
  expect(await created).toMatchObject({ created: true });
});

test("refuses texts that SQLite would alter", async () => {
  const { saga } = open({ path: newFile() });
  const own = creation();
  await saga.create("a", own);
  const claim = { token: "t", leaseMs: 1, from: ["running"] } as const;
  for (const text of ["nul\0", "lone\ud800"]) {
    await expect(saga.create(text, creation())).rejects.toThrow("sqliteStore: the id holds a NUL or a lone surrogate");
    for (const member of ["name", "definition", "input", "token"] as const) {
      await expect(saga.create("b", creation({ [member]: text }))).rejects.toThrow(`the ${member} holds`);
    }
    await expect(saga.claim("a", { ...claim, token: text })).rejects.toThrow("the token holds");
    await expect(saga.append("a", own.token, [...entry(1), ...entry(2, text)])).rejects.toThrow("an entry holds");
    await expect(saga.end("a", own.token, { ...completed, outcome: text })).rejects.toThrow("the outcome holds");
    await expect(saga.extend("a", text, 1)).rejects.toThrow("the token holds");
    await expect(saga.release(text, "t")).rejects.toThrow("the id holds");
    await expect(saga.get(text)).rejects.toThrow("the id holds");
    await expect(saga.entries(text)).rejects.toThrow("the id holds");
    await expect(saga.list({ name: text, limit: 1 })).rejects.toThrow("the name holds");
    await expect(saga.list({ after: text, limit: 1 })).rejects.toThrow("after holds");
  }
  expect(await saga.entries("a")).toEqual([]);
});

test("reads what it is given at once, not when it is written", async () => {
  const { saga } = open({ path: newFile() });
  const given = { ...creation({ token: "mine" }) };
  const created = saga.create("a", given);
  given.token = "yours";
  expect(await created).toMatchObject({ created: true, saga: { token: "mine" } });
  const entries = entry(1, "one");
  const appended = saga.append("a", "mine", entries);
  entries.splice(0, 1, { seq: 1, body: "changed" }, { seq: 2, body: "two" });
  expect(await appended).toBe(true);
  expect((await saga.entries("a")).map(({ body }) => body)).toEqual(["one"]);
});

test("loses a claim, and a write of nobody's, without writing", async () => {
  const path = newFile();
  const { saga } = open({ path });
  await saga.create("a", creation());
  // Every transaction that writes changes a counter in the header.
  const before = readFileSync(path);
  expect(await saga.claim("a", { token: "t", leaseMs: 1, from: ["running"] })).toMatchObject({ won: false });
  expect(await saga.append("a", "t", entry(1))).toBe(false);
  expect(await saga.create("a", creation())).toMatchObject({ created: false });
  expect(await saga.sweep(9)).toBe(0);
  expect(readFileSync(path).equals(before)).toBe(true);
});

test("keeps sagas, journals and identity when the file is opened again", async () => {
  const path = newFile();
  const first = sqliteStore({ path });
  const own = creation({ deadlineAt: 7.5 });
  await first.saga.create("a", own);
  await first.saga.append("a", own.token, entry(1));
  await first.close();
  const { saga } = open({ path });
  expect(saga.storeId).toBe(first.idempotency.storeId);
  expect(saga.durable).toBe(true);
  expect(await saga.get("a")).toMatchObject({ token: own.token, status: "running", deadlineAt: 7.5 });
  expect(await saga.entries("a")).toMatchObject([{ seq: 1, body: "1" }]);
  expect(open({ path: ":memory:" }).saga.durable).toBe(false);
});

test("sweeps as much as it is told, also with limits that are none", async () => {
  const time = virtualTime();
  const { saga } = open({ path: newFile(), runtime: time.runtime });
  for (const id of ["a", "b", "c"]) {
    const own = creation();
    await saga.create(id, own);
    await saga.end(id, own.token, completed);
  }
  await time.advance(20);
  for (const limit of [-1, 0, 0.5, Number.NaN]) expect(await saga.sweep(limit)).toBe(0);
  expect(await saga.sweep(2.5)).toBe(2);
  expect(await saga.sweep(Infinity)).toBe(1);
});

test("keeps several stores apart in one file", async () => {
  const path = newFile();
  const [first, second] = [open({ path }), open({ path, table: "Other_1" })];
  await first.saga.create("a", creation());
  expect(await second.saga.get("a")).toBeUndefined();
  expect(await second.saga.create("a", creation())).toMatchObject({ created: true });
});

test("finds what is due, and sagas of a status, by an index, and the others by their ids", () => {
  const database = openBeside(newFile());
  sqliteStore({ database });
  const names = tables("mcp_tx")(undefined, "table");
  for (const [sql, found] of [
    [sweepSql(names), /SEARCH mcp_tx_saga USING .*INDEX mcp_tx_saga_due/],
    [sweepEntriesSql(names), /SEARCH mcp_tx_saga_entry USING .*INDEX sqlite_autoindex/],
    [sweepEntriesSql(names), /SEARCH mcp_tx_saga USING .*INDEX mcp_tx_saga_due/],
    [listSql(names, true), /SEARCH s USING INDEX mcp_tx_saga_status \(status=\? AND id>\?\)/],
    [listSql(names, false), /SEARCH s USING INDEX sqlite_autoindex_mcp_tx_saga_1 \(id>\?\)/],
  ] as const) {
    const details = database
      .prepare(`EXPLAIN QUERY PLAN ${sql.replaceAll(/:[a-zA-Z]+/g, "'1'")}`)
      .all()
      .map((row) => String((row as { readonly detail: unknown }).detail));
    expect(details).toContainEqual(expect.stringMatching(found));
    expect(details.filter((detail) => detail.includes("TEMP B-TREE FOR ORDER BY"))).toEqual([]);
  }
});

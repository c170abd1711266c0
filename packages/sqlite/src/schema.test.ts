import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { openDatabase } from "./database.js";
import { SCHEMA_VERSION } from "./schema.js";
import { sqliteStore } from "./sqlite-store.js";

const shared = "/dev/shm";
const folder = mkdtempSync(join(existsSync(shared) ? shared : tmpdir(), "mcp-tx-sqlite-schema-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

function newFile(): string {
  files += 1;
  return join(folder, `${files}.db`);
}

const claim = { fingerprint: "f", token: "t", leaseMs: 60_000, epoch: 0, sentAtWall: 0 };
const creation = { name: "order", definition: "d", input: "{}", token: "t", leaseMs: 60_000 };

function open(path: string) {
  const store = sqliteStore({ path });
  onTestFinished(() => store.close());
  return store;
}

/** Runs a script on a file that no store has open. */
function exec(path: string, script: string): void {
  const database = openDatabase(path);
  database.exec(script);
  database.close();
}

/** A file with a record and a saga in it; gives its identity. */
async function fill(path: string): Promise<string> {
  const store = sqliteStore({ path });
  await store.idempotency.claim("key", claim);
  await store.saga.create("saga", creation);
  await store.saga.append("saga", "t", [{ seq: 1, body: "one" }]);
  await store.close();
  return store.idempotency.storeId;
}

/** What version 1 made, to the letter: with a record, and a limit that is used up. */
const VERSION_1 = `
  CREATE TABLE "mcp_tx_meta" (version INTEGER NOT NULL, store_id TEXT NOT NULL) STRICT;
  INSERT INTO "mcp_tx_meta" VALUES (1, 'first');
  CREATE TABLE "mcp_tx_idempotency" (
    key TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    token TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'unknown')),
    epoch INTEGER NOT NULL,
    lease_until REAL NOT NULL,
    expires_at REAL NOT NULL,
    sent_at_wall REAL NOT NULL,
    sent_to TEXT,
    outcome TEXT
  ) STRICT;
  CREATE INDEX "mcp_tx_idempotency_due" ON "mcp_tx_idempotency"
    (CASE WHEN state = 'pending' THEN lease_until ELSE expires_at END) WHERE state <> 'unknown';
  CREATE TABLE "mcp_tx_rate_limit" (
    key TEXT NOT NULL PRIMARY KEY,
    full_at REAL NOT NULL,
    paused_until REAL NOT NULL
  ) STRICT;
  INSERT INTO "mcp_tx_idempotency" VALUES ('key', 'f', 'old', 'unknown', 0, 0, 9e999, 0, NULL, NULL);
  INSERT INTO "mcp_tx_rate_limit" VALUES ('api', 9e15, 0);`;

test("brings a file of version 1 up to date, with all that is in it", async () => {
  const path = newFile();
  exec(path, VERSION_1);
  const { idempotency, rateLimit, saga } = open(path);
  expect([idempotency.storeId, saga.storeId]).toEqual(["first", "first"]);
  expect(await idempotency.get("key")).toMatchObject({ token: "old", state: "unknown" });
  expect(await rateLimit.take("api", { rate: 1, burst: 1, cost: 1 })).toMatchObject({ allowed: false });
  expect(await saga.create("saga", creation)).toMatchObject({ created: true });
  expect(await saga.append("saga", "t", [{ seq: 1, body: "one" }])).toBe(true);
  const database = openDatabase(path);
  expect(database.prepare("SELECT version FROM mcp_tx_meta").get()).toMatchObject({ version: SCHEMA_VERSION });
  database.close();
});

test("a file of version 1 whose records are lost gets another identity", async () => {
  const path = newFile();
  exec(path, `${VERSION_1}; DROP TABLE mcp_tx_idempotency`);
  const { idempotency, saga } = open(path);
  expect(idempotency.storeId).not.toBe("first");
  expect(await idempotency.get("key")).toBeUndefined();
  expect(await saga.create("saga", creation)).toMatchObject({ created: true });
});

test("makes in steps what it makes at once", async () => {
  const [old, fresh] = [newFile(), newFile()];
  exec(old, VERSION_1);
  const [first, second] = [old, fresh].map((path) => {
    open(path);
    const database = openDatabase(path);
    const rows = database.prepare("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").all();
    database.close();
    return rows.map((row) => JSON.stringify(row).replaceAll(/(\\n|\s)+/g, " "));
  });
  expect(first?.length).toBeGreaterThan(8);
  expect(first).toEqual(second);
});

test("has another identity, and its sagas still, when its records are lost", async () => {
  const path = newFile();
  const before = await fill(path);
  exec(path, "DROP TABLE mcp_tx_idempotency");
  const { idempotency, saga } = open(path);
  expect(saga.storeId).not.toBe(before);
  expect(idempotency.storeId).toBe(saga.storeId);
  expect(await saga.entries("saga")).toMatchObject([{ body: "one" }]);
  expect(await idempotency.get("key")).toBeUndefined();
  expect(await idempotency.claim("key", claim)).toMatchObject({ won: true });
});

test("keeps its identity, and all but the limits, when those are lost", async () => {
  const path = newFile();
  const before = await fill(path);
  exec(path, "DROP TABLE mcp_tx_rate_limit");
  const { idempotency, rateLimit, saga } = open(path);
  expect(saga.storeId).toBe(before);
  expect(await idempotency.get("key")).toMatchObject({ token: "t" });
  expect(await saga.get("saga")).toMatchObject({ token: "t" });
  expect(await rateLimit.take("api", { rate: 1, burst: 1, cost: 1 })).toMatchObject({ allowed: true });
});

for (const table of ["saga", "saga_entry"]) {
  test(`has another identity, no sagas, and its records still, when the table ${table} is lost`, async () => {
    const path = newFile();
    const before = await fill(path);
    exec(path, `DROP TABLE mcp_tx_${table}`);
    const { idempotency, saga } = open(path);
    expect(saga.storeId).not.toBe(before);
    expect(idempotency.storeId).toBe(saga.storeId);
    // A saga without its journal would run from the beginning.
    expect(await saga.get("saga")).toBeUndefined();
    expect(await saga.create("saga", creation)).toMatchObject({ created: true });
    expect(await saga.entries("saga")).toEqual([]);
    expect(await idempotency.get("key")).toMatchObject({ token: "t" });
  });
}

test("starts anew when its identity is lost", async () => {
  const path = newFile();
  const before = await fill(path);
  exec(path, "DROP TABLE mcp_tx_meta");
  const { idempotency, saga } = open(path);
  expect(saga.storeId).not.toBe(before);
  expect(await idempotency.get("key")).toBeUndefined();
  expect(await saga.get("saga")).toBeUndefined();
});

test("keeps its identity, and all that it has, when it is opened again", async () => {
  const path = newFile();
  const before = await fill(path);
  for (let times = 0; times < 2; times += 1) {
    const { idempotency, saga } = open(path);
    expect([idempotency.storeId, saga.storeId]).toEqual([before, before]);
    expect(await saga.entries("saga")).toMatchObject([{ body: "one" }]);
  }
});

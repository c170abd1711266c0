import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IdempotencyClaim } from "@mcp-tx/core/stores";
import { expect, onTestFinished, test, vi } from "vitest";
import { openDatabase, type SqliteDatabase, type SqliteStatement } from "./database.js";
import { sqliteStore } from "./sqlite-store.js";

let tokens = 0;

function claim(given: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  tokens += 1;
  return { fingerprint: "f", token: `t${tokens}`, leaseMs: 60_000, epoch: 0, sentAtWall: 1, ...given };
}

/** A store on a file whose transactions and statements are seen, and another connection to the file. */
function openWatched(busyTimeoutMs = 60_000) {
  const folder = mkdtempSync(join(tmpdir(), "sqlite-group-"));
  const path = join(folder, "file.db");
  const [inner, other] = [openDatabase(path), openDatabase(path)];
  const seen = { execs: [] as string[], statements: 0, fail: (_sql: string): void => undefined };
  function counted<A extends readonly unknown[], T>(act: (...values: A) => T): (...values: A) => T {
    return (...values) => {
      seen.statements += 1;
      return act(...values);
    };
  }
  const database: SqliteDatabase = {
    prepare(sql): SqliteStatement {
      const statement = inner.prepare(sql);
      return {
        run: counted((...values) => statement.run(...values)),
        get: counted((...values) => statement.get(...values)),
        all: counted((...values) => statement.all(...values)),
      };
    },
    exec(sql) {
      seen.execs.push(sql);
      seen.fail(sql);
      return inner.exec(sql);
    },
    close: () => inner.close(),
  };
  const store = sqliteStore({ database, busyTimeoutMs });
  onTestFinished(() => {
    inner.close();
    other.close();
    rmSync(folder, { recursive: true });
  });
  seen.execs.length = 0;
  seen.statements = 0;
  return { store, seen, other, user: inner };
}

const ONE = ["BEGIN IMMEDIATE", "COMMIT"];

test("a claim that wins, and a settlement, are one statement each, in a transaction", async () => {
  const { store, seen } = openWatched();
  await store.idempotency.claim("a", claim({ token: "mine" }));
  expect([seen.statements, seen.execs]).toEqual([1, ONE]);
  await store.idempotency.settle("a", "mine", { state: "done", outcome: "{}", ttlMs: 1000 });
  expect([seen.statements, seen.execs]).toEqual([2, [...ONE, ...ONE]]);
});

test("64 claims at once share a transaction, whether they ask at once or some steps later", async () => {
  const { store, seen } = openWatched();
  const claiming = Array.from({ length: 64 }, async (_, index) => {
    for (let step = 0; step < index % 5; step += 1) await undefined;
    return store.idempotency.claim(`${index}`, claim());
  });
  for (const { won } of await Promise.all(claiming)) expect(won).toBe(true);
  expect([seen.statements, seen.execs]).toEqual([64, ONE]);
});

test("a crowd lets go of the file in between", async () => {
  const { store, seen } = openWatched();
  const claims = Array.from({ length: 2100 }, (_, index) => store.idempotency.claim(`${index}`, claim()));
  for (const { won } of await Promise.all(claims)) expect(won).toBe(true);
  expect([seen.statements, seen.execs]).toEqual([2100, [...ONE, ...ONE, ...ONE]]);
});

test.each([1, 2])(
  "%i claims find a transaction of the user's: they are refused, and it stays as it is",
  async (count) => {
    // This database does not say whether it is in a transaction.
    const { store, user } = openWatched();
    user.exec("CREATE TABLE orders (id INTEGER PRIMARY KEY)");
    user.exec("BEGIN; INSERT INTO orders VALUES (1)");
    const claims = Array.from({ length: count }, (_, index) => store.idempotency.claim(`${index}`, claim()));
    const reading = store.idempotency.get("0");
    for (const { status } of await Promise.allSettled([...claims, reading])) expect(status).toBe("rejected");
    user.exec("COMMIT");
    expect(user.prepare("SELECT count(*) AS n FROM orders").get()).toMatchObject({ n: 1 });
    expect(await store.idempotency.claim("0", claim())).toMatchObject({ won: true });
  },
);

test("calls that share a transaction have an outcome each, in the order in which they asked", async () => {
  const { store, seen } = openWatched();
  const { idempotency, rateLimit } = store;
  const done = { state: "done", outcome: "1", ttlMs: 60_000 } as const;
  const limit = { rate: 0.001, burst: 1, cost: 1 };
  const answers = await Promise.all([
    idempotency.settle("a", "first", done),
    idempotency.claim("a", claim({ token: "first" })),
    idempotency.claim("a", claim({ token: "second" })),
    idempotency.claim("b", claim({ token: "third" })),
    idempotency.settle("a", "first", done),
    idempotency.claim("a", claim({ token: "fourth" })),
    idempotency.release("b", "third"),
    idempotency.claim("b", claim({ token: "fifth" })),
    idempotency.extend("b", "third", 1),
    rateLimit.take("a", limit),
    rateLimit.take("a", limit),
  ]);
  expect(seen.execs).toEqual(ONE);
  expect(answers).toMatchObject([
    false,
    { won: true, record: { token: "first" } },
    { won: false, record: { token: "first", state: "pending" } },
    { won: true, record: { token: "third" } },
    true,
    { won: false, record: { token: "first", state: "done", outcome: "1" } },
    true,
    { won: true, record: { token: "fifth" } },
    false,
    { allowed: true },
    { allowed: false },
  ]);
});

test("a claim that fails fails alone, and what it would have done is not seen by the others", async () => {
  const { store } = openWatched();
  const { idempotency } = store;
  const answers = await Promise.allSettled([
    idempotency.claim("a", claim({ token: "first" })),
    // SQLite refuses it: there is no such epoch.
    idempotency.claim("b", claim({ token: "broken", epoch: 1.5 })),
    idempotency.claim("b", claim({ token: "second" })),
    idempotency.claim("nul\0", claim()),
    idempotency.claim("a", claim({ token: "third" })),
  ]);
  expect(answers).toMatchObject([
    { status: "fulfilled", value: { won: true, record: { token: "first" } } },
    { status: "rejected" },
    { status: "fulfilled", value: { won: true, record: { token: "second" } } },
    { status: "rejected", reason: { name: "TypeError" } },
    { status: "fulfilled", value: { won: false, record: { token: "first" } } },
  ]);
});

test("many that fail take a transaction each and not each other's again", async () => {
  const { store, seen } = openWatched();
  const failing = Array.from({ length: 50 }, (_, index) => store.idempotency.claim(`${index}`, claim({ epoch: 1.5 })));
  for (const { status } of await Promise.allSettled(failing)) expect(status).toBe("rejected");
  expect(seen.statements).toBe(50);
});

test.each([0, 1, 60, 99])(
  "of 100 claims the one at %i fails: those before it go together, and those after it",
  async (bad) => {
    const { store, seen } = openWatched();
    const claims = Array.from({ length: 100 }, (_, index) =>
      store.idempotency.claim(`${index}`, claim(index === bad ? { epoch: 1.5 } : {})),
    );
    const answers = await Promise.allSettled(claims);
    expect(answers.flatMap(({ status }, index) => (status === "rejected" ? [index] : []))).toEqual([bad]);
    expect(seen.execs.filter((sql) => sql === "COMMIT").length).toBe(bad === 0 || bad === 99 ? 1 : 2);
    expect(seen.statements).toBeLessThanOrEqual(202);
  },
);

test("of a crowd those whose transaction cannot be committed reject, and the others have theirs", async () => {
  const { store, seen, other } = openWatched();
  seen.fail = (sql) => {
    if (sql !== "COMMIT") return;
    seen.fail = () => undefined;
    throw new Error("the disk is full");
  };
  const claims = Array.from({ length: 1025 }, (_, index) => store.idempotency.claim(`${index}`, claim()));
  const answers = await Promise.allSettled(claims);
  expect(answers.flatMap(({ status }, index) => (status === "fulfilled" ? [index] : []))).toEqual([1024]);
  expect(other.prepare("SELECT key FROM mcp_tx_idempotency").all()).toMatchObject([{ key: "1024" }]);
});

test("calls that follow each other without a pause let timers run, and sagas be written", async () => {
  const { store } = openWatched();
  let fired = false;
  let written = false;
  setTimeout(() => (fired = true), 1);
  const saga = { name: "order", definition: "1", input: "{}", token: "mine", leaseMs: 60_000 };
  const creating = store.saga.create("a", saga).then(() => (written = true));
  const until = performance.now() + 10_000;
  while (!(fired && written) && performance.now() < until) await store.idempotency.claim("a", claim());
  expect([fired, written]).toEqual([true, true]);
  await creating;
});

test.each([true, ["t"], {}, 1n])(
  "a value that no statement takes rejects by its name, and nothing else: %s",
  async (value) => {
    const { store } = openWatched();
    const wrong = claim({ fingerprint: value as unknown as string });
    const answers = await Promise.allSettled([
      store.idempotency.claim("a", claim()),
      store.idempotency.claim("b", wrong),
      store.idempotency.claim("c", claim()),
    ]);
    expect(answers).toMatchObject([
      { value: { won: true } },
      { reason: { name: "TypeError", message: expect.stringContaining("fingerprint") } },
      { value: { won: true } },
    ]);
  },
);

test("nobody is answered before the transaction is committed, and one that cannot be committed fails all of it", async () => {
  const { store, seen, other } = openWatched();
  let answered = 0;
  const before: number[] = [];
  seen.fail = (sql) => {
    if (sql !== "COMMIT") return;
    before.push(answered);
    throw new Error("the disk is full");
  };
  const claiming = ["a", "b", "c"].map((key) => store.idempotency.claim(key, claim()).finally(() => (answered += 1)));
  for (const end of await Promise.allSettled(claiming)) {
    expect(end).toMatchObject({ status: "rejected", reason: { message: "the disk is full" } });
  }
  expect(before).toEqual([0]);
  expect(other.prepare("SELECT key FROM mcp_tx_idempotency").all()).toEqual([]);
});

test("who asks while the lock is waited for joins those that wait, and is committed with them", async () => {
  const { store, seen, other } = openWatched();
  other.exec("BEGIN IMMEDIATE");
  const first = store.idempotency.claim("first", claim());
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen.execs).toContain("BEGIN IMMEDIATE");
  const later = Array.from({ length: 9 }, (_, index) => store.idempotency.claim(`${index}`, claim()));
  other.exec("COMMIT");
  for (const { won } of await Promise.all([first, ...later])) expect(won).toBe(true);
  expect(seen.execs.filter((sql) => sql === "COMMIT").length).toBe(1);
});

test("who asks late has as long as who asked first, and no longer", async () => {
  const { store, other } = openWatched(60_000);
  const now = performance.now.bind(performance);
  let passed = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now() + passed);
  onTestFinished(() => {
    vi.restoreAllMocks();
  });
  other.exec("BEGIN IMMEDIATE");
  const first = store.idempotency.claim("first", claim());
  await new Promise((resolve) => setImmediate(resolve));
  passed = 30_000;
  const late = store.idempotency.claim("late", claim());
  passed = 50_000;
  const last = store.idempotency.claim("last", claim());
  const message = "another process has held the lock on the file for 60000 ms";
  passed = 60_001;
  await expect(first).rejects.toThrow(message);
  passed = 90_001;
  await expect(late).rejects.toThrow(message);
  other.exec("COMMIT");
  expect(await last).toMatchObject({ won: true });
  expect(other.prepare("SELECT key FROM mcp_tx_idempotency").all()).toMatchObject([{ key: "last" }]);
});

test("reads what it is given at once, not when it is written", async () => {
  const { store } = openWatched();
  const given = { ...claim({ token: "mine" }) };
  const claimed = store.idempotency.claim("a", given);
  given.token = "yours";
  expect(await claimed).toMatchObject({ won: true, record: { token: "mine" } });
  const settlement = { state: "done" as const, outcome: "1", ttlMs: 60_000 };
  const settled = store.idempotency.settle("a", "mine", settlement);
  settlement.outcome = "2";
  expect(await settled).toBe(true);
  expect(await store.idempotency.get("a")).toMatchObject({ outcome: "1" });
});

test("closing writes what was asked for before", async () => {
  const { store, other } = openWatched();
  const claimed = store.idempotency.claim("a", claim());
  await store.close();
  expect(await claimed).toMatchObject({ won: true });
  expect(other.prepare("SELECT key FROM mcp_tx_idempotency").all()).toMatchObject([{ key: "a" }]);
});

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { openDatabase } from "./database.js";
import { sqliteStore } from "./sqlite-store.js";

const TIMEOUT_MS = 60_000;
const PROCESSES = 4;
const CONTENDERS = 20;

const script = fileURLToPath(new URL("../fixtures/contender.mjs", import.meta.url));
/** In memory where there is such a folder: locks are the same there, and nobody waits for a disk. */
const shared = "/dev/shm";
const folder = mkdtempSync(join(existsSync(shared) ? shared : tmpdir(), "mcp-tx-sqlite-processes-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

function newFile(): string {
  files += 1;
  return join(folder, `${files}.db`);
}

/** The drivers that share a file in turn: what this Node opens by itself, and what can be given. */
const betterSqlite3 = process.env["MCP_TX_BETTER_SQLITE3"];
const DRIVERS = [undefined, "libsql", ...(betterSqlite3 === undefined ? [] : [betterSqlite3])];

interface Claim {
  readonly key: string;
  readonly won: boolean;
  readonly owner: string;
}

class Contender {
  readonly child: ChildProcess;

  constructor(path: string, index: number, busyTimeoutMs = 30_000) {
    const spec = JSON.stringify({ path, driver: DRIVERS[index % DRIVERS.length], busyTimeoutMs });
    this.child = fork(script, [spec], { execArgv: ["--import", "tsx"] });
    onTestFinished(() => {
      this.child.kill("SIGKILL");
    });
  }

  async answer<T>(): Promise<T> {
    const [message] = await Promise.race([
      once(this.child, "message"),
      once(this.child, "exit").then(() => Promise.reject(new Error("the process ended"))),
    ]);
    const { result, error } = message as { readonly result: T; readonly error?: string };
    if (error !== undefined) throw new Error(error);
    return result;
  }

  do<T>(name: string, job: object = {}): Promise<T> {
    const answered = this.answer<T>();
    this.child.send({ name, job });
    return answered;
  }
}

/** Processes that have started, and not opened the file yet. */
async function start(path: string, count = PROCESSES, first = 0): Promise<Contender[]> {
  const contenders = Array.from({ length: count }, (_, index) => new Contender(path, first + index));
  await Promise.all(contenders.map((contender) => contender.answer()));
  return contenders;
}

function all<T>(contenders: readonly Contender[], name: string, job?: object): Promise<T[]> {
  return Promise.all(contenders.map((contender) => contender.do<T>(name, job)));
}

/** All contenders at every key, all processes at the same moments. */
async function race(contenders: readonly Contender[], keys: readonly string[], takeovers?: Record<string, string>) {
  const job = { keys, takeovers, contenders: CONTENDERS / PROCESSES, startAt: Date.now() + 50, everyMs: 3 };
  const claims = (await all<Claim[]>(contenders, "claim", job)).flat();
  const winners = claims.filter(({ won }) => won);
  expect(winners.map(({ key }) => key).sort()).toEqual([...keys].sort());
  const owners = new Map(winners.map(({ key, owner }) => [key, owner]));
  expect(claims.filter(({ key, owner }) => owners.get(key) !== owner)).toEqual([]);
  expect(claims.length).toBe(keys.length * CONTENDERS);
}

function keysOf(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
}

function store(path: string) {
  const opened = sqliteStore({ path });
  onTestFinished(() => opened.close());
  return opened;
}

test("processes that create one file at once agree on its identity", { timeout: TIMEOUT_MS }, async () => {
  const contenders = await start(newFile());
  for (let round = 0; round < 5; round += 1) {
    const ids = await all<string>(contenders, "open");
    expect(new Set(ids).size).toBe(1);
  }
});

for (const round of [1, 2, 3]) {
  test(`one of 20 contenders wins each of 200 keys (round ${round})`, { timeout: TIMEOUT_MS }, async () => {
    const contenders = await start(newFile());
    await all(contenders, "open");
    const keys = keysOf("key", 200);
    await race(contenders, keys);
  });

  test(`one of 20 contenders takes over each of 30 keys (round ${round})`, { timeout: TIMEOUT_MS }, async () => {
    const path = newFile();
    const { idempotency } = store(path);
    const takeovers: Record<string, string> = {};
    for (const key of keysOf("key", 30)) {
      const claim = { fingerprint: "f", token: `lost-${key}`, leaseMs: 1, epoch: 0, sentAtWall: 0 };
      takeovers[key] = (await idempotency.claim(key, claim)).record.token;
    }
    const contenders = await start(path);
    await all(contenders, "open");
    await race(contenders, Object.keys(takeovers), takeovers);
  });
}

test("processes that share a rate limit get no more than its burst", { timeout: TIMEOUT_MS }, async () => {
  const contenders = await start(newFile());
  await all(contenders, "open");
  const job = { key: "api", terms: { rate: 0.001, burst: 50, cost: 1 }, times: 40 };
  const taken = await all<number>(contenders, "take", job);
  expect(taken.reduce((sum, count) => sum + count)).toBe(50);
});

for (const round of [1, 2]) {
  test(`one of 20 contenders takes over each of 40 sagas (round ${round})`, { timeout: TIMEOUT_MS }, async () => {
    const path = newFile();
    const { saga } = store(path);
    const ids = keysOf("saga", 40);
    const creation = { name: "order", definition: "d", input: "{}", token: "lost", leaseMs: 600_000 };
    for (const id of ids) {
      await saga.create(id, creation);
      await saga.append(id, "lost", [{ seq: 1, body: "lost" }]);
      await saga.release(id, "lost");
    }
    const contenders = await start(path, 2);
    await all(contenders, "open");
    const job = { ids, contenders: CONTENDERS / 2, startAt: Date.now() + 50, everyMs: 3 };
    const won = (await all<{ id: string; token: string; seen: number }[]>(contenders, "claimSagas", job)).flat();
    expect(won.map(({ id }) => id).sort()).toEqual([...ids].sort());
    for (const { id, token, seen } of won) {
      expect(seen).toBe(1);
      expect(await saga.get(id)).toMatchObject({ token });
      expect((await saga.entries(id)).map(({ body }) => body)).toEqual(["lost", token]);
    }
  });
}

/** Kills a process in the middle of many claims; gives what it said before. */
async function floodAndKill(contender: Contender, prefix: string, after: number) {
  const claimed = new Map<string, string>();
  const settled: string[] = [];
  const enough = new Promise<void>((resolve) => {
    contender.child.on("message", (message: { claimed?: string; token: string; settled?: string }) => {
      if (message.claimed !== undefined) claimed.set(message.claimed, message.token);
      if (message.settled !== undefined) settled.push(message.settled);
      if (settled.length === after) resolve();
    });
  });
  contender.child.send({ name: "flood", job: { prefix } });
  await enough;
  const exited = once(contender.child, "exit");
  contender.child.kill("SIGKILL");
  await exited;
  return { claimed, settled };
}

/** With what the store has it open with as well: two copies of SQLite in one process do not see each other's locks. */
function expectWhole(path: string): void {
  const database = openDatabase(path);
  expect(database.prepare("PRAGMA integrity_check").get()).toMatchObject({ integrity_check: "ok" });
  database.close();
}

test("nothing that was claimed or settled is lost when a process is killed", { timeout: TIMEOUT_MS }, async () => {
  const path = newFile();
  const first = store(path);
  for (let round = 0; round < 6; round += 1) {
    const [contender] = await start(path, 1, round);
    if (contender === undefined) throw new Error("there must be a process");
    await contender.do("open");
    const { claimed, settled } = await floodAndKill(contender, `round-${round}`, 20 + 7 * round);
    const { idempotency } = store(path);
    expect(idempotency.storeId).toBe(first.idempotency.storeId);
    for (const key of settled) {
      expect(await idempotency.get(key)).toMatchObject({ state: "done", outcome: key.repeat(500) });
    }
    for (const [key, token] of claimed) expect(await idempotency.get(key)).toMatchObject({ token });
    const late = await idempotency.claim(`after-${round}`, {
      ...{ fingerprint: "f", token: "late", leaseMs: 1000, epoch: 0, sentAtWall: 0 },
    });
    expect(late.won).toBe(true);
  }
  expectWhole(path);
});

/** Kills a process in the middle of appends to many sagas; gives the last entry of each that it said was written. */
async function floodSagasAndKill(contender: Contender, job: { prefix: string; sagas: number }, after: number) {
  const last = new Map<string, number>();
  let said = 0;
  const enough = new Promise<void>((resolve) => {
    contender.child.on("message", ({ id, seq }: { id: string; seq: number }) => {
      last.set(id, seq);
      said += 1;
      if (said === after) resolve();
    });
  });
  contender.child.send({ name: "floodSagas", job });
  await enough;
  const exited = once(contender.child, "exit");
  contender.child.kill("SIGKILL");
  await exited;
  return last;
}

test("no entry of a journal is lost when a process is killed", {
  timeout: TIMEOUT_MS,
}, async () => {
  const path = newFile();
  for (let round = 0; round < 4; round += 1) {
    const [contender] = await start(path, 1, round);
    if (contender === undefined) throw new Error("there must be a process");
    await contender.do("open");
    const last = await floodSagasAndKill(contender, { prefix: `round-${round}`, sagas: 20 }, 100 + 37 * round);
    const { saga } = store(path);
    expect(last.size).toBe(20);
    for (const [id, seq] of last) {
      const entries = await saga.entries(id);
      // More may be there than it could say before it was killed.
      expect(entries.length).toBeGreaterThanOrEqual(seq);
      for (const [index, { seq: at, body }] of entries.entries()) {
        expect([at, body]).toEqual([index + 1, `${id}/${index + 1}`.repeat(50)]);
      }
    }
    const created = { name: "late", definition: "d", input: "{}", token: "t", leaseMs: 1000 };
    expect(await saga.create(`after-${round}`, created)).toMatchObject({ created: true });
  }
  expectWhole(path);
});

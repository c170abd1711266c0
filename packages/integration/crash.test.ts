import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wrapClient } from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import pg from "pg";
import { afterAll, describe, expect, test } from "vitest";
import { enumerate, enumerateRecovery, isResultOf } from "./fixtures/crash-judge.js";
import { type Ended, effectsIn, ended, type Mutant, type StoreSpec, TOOL } from "./fixtures/crash-parts.mjs";
import { openWorld, type Side, serve, type World } from "./fixtures/crash-world.js";
import {
  foundOutBefore,
  heardLate,
  sentLate,
  settledLate,
  slowButAlive,
  tooLateBesides,
  tooLateToSend,
  type Zombie,
} from "./fixtures/crash-zombies.js";
import { type Line, type SdkClient, v1, v2 } from "./fixtures/lines.js";
import { dropTables, tableName } from "./fixtures/postgres-tables.js";
import { newPrefix, removeKeys } from "./fixtures/redis-stores.js";
import { postgres, redis } from "./fixtures/services.js";

/** No living process loses it, however busy the machine; those of the dead are ended. */
const LEASE_MS = 20_000;
/** For those that wait for its end. */
const SHORT_LEASE_MS = 4000;
const TIMEOUT_MS = 120_000;

const [postgresServer, redisServer] = await Promise.all([postgres(), redis()]);
const folder = mkdtempSync(join(tmpdir(), "crash-stores-"));
const tables: string[] = [];
const prefix = newPrefix();
let stores = 0;

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  if (redisServer.missing === undefined) await removeKeys(redisServer.url, prefix);
  if (postgresServer.missing === undefined) {
    const client = new pg.Client({ connectionString: postgresServer.url });
    await client.connect();
    for (const table of tables) await dropTables(client, table);
    await client.end();
  }
  await Promise.all([postgresServer.close(), redisServer.close()]);
});

type Kind = StoreSpec["kind"];

/** An empty store. */
function newStore(kind: Kind): StoreSpec {
  stores += 1;
  switch (kind) {
    case "sqlite":
      return { kind, path: join(folder, `store-${stores}.db`) };
    case "redis":
      return { kind, url: redisServer.url, prefix: `${prefix}${stores}:` };
    case "postgres": {
      const table = tableName();
      tables.push(table);
      return { kind, url: postgresServer.url, table };
    }
  }
}

interface Setting {
  readonly kind: Kind;
  readonly side: Side;
  readonly mutant?: Mutant;
  readonly leaseMs?: number;
}

/** Servers that crash: both SDK lines are had, at the price of one. */
const LINE_OF: Readonly<Record<Kind, Line>> = { sqlite: v1, postgres: v2, redis: v1 };

async function inWorld<T>({ kind, side, mutant, leaseMs = LEASE_MS }: Setting, work: (world: World) => Promise<T>) {
  const world = await openWorld({ side, store: newStore(kind), leaseMs, line: LINE_OF[kind], mutant });
  try {
    return await work(world);
  } finally {
    await world.close();
  }
}

const CLAIM_POINTS = ["before intent", "intent is sent", "after intent"];
const CLIENT_POINTS = [
  "before intent",
  "intent is sent",
  "after intent",
  "before call",
  "before request is sent",
  "after request is sent",
  "answer arrives",
  "after call",
  "before record",
  "record is sent",
  "after record",
  "after reply",
];
const SERVER_POINTS = [
  "request arrives",
  "before intent",
  "intent is sent",
  "after intent",
  "before call",
  "before effect",
  "after effect",
  "after call",
  "before record",
  "record is sent",
  "after record",
  "before answer is sent",
  "after answer is sent",
];
/** After which crashes nobody knows, unless a server does. Of what was on its way to the store, it knows either way. */
const UNKNOWN: Readonly<Record<Side, readonly string[]>> = {
  "client of a plain server": CLIENT_POINTS.slice(2, 9),
  "client of an announcing server": [],
  server: SERVER_POINTS.slice(3, 9),
};
const EITHER = ["intent is sent", "record is sent"];

const missing: Readonly<Record<Kind, string | undefined>> = {
  sqlite: undefined,
  postgres: postgresServer.missing,
  redis: redisServer.missing,
};

const ZOMBIES: readonly { readonly zombie: string; readonly side: Side; readonly play: Zombie }[] = [
  { zombie: "heard while nobody took over", side: "client of a plain server", play: heardLate },
  { zombie: "heard while nobody took over", side: "server", play: heardLate },
  { zombie: "agreed with by who looked", side: "client of a plain server", play: foundOutBefore },
  { zombie: "agreed with by who looked", side: "server", play: foundOutBefore },
  { zombie: "refused before it sends", side: "client of a plain server", play: tooLateToSend },
  { zombie: "refused before it runs the tool", side: "server", play: tooLateToSend },
  { zombie: "refused besides the new owner", side: "client of a plain server", play: tooLateBesides },
  { zombie: "waited for, since it is alive", side: "client of a plain server", play: slowButAlive },
  { zombie: "answered from the server's record", side: "client of an announcing server", play: sentLate },
  { zombie: "fenced off", side: "client of an announcing server", play: settledLate },
];

describe.concurrent.each(["sqlite", "postgres", "redis"] as const)("%s", (kind) => {
  const it = test.skipIf(missing[kind] !== undefined);

  it.each(["client of a plain server", "client of an announcing server", "server"] as const)(
    "%s: runs once, or says that nobody knows, wherever it is killed",
    async (side) => {
      const points = side === "server" ? SERVER_POINTS : CLIENT_POINTS;
      const found = await inWorld({ kind, side }, (world) => enumerate(world));
      expect(found.violations).toEqual([]);
      expect(found.points).toEqual(points);
      expect(found.unknown.filter((point) => !EITHER.includes(point))).toEqual(UNKNOWN[side]);
    },
    TIMEOUT_MS,
  );

  it(
    "client of an announcing server: runs once, wherever the process is killed that takes over from a dead one",
    async () => {
      const setting: Setting = { kind, side: "client of an announcing server" };
      const found = await inWorld(setting, (world) => enumerateRecovery(world, false));
      expect(found).toEqual({ points: [...CLAIM_POINTS, ...CLIENT_POINTS], violations: [], unknown: [] });
    },
    TIMEOUT_MS,
  );

  it.each(ZOMBIES)(
    "$side: a process that goes past its lease is $zombie",
    async ({ side, play }) => {
      expect(await inWorld({ kind, side, leaseMs: SHORT_LEASE_MS }, play)).toEqual([]);
    },
    TIMEOUT_MS,
  );
});

test.concurrent(
  "sqlite, client of a plain server: runs once, wherever the process is killed that looks what a dead one did",
  async () => {
    const found = await inWorld({ kind: "sqlite", side: "client of a plain server" }, (world) =>
      enumerateRecovery(world, true),
    );
    expect(found.violations).toEqual([]);
    expect(found.points).toEqual([...CLAIM_POINTS, ...CLIENT_POINTS.slice(8)]);
    expect(found.unknown.filter((point) => !EITHER.includes(point))).toEqual([
      "before intent",
      "after intent",
      "before record",
    ]);
  },
  TIMEOUT_MS,
);

/** Stores that lack one thing: what the harness finds at the points where it shows. */
const MUTANTS: readonly { readonly mutant: Mutant; readonly at: readonly string[]; readonly finds: RegExp }[] = [
  { mutant: "no intent", at: ["answer arrives"], finds: /ran without an intent.*ran twice after the crash/s },
  { mutant: "no record", at: ["after record"], finds: /lost a recorded result/ },
  { mutant: "unknown is absent", at: ["before record"], finds: /ran twice after the crash/ },
];

describe.concurrent("a store that is broken", () => {
  test.each(MUTANTS)(
    "$mutant: is found out",
    async ({ mutant, at, finds }) => {
      const setting: Setting = { kind: "sqlite", side: "client of a plain server", mutant };
      const { violations } = await inWorld(setting, (world) => enumerate(world, at));
      expect(violations.join("\n")).toMatch(finds);
    },
    TIMEOUT_MS,
  );

  test(
    "no token comparison: is found out",
    async () => {
      const setting = { kind: "sqlite", mutant: "no token comparison", leaseMs: SHORT_LEASE_MS } as const;
      const besides = await inWorld({ ...setting, side: "client of a plain server" }, tooLateBesides);
      expect(besides).toContain("not so: there was one effect");
      const late = await inWorld({ ...setting, side: "client of an announcing server" }, settledLate);
      expect(late).toEqual(["not so: it was told that it has recorded nothing"]);
    },
    TIMEOUT_MS,
  );
});

describe.concurrent.each([v1, v2])("a stdio server on SDK $name", (line) => {
  const DUPLICATES = 100;

  /** Servers in processes of their own, all on one store. */
  async function serving(count: number) {
    const store = newStore("sqlite");
    const effects = join(folder, `effects-${stores}`);
    const told = { line: line.name, store, leaseMs: 30_000, effects };
    const served = await Promise.all(Array.from({ length: count }, () => serve(line, told, {})));
    const close = (): Promise<unknown> => Promise.all(served.map(({ client }) => client.close()));
    return { clients: served.map(({ client }) => client), effects: () => effectsIn(effects, "order"), close };
  }

  const pay = (client: SdkClient): Promise<Ended> =>
    ended(line.call(client, TOOL, { order: "order" }, { idempotencyKey: "order" }));

  async function check(processes: number, wrapped: (client: SdkClient) => SdkClient) {
    const { clients, effects, close } = await serving(processes);
    const callers = clients.map(wrapped);
    try {
      const endings = await Promise.all(
        Array.from({ length: DUPLICATES }, (_, index) => pay(callers[index % processes] as SdkClient)),
      );
      expect(effects()).toHaveLength(1);
      expect(endings.filter((ending) => isResultOf(ending, effects()))).toHaveLength(DUPLICATES);
      expect(new Set(endings.map(({ result }) => result?.structuredContent)).size).toBe(DUPLICATES);
      expect(endings.filter(({ report }) => report?.duplicate === true)).toHaveLength(DUPLICATES - 1);
    } finally {
      await close();
    }
  }

  test("runs 100 duplicates on the wire once", () => check(1, (client) => wrapClient(client, [])));

  test("runs 100 duplicates on the wire to two processes once", () => check(2, (client) => wrapClient(client, [])));

  test("is called once by 100 duplicates within a client", () =>
    check(1, (client) => wrapClient(client, [idempotency()])));
});

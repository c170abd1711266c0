import { setTimeout as sleep } from "node:timers/promises";
import type { IdempotencyClaim } from "@mcp-tx/core/stores";
import { type RedisStoreClient, redisStore } from "@mcp-tx/redis";
import { Cluster, Redis } from "ioredis";
import { createClient, createClientPool, createCluster, createSentinel, RESP_TYPES } from "redis";
import { test as base, expect, onTestFinished } from "vitest";
import { DRIVERS, type Driver, openClient } from "./fixtures/redis-stores.js";
import { cannotStart, type OwnServer, ownRedis } from "./fixtures/services.js";

// What the store sends and leaves behind, seen by a server of its own.

const test = base.skipIf(cannotStart("redis") !== undefined);

const LONG_MS = 600_000;
const TERMS = { rate: 1000, burst: 1000, cost: 1 };

async function server(): Promise<OwnServer> {
  const own = await ownRedis();
  onTestFinished(() => own.close());
  return own;
}

async function open(driver: Driver, url: string) {
  const { client, close } = await openClient(driver, url);
  onTestFinished(close);
  const store = redisStore({ client });
  await store.ready();
  return store;
}

function direct(url: string): Redis {
  const client = new Redis(url);
  onTestFinished(() => client.disconnect());
  return client;
}

function claimOf(token: string, claim: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  return { fingerprint: "f", token, leaseMs: LONG_MS, epoch: 0, sentAtWall: 1, ...claim };
}

/** Commands that clients send while `act` runs; what a script does inside the server is not one. */
async function commandsOf(own: OwnServer, act: () => Promise<unknown>): Promise<string[]> {
  const [monitor, marker] = [await direct(own.url).monitor(), direct(own.url)];
  onTestFinished(() => monitor.disconnect());
  const commands: string[] = [];
  const ended = new Promise<void>((resolve) => {
    monitor.on("monitor", (_time, args: string[], source: string) => {
      if (args[0]?.toLowerCase() === "echo") resolve();
      else if (source !== "lua") commands.push(String(args[0]).toLowerCase());
    });
  });
  await act();
  await marker.echo("over");
  await ended;
  return commands.filter((command) => command !== "info" && command !== "client" && command !== "hello");
}

for (const driver of DRIVERS) {
  test(`each method is one command, won or lost, for a record of any state: ${driver}`, async () => {
    const own = await server();
    const { idempotency, rateLimit } = await open(driver, own.url);
    const steps: readonly (() => Promise<unknown>)[] = [
      () => idempotency.claim("key", claimOf("mine")),
      () => idempotency.claim("key", claimOf("other")),
      () => idempotency.extend("key", "mine", LONG_MS),
      () => idempotency.get("key"),
      () => idempotency.settle("key", "mine", { state: "unknown", ttlMs: LONG_MS }),
      () => idempotency.claim("key", claimOf("next", { takeover: "mine" })),
      () => idempotency.settle("key", "next", { state: "failed", outcome: "no", ttlMs: LONG_MS }),
      () => idempotency.expire("key", "next", LONG_MS),
      () => idempotency.claim("key", claimOf("last", { epoch: 1 })),
      () => idempotency.release("key", "last"),
      () => rateLimit.take("key", TERMS),
      () => rateLimit.pause("key", TERMS, 10),
      () => rateLimit.take("key", TERMS),
      () => rateLimit.refund("key", TERMS, 0),
    ];
    // The first time each script is sent in full.
    for (const step of steps) await step();
    for (const step of steps) expect(await commandsOf(own, step)).toEqual(["evalsha"]);
  });

  test(`a hundred claims at once are a hundred commands: ${driver}`, async () => {
    const own = await server();
    const { idempotency } = await open(driver, own.url);
    await idempotency.claim("first", claimOf("mine"));
    const commands = await commandsOf(own, () =>
      Promise.all(Array.from({ length: 100 }, (_, index) => idempotency.claim(`${index}`, claimOf("mine")))),
    );
    expect(commands).toEqual(Array.from({ length: 100 }, () => "evalsha"));
  });

  test(`done and failed records expire in the server, pending, unknown and pinned ones do not: ${driver}`, async () => {
    const own = await server();
    const { idempotency } = await open(driver, own.url);
    const admin = direct(own.url);
    const timeLeft = async (key: string) => admin.pttl((await admin.keys(`*:${key}`))[0] ?? "");
    for (const key of ["pending", "unknown", "done", "failed", "pinned", "short"]) {
      await idempotency.claim(key, claimOf("mine", { leaseMs: 1 }));
    }
    await idempotency.settle("unknown", "mine", { state: "unknown", ttlMs: LONG_MS });
    await idempotency.settle("done", "mine", { state: "done", ttlMs: LONG_MS });
    await idempotency.settle("failed", "mine", { state: "failed", ttlMs: LONG_MS });
    await idempotency.settle("pinned", "mine", { state: "done", ttlMs: Infinity });
    await idempotency.settle("short", "mine", { state: "done", ttlMs: 1 });
    await idempotency.expire("pinned", "mine", LONG_MS);
    expect(Math.abs((await timeLeft("pinned")) - LONG_MS)).toBeLessThan(30_000);
    await idempotency.expire("pinned", "mine", Infinity);
    for (const key of ["pending", "unknown", "pinned"]) expect(await timeLeft(key)).toBe(-1);
    for (const key of ["done", "failed"]) expect(Math.abs((await timeLeft(key)) - LONG_MS)).toBeLessThan(30_000);
    await idempotency.claim("failed", claimOf("next", { epoch: 1 }));
    expect(await timeLeft("failed")).toBe(-1);
    await sleep(5);
    expect(await timeLeft("short")).toBe(-2);
  });

  test(`a record outlives what Redis takes for an expiry: ${driver}`, async () => {
    const own = await server();
    const { idempotency } = await open(driver, own.url);
    for (const ttlMs of [1e13, 1e16, 1e300]) {
      await idempotency.claim(`${ttlMs}`, claimOf("mine"));
      expect(await idempotency.settle(`${ttlMs}`, "mine", { state: "done", ttlMs })).toBe(true);
      const { expiresAt } = (await idempotency.get(`${ttlMs}`)) ?? { expiresAt: 0 };
      expect(Math.abs(expiresAt / (Date.now() + ttlMs) - 1)).toBeLessThan(1e-6);
    }
  });

  test(`limits that nobody uses leave nothing behind, and markers stay: ${driver}`, async () => {
    const own = await server();
    const { rateLimit } = await open(driver, own.url);
    const admin = direct(own.url);
    const markers = await admin.dbsize();
    for (const key of ["a", "b", "c"]) await rateLimit.take(key, TERMS);
    await rateLimit.pause("d", TERMS, 5);
    await rateLimit.take("e", { rate: 0.001, burst: 5, cost: 1 });
    await expect.poll(async () => (await admin.keys("mcp-tx:rate:*")).join()).toBe("mcp-tx:rate:e");
    await expect.poll(() => admin.dbsize(), { timeout: 10_000 }).toBe(markers + 1);
    expect(await admin.pttl("mcp-tx:rate:e")).toBeGreaterThan(900_000);
    for (const marker of await admin.keys("mcp-tx:store:*")) expect(await admin.pttl(marker)).toBe(-1);
  });

  test(`a shorter pause does not end a longer one, however small the request: ${driver}`, async () => {
    const own = await server();
    const { rateLimit } = await open(driver, own.url);
    const terms = { rate: 0.01, burst: 0.5, cost: 0.1 };
    await rateLimit.pause("key", terms, 100_000);
    await rateLimit.pause("key", terms, 1);
    expect((await rateLimit.take("key", terms)).retryAfterMs).toBeGreaterThan(90_000);
  });

  test(`a limit written by a clock that has been set back since counts from now on: ${driver}`, async () => {
    const own = await server();
    const { rateLimit } = await open(driver, own.url);
    const ahead = (Date.now() + 3_600_000) * 1000;
    const terms = { rate: 0.01, burst: 1, cost: 1 };
    // A token's worth of debt, and a pause of 200 seconds.
    await direct(own.url).mset(
      "mcp-tx:rate:empty",
      `${ahead} 100000 0`,
      "mcp-tx:rate:paused",
      `${ahead} 0 ${ahead + 2e8}`,
    );
    const empty = await rateLimit.take("empty", terms);
    expect(empty.allowed).toBe(false);
    expect(empty.retryAfterMs).toBeLessThanOrEqual(100_000);
    const paused = await rateLimit.take("paused", terms);
    expect(paused.allowed).toBe(false);
    expect(paused.retryAfterMs).toBeLessThanOrEqual(200_000);
    await sleep(5);
    expect((await rateLimit.take("empty", terms)).retryAfterMs).toBeLessThanOrEqual(empty.retryAfterMs - 4);
    expect((await rateLimit.take("paused", terms)).retryAfterMs).toBeLessThanOrEqual(paused.retryAfterMs - 4);
  });

  test(`a sweep turns what is overdue, page by page, and leaves the keys of others alone: ${driver}`, async () => {
    const own = await server();
    const { idempotency } = await open(driver, own.url);
    const admin = direct(own.url);
    await admin.mset(Object.fromEntries(Array.from({ length: 3000 }, (_, index) => [`other:${index}`, "x"])));
    await Promise.all(
      Array.from({ length: 1200 }, (_, index) => idempotency.claim(`${index}`, claimOf("mine", { leaseMs: 1 }))),
    );
    await idempotency.claim("live", claimOf("mine"));
    await sleep(5);
    const counts = [await idempotency.sweep(500), await idempotency.sweep(500), await idempotency.sweep(500)];
    expect(counts).toEqual([500, 500, 200]);
    expect(await idempotency.sweep(500)).toBe(0);
    expect(await idempotency.get("live")).toMatchObject({ state: "pending" });
    const [stored] = await admin.keys("mcp-tx:record:*:7");
    expect(await admin.hget(stored ?? "", "s")).toBe("unknown");
  });
}

async function expectWorks(client: RedisStoreClient): Promise<void> {
  const { idempotency, rateLimit, ready } = redisStore({ client, prefix: "other:" });
  await ready();
  expect(await idempotency.claim("鍵", claimOf("mine", { leaseMs: 1, sentTo: "there" }))).toMatchObject({ won: true });
  expect((await idempotency.claim("鍵", claimOf("other"))).won).toBe(false);
  await sleep(5);
  expect(await idempotency.sweep(10)).toBe(1);
  expect(await idempotency.settle("鍵", "mine", { state: "done", outcome: "値", ttlMs: LONG_MS })).toBe(true);
  expect(await idempotency.get("鍵")).toMatchObject({
    key: "鍵",
    state: "done",
    outcome: "値",
    sentTo: "there",
    epoch: 0,
  });
  expect(await idempotency.get("none")).toBeUndefined();
  expect((await rateLimit.take("key", { rate: 1, burst: 1, cost: 1 })).allowed).toBe(true);
  expect((await rateLimit.take("key", { rate: 1, burst: 1, cost: 1 })).allowed).toBe(false);
}

test("works with a client of redis that gives bytes, text for numbers, or the older protocol", async () => {
  const own = await server();
  const client = await createClient({ url: own.url }).connect();
  onTestFinished(() => client.destroy());
  await expectWorks(client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.NUMBER]: String }));
  const older = await createClient({ url: own.url, RESP: 2, keyPrefix: "old*:" }).connect();
  onTestFinished(() => older.destroy());
  await expectWorks(older);
});

test("works with a pool of redis", async () => {
  const own = await server();
  const pool = createClientPool({ url: own.url });
  await pool.connect();
  onTestFinished(() => pool.destroy());
  await expectWorks(pool);
});

test("works with a client of ioredis that pipelines by itself, has a prefix, or speaks the newer protocol", async () => {
  const own = await server();
  for (const options of [
    { enableAutoPipelining: true },
    { keyPrefix: "[app]:" },
    { protocol: 3, replyMapping: "resp3" },
    { stringNumbers: true, keyPrefix: "numbers:" },
  ] as const) {
    const client = new Redis(own.url, options);
    onTestFinished(() => client.disconnect());
    await direct(own.url).flushall();
    await expectWorks(client);
  }
});

test("the types of every kind of client fit", () => {
  const construct = (): unknown[] => [
    redisStore({ client: new Redis() }),
    redisStore({ client: new Cluster([]) }),
    redisStore({ client: createClient() }),
    redisStore({ client: createClient({ RESP: 2, scripts: {} }) }),
    redisStore({ client: createClientPool() }),
    redisStore({ client: createCluster({ rootNodes: [] }) }),
    redisStore({ client: createSentinel({ name: "main", sentinelRootNodes: [] }) }),
  ];
  // Compiled, not run: constructing most of them connects.
  expect(construct).toBeTypeOf("function");
});

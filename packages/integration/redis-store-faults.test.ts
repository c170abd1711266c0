import { setTimeout as sleep } from "node:timers/promises";
import type { IdempotencyClaim } from "@mcp-tx/core/stores";
import { type RedisStore, type RedisStoreClient, redisStore } from "@mcp-tx/redis";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { test as base, expect, onTestFinished } from "vitest";
import { DRIVERS, type Driver } from "./fixtures/redis-stores.js";
import { cannotStart, type OwnServer, ownRedis } from "./fixtures/services.js";
import { type Loss, type TcpProxy, tcpProxy } from "./fixtures/tcp-proxy.js";

// What happens to a store when the server or the way to it fails, on servers that are started for it.

const test = base.skipIf(cannotStart("redis") !== undefined);

const LONG_MS = 600_000;
const DURABLE = { appendonly: "yes", appendfsync: "always" };

async function server(settings?: Readonly<Record<string, string>>): Promise<OwnServer> {
  const own = await ownRedis(settings);
  onTestFinished(() => own.close());
  return own;
}

/** A client that says at once when its connection is gone, and comes back by itself. */
async function connect(driver: Driver, url: string): Promise<RedisStoreClient> {
  if (driver === "ioredis") {
    const client = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => 20,
    });
    client.on("error", () => undefined);
    onTestFinished(() => client.disconnect());
    await client.connect();
    return client;
  }
  const client = createClient({ url, disableOfflineQueue: true, socket: { reconnectStrategy: 20 } });
  client.on("error", () => undefined);
  onTestFinished(() => client.destroy());
  await client.connect();
  return client;
}

async function open(driver: Driver, url: string): Promise<RedisStore> {
  const store = redisStore({ client: await connect(driver, url) });
  await store.ready();
  return store;
}

/** A client of the test's own. */
function direct(url: string): Redis {
  const client = new Redis(url);
  client.on("error", () => undefined);
  onTestFinished(() => client.disconnect());
  return client;
}

function claimOf(token: string, claim: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  return { fingerprint: "f", token, leaseMs: LONG_MS, epoch: 0, sentAtWall: 1, ...claim };
}

/** Until the client is connected again. */
async function recovers(store: RedisStore): Promise<void> {
  await expect.poll(() => store.idempotency.get("?").then(() => "back", String), { timeout: 10_000 }).toBe("back");
}

interface Proxied {
  readonly store: RedisStore;
  readonly proxy: TcpProxy;
}

async function proxied(driver: Driver): Promise<Proxied> {
  const own = await server();
  const proxy = await tcpProxy(own.port);
  onTestFinished(() => proxy.close());
  const store = await open(driver, `redis://127.0.0.1:${proxy.port}`);
  // Once each, so that the server knows the scripts and the reply that is lost is not that it does not.
  await store.idempotency.claim("first", claimOf("first"));
  await store.idempotency.extend("first", "first", LONG_MS);
  await store.idempotency.settle("first", "first", { state: "unknown", ttlMs: LONG_MS });
  await store.idempotency.release("first", "first");
  await store.rateLimit.take("first", { rate: 1, burst: 1, cost: 1 });
  return { store, proxy };
}

/** Sends something that is lost on the way, and sends it again when the connection is back. */
async function repeated<T>({ store, proxy }: Proxied, loss: Loss, send: () => Promise<T>): Promise<T> {
  proxy.loseNext(loss);
  await expect(send()).rejects.toThrow();
  await recovers(store);
  return send();
}

for (const driver of DRIVERS) {
  for (const loss of ["request", "reply"] as const) {
    test(`a claim, an extension and a settlement whose ${loss} was lost are repeated: ${driver}`, async () => {
      const way = await proxied(driver);
      const { idempotency } = way.store;
      const claim = await repeated(way, loss, () => idempotency.claim("key", claimOf("mine")));
      expect(claim).toMatchObject({ won: true, record: { token: "mine", state: "pending" } });
      expect((await idempotency.claim("key", claimOf("other"))).won).toBe(false);
      expect(await repeated(way, loss, () => idempotency.extend("key", "mine", LONG_MS))).toBe(true);
      const settlement = { state: "done", outcome: "once", ttlMs: LONG_MS } as const;
      expect(await repeated(way, loss, () => idempotency.settle("key", "mine", settlement))).toBe(true);
      expect(await idempotency.get("key")).toMatchObject({ state: "done", outcome: "once" });
    });

    test(`a takeover and a release whose ${loss} was lost are repeated: ${driver}`, async () => {
      const way = await proxied(driver);
      const { idempotency } = way.store;
      await idempotency.claim("key", claimOf("late"));
      await idempotency.settle("key", "late", { state: "unknown", ttlMs: LONG_MS });
      const takeover = claimOf("mine", { takeover: "late" });
      expect((await repeated(way, loss, () => idempotency.claim("key", takeover))).won).toBe(true);
      expect(await idempotency.settle("key", "late", { state: "done", ttlMs: LONG_MS })).toBe(false);
      expect(await repeated(way, loss, () => idempotency.release("key", "mine"))).toBe(true);
      expect(await idempotency.get("key")).toBeUndefined();
    });
  }

  test(`tokens whose reply was lost are gone, and never given twice: ${driver}`, async () => {
    const way = await proxied(driver);
    const terms = { rate: 0.001, burst: 2, cost: 1 };
    const take = () => way.store.rateLimit.take("key", terms);
    expect((await repeated(way, "reply", take)).allowed).toBe(true);
    expect((await take()).allowed).toBe(false);
  });

  test(`rejects while the server is down, and goes on with the same data when it is back: ${driver}`, async () => {
    const own = await server(DURABLE);
    const store = await open(driver, own.url);
    const { idempotency, rateLimit } = store;
    const before = idempotency.storeId;
    await idempotency.claim("pending", claimOf("mine"));
    await idempotency.claim("done", claimOf("mine"));
    await idempotency.settle("done", "mine", { state: "done", outcome: "kept", ttlMs: LONG_MS });
    await own.kill();
    await expect(idempotency.claim("new", claimOf("mine"))).rejects.toThrow();
    await expect(idempotency.settle("pending", "mine", { state: "done", ttlMs: LONG_MS })).rejects.toThrow();
    await expect(rateLimit.take("key", { rate: 1, burst: 1, cost: 1 })).rejects.toThrow();
    await own.start();
    await recovers(store);
    expect(await idempotency.get("done")).toMatchObject({ state: "done", outcome: "kept" });
    expect((await idempotency.claim("pending", claimOf("other"))).won).toBe(false);
    expect(await idempotency.settle("pending", "mine", { state: "done", ttlMs: LONG_MS })).toBe(true);
    expect(idempotency.storeId).toBe(before);
  });

  test(`waits for a slow server, and has one winner then: ${driver}`, async () => {
    const own = await server();
    const [first, second] = [await open(driver, own.url), await open(driver, own.url)];
    own.pause();
    const claims = [first, second].map(({ idempotency }, index) => idempotency.claim("key", claimOf(`${index}`)));
    await sleep(300);
    own.resume();
    expect((await Promise.all(claims)).map(({ won }) => won).sort()).toEqual([false, true]);
  });

  test(`a lease goes on ending while the server does not answer: ${driver}`, async () => {
    const own = await server();
    const { idempotency } = await open(driver, own.url);
    await idempotency.claim("key", claimOf("mine", { leaseMs: 200 }));
    own.pause();
    const extended = idempotency.extend("key", "mine", LONG_MS);
    await sleep(300);
    own.resume();
    expect(await extended).toBe(false);
    expect(await idempotency.get("key")).toMatchObject({ state: "unknown" });
  });

  test(`the first claim after a flush is refused, also when it is repeated, and storeId changes: ${driver}`, async () => {
    const own = await server();
    const [{ idempotency }, other] = [await open(driver, own.url), await open(driver, own.url)];
    const before = idempotency.storeId;
    await idempotency.claim("key", claimOf("mine"));
    await direct(own.url).flushall();
    await expect(idempotency.claim("key", claimOf("again"))).rejects.toThrow("records were lost");
    await expect(idempotency.claim("key", claimOf("again"))).rejects.toThrow("records were lost");
    expect(await idempotency.get("key")).toBeUndefined();
    expect(idempotency.storeId).not.toBe(before);
    await expect(other.idempotency.claim("key", claimOf("other"))).rejects.toThrow("records were lost");
    expect(other.idempotency.storeId).toBe(idempotency.storeId);
    expect((await idempotency.claim("key", claimOf("new"))).won).toBe(true);
    expect((await other.idempotency.claim("key", claimOf("newer"))).won).toBe(false);
  });

  test(`records that were restored get another identity by hand: ${driver}`, async () => {
    const own = await server();
    const before = await open(driver, own.url);
    await before.idempotency.claim("key", claimOf("mine"));
    // As the README says.
    await direct(own.url).del("mcp-tx:store:{00}");
    const [after, other] = [await open(driver, own.url), await open(driver, own.url)];
    expect(after.idempotency.storeId).not.toBe(before.idempotency.storeId);
    expect(other.idempotency.storeId).toBe(after.idempotency.storeId);
    expect((await after.idempotency.claim("key", claimOf("again"))).won).toBe(false);
    // Who knew the old identity is told before anything of its runs.
    await expect(before.idempotency.claim("new", claimOf("new"))).rejects.toThrow("records were lost");
  });

  test(`a restart without persistence is a loss: ${driver}`, async () => {
    const own = await server();
    const store = await open(driver, own.url);
    const before = store.idempotency.storeId;
    await own.stop();
    await own.start();
    await recovers(store);
    await expect(store.idempotency.claim("key", claimOf("mine"))).rejects.toThrow("records were lost");
    expect(store.idempotency.storeId).not.toBe(before);
    expect((await open(driver, own.url)).idempotency.storeId).toBe(store.idempotency.storeId);
  });

  test(`many processes that find a loss at once agree on the new identity: ${driver}`, async () => {
    const own = await server();
    const stores = await Promise.all(Array.from({ length: 10 }, () => open(driver, own.url)));
    await direct(own.url).flushall();
    const claimAll = () =>
      Promise.allSettled(
        stores.flatMap(({ idempotency }, store) =>
          Array.from({ length: 20 }, (_, key) =>
            idempotency.claim(`${key}`, claimOf(`${store} ${key} ${Math.random()}`)),
          ),
        ),
      );
    for (const { status } of await claimAll()) expect(status).toBe("rejected");
    await expect
      .poll(async () => (await claimAll()).filter(({ status }) => status === "rejected").length, { timeout: 10_000 })
      .toBe(0);
    expect(new Set(stores.map(({ idempotency }) => idempotency.storeId)).size).toBe(1);
  });

  test(`a server that has forgotten the scripts gets them again: ${driver}`, async () => {
    const own = await server();
    const { idempotency, rateLimit } = await open(driver, own.url);
    await idempotency.claim("key", claimOf("mine"));
    await direct(own.url).script("FLUSH");
    expect((await idempotency.claim("key", claimOf("other"))).won).toBe(false);
    expect(await idempotency.settle("key", "mine", { state: "done", ttlMs: LONG_MS })).toBe(true);
    expect((await rateLimit.take("key", { rate: 1, burst: 1, cost: 1 })).allowed).toBe(true);
  });

  test(`a replica refuses whatever decides something, also where nothing would be written: ${driver}`, async () => {
    const own = await server({ "repl-diskless-sync-delay": "0" });
    const master = await open(driver, own.url);
    await master.idempotency.claim("key", claimOf("mine"));
    const replica = await server({ replicaof: `127.0.0.1 ${own.port}` });
    const client = direct(replica.url);
    await expect.poll(() => client.info("replication"), { timeout: 10_000 }).toContain("master_link_status:up");
    const { idempotency, rateLimit } = await open(driver, replica.url);
    const decisions = [
      () => idempotency.claim("new", claimOf("other")),
      () => idempotency.claim("key", claimOf("other")),
      () => idempotency.extend("key", "other", LONG_MS),
      () => idempotency.settle("key", "other", { state: "done", ttlMs: LONG_MS }),
      () => idempotency.release("key", "other"),
      () => idempotency.release("none", "other"),
      () => rateLimit.take("key", { rate: 1, burst: 1, cost: 1 }),
    ];
    for (const decide of decisions) await expect(decide()).rejects.toThrow("READONLY");
    expect(await idempotency.get("key")).toMatchObject({ token: "mine" });
  });

  test(`a server that is full refuses new keys, keeps the others, and takes how they end: ${driver}`, async () => {
    const own = await server({ maxmemory: "100mb" });
    const { idempotency } = await open(driver, own.url);
    await idempotency.claim("done", claimOf("mine"));
    await idempotency.settle("done", "mine", { state: "done", outcome: "kept", ttlMs: LONG_MS });
    for (const key of ["ends", "goes"]) await idempotency.claim(key, claimOf("mine"));
    await direct(own.url).config("SET", "maxmemory", "1");
    await expect(idempotency.claim("new", claimOf("mine"))).rejects.toThrow("OOM");
    expect(await idempotency.get("done")).toMatchObject({ state: "done", outcome: "kept" });
    expect(await idempotency.extend("ends", "mine", LONG_MS)).toBe(true);
    expect(await idempotency.settle("ends", "mine", { state: "done", outcome: "last", ttlMs: LONG_MS })).toBe(true);
    expect(await idempotency.get("ends")).toMatchObject({ state: "done", outcome: "last" });
    expect(await idempotency.release("goes", "mine")).toBe(true);
    expect(await idempotency.get("new")).toBeUndefined();
  });

  test(`refuses a server that evicts, unless it is told to take it: ${driver}`, async () => {
    const own = await server({ maxmemory: "100mb", "maxmemory-policy": "volatile-lru" });
    const client = await connect(driver, own.url);
    const store = redisStore({ client });
    await expect(store.ready()).rejects.toThrow("the maxmemory-policy volatile-lru");
    await expect(store.idempotency.claim("key", claimOf("mine"))).rejects.toThrow("maxmemory-policy");
    expect(await direct(own.url).dbsize()).toBe(0);
    const knowingly = redisStore({ client, allowEviction: true });
    await knowingly.ready();
    expect((await knowingly.idempotency.claim("key", claimOf("mine"))).won).toBe(true);
    await direct(own.url).config("SET", "maxmemory-policy", "noeviction");
    await store.ready();
  });
}

test("an ioredis client that resends by itself hides a lost reply, and the claim still wins once", async () => {
  const own = await server();
  const proxy = await tcpProxy(own.port);
  onTestFinished(() => proxy.close());
  const client = direct(`redis://127.0.0.1:${proxy.port}`);
  const store = redisStore({ client });
  await store.ready();
  proxy.loseNext("reply");
  expect((await store.idempotency.claim("key", claimOf("mine"))).won).toBe(true);
  expect((await store.idempotency.claim("key", claimOf("other"))).won).toBe(false);
});

import { setTimeout as sleep } from "node:timers/promises";
import { idempotencyStoreContract, rateLimitStoreContract } from "@mcp-tx/core/testing";
import { redisStore } from "@mcp-tx/redis";
import { Cluster, Redis } from "ioredis";
import { createCluster } from "redis";
import { afterAll, test as base, expect, onTestFinished } from "vitest";
import { type OwnCluster, ownCluster } from "./fixtures/redis-cluster.js";
import { DRIVERS, type Driver, newPrefix, type OpenClient } from "./fixtures/redis-stores.js";
import { cannotStart, REAL_CLOCK } from "./fixtures/services.js";

// A store in a cluster of three masters: scripts go where their keys are, and nothing asks for keys of two servers.

const missing = cannotStart("redis");
const test = base.skipIf(missing !== undefined);
const cluster: OwnCluster = missing === undefined ? await ownCluster(3) : { nodes: [], close: async () => undefined };
afterAll(() => cluster.close());

async function openCluster(driver: Driver): Promise<OpenClient> {
  if (driver === "ioredis") {
    const client = new Cluster(
      cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })),
      // A prefix of the driver's own goes before that of the store.
      { lazyConnect: true, keyPrefix: "app:" },
    );
    client.on("error", () => undefined);
    await client.connect();
    return { client, close: () => client.disconnect() };
  }
  const client = createCluster({ rootNodes: cluster.nodes.map(({ url }) => ({ url })), keyPrefix: "app:" });
  client.on("error", () => undefined);
  await client.connect();
  return { client, close: () => void client.destroy() };
}

async function open(driver: Driver, prefix: string) {
  const { client, close } = await openCluster(driver);
  const store = redisStore({ client, prefix });
  await store.ready();
  return { ...store, close };
}

/** What each server holds whose name has the prefix in it. */
async function keysOfNodes(prefix: string): Promise<string[][]> {
  return Promise.all(
    cluster.nodes.map(async ({ url }) => {
      const client = new Redis(url);
      const keys = await client.keys(`*${prefix}*`);
      client.disconnect();
      return keys;
    }),
  );
}

for (const [index, driver] of DRIVERS.entries()) {
  const otherDriver = DRIVERS[1 - index] ?? driver;
  const idempotencyCases = idempotencyStoreContract(async () => {
    const prefix = newPrefix();
    const store = await open(driver, prefix);
    const other = await open(otherDriver, prefix);
    const close = (): void => {
      store.close();
      other.close();
    };
    return { store: store.idempotency, other: other.idempotency, advance: (ms) => sleep(ms + 2), close };
  });
  for (const { name, run } of idempotencyCases) test(`idempotency, cluster, ${driver}: ${name}`, run);

  const rateLimitCases = rateLimitStoreContract(async () => {
    const store = await open(driver, newPrefix());
    return { store: store.rateLimit, advance: (ms) => sleep(ms + 2), close: store.close };
  }, REAL_CLOCK);
  for (const { name, run } of rateLimitCases) test.concurrent(`rate limit, cluster, ${driver}: ${name}`, run);

  test(`records are spread over the servers of a cluster, and a sweep finds all: ${driver}`, async () => {
    const prefix = newPrefix();
    const { idempotency, close } = await open(driver, prefix);
    onTestFinished(close);
    const claims = Array.from({ length: 300 }, (_, count) =>
      idempotency.claim(`key ${count}`, { fingerprint: "f", token: "t", leaseMs: 1, epoch: 0, sentAtWall: 0 }),
    );
    await Promise.all(claims);
    for (const keys of await keysOfNodes(`${prefix}record`)) expect(keys.length).toBeGreaterThan(50);
    await sleep(5);
    expect(await idempotency.sweep(200)).toBe(200);
    expect(await idempotency.sweep(200)).toBe(100);
    expect(await idempotency.sweep(200)).toBe(0);
  });

  test(`a claim notices that one server of a cluster lost its data: ${driver}`, async () => {
    const prefix = newPrefix();
    const { idempotency, close } = await open(driver, prefix);
    onTestFinished(close);
    const before = idempotency.storeId;
    const flushing = new Redis(cluster.nodes[1]?.url ?? "");
    await flushing.flushall();
    flushing.disconnect();
    const ends = await Promise.allSettled(
      Array.from({ length: 100 }, (_, count) =>
        idempotency.claim(`key ${count}`, { fingerprint: "f", token: `${count}`, leaseMs: 1, epoch: 0, sentAtWall: 0 }),
      ),
    );
    expect(ends.filter(({ status }) => status === "rejected").length).toBeGreaterThan(10);
    expect(idempotency.storeId).not.toBe(before);
  });
}

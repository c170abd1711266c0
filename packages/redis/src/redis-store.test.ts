import type { IdempotencyClaim } from "@mcp-tx/core/stores";
import { expect, test } from "vitest";
import { type RedisStoreOptions, redisStore } from "./redis-store.js";

const CLAIM: IdempotencyClaim = { fingerprint: "f", token: "t", leaseMs: 1, epoch: 0, sentAtWall: 0 };

/** A client whose server has an identity and lets every claim win. */
function fakeClient() {
  const asked = { info: 0, markers: 0, claims: 0 };
  let policy = "noeviction";
  const client = {
    evalsha: async (_sha: string, keyCount: number, ...given: string[]): Promise<unknown> => {
      if (keyCount === 2) {
        asked.claims += 1;
        return [1, "1.5"];
      }
      asked.markers += 1;
      return ["identity", given[0]];
    },
    eval: async (): Promise<unknown> => undefined,
    info: async () => {
      asked.info += 1;
      return `maxmemory:1\r\nmaxmemory_policy:${policy}\r\n`;
    },
    scan: async (): Promise<[string, string[]]> => ["0", []],
  };
  const evict = (): void => {
    policy = "allkeys-lru";
  };
  return { client, asked, evict };
}

test("storeId is known after ready, and says so before", async () => {
  const store = redisStore({ client: fakeClient().client });
  expect(() => store.idempotency.storeId).toThrow("await ready() first");
  await store.ready();
  expect(store.idempotency.storeId).toBe("identity");
  expect(store.idempotency.durable).toBe(true);
});

test("nothing is sent before somebody asks", () => {
  const { client, asked } = fakeClient();
  redisStore({ client });
  expect(asked).toEqual({ info: 0, markers: 0, claims: 0 });
});

test("a claim that comes before ready makes the store ready, once for all of them", async () => {
  const { client, asked } = fakeClient();
  const { idempotency } = redisStore({ client });
  const claims = await Promise.all([1, 2, 3].map((key) => idempotency.claim(`${key}`, CLAIM)));
  expect(claims.map(({ won }) => won)).toEqual([true, true, true]);
  expect(asked.info).toBe(1);
});

test("each claim after ready is one script", async () => {
  const { client, asked } = fakeClient();
  const { idempotency, ready } = redisStore({ client });
  await ready();
  const before = { ...asked };
  for (let count = 0; count < 10; count += 1) await idempotency.claim(`${count}`, CLAIM);
  expect(asked).toEqual({ ...before, claims: 10 });
});

test("a server that evicts is refused, also by a claim, until it is accepted or mended", async () => {
  const { client, asked, evict } = fakeClient();
  evict();
  const store = redisStore({ client });
  await expect(store.ready()).rejects.toThrow("maxmemory-policy allkeys-lru");
  await expect(store.idempotency.claim("key", CLAIM)).rejects.toThrow("maxmemory-policy allkeys-lru");
  expect(asked.claims).toBe(0);
  const knowingly = redisStore({ client, allowEviction: true });
  await knowingly.ready();
  expect((await knowingly.idempotency.claim("key", CLAIM)).won).toBe(true);
});

test("keys, outcomes and servers that UTF-8 cannot say are refused, and nothing is sent", async () => {
  const { client, asked } = fakeClient();
  const { idempotency, rateLimit, ready } = redisStore({ client });
  await ready();
  const before = { ...asked };
  const lone = "\ud800";
  const refused = [
    idempotency.claim(lone, CLAIM),
    idempotency.claim("key", { ...CLAIM, sentTo: lone }),
    idempotency.extend(lone, "t", 1),
    idempotency.settle(lone, "t", { state: "done", ttlMs: 1 }),
    idempotency.settle("key", "t", { state: "done", outcome: lone, ttlMs: 1 }),
    idempotency.release(lone, "t"),
    idempotency.get(lone),
    idempotency.expire(lone, "t", 1),
    rateLimit.take(lone, { rate: 1, burst: 1, cost: 1 }),
  ];
  for (const promise of refused) await expect(promise).rejects.toThrow("lone surrogate");
  expect(asked).toEqual(before);
});

test("a take that can never be allowed is refused", async () => {
  const { rateLimit } = redisStore({ client: fakeClient().client });
  for (const cost of [0, -1, 2.5, Number.NaN]) {
    await expect(rateLimit.take("key", { rate: 1, burst: 2, cost })).rejects.toThrow(RangeError);
  }
});

test("options are checked at construction", () => {
  const { client } = fakeClient();
  const wrong: readonly [options: unknown, message: string][] = [
    [undefined, "redisStore: client must be"],
    [{}, "redisStore: client must be"],
    [{ client: {} }, "redisStore: client must be"],
    [{ client, prefix: "{a}" }, "redisStore: prefix must have"],
    [{ client, allowEviction: 1 }, "redisStore: allowEviction must be true or false"],
    [{ client, url: "redis://localhost" }, 'redisStore: unknown option "url"'],
  ];
  // What a caller without types may give.
  for (const [options, message] of wrong) expect(() => redisStore(options as RedisStoreOptions)).toThrow(message);
});

test("close leaves the client alone", async () => {
  const { client, asked } = fakeClient();
  const store = redisStore({ client });
  await store.close();
  await store.ready();
  expect(asked.info).toBe(1);
});

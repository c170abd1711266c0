import { afterAll, test as base, expect, onTestFinished } from "vitest";
import {
  CLAIM_KEYS,
  CONTENDERS,
  type ContendersClaim,
  expectOneWinnerEach,
  type Grant,
  keysOf,
  PROCESSES,
  type Processes,
  processes,
  ROUNDS,
  TAKEOVER_KEYS,
  unknownRecords,
} from "./fixtures/contenders.js";
import { DRIVERS, newPrefix, type OpenStore, openStore, removeKeys } from "./fixtures/redis-stores.js";
import { redis } from "./fixtures/services.js";

// Many contenders, through both drivers, in this process and in several: one winner each.

const server = await redis();
const test = base.skipIf(server.missing !== undefined);
afterAll(() => server.close());

/** A store for each driver on the same keys. */
async function stores(): Promise<[OpenStore, OpenStore]> {
  const prefix = newPrefix();
  const opened = [
    await openStore("ioredis", server.url, { prefix }),
    await openStore("redis", server.url, { prefix }),
  ] as const;
  onTestFinished(async () => {
    for (const store of opened) await store.end();
  });
  return [...opened];
}

async function started(prefix: string): Promise<Processes> {
  const contenders = await processes(PROCESSES, "./redis-contender.mjs", { url: server.url, prefix });
  onTestFinished(() => contenders.end());
  return contenders;
}

/** Contenders of this process, in turn over both drivers, all keys at once. */
async function contend(
  over: readonly OpenStore[],
  keys: readonly string[],
  takeovers: Readonly<Record<string, string>> = {},
): Promise<ContendersClaim[]> {
  const racing = keys.flatMap((key) =>
    Array.from({ length: CONTENDERS }, async (_, index) => {
      const token = `contender ${index}`;
      const claim = { fingerprint: "f", token, leaseMs: 600_000, epoch: 0, sentAtWall: 0, takeover: takeovers[key] };
      const claimed = await over[index % over.length]?.idempotency.claim(key, claim);
      return { key, won: claimed?.won === true, token, owner: claimed?.record.token ?? "" };
    }),
  );
  return Promise.all(racing);
}

for (const round of ROUNDS) {
  test(`one of ${CONTENDERS} contenders wins each new key, over both drivers, round ${round}`, async () => {
    const keys = keysOf(CLAIM_KEYS);
    expectOneWinnerEach(await contend(await stores(), keys), keys);
  });

  test(`one of ${CONTENDERS} contenders takes over each record, over both drivers, round ${round}`, async () => {
    const over = await stores();
    const keys = keysOf(TAKEOVER_KEYS);
    const takeovers = await unknownRecords(over[0].idempotency, keys);
    expectOneWinnerEach(await contend(over, keys, takeovers), keys);
  });

  test(`one of ${CONTENDERS} contenders in ${PROCESSES} processes wins each new key, round ${round}`, async () => {
    const [{ prefix }] = await stores();
    const keys = keysOf(CLAIM_KEYS);
    const contenders = await started(prefix);
    const claims = await contenders.all("claim", { keys, contenders: CONTENDERS / PROCESSES });
    expectOneWinnerEach(claims.flat(), keys);
  });

  test(`one of ${CONTENDERS} contenders in ${PROCESSES} processes takes over each record, round ${round}`, async () => {
    const [{ prefix, idempotency }] = await stores();
    const keys = keysOf(TAKEOVER_KEYS);
    const takeovers = await unknownRecords(idempotency, keys);
    const contenders = await started(prefix);
    const claims = await contenders.all("claim", { keys, contenders: CONTENDERS / PROCESSES, takeovers });
    expectOneWinnerEach(claims.flat(), keys);
  });

  test(`processes that make a store at once agree on its identity, round ${round}`, async () => {
    const prefix = newPrefix();
    onTestFinished(() => removeKeys(server.url, prefix));
    const contenders = await started(prefix);
    const storeIds = (await contenders.all("ready", {})).flat();
    expect(storeIds).toHaveLength(PROCESSES * DRIVERS.length);
    expect(new Set(storeIds).size).toBe(1);
  });
}

/** In no window more than `burst + rate * t`: a grant is in one that begins before it was sent and ends after it was answered. */
function expectLaw(grants: readonly Grant[], { rate, burst }: { readonly rate: number; readonly burst: number }): void {
  for (const { sentAt: from } of grants) {
    const within = grants.filter(({ sentAt }) => sentAt >= from).map(({ answeredAt }) => answeredAt);
    within.sort((left, right) => left - right);
    for (const [index, to] of within.entries()) {
      // The clocks of the processes agree to less than a millisecond.
      expect(index + 1).toBeLessThanOrEqual(burst + (rate * (to - from + 1)) / 1000);
    }
  }
}

test("processes that take tokens as fast as they can get what the limit has, no more and no less", async () => {
  const prefix = newPrefix();
  onTestFinished(() => removeKeys(server.url, prefix));
  const terms = { rate: 200, burst: 20, cost: 1 };
  const takers = await started(prefix);
  const startedAt = performance.now();
  const grants = (await takers.all("take", { key: "shared", terms, contenders: 4, forMs: 1500 })).flat();
  const elapsedMs = performance.now() - startedAt;
  expectLaw(grants, terms);
  expect(grants.length).toBeGreaterThan((terms.burst + terms.rate * 1.5) * 0.7);
  expect(grants.length).toBeLessThanOrEqual(terms.burst + (terms.rate * elapsedMs) / 1000);
});

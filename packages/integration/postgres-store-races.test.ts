import { postgresStore } from "@mcp-tx/postgres";
import pg from "pg";
import { afterAll, test as base, expect, onTestFinished, vi } from "vitest";
import {
  CLAIM_KEYS,
  CONTENDERS,
  type ContendersClaim,
  expectOneWinnerEach,
  type Grant,
  keysOf,
  PROCESSES,
  processes,
  ROUNDS,
  TAKEOVER_KEYS,
  unknownRecords,
} from "./fixtures/contenders.js";
import { type OpenStore, openStore, tableName } from "./fixtures/postgres-tables.js";
import { postgres } from "./fixtures/services.js";

// Many contenders, over several connections and in several processes: one winner each.

const server = await postgres();
const test = base.skipIf(server.missing !== undefined);
afterAll(() => server.close());

// Four thousand claims take a while on a machine that is busy.
vi.setConfig({ testTimeout: 180_000 });

const SERIALIZABLE: pg.PoolConfig = { options: "-c default_transaction_isolation=serializable" };

async function store(settings?: pg.PoolConfig): Promise<OpenStore> {
  const opened = await openStore(server.url, {}, settings);
  onTestFinished(() => opened.end());
  return opened;
}

/** Contenders of one process, in turn over several pools. */
async function contend(
  table: string,
  keys: readonly string[],
  takeovers: Readonly<Record<string, string>> = {},
): Promise<ContendersClaim[]> {
  const pools = Array.from({ length: 2 }, () => new pg.Pool({ connectionString: server.url, max: CONTENDERS / 2 }));
  const stores = pools.map((pool) => postgresStore({ pool, table }).idempotency);
  const claims: ContendersClaim[] = [];
  for (const key of keys) {
    const racing = Array.from({ length: CONTENDERS }, async (_, index) => {
      const token = `contender ${index}`;
      const claim = { fingerprint: "f", token, leaseMs: 600_000, epoch: 0, sentAtWall: 0, takeover: takeovers[key] };
      const claimed = await stores[index % stores.length]?.claim(key, claim);
      return { key, won: claimed?.won === true, token, owner: claimed?.record.token ?? "" };
    });
    claims.push(...(await Promise.all(racing)));
  }
  await Promise.all(pools.map((pool) => pool.end()));
  return claims;
}

for (const round of ROUNDS) {
  test(`one of ${CONTENDERS} contenders wins each new key, over many connections, round ${round}`, async () => {
    const { table } = await store();
    const keys = keysOf(CLAIM_KEYS);
    expectOneWinnerEach(await contend(table, keys), keys);
  });

  test(`one of ${CONTENDERS} contenders takes over each record, over many connections, round ${round}`, async () => {
    const { table, idempotency } = await store();
    const keys = keysOf(TAKEOVER_KEYS);
    const takeovers = await unknownRecords(idempotency, keys);
    expectOneWinnerEach(await contend(table, keys, takeovers), keys);
  });

  test(`one of ${CONTENDERS} contenders in ${PROCESSES} processes wins each new key, round ${round}`, async () => {
    const { table } = await store();
    const keys = keysOf(CLAIM_KEYS);
    const contenders = await processes(PROCESSES, "./postgres-contender.mjs", { url: server.url, table });
    onTestFinished(() => contenders.end());
    const claims = await contenders.all("claim", { keys, contenders: CONTENDERS / PROCESSES });
    expectOneWinnerEach(claims.flat(), keys);
  });

  test(`one of ${CONTENDERS} contenders in ${PROCESSES} processes takes over each record, round ${round}`, async () => {
    const { table, idempotency } = await store();
    const keys = keysOf(TAKEOVER_KEYS);
    const takeovers = await unknownRecords(idempotency, keys);
    const contenders = await processes(PROCESSES, "./postgres-contender.mjs", { url: server.url, table });
    onTestFinished(() => contenders.end());
    const claims = await contenders.all("claim", { keys, contenders: CONTENDERS / PROCESSES, takeovers });
    expectOneWinnerEach(claims.flat(), keys);
  });
}

test("where transactions are serializable by default, contenders in processes win and are told all the same", async () => {
  const { table } = await store();
  const keys = keysOf(CLAIM_KEYS / 4);
  const contenders = await processes(PROCESSES, "./postgres-contender.mjs", {
    url: server.url,
    table,
    settings: SERIALIZABLE,
  });
  onTestFinished(() => contenders.end());
  const claims = await contenders.all("claim", { keys, contenders: CONTENDERS / PROCESSES });
  expectOneWinnerEach(claims.flat(), keys);
});

test("8 processes migrate at once and agree on the identity of the data", async () => {
  const table = tableName();
  const migrating = await processes(8, "./postgres-contender.mjs", { url: server.url, table });
  onTestFinished(() => migrating.end());
  const storeIds = await migrating.all("migrate", {});
  const { idempotency } = await openStore(server.url, { table }).then((opened) => {
    onTestFinished(() => opened.end());
    return opened;
  });
  expect(new Set(storeIds)).toEqual(new Set([idempotency.storeId]));
});

test("8 processes migrate at once where transactions are serializable by default", async () => {
  const table = tableName();
  const migrating = await processes(8, "./postgres-contender.mjs", { url: server.url, table, settings: SERIALIZABLE });
  onTestFinished(() => migrating.end());
  expect(new Set(await migrating.all("migrate", {})).size).toBe(1);
  const opened = await openStore(server.url, { table });
  await opened.end();
});

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

for (const [isolation, settings] of [["read committed", {}] as const, ["serializable", SERIALIZABLE] as const]) {
  test(`processes that take tokens as fast as they can get what the limit has, no more: ${isolation}`, async () => {
    const { table } = await store();
    const terms = { rate: 200, burst: 20, cost: 1 };
    const takers = await processes(PROCESSES, "./postgres-contender.mjs", { url: server.url, table, settings });
    onTestFinished(() => takers.end());
    const startedAt = performance.now();
    const grants = (await takers.all("take", { key: "shared", terms, contenders: 4, forMs: 1500 })).flat();
    const elapsedMs = performance.now() - startedAt;
    expectLaw(grants, terms);
    // Tokens do come back; how many are asked for in time depends on the machine.
    expect(grants.length).toBeGreaterThan(terms.burst);
    expect(grants.length).toBeLessThanOrEqual(terms.burst + (terms.rate * elapsedMs) / 1000);
  });
}

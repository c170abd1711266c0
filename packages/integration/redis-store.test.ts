import { setTimeout as sleep } from "node:timers/promises";
import { idempotencyStoreContract, rateLimitStoreContract } from "@mcp-tx/core/testing";
import { afterAll, test as base } from "vitest";
import { DRIVERS, openStore } from "./fixtures/redis-stores.js";
import { REAL_CLOCK, redis } from "./fixtures/services.js";

const server = await redis();
const test = base.skipIf(server.missing !== undefined);
afterAll(() => server.close());

for (const [index, driver] of DRIVERS.entries()) {
  const otherDriver = DRIVERS[1 - index] ?? driver;
  const idempotencyCases = idempotencyStoreContract(async () => {
    const store = await openStore(driver, server.url);
    const other = await openStore(otherDriver, server.url, { prefix: store.prefix });
    return {
      store: store.idempotency,
      other: other.idempotency,
      advance: (ms) => sleep(ms + 2),
      close: async () => {
        await other.end();
        await store.end();
      },
    };
  });
  for (const { name, run } of idempotencyCases) test(`idempotency, ${driver}: ${name}`, run);

  const rateLimitCases = rateLimitStoreContract(async () => {
    const store = await openStore(driver, server.url);
    return { store: store.rateLimit, advance: (ms) => sleep(ms + 2), close: () => store.end() };
  }, REAL_CLOCK);
  for (const { name, run } of rateLimitCases) test.concurrent(`rate limit, ${driver}: ${name}`, run);
}

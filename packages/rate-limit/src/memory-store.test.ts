import { rateLimitStoreContract, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { memoryRateLimitStore } from "./memory-store.js";

describe("rateLimitStoreContract", () => {
  const cases = rateLimitStoreContract(() => {
    const time = virtualTime();
    return { store: memoryRateLimitStore({ runtime: time.runtime }), advance: (ms) => time.advance(ms) };
  });
  for (const { name, run } of cases) test(name, run);
});

test("refuses a cost that can never be met, instead of naming a wait for it", async () => {
  const store = memoryRateLimitStore();
  await expect(store.take("a", { rate: 1, burst: 2, cost: 3 })).rejects.toThrow(RangeError);
  await expect(store.take("a", { rate: 1, burst: 2, cost: 0 })).rejects.toThrow(/cost must be > 0/);
});

test("uses the process clock by itself", async () => {
  const store = memoryRateLimitStore();
  const terms = { rate: 0.001, burst: 1, cost: 1 };
  expect(await store.take("a", terms)).toEqual({ allowed: true, retryAfterMs: 0 });
  const { allowed, retryAfterMs } = await store.take("a", terms);
  expect(allowed).toBe(false);
  expect(retryAfterMs).toBeGreaterThan(900_000);
});

test("is not moved by a step of the wall clock", async () => {
  const time = virtualTime();
  const store = memoryRateLimitStore({ runtime: time.runtime });
  const terms = { rate: 1, burst: 1, cost: 1 };
  await store.take("a", terms);
  time.stepWall(3_600_000);
  expect((await store.take("a", terms)).retryAfterMs).toBe(1000);
  time.stepWall(-7_200_000);
  expect((await store.take("a", terms)).retryAfterMs).toBe(1000);
});

test("checks its options", () => {
  expect(() => memoryRateLimitStore({ clock: 1 } as never)).toThrow(/unknown option "clock"/);
  expect(() => memoryRateLimitStore({ runtime: {} as never })).toThrow(/runtime must be an object with a method now/);
});

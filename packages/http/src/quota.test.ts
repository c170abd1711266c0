import type { CallContext } from "@mcp-tx/core";
import fc from "fast-check";
import { parseList } from "structured-headers";
import { expect, test } from "vitest";
import { rateLimitHeaders } from "./quota.js";
import type { LimitQuota } from "./types.js";

const CONTEXT = {} as CallContext;
const source = (quota: () => LimitQuota | undefined) => ({ quota });
const TEN: LimitQuota = { limit: 10, remaining: 4.9, windowMs: 1001, resetMs: 600.1 };

test("what is left is rounded down, times are rounded up, and each limit has its name", () => {
  const headers = rateLimitHeaders([source(() => TEN), source(() => ({ ...TEN, limit: 0.5, remaining: 0 }))], CONTEXT);
  expect(headers).toEqual({
    "ratelimit-policy": '"default";q=10;w=2, "limit-2";q=1;w=2',
    ratelimit: '"default";r=4;t=1, "limit-2";r=0;t=1',
  });
});

test("a limit that cannot tell is left out", () => {
  const broken = source(() => {
    throw new Error("key");
  });
  expect(rateLimitHeaders([broken, source(() => undefined)], CONTEXT)).toEqual({});
  expect(rateLimitHeaders([broken, source(() => TEN)], CONTEXT).ratelimit).toBe('"default";r=4;t=1');
  expect(rateLimitHeaders([source(() => TEN)], undefined)).toEqual({});
});

test("whatever a limit tells makes integers of a structured field", () => {
  const any = fc.oneof(fc.double(), fc.constantFrom(Number.NaN, Infinity, -1, 1e300));
  const quotas = fc.record({ limit: any, remaining: any, windowMs: any, resetMs: any });
  fc.assert(
    fc.property(fc.array(quotas, { minLength: 1, maxLength: 3 }), (list) => {
      const headers = rateLimitHeaders(
        list.map((quota) => source(() => quota)),
        CONTEXT,
      );
      for (const text of Object.values(headers)) {
        for (const [, parameters] of parseList(text)) {
          for (const value of parameters.values()) expect(Number.isSafeInteger(value)).toBe(true);
        }
      }
    }),
  );
});

import { type CallContext, type Handler, pipeline, run, type ToolResult, type WrapOptions } from "@mcp-tx/core";
import { scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { memoryRateLimitStore } from "./memory-store.js";
import type { LimitQuota } from "./quota.js";
import { type RateLimitOptions, rateLimit } from "./rate-limit.js";

const OK: ToolResult = { content: [] };

/** A limit, and what it tells after each call, asked from outside of it. */
function scene(options: Partial<RateLimitOptions> = {}, wrap: WrapOptions = {}) {
  const time = virtualTime({ now: 1000 });
  const limit = rateLimit({ rate: 10, burst: 5, onLimit: "reject", ...options });
  const told: LimitQuota[] = [];
  async function ask(ctx: CallContext, next: Handler): Promise<ToolResult> {
    try {
      return await next(ctx);
    } finally {
      told.push(limit.quota(ctx));
    }
  }
  const handler = pipeline([ask, limit], scriptedTool([{ result: OK }], { repeatLast: true }));
  const call = (tool = "search") =>
    time.run(run(handler, { tool }, { runtime: time.runtime, ...wrap })).catch((error: unknown) => error);
  return { time, told, call };
}

describe("quota", () => {
  test("counts down with each call, and says when all tokens are back", async () => {
    const { told, call } = scene();
    for (let calls = 0; calls < 5; calls += 1) await call();
    expect(told.map(({ remaining }) => remaining)).toEqual([4, 3, 2, 1, 0]);
    expect(told.map(({ resetMs }) => resetMs)).toEqual([100, 200, 300, 400, 500]);
    expect(told[0]).toMatchObject({ limit: 5, windowMs: 500 });
  });

  test("is 0 for a call that is refused, and takes nothing by being asked", async () => {
    const { time, told, call } = scene();
    for (let calls = 0; calls < 8; calls += 1) await call();
    expect(told.at(-1)).toMatchObject({ remaining: 0, resetMs: 500 });
    await time.advance(500);
    await call();
    expect(told.at(-1)).toMatchObject({ remaining: 4 });
  });

  test("belongs to the key of the call", async () => {
    const { told, call } = scene({ key: ({ tool }) => tool });
    await call("a");
    await call("a");
    await call("b");
    expect(told.map(({ remaining }) => remaining)).toEqual([4, 3, 4]);
  });

  test("is 0 while the server asks to wait", async () => {
    const { time, told, call } = scene(
      {},
      {
        classifiers: [() => ({ status: "throttled", transient: true, retryAfterMs: 60_000 })],
      },
    );
    await call();
    expect(told.at(-1)?.remaining).toBe(0);
    await time.advance(59_999);
    await call();
    expect(told.at(-1)?.remaining).toBe(0);
  });

  test("rounds a fraction of a token down", async () => {
    const { time, told, call } = scene();
    await call();
    await call();
    await time.advance(50);
    await call();
    expect(told.at(-1)).toMatchObject({ remaining: 2, resetMs: 250 });
  });

  test("with a store, tells what this process has seen of it", async () => {
    const { told, call } = scene({ store: memoryRateLimitStore() });
    await call();
    await call();
    expect(told.map(({ remaining }) => remaining)).toEqual([4, 3]);
  });
});

import { expect, test } from "vitest";
import { context } from "./context.js";
import { virtualTime } from "./virtual-time.js";

test("gives a context whose call is real and has not begun an attempt", () => {
  const ctx = context();
  expect(ctx.call.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(ctx.call.attempts).toEqual([]);
  expect(ctx.call.execution).toBe("not-executed");
  expect([ctx.tool, ctx.side, ctx.attempt, ctx.deadline, ctx.signal]).toEqual([
    "tool",
    "local",
    1,
    Infinity,
    undefined,
  ]);
});

test("shapes the request of the call by its overrides", () => {
  const args = { a: 1 };
  const ctx = context({ tool: "add", args, side: "client", attempt: 3, options: { idempotencyKey: "k" } });
  expect(ctx.call.request.args).toBe(args);
  expect([ctx.tool, ctx.call.request.tool, ctx.side, ctx.call.side, ctx.attempt]).toEqual([
    "add",
    "add",
    "client",
    "client",
    3,
  ]);
  expect(ctx.options.idempotencyKey).toBe("k");
});

test("takes the clock and the deadline of its options", () => {
  const time = virtualTime({ now: 100 });
  const ctx = context({ options: { timeoutMs: 50 } }, { runtime: time.runtime });
  expect(ctx.deadline).toBe(150);
  expect(ctx.call.runtime).toBe(time.runtime);
});

test("says so when the overrides make no call", () => {
  expect(() => context({ tool: "" })).toThrow("run() refuses these overrides");
  expect(() => context({}, { timeoutMs: -1 })).toThrow("run() refuses these overrides");
});

import { McpTxError, type Middleware, pipeline, RateLimitError, type RunRequest, reportOf, run } from "@mcp-tx/core";
import { middlewareContract, type ScriptedStep, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { retry } from "@mcp-tx/retry";
import { expect, test } from "vitest";
import { type SpendLimit, SpendLimitError, spendLimit } from "./spend-limit.js";

for (const { name, run } of middlewareContract(() => spendLimit({ max: 1_000_000 }))) test(name, run);

/** Refuses the first attempts on their way out, as a full queue does: they certainly did not run. */
function refusing(attempts: number): Middleware {
  let left = attempts;
  return async (ctx, next) => {
    if (left === 0) return next(ctx);
    left -= 1;
    throw new RateLimitError(ctx.tool);
  };
}

function scene(limit: SpendLimit, step: ScriptedStep, refusals = 0) {
  const time = virtualTime();
  const tool = scriptedTool([step], { repeatLast: true });
  const handler = pipeline([retry({ maxAttempts: 3 }), limit, refusing(refusals)], tool);
  const call = (options: RunRequest["options"] = {}) =>
    time.run(run(handler, { tool: "buy", options }, { runtime: time.runtime }));
  return { call, tool };
}

const RESULT: ScriptedStep = { result: { content: [] } };

test("lets calls through until the sum is spent, and sends none after that", async () => {
  const limit = spendLimit({ max: 5, cost: 2 });
  const { call, tool } = scene(limit, RESULT);
  await call();
  await call({ spendLimit: { cost: 3 } });
  const error = await call({ spendLimit: { cost: 0.5 } }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SpendLimitError);
  expect(McpTxError.isInstance(error)).toBe(true);
  expect(reportOf(error)).toMatchObject({ status: "rejected", execution: "not-executed", attempts: 0 });
  expect(tool.executions).toBe(2);
  expect(limit.spent).toBe(5);
});

test("charges a call once, however often it is tried", async () => {
  const limit = spendLimit({ max: 10 });
  const { call, tool } = scene(limit, RESULT, 2);
  await call();
  expect(tool.executions).toBe(1);
  expect(limit.spent).toBe(1);
});

test("gives back what a call cost that did not run", async () => {
  const limit = spendLimit({ max: 1 });
  const { call } = scene(limit, RESULT, Infinity);
  await expect(call()).rejects.toMatchObject({ code: "rate_limited" });
  expect(limit.spent).toBe(0);
});

test("keeps what a call cost whose outcome is unknown", async () => {
  const limit = spendLimit({ max: 1 });
  const { call } = scene(limit, { hang: true });
  const error = await call({ timeoutMs: 100 }).catch((thrown: unknown) => thrown);
  expect(reportOf(error)).toMatchObject({ execution: "unknown", attempts: 1 });
  expect(limit.spent).toBe(1);
});

test.each([
  [{}, "max is required"],
  [{ max: -1 }, "max"],
  [{ max: 1, cost: Number.NaN }, "cost"],
  [{ max: 1, costs: 1 }, 'unknown option "costs"'],
])("refuses %j and names the option", (options, message) => {
  expect(() => spendLimit(options as never)).toThrow(message);
});

test("refuses a call's own cost that is none, before it is sent", async () => {
  const { call, tool } = scene(spendLimit({ max: 1 }), RESULT);
  await expect(call({ spendLimit: { cost: -1 } })).rejects.toThrow("cost");
  expect(tool.executions).toBe(0);
});

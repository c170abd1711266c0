import { type CallOptions, DeadlineError, type Handler, pipeline, reportOf, run } from "@mcp-tx/core";
import { scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import type { ReliableConfig } from "./config-types.js";
import { createPreset, standardOrder } from "./standard-order.js";

/** How long a call of a tool that never answers takes, and what it ends with. */
async function hanging(config: ReliableConfig, tool: string, options?: CallOptions) {
  const time = virtualTime();
  const preset = createPreset({ retry: false, ...config, runtime: time.runtime });
  const handler: Handler = pipeline(preset.middleware, scriptedTool([{ hang: true }]));
  const call = run(handler, { tool, options, side: "client" }, preset.wrapOptions).catch((error: unknown) => error);
  const error = await time.run(call);
  return { ms: time.now(), error, code: reportOf(error)?.error?.code };
}

const LONGER: ReliableConfig = { timeoutMs: 1000, tools: { "slow*": { timeoutMs: 5000 } } };
const SHORTER: ReliableConfig = { timeoutMs: 9000, tools: { "slow*": { timeoutMs: 5000 } } };
const ALONE: ReliableConfig = { tools: { "slow*": { timeoutMs: 5000 } } };

describe.each([
  ["longer than that of all others", LONGER],
  ["shorter than that of all others", SHORTER],
  ["where the others have none", ALONE],
])("a tool's time limit, %s,", (_, config) => {
  test("holds for that tool", async () => {
    const { ms, error } = await hanging(config, "slow-report");
    expect(ms).toBe(5000);
    expect(DeadlineError.isInstance(error)).toBe(true);
  });

  test("does not win over the one of a call", async () => {
    expect(await hanging(config, "slow-report", { timeoutMs: 700 })).toMatchObject({ ms: 700 });
    expect(await hanging(config, "slow-report", { timeoutMs: 70_000 })).toMatchObject({ ms: 70_000 });
  });
});

test.each([LONGER, SHORTER])("the limit of all others stays as it is with %j", async (config) => {
  expect(await hanging(config, "search")).toMatchObject({ ms: config.timeoutMs, code: "deadline" });
  expect(await hanging(config, "search", { timeoutMs: 20_000 })).toMatchObject({ ms: 20_000 });
});

test("a tool may have no limit where all others have one", async () => {
  const config: ReliableConfig = { timeoutMs: 1000, tools: { endless: { timeoutMs: Infinity } } };
  expect(await hanging(config, "search")).toMatchObject({ ms: 1000 });
  expect(await hanging(config, "endless", { attemptTimeoutMs: 80_000 })).toMatchObject({ ms: 80_000 });
});

test("an attempt's limit differs from tool to tool, and the call's own goes first", async () => {
  const config: ReliableConfig = { attemptTimeoutMs: 1000, tools: { slow: { attemptTimeoutMs: 3000 } } };
  expect(await hanging(config, "search")).toMatchObject({ ms: 1000, code: "attempt_timeout" });
  expect(await hanging(config, "slow")).toMatchObject({ ms: 3000, code: "attempt_timeout" });
  expect(await hanging(config, "slow", { attemptTimeoutMs: 500 })).toMatchObject({ ms: 500 });
});

test("an exact name has what the globs say that it does not", async () => {
  const config: ReliableConfig = {
    tools: { "*": { timeoutMs: 4000, attemptTimeoutMs: 2000 }, slow: { attemptTimeoutMs: 9000 } },
  };
  expect(await hanging(config, "slow")).toMatchObject({ ms: 4000, code: "deadline" });
  expect(await hanging(config, "search")).toMatchObject({ ms: 2000, code: "attempt_timeout" });
});

test("there is no layer for it where all tools have the same limits", () => {
  const names = standardOrder({ timeoutMs: 5, attemptTimeoutMs: 5, tools: { a: { retry: false } } }).map((l) => l.name);
  expect(names).not.toContain("perToolLimits");
});

import { expect, expectTypeOf, test } from "vitest";
import type { CallContext, Middleware, ToolResult } from "./contract.js";
import { McpTxError } from "./errors.js";
import { reportOf } from "./report.js";
import { keyClaiming, virtualTime } from "./testing/index.js";
import { type WrappedTool, wrapTool } from "./wrap-tool.js";

const values: readonly unknown[] = [
  undefined,
  null,
  0,
  "",
  false,
  "text",
  10n,
  [1, 2],
  { a: 1 },
  { content: "no result" },
  { isError: true },
  { structuredContent: 1 },
  new Date(0),
  new Map(),
];

test.each(values)("gives the caller what the function returns: %o", async (value) => {
  expect(await wrapTool("t", () => value, [])({})).toBe(value);
  expect(await wrapTool("t", async () => value, [])({})).toBe(value);
});

test("passes a result of the protocol through as it is, also one with isError", async () => {
  const result: ToolResult = { content: [{ type: "text", text: "no" }], isError: true };
  let seen: ToolResult | undefined;
  const look: Middleware = async (ctx, next) => {
    seen = await next(ctx);
    return seen;
  };
  const value = await wrapTool("t", () => result, [look])({});
  expect(value).toBe(result);
  expect(seen).toBe(result);
  expect(reportOf(value)).toMatchObject({
    status: "failed",
    execution: "executed",
    error: { code: "tool_error", message: "no" },
  });
});

test("carries any other value through the pipeline in structuredContent", async () => {
  const value = { sum: 3 };
  let seen: ToolResult | undefined;
  const look: Middleware = async (ctx, next) => {
    seen = await next(ctx);
    return seen;
  };
  await wrapTool("t", () => value, look)({});
  expect(seen?.structuredContent).toBe(value);
});

test("gives the value of a stored copy back", async () => {
  let stored: string | undefined;
  const store: Middleware = async (ctx, next) => {
    stored ??= JSON.stringify(await next(ctx));
    return JSON.parse(stored) as ToolResult;
  };
  const tool = wrapTool("t", () => ({ sum: 3 }), store);
  expect([await tool({}), await tool({})]).toEqual([{ sum: 3 }, { sum: 3 }]);
});

test("reports on values that are objects, each time the latest call, and keeps their identity", async () => {
  const value = Object.freeze({ a: 1 });
  const tool = wrapTool("t", () => value, []);
  expect(await tool({}, { transactionId: "first" })).toBe(value);
  expect(reportOf(value)).toMatchObject({ transactionId: "first", status: "completed", attempts: 1 });
  expect(await tool({}, { transactionId: "second" })).toBe(value);
  expect(reportOf(value)).toMatchObject({ transactionId: "second" });
});

test("hands the function the arguments and the context", async () => {
  const args = { a: 1 };
  let given: readonly [unknown, CallContext] | undefined;
  const tool = wrapTool(
    "add",
    (...parameters: [{ readonly a: number }, CallContext]) => {
      given = parameters;
      return 1;
    },
    [],
  );
  await tool(args);
  expect(given?.[0]).toBe(args);
  expect(given?.[1]).toMatchObject({ tool: "add", side: "local", attempt: 1 });
});

test("takes the AI SDK's second argument: only its signal concerns the call", async () => {
  const controller = new AbortController();
  const seen: CallContext[] = [];
  const tool = wrapTool(
    "t",
    (_args, ctx) => {
      seen.push(ctx);
      return "ok";
    },
    [],
  );
  const host = {
    toolCallId: "call_1",
    messages: [{ role: "user" }],
    abortSignal: controller.signal,
    experimental_context: {},
  };
  expect(await tool({}, host as never)).toBe("ok");
  expect(seen[0]?.call.signal).toBe(controller.signal);
  expect(await tool({}, { toolCallId: "call_2", messages: [], abortSignal: undefined } as never)).toBe("ok");
  expect(seen[1]?.signal).toBeUndefined();
});

test("stops for the AI SDK's signal", async () => {
  const controller = new AbortController();
  const reason = new Error("stopped");
  const tool = wrapTool("t", () => new Promise(() => undefined), []);
  const running = tool({}, { toolCallId: "call_1", messages: [], abortSignal: controller.signal } as never);
  controller.abort(reason);
  await expect(running).rejects.toBe(reason);
  expect(reportOf(reason)).toMatchObject({ status: "cancelled", execution: "unknown" });
});

test("throws what the function throws, at once or later, as an executed failure", async () => {
  const error = new Error("no");
  const atOnce = (): never => {
    throw error;
  };
  for (const fn of [atOnce, () => Promise.reject(error)]) {
    await expect(wrapTool("t", fn, [])({})).rejects.toBe(error);
    expect(reportOf(error)).toMatchObject({ status: "failed", execution: "executed", attempts: 1 });
  }
});

test("ends a function at its timeout and aborts the signal it was given", async () => {
  const time = virtualTime();
  let signal: AbortSignal | undefined;
  const tool = wrapTool(
    "slow",
    (_args, ctx) => {
      signal = ctx.signal;
      return new Promise(() => undefined);
    },
    [],
    { runtime: time.runtime, attemptTimeoutMs: 40 },
  );
  const error: unknown = await time.run(tool({}).catch((thrown: unknown) => thrown));
  expect(McpTxError.isInstance(error) && error.code).toBe("attempt_timeout");
  expect(signal?.aborted).toBe(true);
});

test("sees the arguments that a middleware changed, and leaves the caller's alone", async () => {
  const args = Object.freeze({ a: 1 });
  const double: Middleware = (ctx, next) => next({ ...ctx, args: { a: Number(ctx.args.a) * 2 } });
  expect(await wrapTool("t", ({ a }: { readonly a: number }) => a, [double])(args)).toBe(2);
});

const bad: readonly (readonly [name: string, build: () => unknown, message: string])[] = [
  ["a name that is empty", () => wrapTool("", () => 1, []), "wrapTool: name must be a non-empty string"],
  [
    "a function that is none",
    () => wrapTool("t", {} as never, []),
    "wrapTool: fn must be a function (args, ctx) => value",
  ],
  [
    "a middleware that is none",
    () => wrapTool("t", () => 1, [5 as never]),
    "wrapTool: middleware[0] must be a function",
  ],
  [
    "an unknown option",
    () => wrapTool("t", () => 1, [], { retries: 3 } as never),
    'wrapTool: unknown option "retries"',
  ],
];

test.each(bad)("refuses %s when it is built", (_name, build, message) => {
  expect(build).toThrow(message);
});

const badCalls: readonly (readonly [args: unknown, options: unknown, message: string])[] = [
  [undefined, undefined, 'wrapTool: arguments of tool "t" must be an object'],
  ["text", undefined, 'wrapTool: arguments of tool "t" must be an object'],
  [{}, null, "wrapTool: options must be an object"],
  [{}, { retry: 3 }, 'wrapTool: nothing in the pipeline takes the call option "retry"'],
  [{}, { idempotencyKey: "k" }, "wrapTool: nothing honours idempotencyKey"],
];

test.each(badCalls)("rejects a call with %o and %o before the function runs", async (args, options, message) => {
  let runs = 0;
  const tool = wrapTool("t", () => {
    runs += 1;
    return runs;
  }, []);
  await expect(tool(args as never, options as never)).rejects.toThrow(message);
  expect(runs).toBe(0);
});

test("takes a key where a middleware claims it", async () => {
  const tool = wrapTool("t", (_args, ctx) => ctx.options.idempotencyKey, [keyClaiming()]);
  expect(await tool({}, { idempotencyKey: "k" })).toBe("k");
});

test("keeps the types of the function", () => {
  const tool = wrapTool("add", async ({ a, b }: { readonly a: number; readonly b: number }) => a + b, []);
  expectTypeOf(tool).toEqualTypeOf<WrappedTool<{ readonly a: number; readonly b: number }, number>>();
});

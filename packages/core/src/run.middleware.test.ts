import { expect, test } from "vitest";
import type { Middleware, ToolResult } from "./contract.js";
import { middlewareOf, pipeline, when } from "./pipeline.js";
import { reportOf } from "./report.js";
import { run } from "./run.js";
import { wrapClient } from "./wrap-client.js";
import { wrapTool } from "./wrap-tool.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const client = { callTool: async (_params: { name: string }): Promise<ToolResult> => ({ ...OK }) };

test("a call's own middleware runs outside of all others, for that call alone", async () => {
  const log: string[] = [];
  const pipelined: Middleware = (ctx, next) => {
    log.push("pipeline");
    return next(ctx);
  };
  const own: Middleware = (ctx, next) => {
    log.push("own");
    return next(ctx);
  };
  const wrapped = wrapClient(client, [pipelined]);
  await wrapped.call("t", {}, { middleware: own });
  await wrapped.call("t");
  expect(log).toEqual(["own", "pipeline", "pipeline"]);
});

test("works where there is no other middleware", async () => {
  let calls = 0;
  const own: Middleware = (ctx, next) => {
    calls += 1;
    return next(ctx);
  };
  const double = wrapTool("double", ({ n }: { n: number }) => 2 * n, []);
  expect(await double({ n: 4 }, { middleware: own })).toBe(8);
  expect(calls).toBe(1);
});

test("honours the options that it claims, for its call", async () => {
  const own: Middleware = Object.assign<Middleware, Partial<Middleware>>((ctx, next) => next(ctx), {
    optionKeys: ["idempotencyKey"],
  });
  const wrapped = wrapClient(client, []);
  await wrapped.call("t", {}, { idempotencyKey: "k", middleware: own });
  await expect(wrapped.call("t", {}, { idempotencyKey: "k" })).rejects.toThrow(/nothing honours idempotencyKey/);
});

test("ends with a report like any other call, also when it throws at once", async () => {
  const refusing: Middleware = () => {
    throw new Error("refused");
  };
  const handler = pipeline([], async () => OK);
  const error: unknown = await run(handler, { tool: "t", options: { middleware: refusing } }).catch((e: unknown) => e);
  expect(error).toMatchObject({ message: "refused" });
  expect(reportOf(error)).toMatchObject({ attempts: 0, execution: "not-executed" });
});

test.each(["middleware", "pinned"])("refuses %s that is no function, by name", async (name) => {
  const wrapped = wrapClient(client, []);
  await expect(wrapped.call("t", {}, { [name]: "x" })).rejects.toThrow(`wrapClient: ${name} must be a function`);
});

test("a wrapped client tells its middlewares, whatever groups they came in; another caller tells nothing", () => {
  const own: Middleware = (ctx, next) => next(ctx);
  expect(middlewareOf(wrapClient(client, [own]))).toEqual([own]);
  expect(middlewareOf(wrapClient(client, own))).toEqual([own]);
  expect(middlewareOf({ call: async () => OK })).toBeUndefined();
});

test("a middleware for some tools keeps the records that its parts keep", () => {
  const records = { durable: true, bypasses: false, letGo: async () => true };
  const keeping: Middleware = Object.assign<Middleware, Partial<Middleware>>((ctx, next) => next(ctx), { records });
  const pass: Middleware = (ctx, next) => next(ctx);
  expect(middlewareOf(wrapClient(client, [when("t", [pass, keeping])]))?.[0]?.records).toBe(records);
  expect(when("t", pass).records).toBeUndefined();
});

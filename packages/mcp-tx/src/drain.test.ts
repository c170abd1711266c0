import { type Handler, McpTxError, pipeline, reportOf, run, type ToolResult } from "@mcp-tx/core";
import { middlewareContract, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { Drain } from "./drain.js";

const OK: ToolResult = { content: [] };

describe("as a middleware", () => {
  for (const { name, run: check } of middlewareContract(() => new Drain().middleware)) test(name, check);
});

function setUp(delayMs: number) {
  const time = virtualTime();
  const drain = new Drain();
  const handler: Handler = pipeline(drain.middleware, scriptedTool([{ result: OK, delayMs }], { repeatLast: true }));
  const call = (): Promise<unknown> =>
    run(handler, { tool: "pay" }, { runtime: time.runtime }).catch((error: unknown) => error);
  return { time, drain, call };
}

test("waits for the calls under way, and for no longer", async () => {
  const { time, drain, call } = setUp(300);
  const calls = [call(), call()];
  expect(drain.inFlight).toBe(2);
  await time.run(drain.close(1000, time.runtime));
  expect(time.now()).toBe(300);
  expect(drain.inFlight).toBe(0);
  expect(await Promise.all(calls)).toEqual([OK, OK]);
  expect(time.timers).toBe(0);
});

test("a call that fails is under way no more", async () => {
  const time = virtualTime();
  const drain = new Drain();
  const tool = scriptedTool([{ error: new Error("down"), delayMs: 10 }]);
  const handler: Handler = pipeline(drain.middleware, tool);
  const call = run(handler, { tool: "pay" }, { runtime: time.runtime }).catch(() => undefined);
  await time.run(drain.close(1000, time.runtime));
  await call;
  expect(time.now()).toBe(10);
  expect(drain.inFlight).toBe(0);
});

test("waits no longer than its grace", async () => {
  const { time, drain, call } = setUp(300);
  const pending = call();
  await time.run(drain.close(100, time.runtime));
  expect(time.now()).toBe(100);
  expect(drain.inFlight).toBe(1);
  await time.run(pending);
  expect(drain.inFlight).toBe(0);
});

test("waits for nothing when nothing is under way, or no grace is given", async () => {
  const { time, drain, call } = setUp(300);
  await drain.close(Infinity, time.runtime);
  const other = setUp(300);
  const pending = other.call();
  await other.drain.close(0, other.time.runtime);
  await other.time.run(pending);
  expect(await call()).toBeInstanceOf(McpTxError);
});

test("refuses what comes afterwards before anything is sent", async () => {
  const { time, drain, call } = setUp(1);
  await drain.close(0, time.runtime);
  expect(drain.isClosed).toBe(true);
  const refusal = await call();
  expect(refusal).toBeInstanceOf(McpTxError);
  expect(refusal).toMatchObject({ code: "transport_error", outcome: { transient: false } });
  expect((refusal as Error).message).toBe('Tool "pay" was not called: the connection to its server was closed.');
  expect(reportOf(refusal)).toMatchObject({ attempts: 0, execution: "not-executed", status: "rejected" });
});

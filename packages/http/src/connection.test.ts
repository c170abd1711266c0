import type { Caller } from "@mcp-tx/core";
import { scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { expect, test } from "vitest";
import { createHttpHandler } from "./create-handler.js";
import { callerOf, OK, post, TOOLS } from "./front.fixture.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };

/** A handler whose connections come about when the test says so. */
function connecting() {
  const time = virtualTime();
  const tool = scriptedTool([{ result: OK }], { repeatLast: true });
  const settle: ((caller: Caller) => void)[] = [];
  const connect = () => new Promise<Caller>((resolve) => settle.push(resolve));
  const handler = createHttpHandler(connect, {
    listTools: async () => TOOLS,
    runtime: time.runtime,
    connectTimeoutMs: 700,
  });
  const status = async (): Promise<number> => (await time.run(handler.fetch(post(SEARCH)))).status;
  return { time, settle, handler, status, caller: callerOf(tool) };
}

test("a connection that hangs is given up after connectTimeoutMs, and the next request makes another one", async () => {
  const { settle, status, handler, caller } = connecting();
  expect(await status()).toBe(502);
  expect(settle).toHaveLength(1);
  const second = handler.fetch(post(SEARCH));
  await expect.poll(() => settle.length).toBe(2);
  settle[1]?.(caller);
  expect((await second).status).toBe(200);
});

test("requests that come together wait for one connection, and one that comes about late is taken", async () => {
  const { settle, status, handler, caller } = connecting();
  expect(await Promise.all([status(), status(), status()])).toEqual([502, 502, 502]);
  expect(settle).toHaveLength(1);
  settle[0]?.(caller);
  await new Promise((resolve) => setImmediate(resolve));
  expect(await handler.caller()).toBe(caller);
  expect(await status()).toBe(200);
  expect(settle).toHaveLength(1);
});

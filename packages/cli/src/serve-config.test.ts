import { pipeline, run, type ToolResult, type WrapOptions } from "@mcp-tx/core";
import { memoryStore } from "@mcp-tx/idempotency";
import type { ReliableConfig } from "mcp-tx";
import { describe, expect, test } from "vitest";
import { testMachine } from "./machine.fixture.js";
import { readServeConfig, type ServePipeline, servePipeline, wantsStore } from "./serve-config.js";

const FIRST = { id: "1".repeat(32), label: "a" };
const SECOND = { id: "2".repeat(32), label: "b" };

function madeOf(config: ReliableConfig, identity = FIRST, store = memoryStore(), name?: string): ServePipeline {
  return servePipeline({ config, identity, name, store, logger: undefined, onReport: () => undefined });
}

describe("the configuration", () => {
  test("comes from the file that is named, relative to the working directory", async () => {
    const { where, write } = await testMachine();
    await write("project/conf.yaml", "retry:\n  maxAttempts: 7\n");
    expect(await readServeConfig(where, "conf.yaml")).toMatchObject({ retry: { maxAttempts: 7 } });
  });

  test("comes from the user's own folder, never from the working directory", async () => {
    const { where, write } = await testMachine();
    await write("project/mcp-tx.config.json", '{"timeoutMs": 1}');
    expect(await readServeConfig(where, undefined)).toEqual({});
    await write("config/mcp-tx.config.json", '{"timeoutMs": 2}');
    expect(await readServeConfig(where, undefined)).toEqual({ timeoutMs: 2 });
  });

  test("comes from the environment", async () => {
    const { where, write } = await testMachine();
    await write("project/conf.json", '{"timeoutMs": 1, "attemptTimeoutMs": 1}');
    const env = { MCP_TX_CONFIG: "conf.json", MCP_TX_TIMEOUT_MS: "3" };
    expect(await readServeConfig({ ...where, env }, undefined)).toEqual({ timeoutMs: 3, attemptTimeoutMs: 1 });
  });

  test("is never code", async () => {
    const { where, write } = await testMachine();
    await write("project/conf.mjs", "throw new Error('it was run')");
    await expect(readServeConfig(where, "conf.mjs")).rejects.toThrow(
      /conf\.mjs is code, which is not run; write it as JSON/,
    );
  });

  test.each([
    ["a file that is not there", undefined, "does not exist"],
    ["a file that cannot be parsed", "{", "conf.json"],
    ["a key that does not exist", '{"retries": {}}', "retries does not exist"],
    ["a value out of range", '{"tools": {"pay": {"timeoutMs": -1}}}', "tools.pay.timeoutMs must be a number > 0"],
  ])("%s is refused, naming the option and the place", async (_name, text, message) => {
    const { where, write } = await testMachine();
    if (text !== undefined) await write("project/conf.json", text);
    const reading = readServeConfig(where, "conf.json");
    await expect(reading).rejects.toMatchObject({ exitCode: 78, message: expect.stringContaining(message) });
    await expect(reading).rejects.toThrow(/^--config: [^\n]*conf\.json[^\n]*$/);
  });
});

test("records are kept in one store or in none, never in memory for one tool", () => {
  expect(wantsStore({})).toBe(true);
  expect(wantsStore({ idempotency: true, tools: { a: { idempotency: false } } })).toBe(true);
  expect(wantsStore({ idempotency: false, tools: { a: { idempotency: false }, b: { retry: false } } })).toBe(false);
  const split: ReliableConfig = {
    idempotency: false,
    tools: { a: {}, "pay*": { idempotency: { key: { fields: ["id"] } } } },
  };
  expect(() => wantsStore(split)).toThrow(
    /^configuration: tools\["pay\*"\]\.idempotency cannot be on where idempotency is false/,
  );
});

test("a call is over before a host gives up, unless the configuration says otherwise", () => {
  expect(madeOf({}).wrapOptions.timeoutMs).toBe(55_000);
  expect(madeOf({ timeoutMs: 5 }).wrapOptions.timeoutMs).toBe(5);
});

test("announces the store, with the time for which records are kept", () => {
  const store = memoryStore();
  expect(madeOf({}, FIRST, store).announcement).toEqual({
    storeId: store.storeId,
    windowMs: 24 * 3_600_000,
    durable: false,
  });
  expect(madeOf({ idempotency: { ttlMs: 1000 } }, FIRST, store).announcement).toMatchObject({ windowMs: 1000 });
});

test("announces nothing without records", () => {
  const { announcement, middleware } = servePipeline({
    config: { idempotency: false },
    identity: FIRST,
    name: undefined,
    store: undefined,
    logger: undefined,
    onReport: () => undefined,
  });
  expect(announcement).toBeUndefined();
  expect(middleware.some(({ seat }) => seat === "idempotency")).toBe(false);
});

async function runs({ middleware, wrapOptions }: ServePipeline, tool: string): Promise<() => Promise<number>> {
  let count = 0;
  const handler = pipeline(middleware, async (): Promise<ToolResult> => {
    count += 1;
    return { content: [{ type: "text", text: String(count) }] };
  });
  const options: WrapOptions = wrapOptions;
  return async () => {
    await run(handler, { tool, args: {}, options: { idempotencyKey: "k" } }, options);
    return count;
  };
}

test.each([
  ["no scope", {}],
  ["a scope", { idempotency: { scope: "mine" } }],
  ["a scope of the tool's own", { tools: { pay: { idempotency: { scope: "mine" } } } }],
])("two servers never share a record in one store, with %s", async (_name, config) => {
  const store = memoryStore();
  const first = await runs(madeOf(config, FIRST, store), "pay");
  const again = await runs(madeOf(config, FIRST, store), "pay");
  const second = await runs(madeOf(config, SECOND, store), "pay");
  expect([await first(), await first()]).toEqual([1, 1]);
  // A proxy that was started anew for the same server finds the record.
  expect(await again()).toBe(0);
  expect(await second()).toBe(1);
});

test("scopes of one server are kept apart", async () => {
  const store = memoryStore();
  const first = await runs(madeOf({ idempotency: { scope: "a" } }, FIRST, store), "pay");
  const second = await runs(madeOf({ idempotency: { scope: "b" } }, FIRST, store), "pay");
  expect([await first(), await second()]).toEqual([1, 1]);
});

test("a name is what the server is called", () => {
  expect(madeOf({}, FIRST, memoryStore(), "files").wrapOptions.peer).toEqual({ server: "files" });
});

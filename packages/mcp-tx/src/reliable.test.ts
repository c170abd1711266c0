import { type ClientLike, compose, type ToolResult, wrapClient } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { afterEach, describe, expect, expectTypeOf, test, vi } from "vitest";
import type { Logger } from "./config-types.js";
import { reliable } from "./reliable.js";
import type { Reliable } from "./reliable-types.js";

/** What an SDK's client looks like from the outside. */
class FakeClient implements ClientLike {
  closes = 0;
  readonly #answer: ToolResult = { content: [{ type: "text", text: "ok" }] };
  async callTool(_params: { readonly name: string }): Promise<ToolResult> {
    return this.#answer;
  }
  async close(): Promise<void> {
    this.closes += 1;
  }
  greet(): ToolResult {
    return this.#answer;
  }
}

afterEach(() => {
  vi.restoreAllMocks();
});

test("is the client, with reliable calls", async () => {
  const client = new FakeClient();
  const tx = reliable(client);
  expectTypeOf(tx).toExtend<Reliable>();
  expectTypeOf(tx.greet).returns.toEqualTypeOf<ToolResult>();
  expect(tx.greet()).toEqual(await tx.call("pay"));
  expect(await tx.invoke("pay")).toBe("ok");
  expect(tx.closes).toBe(0);
});

test("closes the client once, however often it is closed", async () => {
  const client = new FakeClient();
  const tx = reliable(client);
  await Promise.all([tx.close(), tx.close({ graceMs: 0 }), tx[Symbol.asyncDispose]()]);
  expect(client.closes).toBe(1);
});

test("tells whoever closes it that the client cannot be closed", async () => {
  const client = Object.assign(new FakeClient(), { close: () => Promise.reject(new Error("stuck")) });
  await expect(reliable(client).close()).rejects.toThrow("stuck");
});

test("a client that cannot be closed, or does not say whether it is connected, is taken as it is", async () => {
  const bare: ClientLike = { callTool: async () => ({ content: [] }) };
  const tx = reliable(bare);
  expect(tx.health().status).toBe("pass");
  await tx.close();
  expect(tx.health().status).toBe("fail");
});

test("what is no client is refused", () => {
  expect(() => reliable({} as never)).toThrow(TypeError);
  expect(() => reliable(undefined as never)).toThrow(TypeError);
});

describe("a client that is wrapped already", () => {
  function logger() {
    const warn = vi.fn<Logger["warn"]>();
    return { debug: vi.fn<Logger["debug"]>(), info: vi.fn<Logger["info"]>(), warn, error: vi.fn<Logger["error"]>() };
  }

  test("is a warning where two layers multiply", () => {
    const log = logger();
    reliable(wrapClient(new FakeClient(), compose([retry()])), { logger: log });
    expect(log.warn).toHaveBeenCalledTimes(1);
    expect(log.warn.mock.calls[0]?.[1]).toMatch(/^reliable: the client is wrapped already\. retry\(\) and retry\(\) /);
  });

  test("is none where they do not meet", () => {
    const log = logger();
    reliable(wrapClient(new FakeClient(), retry()), {
      retry: false,
      idempotency: false,
      circuitBreaker: false,
      logger: log,
    });
    expect(log.warn).not.toHaveBeenCalled();
  });
});

import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import type { Caller } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { createHttpHandler } from "./create-handler.js";
import { OK, post, read, scene } from "./front.fixture.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };

describe("GET /health", () => {
  test("passes, as application/health+json", async () => {
    const { status, headers, json } = await scene().get("/health");
    expect(status).toBe(200);
    expect(headers.get("content-type")).toBe("application/health+json");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(json).toEqual({
      status: "pass",
      checks: { requests: [{ status: "pass" }], connection: [{ status: "pass" }] },
    });
  });

  test("an open breaker is a warning, whose name is nobody's business", async () => {
    const breaker = circuitBreaker({ consecutiveFailures: 1 });
    const { get, execute } = scene({
      steps: [{ error: new Error("down") }],
      middleware: [breaker],
      circuitBreakers: [breaker],
    });
    expect((await get("/health")).json).toMatchObject({
      status: "pass",
      checks: { "circuit-breakers": [{ status: "pass" }] },
    });
    await execute(SEARCH);
    const { status, json, text } = await get("/health");
    expect(status).toBe(200);
    expect(json).toMatchObject({
      status: "warn",
      checks: { "circuit-breakers": [{ status: "warn", observedValue: 1, observedUnit: "open circuits" }] },
    });
    expect(text).not.toContain("search");
    for (const path of ["/livez", "/readyz"]) {
      expect(await get(path)).toMatchObject({ status: 200, json: { status: "pass" } });
    }
    breaker.reset();
    breaker.isolate("secret");
    expect((await get("/health")).json.status).toBe("warn");
  });

  test("tells the worst of all checks, and of each what it says", async () => {
    const { get } = scene({
      checks: {
        database: () => ({ status: "pass" }),
        queue: async () => ({ status: "warn", output: "long" }),
      },
    });
    expect((await get("/health")).json).toMatchObject({
      status: "warn",
      checks: { database: [{ status: "pass" }], queue: [{ status: "warn", output: "long" }] },
    });
  });

  test.each<[string, () => unknown]>([
    [
      "throws",
      () => {
        throw new Error("s3cr3t");
      },
    ],
    ["rejects", () => Promise.reject(new Error("s3cr3t"))],
    ["gives nothing", () => undefined],
    ["gives another status", () => ({ status: "s3cr3t", output: "s3cr3t" })],
  ])("a check that %s has failed: 503 without a word of it", async (_name, check) => {
    const { status, json, text } = await scene({ checks: { own: check as never } }).get("/health");
    expect(status).toBe(503);
    expect(json).toMatchObject({ status: "fail", checks: { own: [{ status: "fail" }] } });
    expect(text).not.toContain("s3cr3t");
  });

  test("a check that never answers has failed in time", async () => {
    const time = virtualTime();
    const { handler } = scene({
      checks: { hung: () => new Promise(() => undefined) },
      connectTimeoutMs: 400,
      runtime: time.runtime,
    });
    const { status } = await time.run(handler.fetch(new Request("http://localhost/health")));
    expect(status).toBe(503);
    expect(time.now()).toBe(400);
    expect(time.timers).toBe(0);
  });

  test("a caller that knows how its servers are is asked, for its status alone", async () => {
    const caller: Caller & { health(): unknown } = {
      call: async () => OK,
      invoke: async () => undefined as never,
      health: () => ({ status: "warn", servers: { "s3cr3t-db": {} } }),
    };
    const handler = createHttpHandler(caller, { tools: ["search"] });
    const { json, text } = await read(await handler.fetch(new Request("http://localhost/health")));
    expect(json).toMatchObject({ status: "warn", checks: { servers: [{ status: "warn" }] } });
    expect(text).not.toContain("s3cr3t");
  });
});

describe("closing", () => {
  test("refuses new calls, lets those under way end, and is not ready any more", async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { handler, execute, get, tool } = scene({ steps: [() => held.then(() => OK)] });
    const first = execute(SEARCH);
    await expect.poll(() => tool.executions).toBe(1);
    let isClosed = false;
    const closing = handler.close({ graceMs: 1e6 }).then(() => {
      isClosed = true;
    });
    const refused = await execute(SEARCH);
    expect(refused).toMatchObject({ status: 503, json: { code: "draining", execution: "not-executed" } });
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(refused.headers.get("connection")).toBe("close");
    expect(await get("/readyz")).toMatchObject({ status: 503, json: { status: "fail" } });
    expect((await get("/health")).status).toBe(503);
    expect((await get("/livez")).status).toBe(200);
    expect(isClosed).toBe(false);
    release();
    expect((await first).status).toBe(200);
    await closing;
    expect(tool.executions).toBe(1);
  });

  test("aborts what is not done after graceMs, whose outcome is unknown then", async () => {
    const time = virtualTime();
    const { handler, execute, tool } = scene({
      steps: [{ hang: true }],
      runtime: time.runtime,
      wrap: { runtime: time.runtime },
    });
    const first = execute(SEARCH);
    await expect.poll(() => tool.executions).toBe(1);
    await time.run(handler.close({ graceMs: 2500 }));
    expect(time.now()).toBe(2500);
    expect(await first).toMatchObject({ status: 504, json: { code: "outcome_unknown", reason: "cancelled" } });
  });

  test("what was not sent by then did not run", async () => {
    const time = virtualTime();
    let isWaiting = false;
    const { handler, execute, tool } = scene({
      middleware: [
        (ctx) => {
          isWaiting = true;
          return ctx.call.runtime.sleep(1e9, ctx.signal).then(() => OK);
        },
      ],
      runtime: time.runtime,
      wrap: { runtime: time.runtime },
    });
    const first = execute(SEARCH);
    await expect.poll(() => isWaiting).toBe(true);
    await time.run(handler.close({ graceMs: 0 }));
    expect(await first).toMatchObject({ status: 503, json: { code: "draining", execution: "not-executed" } });
    expect(tool.executions).toBe(0);
  });

  test("does not wait for ever for a caller that hears no abort", async () => {
    const time = virtualTime();
    let signal: AbortSignal | undefined;
    const caller: Caller = {
      call: (_tool, _args, options) => {
        signal = options?.signal;
        return new Promise(() => undefined);
      },
      invoke: async () => undefined as never,
    };
    const handler = createHttpHandler(caller, { tools: ["search"], runtime: time.runtime });
    void handler.fetch(post(SEARCH));
    await expect.poll(() => signal).toBeDefined();
    await time.run(handler.close({ graceMs: 100 }));
    expect(signal?.aborted).toBe(true);
    expect(time.now()).toBe(1100);
  });

  test("twice waits for the first, and a bad graceMs is refused", async () => {
    const { handler } = scene();
    await expect(handler.close({ graceMs: -1 })).rejects.toThrow(/createHttpHandler: graceMs must be a number >= 0/);
    await Promise.all([handler.close(), handler.close({ graceMs: 5 })]);
  });
});

describe("a client that leaves", () => {
  test("aborts its tool call", async () => {
    const { handler, tool } = scene({ steps: [{ hang: true }] });
    const gone = new AbortController();
    const pending = handler.fetch(post(SEARCH, {}, { signal: gone.signal }));
    await expect.poll(() => tool.executions).toBe(1);
    gone.abort();
    expect(await read(await pending)).toMatchObject({
      status: 504,
      json: { code: "outcome_unknown", reason: "cancelled" },
    });
    expect(tool.contexts[0]?.signal?.aborted).toBe(true);
  });

  test("before its call was made executes nothing", async () => {
    const { handler, tool } = scene();
    const signal = AbortSignal.abort();
    expect((await handler.fetch(post(SEARCH, {}, { signal }))).status).toBe(499);
    expect(tool.executions).toBe(0);
  });

  test("leaves no listener behind after an answer", async () => {
    const { handler } = scene();
    const request = post(SEARCH);
    let listeners = 0;
    const { signal } = request;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    expect((await handler.fetch(request)).status).toBe(200);
    await expect.poll(() => listeners).toBe(0);
  });
});

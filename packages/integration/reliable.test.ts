import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { middlewareOf, reportOf, type ToolResult, transaction, wrapFetch } from "@mcp-tx/core";
import { CircuitOpenError, McpTxError, type ReliableConfig, reliable } from "mcp-tx";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { httpV1, refuse } from "./fixtures/http-servers.js";
import { LINES, type Line, type SdkClient, v1 } from "./fixtures/lines.js";
import { rawPeer } from "./fixtures/raw-peer.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

const text = (value: string): ToolResult => ({ content: [{ type: "text", text: value }] });
const QUICK = { baseDelayMs: 1, maxDelayMs: 1 } as const;

/** A reliable client of a server in this process. */
async function inMemory(line: Line, config?: ReliableConfig) {
  const runs: Execution[] = [];
  let failures = 0;
  const server = line.mcpServer("shop");
  registerTools(server, (entry) => runs.push(entry));
  server.registerTool(
    "flaky",
    { inputSchema: z.object({ times: z.number() }) },
    async ({ times }: { times: number }) => {
      runs.push({ tool: "flaky", args: { times } });
      failures += 1;
      return failures <= times ? { ...text("not yet"), isError: true } : text("done");
    },
  );
  const [near, far] = line.pair();
  await server.connect(far);
  const bare = line.client();
  await bare.connect(near);
  const tx = reliable<SdkClient>(bare, config);
  onTestFinished(() => tx.close({ graceMs: 0 }));
  return { tx, bare, runs };
}

/** A reliable client of a server in a process of its own, which keeps its log outside of itself. */
async function overStdio(line: Line, config?: ReliableConfig) {
  const folder = await mkdtemp(join(tmpdir(), "mcp-tx-reliable-"));
  const log = join(folder, "executions");
  const transport = line.stdio({ EXECUTION_LOG: log });
  const bare = line.client();
  await bare.connect(transport);
  const tx = reliable<SdkClient>(bare, config);
  onTestFinished(async () => {
    await tx.close({ graceMs: 0 });
    await rm(folder, { recursive: true, force: true });
  });
  const runs = async (): Promise<number> => (await readFile(log, "utf8").catch(() => "")).split("\n").length - 1;
  return { tx, transport, runs };
}

/** A reliable client of a server that answers nothing. */
async function mute(line: Line, config: ReliableConfig) {
  const [near, far] = line.pair();
  const { received } = await rawPeer(far, () => undefined);
  const bare = line.client();
  await bare.connect(near);
  const tx = reliable<SdkClient>(bare, config);
  onTestFinished(() => tx.close({ graceMs: 0 }));
  return { tx, calls: () => received.filter(({ method }) => method === "tools/call").length };
}

const caught = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);

describe.each(LINES)("reliable() on $name", (line) => {
  test("repeats what may be repeated, as each tool wants it", async () => {
    const config: ReliableConfig = {
      retry: { ...QUICK, retryOn: ["tool_error"] },
      tools: { "fl*": { retry: { maxAttempts: 4 } }, throws: { retry: false } },
    };
    const { tx, runs } = await inMemory(line, config);
    const result = await tx.call("flaky", { times: 3 });
    expect(result).toMatchObject(text("done"));
    expect(reportOf(result)).toMatchObject({ attempts: 4, status: "completed" });
    expect(reportOf(await tx.call("throws"))).toMatchObject({ attempts: 1, status: "failed" });
    expect(runs).toHaveLength(5);
  });

  test("gets through a 429 of an HTTP server, and waits as long as it asks", async () => {
    const http = await httpV1(() => {
      const server = v1.mcpServer();
      registerTools(server, () => undefined);
      return server;
    });
    onTestFinished(() => http.close());
    const bare = line.client();
    await bare.connect(line.http(http.url, { fetch: wrapFetch() }));
    const tx = reliable<SdkClient>(bare);
    onTestFinished(() => tx.close({ graceMs: 0 }));
    http.script.push(refuse(429, { "retry-after": "0.2" }));
    const report = reportOf(await tx.call("read"));
    expect(report).toMatchObject({ status: "completed", attempts: 2 });
    expect(report?.waitedMs).toBeGreaterThan(150);
  });

  test("answers a duplicate from its record", async () => {
    const { tx, runs } = await inMemory(line, { tools: { echo: { idempotency: { key: { fields: ["text"] } } } } });
    const first = await tx.call("read", {}, { idempotencyKey: "k" });
    const again = await tx.call("read", {}, { idempotencyKey: "k" });
    expect([reportOf(first)?.duplicate, reportOf(again)?.duplicate]).toEqual([false, true]);
    expect(await tx.invoke("echo", { text: "a" })).toBe("a");
    expect(await tx.invoke("echo", { text: "a" })).toBe("a");
    expect(runs.map(({ tool }) => tool)).toEqual(["read", "echo"]);
    expect(await caught(tx.call("echo"))).toBeInstanceOf(TypeError);
  });

  test("shares one run between callers at the same time, over stdio as well", async () => {
    const { tx, runs } = await overStdio(line);
    const results = await Promise.all(
      Array.from({ length: 20 }, () => tx.call("slow", { ms: 50 }, { idempotencyKey: "k" })),
    );
    expect(results.map((result) => reportOf(result)?.status)).toEqual(Array(20).fill("completed"));
    expect(await runs()).toBe(1);
  });

  test("opens the circuit of a tool that does not answer, and the health warns of it", async () => {
    const config: ReliableConfig = { retry: false, attemptTimeoutMs: 30, circuitBreaker: { consecutiveFailures: 2 } };
    const { tx, calls } = await mute(line, config);
    expect(tx.health()).toEqual({
      status: "pass",
      servers: { default: { status: "pass", connection: "connected", inFlight: 0, circuits: [] } },
    });
    await caught(tx.call("act"));
    await caught(tx.call("act"));
    expect(CircuitOpenError.isInstance(await caught(tx.call("act")))).toBe(true);
    expect(calls()).toBe(2);
    const { status, servers } = tx.health();
    expect([status, servers["default"]?.status]).toEqual(["warn", "warn"]);
    expect(servers["default"]?.circuits).toMatchObject([{ tool: "act", state: "open" }]);
    expect(servers["default"]?.circuits[0]?.openForMs).toBeGreaterThan(0);
    expect(CircuitOpenError.isInstance(await caught(tx.call("other")))).toBe(false);
  });

  test("does not send a call again that the server's death interrupted, and says that it is unknown", async () => {
    const { tx, runs } = await overStdio(line, { retry: QUICK });
    const error = await caught(tx.call("dies"));
    expect(McpTxError.isInstance(error) && error.code).toBe("outcome_unknown");
    expect(reportOf(error)).toMatchObject({ attempts: 1, execution: "unknown" });
    await expect.poll(() => tx.health().status, { timeout: 60_000 }).toBe("fail");
    expect(tx.health().servers["default"]?.connection).toBe("closed");
    expect(await runs()).toBe(1);
  });

  test("lets calls under way end before it closes, and refuses new ones", async () => {
    const { tx, bare, runs } = await inMemory(line);
    const slow = tx.call("slow", { ms: 100 });
    await expect.poll(() => runs.length, { timeout: 60_000 }).toBe(1);
    expect(tx.health().servers["default"]?.inFlight).toBe(1);
    const closing = tx.close({ graceMs: 60_000 });
    const refusal = await caught(tx.call("read"));
    expect(McpTxError.isInstance(refusal) && refusal.message).toContain('Tool "read" was not called');
    await closing;
    expect(reportOf(await slow)).toMatchObject({ status: "completed" });
    expect(bare.transport).toBeUndefined();
    expect(tx.health()).toMatchObject({ status: "fail", servers: { default: { inFlight: 0 } } });
    await tx.close();
    expect(runs).toHaveLength(1);
  });

  test("does not wait longer than its grace: what is still under way is unknown", async () => {
    const { tx, calls } = await mute(line, { retry: QUICK });
    const pending = caught(tx.call("act"));
    await expect.poll(calls, { timeout: 60_000 }).toBe(1);
    await tx.close({ graceMs: 1 });
    expect(reportOf(await pending)).toMatchObject({ execution: "unknown", status: "unknown" });
  });

  test("closes at the end of a block", async () => {
    const { bare } = await inMemory(line);
    {
      await using tx = reliable<SdkClient>(bare);
      expect(await tx.invoke("read")).toBe("read");
    }
    expect(bare.transport).toBeUndefined();
  });

  test("is the client itself for everybody else", async () => {
    const { tx, bare } = await inMemory(line);
    const result = await line.call(tx, "echo", { text: "a" });
    expect(result).toMatchObject(text("a"));
    expect(reportOf(result)).toMatchObject({ attempts: 1 });
    expect((await tx.listTools()).tools.map(({ name }) => name)).toContain("echo");
    expect((await tx.tools()).find(({ name }) => name === "read")).toMatchObject({
      annotations: { readOnlyHint: true },
    });
    expect(tx.getServerCapabilities()).toEqual(bare.getServerCapabilities());
    expect(tx.transport).toBe(bare.transport);
    expect("listTools" in tx && "health" in tx && !("nonsense" in tx)).toBe(true);
  });

  test("shows its middleware, so that sagas and transactions find their records", async () => {
    const { tx } = await inMemory(line);
    expect(middlewareOf(tx)?.map(({ seat }) => seat)).toEqual([undefined, "idempotency", "retry", "breaker"]);
    const t = transaction(tx, { id: "t-1" });
    expect(await t.invoke("first", "read")).toBe("read");
    expect(await transaction(tx, { id: "t-1" }).invoke("first", "read")).toBe("read");
    expect(t.reports).toHaveLength(1);
  });
});

test("a configuration that is wrong is refused at once, with its path", () => {
  const client = v1.client();
  expect(() => reliable<SdkClient>(client, { tools: { "pay*": { retry: { maxAttempts: 0 } } } })).toThrow(
    'config.tools["pay*"].retry.maxAttempts must be an integer >= 1 (Infinity allowed), got 0',
  );
});

test("a grace that is wrong is refused, and nothing is closed", async () => {
  const { tx, bare } = await inMemory(v1);
  await expect(tx.close({ graceMs: -1 })).rejects.toThrow(/^close: graceMs must be a number >= 0/);
  expect(bare.transport).toBeDefined();
  expect(tx.health().status).toBe("pass");
});

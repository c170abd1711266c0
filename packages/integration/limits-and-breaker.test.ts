import { circuitBreaker, type StateChange } from "@mcp-tx/circuit-breaker";
import { type Middleware, reportOf, type ToolResult, wrapClient, wrapFetch, wrapServer } from "@mcp-tx/core";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { retry } from "@mcp-tx/retry";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { type AttachSpec, attach, PLACES, type Place } from "./fixtures/attach.js";
import { refuse } from "./fixtures/http-servers.js";
import { LINES, type Line, type SdkClient, type SdkServer, type WireMessage } from "./fixtures/lines.js";
import { rawPeer } from "./fixtures/raw-peer.js";
import { toolServer } from "./fixtures/tool-server.js";

const text = (value: string) => ({ content: [{ type: "text", text: value }] });

/** A client with a pipeline, against a real HTTP server whose front plays a script. */
async function overHttp({ line, via }: Place, spec: AttachSpec) {
  const { http, executions } = await toolServer();
  const harness = await attach(line, via, line.http(http.url, { fetch: wrapFetch() }), spec);
  return { ...harness, http, executions };
}

/** A client with a pipeline, against a server that answers when the test says. */
async function overMemory({ line, via }: Place, middleware: readonly Middleware[]) {
  const [near, far] = line.pair();
  const held: (() => void)[] = [];
  const peer = await rawPeer(far, (message, send) => {
    if (message.method === "tools/call") held.push(() => send({ result: text("late") }));
  });
  const harness = await attach(line, via, near, { middleware });
  const calls = (): readonly WireMessage[] => peer.received.filter(({ method }) => method === "tools/call");
  return { ...harness, calls, held };
}

describe.each(PLACES)("a client of $on", (place) => {
  test("opens its circuit for as long as a 429 asks, and says so to whoever calls", async () => {
    const breaker = circuitBreaker({ consecutiveFailures: 1 });
    const changes: StateChange[] = [];
    breaker.onStateChange((change) => changes.push(change));
    const { call, http, executions } = await overHttp(place, { middleware: [breaker] });
    http.script.push(refuse(429, { "retry-after": "7" }));
    expect((await call("echo", { text: "x" })).report).toMatchObject({ status: "rejected", attempts: 1 });
    expect(changes).toMatchObject([{ from: "closed", to: "open", tool: "echo" }]);
    expect(changes[0]?.retryAfterMs).toBeCloseTo(7000, 6);
    const refused = await call("echo", { text: "x" });
    expect(refused.report).toMatchObject({ status: "rejected", execution: "not-executed", attempts: 0 });
    expect(refused.report.error?.code).toBe("circuit_open");
    expect(refused.report.error?.retryAfterMs).toBeGreaterThan(6000);
    expect(refused.report.error?.message).toMatch(/^Tool "echo" was not called: .*Do not call it again for \d+ ms\.$/);
    expect(executions).toEqual([]);
    expect((await call("read")).report.status).toBe("completed");
  });

  test("waits as long as a 429 asks before anything else goes to that server", async () => {
    const { call, http, executions } = await overHttp(place, { middleware: [rateLimit({ rate: 1000, burst: 1000 })] });
    http.script.push(refuse(429, { "retry-after": "0.3" }));
    await call("echo", { text: "x" });
    const next = await call("read");
    expect(next.report).toMatchObject({ status: "completed", attempts: 1 });
    expect(next.report.waitedMs).toBeGreaterThan(200);
    expect(executions).toHaveLength(1);
  });

  test("gets through a short 429 with retry outside of breaker and limiter, each attempt with a token", async () => {
    const breaker = circuitBreaker({ consecutiveFailures: 1 });
    const layers = [
      retry({ jitter: "none" }),
      breaker,
      rateLimit({ rate: 1000, burst: 2 }),
      concurrencyLimit({ max: 1 }),
    ];
    const { call, http, executions } = await overHttp(place, { middleware: layers });
    http.script.push(refuse(429, { "retry-after": "0.2" }));
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ status: "completed", attempts: 2, execution: "executed" });
    expect(seen.report.waitedMs).toBeGreaterThan(150);
    expect(breaker.state("echo")).toBe("closed");
    expect(executions).toHaveLength(1);
  });

  test("keeps the slot of a request that timed out until its late answer", async () => {
    const { call, calls, held } = await overMemory(place, [concurrencyLimit({ max: 1, abandonedMs: 60_000 })]);
    const first = await call("act", {}, place.via === "wrapClient" ? { attemptTimeoutMs: 20 } : { timeout: 20 });
    expect(first.error).toBeInstanceOf(Error);
    const second = call("act");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(calls()).toHaveLength(1);
    held[0]?.();
    await expect.poll(calls).toHaveLength(2);
    held[1]?.();
    expect((await second).report.status).toBe("completed");
  });

  test("gives the slot of a request that timed out back when its connection closes", async () => {
    const limit = concurrencyLimit({ max: 1, abandonedMs: 60_000 });
    const [lost, other] = [await overMemory(place, [limit]), await overMemory(place, [limit])];
    await lost.call("act", {}, place.via === "wrapClient" ? { attemptTimeoutMs: 20 } : { timeout: 20 });
    const waiting = other.call("act");
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(other.calls()).toHaveLength(0);
    await lost.close();
    await expect.poll(other.calls).toHaveLength(1);
    other.held[0]?.();
    expect((await waiting).report.status).toBe("completed");
  });
});

/** A client, plain or aware, of a server that has a pipeline; what the server sent is kept. */
async function served(line: Line, middleware: readonly Middleware[], aware: boolean) {
  const runs: string[] = [];
  const server = line.mcpServer("shop");
  server.registerTool("pay", { inputSchema: z.object({}) }, async () => {
    runs.push("pay");
    return text("paid");
  });
  server.registerTool("fails", { inputSchema: z.object({}) }, async () => {
    runs.push("fails");
    return { ...text("no"), isError: true };
  });
  server.registerTool("throws", { inputSchema: z.object({}) }, async () => {
    runs.push("throws");
    throw new Error("the tool failed");
  });
  const [near, far] = line.pair();
  await wrapServer<SdkServer>(server, middleware).connect(far);
  const bare = line.client();
  await bare.connect(near);
  onTestFinished(() => bare.close());
  const client: SdkClient = aware ? wrapClient(bare, []) : bare;
  const call = (tool: string): Promise<unknown> => line.call(client, tool).catch((error: unknown) => error);
  return { call, runs };
}

describe.each(LINES)("a server of $name", (line) => {
  test.each(["fails", "throws"])(
    "opens its circuit for a tool that %s, and a plain client gets words for a model",
    async (tool) => {
      const breaker = circuitBreaker({ consecutiveFailures: 2 });
      const { call, runs } = await served(line, [breaker], false);
      await call(tool);
      await call(tool);
      expect(breaker.state(JSON.stringify(["shop", tool]))).toBe("open");
      const refused = (await call(tool)) as ToolResult;
      expect(refused.isError).toBe(true);
      expect(refused.content?.[0]?.["text"]).toMatch(
        /^Tool "\w+" was not called: .*Do not call it again for \d+ ms\.$/,
      );
      expect(runs).toEqual([tool, tool]);
      expect(await call("pay")).toMatchObject(text("paid"));
    },
  );

  test("tells an aware client that its circuit is open, and until when", async () => {
    const { call, runs } = await served(line, [circuitBreaker({ consecutiveFailures: 1 })], true);
    await call("fails");
    const report = reportOf(await call("fails"));
    expect(report).toMatchObject({ status: "rejected", execution: "not-executed", attempts: 1, ack: true });
    expect(report?.error).toMatchObject({ code: "circuit_open", retryAfterMs: expect.any(Number) });
    expect(report?.error?.retryAfterMs).toBeGreaterThan(59_000);
    expect(runs).toEqual(["fails"]);
  });

  test("tells an aware client that its limit is reached, and when to come again", async () => {
    const { call, runs } = await served(line, [rateLimit({ rate: 0.5, burst: 1, onLimit: "reject" })], true);
    await call("pay");
    const report = reportOf(await call("pay"));
    expect(report).toMatchObject({ status: "rejected", execution: "not-executed", attempts: 1, ack: true });
    expect(report?.error).toMatchObject({ code: "rate_limited" });
    expect(report?.error?.retryAfterMs).toBeGreaterThan(1500);
    expect(report?.error?.retryAfterMs).toBeLessThanOrEqual(2000);
    expect(runs).toEqual(["pay"]);
  });
});

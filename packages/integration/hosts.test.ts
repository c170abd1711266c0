import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  type CallReport,
  defaultRuntime,
  type Middleware,
  readReceipt,
  type WrapOptions,
  wrapFetch,
  wrapTransport,
} from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { describe, expect, onTestFinished, test } from "vitest";
import { HOSTS } from "./fixtures/hosts.js";
import { type HttpFixture, hang, httpV1, refuse, runAndCut } from "./fixtures/http-servers.js";
import { type SdkTransport, v1 } from "./fixtures/lines.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

/** Hosts that build their own MCP client, on a wrapped transport, against a real server. */

interface Setup {
  readonly http: HttpFixture;
  readonly transport: SdkTransport;
  readonly executions: Execution[];
  readonly reports: CallReport[];
}

async function setUp(options: WrapOptions = {}, outer: readonly Middleware[] = []): Promise<Setup> {
  const executions: Execution[] = [];
  const reports: CallReport[] = [];
  const http = await httpV1(() => {
    const server = v1.mcpServer();
    registerTools(server, (entry) => executions.push(entry));
    return server;
  });
  onTestFinished(() => http.close());
  const layers = [...outer, retry({ baseDelayMs: 0 })];
  const transport = wrapTransport(v1.http(http.url, { fetch: wrapFetch() }), layers, {
    ...options,
    onReport: (report) => reports.push(report),
  });
  return { http, transport, executions, reports };
}

describe.each(HOSTS)("$on on a wrapped transport", ({ open }) => {
  test("gets the answer of a call that was refused twice", async () => {
    const { http, transport, executions, reports } = await setUp();
    const call = await open(transport);
    http.script.push(refuse(429), refuse(429, { "retry-after": "0" }));
    expect(await call("echo", { text: "hello" })).toEqual({ text: "hello", error: undefined });
    expect(executions).toEqual([{ tool: "echo", args: { text: "hello" } }]);
    expect(reports).toMatchObject([{ tool: "echo", attempts: 3, status: "completed", execution: "executed" }]);
    const ids = http.received.filter(({ method }) => method === "tools/call").map(({ id }) => id);
    expect(new Set(ids).size).toBe(3);
  });

  test("is told that the outcome is unknown when the answer is lost, and the tool runs once", async () => {
    const { http, transport, executions, reports } = await setUp();
    const call = await open(transport);
    http.script.push(runAndCut);
    const { error } = await call("echo", { text: "once" });
    expect((error as Error).message).toContain("unknown whether tool");
    expect(executions).toHaveLength(1);
    expect(reports).toMatchObject([
      { attempts: 1, status: "unknown", execution: "unknown", error: { code: "outcome_unknown" } },
    ]);
  });

  test("hears of a tool that hangs after the attempt timeout, not after its own", async () => {
    const { http, transport, reports } = await setUp({ attemptTimeoutMs: 60 });
    const call = await open(transport);
    http.script.push(hang);
    const { error } = await call("slow", { ms: 1 });
    expect((error as Error).message).toContain("unknown whether tool");
    expect(reports).toMatchObject([{ attempts: 1, status: "timeout", execution: "unknown" }]);
  });

  test("stops the live attempt when it aborts", async () => {
    const { http, transport, reports } = await setUp();
    const call = await open(transport);
    const controller = new AbortController();
    http.script.push(refuse(429), () => controller.abort());
    const { error } = await call("echo", { text: "x" }, controller.signal);
    expect(error).toBeInstanceOf(Error);
    await expect
      .poll(() => reports, { interval: 2 })
      .toMatchObject([{ attempts: 2, status: "cancelled", execution: "unknown" }]);
    const calls = http.received.filter(({ method }) => method === "tools/call");
    await expect
      .poll(() => http.received.at(-1), { interval: 2 })
      .toMatchObject({ method: "notifications/cancelled", params: { requestId: calls[1]?.id } });
  });

  test("gets the recorded answer when its model asks twice under one key", async () => {
    const key: NonNullable<Parameters<typeof idempotency>[0]>["key"] = ({ args }) => String(args["text"]);
    const { http, transport, executions, reports } = await setUp({}, [idempotency({ key })]);
    const call = await open(transport);
    http.script.push(refuse(429));
    expect((await call("echo", { text: "order-42" })).text).toBe("order-42");
    expect((await call("echo", { text: "order-42" })).text).toBe("order-42");
    expect((await call("echo", { text: "order-43" })).text).toBe("order-43");
    expect(executions.map(({ args }) => args["text"])).toEqual(["order-42", "order-43"]);
    expect(reports.map(({ duplicate, attempts }) => [duplicate, attempts])).toEqual([
      [false, 2],
      [true, 0],
      [false, 1],
    ]);
  });

  test("is told that nobody knows, also when its model asks again under the same key", async () => {
    const { http, transport, executions, reports } = await setUp({}, [idempotency({ key: () => "order-42" })]);
    const call = await open(transport);
    http.script.push(runAndCut);
    for (const _ of [1, 2]) {
      const { error } = await call("echo", { text: "once" });
      expect((error as Error).message).toContain("unknown whether tool");
    }
    expect(executions).toHaveLength(1);
    expect(reports.map(({ execution }) => execution)).toEqual(["unknown", "unknown"]);
  });

  test("is refused by an open circuit without a word to the server, until it closes again", async () => {
    let aheadMs = 0;
    const runtime = { ...defaultRuntime, now: () => defaultRuntime.now() + aheadMs };
    const breaker = circuitBreaker({ consecutiveFailures: 2, recoveryTimeoutMs: 60_000 });
    const { http, transport, executions, reports } = await setUp({ runtime }, [breaker]);
    const call = await open(transport);
    http.script.push(refuse(503), refuse(503));
    await call("echo", { text: "a" });
    await call("echo", { text: "b" });
    const sent = () => http.received.filter(({ method }) => method === "tools/call").length;
    const { error } = await call("echo", { text: "c" });
    expect((error as Error).message).toContain('Tool "echo" was not called');
    expect(sent()).toBe(2);
    aheadMs = 60_000;
    expect((await call("echo", { text: "d" })).text).toBe("d");
    expect(executions.map(({ args }) => args["text"])).toEqual(["d"]);
    expect(reports.map(({ status, attempts }) => `${status} ${attempts}`)).toEqual([
      "unknown 1",
      "unknown 1",
      "rejected 0",
      "completed 1",
    ]);
  });

  test("works on when the tool fails", async () => {
    const { transport, reports } = await setUp();
    const call = await open(transport);
    const failed = await call("throws", {});
    expect(failed.text ?? (failed.error as Error).message).toContain("the tool failed");
    expect((await call("echo", { text: "after" })).text).toBe("after");
    expect(reports.map(({ status }) => status)).toEqual(["failed", "completed"]);
  });
});

test("a host without an SDK can read the receipt of a call that ended in an error of ours", async () => {
  const { transport } = await setUp({ attemptTimeoutMs: 40 });
  const answers: unknown[] = [];
  transport.onmessage = ({ error }) => answers.push(error?.data);
  await transport.start();
  await transport.send({
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
  });
  await expect.poll(() => answers.length, { interval: 2 }).toBe(1);
  await transport.send({
    jsonrpc: "2.0",
    id: 2,
    method: "tools/call",
    params: { name: "slow", arguments: { ms: 100 } },
  });
  expect(readReceipt(answers[1])).toMatchObject({ ack: false, execution: "unknown", code: "outcome_unknown" });
  await transport.close();
});

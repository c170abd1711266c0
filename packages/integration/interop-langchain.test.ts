import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AIMessage } from "@langchain/core/messages";
import { loadMcpTools, MultiServerMCPClient } from "@langchain/mcp-adapters";
import { type CallReport, wrapClient, wrapFetch } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { reliable } from "mcp-tx";
import { expect, onTestFinished, test } from "vitest";
import { refuse, runAndCut } from "./fixtures/http-servers.js";
import { v1 } from "./fixtures/lines.js";
import { proxied } from "./fixtures/proxy-links.js";
import { toolServer } from "./fixtures/tool-server.js";
import type { Execution } from "./fixtures/tools.mjs";

/** LangChain.js: its client of several servers, its hooks, and a client of ours. */

type Tools = Awaited<ReturnType<typeof loadMcpTools>>;

/** What a call gave, or the text of what it threw. */
async function invoke(tools: Tools, name: string, args: object): Promise<string> {
  const tool = tools.find((candidate) => candidate.name === name);
  const call = Promise.resolve<unknown>(tool?.invoke(args as never));
  return call.then(String, (error: unknown) => String(error));
}

/** Headers for each call, as for a tenant. */
const withHeaders = { beforeToolCall: () => ({ headers: { "x-tenant": "a" } }) };

test("a client of ours retries, recognises duplicates and opens its circuit under its tools", async () => {
  const { http, executions } = await toolServer();
  const reports: CallReport[] = [];
  const client = new Client({ name: "host", version: "1.0.0" });
  await client.connect(v1.http(http.url, { fetch: wrapFetch() }) as never);
  const tx = reliable(client, {
    retry: { baseDelayMs: 0 },
    idempotency: { key: { fields: ["text"] } },
    // The circuit stays open for longer than a call may take.
    circuitBreaker: { consecutiveFailures: 2, recoveryTimeoutMs: 60_000 },
    timeoutMs: 30_000,
    onReport: (report) => reports.push(report),
  });
  onTestFinished(() => tx.close());
  const tools = await loadMcpTools("fixture", tx);
  http.script.push(refuse(429));
  for (const _ of [1, 2]) expect(await invoke(tools, "echo", { text: "order-42" })).toBe("order-42");
  expect(executions).toHaveLength(1);
  http.script.push(runAndCut, refuse(503));
  expect(await invoke(tools, "echo", { text: "order-43" })).toContain("ToolException: Error calling tool echo");
  expect(await invoke(tools, "echo", { text: "order-44" })).toContain("unknown whether tool");
  expect(await invoke(tools, "echo", { text: "order-45" })).toContain('Tool "echo" was not called');
  expect(executions.map(({ args }) => args["text"])).toEqual(["order-42", "order-43"]);
  expect(reports.map(({ attempts, status }) => `${attempts} ${status}`)).toEqual([
    "2 completed",
    "0 completed",
    "1 unknown",
    "1 unknown",
    "0 rejected",
  ]);
});

test("a hook that returns headers leaves a wrapper round the adapter's own client out", async () => {
  const { http, executions } = await toolServer();
  const adapters = new MultiServerMCPClient({ fixture: { transport: "http", url: http.url } });
  onTestFinished(() => adapters.close());
  const reports: CallReport[] = [];
  const own = (await adapters.getClient("fixture")) as Client;
  const wrapped = wrapClient(own, [], { onReport: (report) => reports.push(report) });
  await invoke(await loadMcpTools("fixture", wrapped as never), "echo", { text: "a" });
  expect(reports).toHaveLength(1);
  await invoke(await loadMcpTools("fixture", wrapped as never, withHeaders), "echo", { text: "b" });
  expect(executions).toHaveLength(2);
  expect(reports).toHaveLength(1);
});

test("a hook that returns headers fails on a client of ours, and nothing is sent", async () => {
  const { http, executions } = await toolServer();
  const client = new Client({ name: "host", version: "1.0.0" });
  await client.connect(v1.http(http.url) as never);
  onTestFinished(() => client.close());
  const tools = await loadMcpTools("fixture", wrapClient(client, []), withHeaders);
  expect(await invoke(tools, "echo", { text: "a" })).toContain("does not support header changes");
  expect(executions).toEqual([]);
});

test("its client of several servers, with the proxy as the command, hears that nobody knows, and goes on", async () => {
  const folder = mkdtempSync(join(tmpdir(), "interop-langchain-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const log = join(folder, "log");
  const script = fileURLToPath(new URL("fixtures/stdio-v1.mjs", import.meta.url));
  const upstream = { command: process.execPath, args: [script], env: { EXECUTION_LOG: log } };
  const { command, args } = proxied(upstream, { database: join(folder, "records.db"), retries: 3 });
  const adapters = new MultiServerMCPClient({ fixture: { command, args: [...args], stderr: "ignore" } });
  onTestFinished(() => adapters.close());
  const tools = (await adapters.getTools()) as Tools;
  expect(await invoke(tools, "dies", {})).toContain("unknown whether tool");
  expect(await invoke(tools, "echo", { text: "after" })).toBe("after");
  const runs = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
  expect(runs.map((line) => (JSON.parse(line) as Execution).tool)).toEqual(["dies", "echo"]);
});

test("the tool node of LangGraph hands the message on, and asks to fix mistakes", async () => {
  const { http, executions } = await toolServer();
  const client = new Client({ name: "host", version: "1.0.0" });
  await client.connect(v1.http(http.url, { fetch: wrapFetch() }) as never);
  onTestFinished(() => client.close());
  const tools = await loadMcpTools("fixture", wrapClient(client, retry()));
  // A peer of the adapters.
  const { ToolNode } = createRequire(import.meta.resolve("@langchain/mcp-adapters"))("@langchain/langgraph/prebuilt");
  const call = { name: "echo", args: { text: "once" }, id: "1", type: "tool_call" as const };
  http.script.push(runAndCut);
  const { messages } = await new ToolNode(tools).invoke({
    messages: [new AIMessage({ content: "", tool_calls: [call] })],
  });
  expect(messages[0].content).toMatch(/unknown whether tool "echo" ran.*\n Please fix your mistakes\.$/);
  expect(executions).toHaveLength(1);
});

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CallReport, wrapFetch } from "@mcp-tx/core";
import { Agent, type MCPServer, MCPServerStdio, MCPServerStreamableHttp, Runner } from "@openai/agents";
import { type ReliableConfig, reliable } from "mcp-tx";
import { describe, expect, onTestFinished, test } from "vitest";
import { type HttpFixture, httpV1, httpV2, refuse, runAndCut } from "./fixtures/http-servers.js";
import { agentServer } from "./fixtures/interop-agent-server.js";
import { callsOnce } from "./fixtures/interop-model.js";
import { v1, v2 } from "./fixtures/lines.js";
import { proxied } from "./fixtures/proxy-links.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

/** The OpenAI Agents SDK: its own MCP servers, and one that goes through mcp-tx. */

const RECIPE = new URL("../../docs/recipes/openai-agents.md", import.meta.url);
const HAZARD = "An error occurred while running the tool. Please try again.";

/** Runs an agent whose model calls one tool; gives what the model was told. */
async function told(server: MCPServer, tool: string, args: object): Promise<string> {
  const model = callsOnce(tool, args);
  const agent = new Agent({ name: "agent", model, mcpServers: [server] });
  await new Runner({ tracingDisabled: true }).run(agent, "go");
  return model.toldText();
}

async function serve(line: typeof v1): Promise<HttpFixture & { readonly executions: Execution[] }> {
  const executions: Execution[] = [];
  const http = await (line === v1 ? httpV1 : httpV2)(() => {
    const server = line.mcpServer();
    registerTools(server, (entry) => executions.push(entry));
    return server;
  });
  onTestFinished(() => http.close());
  return Object.assign(http, { executions });
}

async function setUp(line: typeof v1, config: ReliableConfig = {}) {
  const http = await serve(line);
  const reports: CallReport[] = [];
  const connect = async () => {
    const client = line.client(line === v2 ? { versionNegotiation: { mode: "auto" } } : {});
    await client.connect(line.http(http.url, { fetch: wrapFetch() }));
    return client;
  };
  const retry = { baseDelayMs: 0 };
  const tx = reliable({ connect }, { retry, onReport: (report) => reports.push(report), ...config });
  const server = agentServer("fixture", tx);
  onTestFinished(() => server.close());
  const posts = () => http.received.filter(({ method }) => method === "tools/call").length;
  return { http, server, reports, posts };
}

describe.each([v1, v2])("an agent whose server goes through mcp-tx on SDK $name", (line) => {
  test("gets the answer of a call that was refused twice, and the recorded answer of the same call", async () => {
    const key = { fields: ["text"] };
    const { http, server, reports, posts } = await setUp(line, { idempotency: { key } });
    http.script.push(refuse(429), refuse(429, { "retry-after": "0" }));
    for (const _ of [1, 2]) expect(await told(server, "echo", { text: "order-42" })).toContain('"text":"order-42"');
    expect(reports.map(({ attempts, duplicate }) => [attempts, duplicate])).toEqual([
      [3, false],
      [0, true],
    ]);
    expect([http.executions.length, posts()]).toEqual([1, 3]);
  });

  test("tells its model that nobody knows, and the tool runs once", async () => {
    const { http, server } = await setUp(line);
    http.script.push(runAndCut);
    expect(await told(server, "echo", { text: "once" })).toContain("Do not call it again before checking");
    expect(http.executions).toHaveLength(1);
  });

  test("tells its model of an open circuit, and the server hears nothing", async () => {
    // The circuit stays open for longer than the call may take.
    const circuitBreaker = { consecutiveFailures: 1, recoveryTimeoutMs: 60_000 };
    const { http, server, posts } = await setUp(line, { circuitBreaker, timeoutMs: 30_000 });
    http.script.push(refuse(503));
    await told(server, "echo", { text: "a" });
    expect(await told(server, "echo", { text: "b" })).toMatch(/was not called.*Do not call it again for/);
    expect([http.executions.length, posts()]).toEqual([0, 1]);
  });
});

test("the recipe shows the server that is tested here", () => {
  const fixture = readFileSync(new URL("fixtures/interop-agent-server.ts", import.meta.url), "utf8");
  expect(readFileSync(RECIPE, "utf8")).toContain(`\`\`\`ts\n${fixture}\`\`\``);
});

test("the SDK's own HTTP server sends nothing twice, but tells the model to try again", async () => {
  const http = await serve(v2);
  const server = new MCPServerStreamableHttp({ url: http.url });
  await server.connect();
  onTestFinished(() => server.close());
  http.script.push(runAndCut);
  expect(await told(server, "echo", { text: "once" })).toContain(HAZARD);
  expect(http.executions).toHaveLength(1);
  // What it is told of the failure it cannot tell apart either.
  http.script.push(refuse(429));
  expect(await told(server, "echo", { text: "never" })).toContain(HAZARD);
  expect(http.executions).toHaveLength(1);
});

test("the SDK's own stdio server, behind the proxy, tells the model that nobody knows when its error function does", async () => {
  const folder = mkdtempSync(join(tmpdir(), "interop-agents-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const log = join(folder, "log");
  const script = fileURLToPath(new URL("fixtures/stdio-v2.mjs", import.meta.url));
  const upstream = { command: process.execPath, args: [script], env: { EXECUTION_LOG: log } };
  const { command, args } = proxied(upstream, { database: join(folder, "records.db"), retries: 3 });
  const errorFunction = ({ error }: { readonly error: unknown }) => String(error);
  const server = new MCPServerStdio({ command, args: [...args], clientSessionTimeoutSeconds: 60, errorFunction });
  await server.connect();
  onTestFinished(() => server.close());
  expect(await told(server, "dies", {})).toContain("unknown whether tool");
  // The proxy has another server by then.
  expect(await told(server, "echo", { text: "after" })).toContain('"text":"after"');
  const runs = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
  expect(runs.map((line) => (JSON.parse(line) as Execution).tool)).toEqual(["dies", "echo"]);
});

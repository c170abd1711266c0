import { wrapTransport } from "@mcp-tx/core";
import * as schemas from "@modelcontextprotocol/sdk/types.js";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { httpV1, httpV2 } from "./fixtures/http-servers.js";
import {
  type Line,
  type SdkClient,
  type SdkServer,
  type SdkTransport,
  v1,
  v2,
  type WireMessage,
} from "./fixtures/lines.js";
import { registerTools } from "./fixtures/tools.mjs";

/** With an empty pipeline the traffic is the same, byte for byte: what goes to the server, and what reaches the host. */

interface Traffic {
  readonly sent: string[];
  readonly delivered: string[];
  /** What the host's own calls came to. */
  readonly outcomes: string[];
}

type Host = SdkClient & Readonly<Record<string, (...args: unknown[]) => Promise<unknown>>>;
type Scenario = (host: Host, line: Line, note: (outcome: unknown) => void) => Promise<void>;

const show = (value: unknown): string =>
  value instanceof Error ? `${value.name}: ${value.message}` : JSON.stringify(value);

async function record(
  line: Line,
  client: SdkClient,
  transport: SdkTransport,
  wrap: (transport: SdkTransport) => SdkTransport,
  scenario: Scenario,
): Promise<Traffic> {
  const traffic: Traffic = { sent: [], delivered: [], outcomes: [] };
  const send = transport.send.bind(transport);
  transport.send = (message, options) => {
    traffic.sent.push(JSON.stringify(message));
    return send(message, options);
  };
  const facing = wrap(transport);
  await client.connect(facing);
  onTestFinished(() => client.close());
  const deliver = facing.onmessage;
  facing.onmessage = (message, extra) => {
    traffic.delivered.push(JSON.stringify(message));
    deliver?.(message, extra);
  };
  await scenario(client as Host, line, (outcome) => traffic.outcomes.push(show(outcome)));
  return traffic;
}

/** Tool calls that end in every way there is. */
const calls: Scenario = async (host, line, note) => {
  const attempt = (tool: string, args: object, options?: object): Promise<void> =>
    line.call(host, tool, args as never, options as never).then(note, note);
  await host.listTools().then(({ tools }) => note(tools.length));
  // Fresh processes are slow at first; afterwards a timeout tells them from tools that hang.
  await attempt("echo", { text: "plain" });
  await attempt("echo", { text: 'Zoë ‮ \u0000 " \\ 🙂' });
  await attempt("echo", { text: 7 });
  await attempt("throws", {});
  await attempt("no-such-tool", {});
  await attempt("slow", { ms: 400 }, { timeout: 120 });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 120);
  await attempt("slow", { ms: 400 }, { signal: controller.signal });
  await attempt("echo", { text: "after" }, { onprogress: () => undefined, resetTimeoutOnProgress: true });
};

/** Everything else that a session of the handshake eras may carry, in both directions. */
const everythingElse: Scenario = async (host, line, note) => {
  const handlers: Readonly<Record<string, (request: { readonly params?: unknown }) => unknown>> = {
    CreateMessage: () => ({ model: "m", role: "assistant", content: { type: "text", text: "sampled" } }),
    Elicit: () => ({ action: "accept", content: { name: "x" } }),
    ListRoots: () => ({ roots: [{ uri: "file:///a" }] }),
  };
  const methods = {
    CreateMessage: "sampling/createMessage",
    Elicit: "elicitation/create",
    ListRoots: "roots/list",
  } as const;
  for (const [name, handler] of Object.entries(handlers)) {
    const schema = Object.entries(schemas).find(([key]) => key === `${name}RequestSchema`)?.[1];
    host["setRequestHandler"]?.(line === v1 ? schema : methods[name as keyof typeof methods], handler);
  }
  note(await host["ping"]?.());
  note(await host["setLoggingLevel"]?.("debug"));
  note(await host["listResources"]?.());
  note(await host["readResource"]?.({ uri: "test://readme" }));
  note(await host["listPrompts"]?.());
  note(await host["getPrompt"]?.({ name: "greet" }));
  note(await host["readResource"]?.({ uri: "test://missing" }).catch((error: unknown) => error));
  const progress: unknown[] = [];
  note(await line.call(host, "chatty", {}, { onprogress: (step: unknown) => progress.push(step) }));
  note(progress);
  await host["sendRootsListChanged"]?.();
};

interface Low {
  createMessage(params: unknown): Promise<unknown>;
  elicitInput(params: unknown): Promise<unknown>;
  listRoots(): Promise<unknown>;
  sendLoggingMessage(params: unknown): Promise<void>;
}
interface Extra {
  readonly _meta?: { readonly progressToken?: unknown };
  readonly sendNotification?: (notification: unknown) => Promise<void>;
  readonly mcpReq?: {
    readonly _meta?: { readonly progressToken?: unknown };
    readonly notify: (notification: unknown) => Promise<void>;
  };
}

/** A server that uses every feature of a session within one tool call. */
function build(line: Line): SdkServer {
  const server = line.mcpServer("everything", { capabilities: { logging: {} } }) as ReturnType<Line["mcpServer"]> & {
    readonly server: Low;
    registerResource(name: string, uri: string, config: object, read: (uri: URL) => unknown): void;
    registerPrompt(name: string, config: object, get: () => unknown): void;
  };
  registerTools(server, () => undefined);
  server.registerResource("readme", "test://readme", {}, (uri) => ({ contents: [{ uri: uri.href, text: "read me" }] }));
  server.registerPrompt("greet", {}, () => ({
    messages: [{ role: "user", content: { type: "text", text: "hello" } }],
  }));
  server.registerTool("chatty", { inputSchema: z.object({}) }, (async (_args: unknown, extra: Extra) => {
    const notify = extra.sendNotification ?? extra.mcpReq?.notify;
    const progressToken = (extra._meta ?? extra.mcpReq?._meta)?.progressToken;
    for (const progress of [1, 2])
      await notify?.({ method: "notifications/progress", params: { progressToken, progress } });
    await server.server.sendLoggingMessage({ level: "info", data: "working" });
    const requestedSchema = { type: "object", properties: { name: { type: "string" } } };
    const answers = [
      await server.server.createMessage({
        messages: [{ role: "user", content: { type: "text", text: "?" } }],
        maxTokens: 5,
      }),
      await server.server.elicitInput({ message: "name?", requestedSchema }),
      await server.server.listRoots(),
    ];
    return { content: [{ type: "text", text: JSON.stringify(answers) }] };
  }) as never);
  return server;
}

const CAPABILITIES = { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } };
const MODERN = { versionNegotiation: { mode: "auto" } };

interface Way {
  readonly on: string;
  readonly line: Line;
  readonly client: Readonly<Record<string, unknown>>;
  readonly scenarios: readonly Scenario[];
  readonly open: () => Promise<SdkTransport>;
}

function inMemory(line: Line): () => Promise<SdkTransport> {
  return async () => {
    const [near, far] = line.pair();
    await build(line).connect(far);
    return near;
  };
}

function overHttp(line: Line, serve: () => ReturnType<typeof httpV2>): () => Promise<SdkTransport> {
  return async () => {
    const http = await serve();
    onTestFinished(() => http.close());
    return line.http(http.url);
  };
}

const both = [calls, everythingElse];
const WAYS: readonly Way[] = [
  { on: "v1 in memory", line: v1, client: CAPABILITIES, scenarios: both, open: inMemory(v1) },
  { on: "v2 in memory", line: v2, client: CAPABILITIES, scenarios: both, open: inMemory(v2) },
  { on: "v1 over stdio", line: v1, client: {}, scenarios: [calls], open: async () => v1.stdio() },
  { on: "v2 over stdio", line: v2, client: {}, scenarios: [calls], open: async () => v2.stdio() },
  { on: "v2 over stdio, 2026-07-28", line: v2, client: MODERN, scenarios: [calls], open: async () => v2.stdio() },
  { on: "v1 over HTTP", line: v1, client: {}, scenarios: [calls], open: overHttp(v1, () => httpV1(() => build(v1))) },
  {
    on: "v2 over HTTP with sessions",
    line: v2,
    client: {},
    scenarios: [calls],
    open: overHttp(v2, () => httpV1(() => build(v1))),
  },
  {
    on: "v2 over HTTP, stateless",
    line: v2,
    client: {},
    scenarios: [calls],
    open: overHttp(v2, () => httpV2(() => build(v2))),
  },
  {
    on: "v2 over HTTP, 2026-07-28",
    line: v2,
    client: MODERN,
    scenarios: [calls],
    open: overHttp(v2, () => httpV2(() => build(v2))),
  },
];

describe.each(WAYS)("an empty wrapTransport, $on,", ({ line, client, scenarios, open }) => {
  test("changes nothing in either direction", async () => {
    const scenario: Scenario = async (host, on, note) => {
      for (const part of scenarios) await part(host, on, note);
    };
    const run = async (wrap: (transport: SdkTransport) => SdkTransport): Promise<Traffic> =>
      record(line, line.client(client), await open(), wrap, scenario);
    const [bare, wrapped] = await Promise.all([
      run((transport) => transport),
      run((transport) => wrapTransport(transport, [])),
    ]);
    expect(wrapped.outcomes).toEqual(bare.outcomes);
    expect(wrapped.sent).toEqual(bare.sent);
    expect(wrapped.delivered).toEqual(bare.delivered);
    expect(bare.outcomes.some((outcome) => outcome.includes("after"))).toBe(true);
    expect(bare.outcomes.some((outcome) => outcome.includes("sampled"))).toBe(scenarios.includes(everythingElse));
    const methods = bare.sent.map((text) => (JSON.parse(text) as WireMessage).method);
    expect(methods.filter((method) => method === "tools/call").length).toBeGreaterThanOrEqual(8);
  });
});

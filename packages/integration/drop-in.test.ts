import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { reportOf, wrapClient, wrapTransport } from "@mcp-tx/core";
import * as clientV2 from "@modelcontextprotocol/client";
import { StdioClientTransport as StdioV2 } from "@modelcontextprotocol/client/stdio";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as schemasV1 from "@modelcontextprotocol/sdk/types.js";
import { describe, expect, onTestFinished, test } from "vitest";
import { httpV1, httpV2 } from "./fixtures/http-servers.js";
import { LINES, type Line, type SdkClient, type SdkMcpServer, type SdkTransport } from "./fixtures/lines.js";
import { recordingProxy } from "./fixtures/recording-proxy.js";
import { furnish } from "./fixtures/rich-server.mjs";

type Bag = Readonly<Record<string, unknown>>;

/** What is called on a client here, beside its tools. */
interface FullClient extends SdkClient {
  ping(): Promise<unknown>;
  listPrompts(): Promise<unknown>;
  getPrompt(params: Bag): Promise<unknown>;
  listResources(): Promise<unknown>;
  readResource(params: Bag): Promise<unknown>;
  request(...parameters: readonly unknown[]): Promise<unknown>;
  getServerVersion(): unknown;
  setNotificationHandler(...parameters: readonly unknown[]): void;
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
}

/** How a client is held: as the SDK makes it, or with an empty pipeline at either place. */
type Wrapping = "bare" | "wrapClient" | "wrapTransport";

function clientOf(line: Line, wrapping: Wrapping, options?: Bag): FullClient {
  const bare = line.client(options) as FullClient;
  return wrapping === "wrapClient" ? wrapClient(bare, []) : bare;
}

async function connect(client: FullClient, transport: SdkTransport, wrapping: Wrapping): Promise<void> {
  await client.connect(wrapping === "wrapTransport" ? wrapTransport(transport, []) : transport);
}

/** What a step gave, in a form in which two runs can be compared. */
type Ending =
  | { readonly gave: string }
  | { readonly threw: unknown; readonly code: unknown; readonly message: unknown; readonly data: string | undefined };

async function endingOf(step: () => Promise<unknown>): Promise<Ending> {
  try {
    return { gave: JSON.stringify((await step()) ?? null) };
  } catch (error) {
    const { code, message, data } = error as { code?: unknown; message?: unknown; data?: unknown };
    // The class itself, not its name.
    return { threw: (error as object).constructor, code, message, data: JSON.stringify(data) };
  }
}

type Step = (client: FullClient, line: Line) => Promise<unknown>;

function call(tool: string, args?: Bag, options?: Bag): Step {
  return (client, line) => line.call(client, tool, args, options);
}

/** `callTool` with exactly these parameters. */
function callWith(params: Bag, options?: Bag): Step {
  return (client, line) =>
    line.name === "v1" ? client.callTool(params, undefined, options) : client.callTool(params, options);
}

function raw(method: string): Step {
  return (client, line) => {
    const anything = line.name === "v1" ? schemasV1.ResultSchema : clientV2.specTypeSchemas.Result;
    return client.request({ method }, anything);
  };
}

const abortedSignal: Step = (client, line) =>
  line.call(client, "echo", { text: "x" }, { signal: AbortSignal.abort(new Error("too early")) });

const abortedMidFlight: Step = async (client, line) => {
  const controller = new AbortController();
  const calling = line.call(client, "hangs", {}, { signal: controller.signal });
  setTimeout(() => controller.abort("changed my mind"), 20);
  return calling;
};

const withProgress: Step = async (client, line) => {
  const seen: unknown[] = [];
  const onprogress = (progress: unknown): void => {
    seen.push(progress);
  };
  const result = await line.call(
    client,
    "advances",
    {},
    { onprogress, resetTimeoutOnProgress: true, maxTotalTimeout: 5000 },
  );
  return { result, seen };
};

/** Everything a host does with a client, in order. */
const STEPS: readonly (readonly [string, Step])[] = [
  ["server version", async (client) => client.getServerVersion()],
  ["capabilities", async (client) => client.getServerCapabilities()],
  ["ping", (client) => client.ping()],
  ["call with arguments", call("echo", { text: "hello" })],
  ["call without arguments", callWith({ name: "fails" })],
  [
    "call with undefined arguments and options",
    callWith({ name: "fails", arguments: undefined }, { timeout: undefined }),
  ],
  ["call with _meta", callWith({ name: "sees-meta", arguments: {}, _meta: { "example.com/a": [1, { b: null }] } })],
  ["call with a timeout that holds", call("echo", { text: "in time" }, { timeout: 5000 })],
  ["call with a signal", call("echo", { text: "signalled" }, { signal: new AbortController().signal })],
  ["call with progress", withProgress],
  ["isError", call("fails")],
  ["a tool that throws", call("throws")],
  ["bad arguments", call("echo", { text: 3 })],
  ["unknown tool", call("nowhere")],
  ["bad output before the tools are listed", call("miscounts")],
  ["list tools", (client) => client.listTools()],
  ["structured output", call("counts")],
  ["bad output after the tools are listed", call("miscounts")],
  ["timeout", call("hangs", {}, { timeout: 30 })],
  ["abort before", abortedSignal],
  ["abort mid-flight", abortedMidFlight],
  ["call after a cancelled one", call("echo", { text: "still here" })],
  ["list prompts", (client) => client.listPrompts()],
  ["get prompt", (client) => client.getPrompt({ name: "greet" })],
  ["unknown prompt", (client) => client.getPrompt({ name: "insult" })],
  ["list resources", (client) => client.listResources()],
  ["read resource", (client) => client.readResource({ uri: "memo://motto" })],
  ["unknown resource", (client) => client.readResource({ uri: "memo://nothing" })],
  ["unknown method", raw("example/unknown")],
];

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function play(client: FullClient, line: Line): Promise<Readonly<Record<string, Ending>>> {
  const endings: Record<string, Ending> = {};
  for (const [name, step] of STEPS) endings[name] = await endingOf(() => step(client, line));
  const midCall = endingOf(() => line.call(client, "hangs"));
  await pause(20);
  await client.close();
  endings["close mid-call"] = await midCall;
  endings["call after close"] = await endingOf(() => line.call(client, "echo", { text: "x" }));
  endings["close after close"] = await endingOf(() => client.close());
  return endings;
}

function richServer(line: Line): SdkMcpServer {
  const server = line.mcpServer("rich");
  furnish(server);
  return server;
}

/** What one run sent and got: the traffic in a comparable form, and how each step ended. */
interface Run {
  readonly traffic: unknown;
  readonly endings: Readonly<Record<string, Ending>>;
}

async function inMemory(line: Line, wrapping: Wrapping): Promise<Run> {
  const [near, far] = line.pair();
  const traffic: string[] = [];
  for (const [end, arrow] of [
    [near, ">"],
    [far, "<"],
  ] as const) {
    const send = end.send.bind(end);
    end.send = (message, options) => {
      traffic.push(`${arrow} ${JSON.stringify(message)}`);
      return send(message, options);
    };
  }
  await richServer(line).connect(far);
  const client = clientOf(line, wrapping);
  await connect(client, near, wrapping);
  return { endings: await play(client, line), traffic };
}

function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
}

async function overStdio(line: Line, wrapping: Wrapping): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), "drop-in-"));
  try {
    const log = join(folder, "bytes");
    const Stdio = line.name === "v1" ? StdioV1 : StdioV2;
    const args = [fixture("tee-stdio.mjs"), log, fixture("rich-stdio.mjs"), line.name];
    const client = clientOf(line, wrapping);
    await connect(client, new Stdio({ command: process.execPath, args }) as never, wrapping);
    const endings = await play(client, line);
    return { endings, traffic: { in: readFileSync(`${log}.in`, "utf8"), out: readFileSync(`${log}.out`, "utf8") } };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function overHttp(line: Line, wrapping: Wrapping, options?: Bag): Promise<Run> {
  const server = await (line.name === "v1" ? httpV1 : httpV2)(() => richServer(line));
  const proxy = await recordingProxy(server.url);
  try {
    const client = clientOf(line, wrapping, options);
    await connect(client, line.http(proxy.url), wrapping);
    const endings = await play(client, line);
    // Requests that are not awaited, such as the listening GET, overtake others now and then; ids tell the order of the rest.
    return { endings, traffic: proxy.requests.map((request) => JSON.stringify(request)).sort() };
  } finally {
    await proxy.close();
    await server.close();
  }
}

/** The stateless era of the protocol, which only v2 speaks. */
function stateless(line: Line, wrapping: Wrapping): Promise<Run> {
  return overHttp(line, wrapping, { versionNegotiation: { mode: { pin: "2026-07-28" } } });
}

type Channel = (line: Line, wrapping: Wrapping) => Promise<Run>;

const CHANNELS: readonly (readonly [string, Line, Channel])[] = LINES.flatMap((line) => [
  [`${line.name} in memory`, line, inMemory] as const,
  [`${line.name} over stdio`, line, overStdio] as const,
  [`${line.name} over Streamable HTTP`, line, overHttp] as const,
  ...(line.name === "v2" ? [[`${line.name} over Streamable HTTP, stateless`, line, stateless] as const] : []),
]);

describe.each(CHANNELS)("an empty pipeline round SDK %s", (_title, line, run) => {
  let bare: Promise<Run> | undefined;
  // Once for all comparisons.
  function bareRun(): Promise<Run> {
    bare ??= run(line, "bare");
    return bare;
  }

  test("is compared with a run that did something", async () => {
    const { traffic, endings } = await bareRun();
    expect(JSON.stringify(traffic).length).toBeGreaterThan(5000);
    const thrown = Object.keys(endings).filter((name) => "threw" in (endings[name] ?? {}));
    const failures = ["timeout", "abort before", "abort mid-flight", "call after close", "unknown prompt"];
    expect(thrown).toEqual(expect.arrayContaining(failures));
    expect(thrown).not.toContain("call with _meta");
    expect(thrown).not.toContain("call with progress");
  });

  test.each(["wrapClient", "wrapTransport"] as const)(
    "changes no traffic, result or error through %s",
    async (wrapping) => {
      const expected = await bareRun();
      const wrapped = await run(line, wrapping);
      expect(wrapped.endings).toEqual(expected.endings);
      expect(wrapped.traffic).toEqual(expected.traffic);
    },
  );
});

/** A client connected in memory, wrapped, and the server behind it. */
async function wrappedInMemory(line: Line) {
  const [near, far] = line.pair();
  const server = richServer(line);
  await server.connect(far);
  const bare = line.client() as FullClient;
  await bare.connect(near);
  onTestFinished(() => bare.close());
  return { bare, wrapped: wrapClient(bare, []), near, far, server };
}

describe.each(LINES)("a wrapped $name client", (line) => {
  test("is an instance of its class", async () => {
    const { wrapped } = await wrappedInMemory(line);
    expect(wrapped).toBeInstanceOf(line.name === "v1" ? ClientV1 : clientV2.Client);
    expect(wrapped.constructor).toBe(line.name === "v1" ? ClientV1 : clientV2.Client);
  });

  test("rejects a call before connect as the bare one does, and reports that nothing ran", async () => {
    const bare = await endingOf(() => line.call(line.client(), "echo", { text: "x" }));
    const wrapped = wrapClient(line.client(), []);
    expect(await endingOf(() => line.call(wrapped, "echo", { text: "x" }))).toEqual(bare);
    const error = await line.call(wrapped, "echo", { text: "x" }).catch((thrown: unknown) => thrown);
    expect(reportOf(error)).toMatchObject({ execution: "not-executed", attempts: 0 });
  });

  test("works when it was wrapped before it was connected", async () => {
    const [near, far] = line.pair();
    await richServer(line).connect(far);
    const wrapped = wrapClient(line.client(), []);
    await wrapped.connect(near);
    onTestFinished(() => wrapped.close());
    const result = await line.call(wrapped, "echo", { text: "x" });
    expect(reportOf(result)).toMatchObject({ execution: "executed", attempts: 1, ack: true });
  });

  test("follows its client to another transport", async () => {
    const { wrapped } = await wrappedInMemory(line);
    await line.call(wrapped, "echo", { text: "x" });
    await wrapped.close();
    const [near, far] = line.pair();
    await richServer(line).connect(far);
    await wrapped.connect(near);
    const result = await line.call(wrapped, "echo", { text: "again" });
    expect(result).toMatchObject({ content: [{ text: "again" }] });
    expect(reportOf(result)).toMatchObject({ execution: "executed", attempts: 1 });
  });

  test("calls onclose and onerror that are set on it as often as the bare one", async () => {
    async function eventsOf(pick: (both: { readonly bare: FullClient; readonly wrapped: FullClient }) => FullClient) {
      const both = await wrappedInMemory(line);
      const client = pick(both);
      const events: string[] = [];
      const onclose = (): void => {
        events.push("close");
      };
      client.onclose = onclose;
      client.onerror = (error) => events.push(error.message);
      expect(client.onclose).toBe(onclose);
      expect(both.bare.onclose).toBe(onclose);
      both.near.onerror?.(new Error("a hiccup"));
      await client.close();
      return events;
    }
    const events = await eventsOf(({ wrapped }) => wrapped);
    expect(events).toEqual(await eventsOf(({ bare }) => bare));
    expect(events.slice(0, 2)).toEqual(["a hiccup", "close"]);
  });

  test("hands notifications to handlers that are set on it", async () => {
    const { wrapped, far } = await wrappedInMemory(line);
    const heard = new Promise<void>((resolve) => {
      const method =
        line.name === "v1" ? schemasV1.ToolListChangedNotificationSchema : "notifications/tools/list_changed";
      wrapped.setNotificationHandler(method, () => resolve());
    });
    await line.call(wrapped, "echo", { text: "x" });
    await far.send({ jsonrpc: "2.0", method: "notifications/tools/list_changed" });
    await heard;
  });

  test("gives the same method every time it is asked for", async () => {
    const { wrapped } = await wrappedInMemory(line);
    expect(wrapped.listTools).toBe(wrapped.listTools);
    expect(wrapped.callTool).toBe(wrapped.callTool);
    const { ping } = wrapped;
    await expect(ping()).resolves.toEqual({});
  });

  test("has all members of the bare one", async () => {
    const { bare, wrapped } = await wrappedInMemory(line);
    const names = new Set<string>();
    for (let level: object = bare; level !== Object.prototype; level = Object.getPrototypeOf(level)) {
      for (const name of Object.getOwnPropertyNames(level)) names.add(name);
    }
    expect(names.size).toBeGreaterThan(30);
    const read = (client: FullClient, name: string): unknown => (client as unknown as Bag)[name];
    for (const name of names) {
      expect(name in wrapped, name).toBe(true);
      expect(typeof read(wrapped, name), name).toBe(typeof read(bare, name));
    }
  });
});

test("a wrapped v1 client keeps its experimental tasks", async () => {
  const { bare, wrapped } = await wrappedInMemory(LINES[0] as Line);
  const tasksOf = (client: unknown): unknown => (client as ClientV1).experimental.tasks;
  expect(tasksOf(wrapped)).toBe(tasksOf(bare));
  expect(tasksOf(wrapped)).toHaveProperty("callToolStream");
});

test("a wrapped v1 client honours a result schema", async () => {
  const { wrapped, bare } = await wrappedInMemory(LINES[0] as Line);
  const params = { name: "echo", arguments: { text: "x" } };
  const strict = schemasV1.CallToolResultSchema.refine(() => false, "no result will do");
  const expected = await endingOf(() => bare.callTool(params, strict));
  expect("threw" in expected).toBe(true);
  expect(await endingOf(() => wrapped.callTool(params, strict))).toEqual(expected);
  await expect(wrapped.callTool(params, schemasV1.CompatibilityCallToolResultSchema)).resolves.toHaveProperty(
    "content",
  );
});

type OptionsV1 = NonNullable<Parameters<ClientV1["callTool"]>[2]>;
type OptionsV2 = NonNullable<Parameters<clientV2.Client["callTool"]>[1]>;
/** Every option there is: when an SDK adds one, this no longer compiles. */
type EveryOption<O> = { readonly [K in keyof O]-?: O[K] };

const ignore = (): void => undefined;
const SHARED_OPTIONS = {
  onprogress: ignore,
  signal: new AbortController().signal,
  timeout: 5000,
  resetTimeoutOnProgress: false,
  maxTotalTimeout: 5000,
  relatedRequestId: 1,
  resumptionToken: "token",
  onresumptiontoken: ignore,
} as const;

const OPTIONS_V1: EveryOption<OptionsV1> = {
  ...SHARED_OPTIONS,
  task: { ttl: 1 },
  relatedTask: { taskId: "task" },
};
const OPTIONS_V2: EveryOption<OptionsV2> = {
  ...SHARED_OPTIONS,
  allowInputRequired: true,
  requestSignal: new AbortController().signal,
  onRequestStreamEnd: ignore,
  headers: { "x-example": "1" },
  toolDefinition: { name: "echo", inputSchema: { type: "object" } },
};

const OPTION_CASES = LINES.flatMap((line) =>
  Object.entries(line.name === "v1" ? OPTIONS_V1 : OPTIONS_V2).map(
    ([name, value]) => [line.name, name, line, value] as const,
  ),
);

test.each(OPTION_CASES)(
  "a wrapped %s client takes the SDK's option %s as the bare one does",
  async (_line, name, line, value) => {
    const { bare, wrapped } = await wrappedInMemory(line);
    const echo = call("echo", { text: "x" }, { [name]: value });
    const expected = await endingOf(() => echo(bare, line));
    expect(await endingOf(() => echo(wrapped, line))).toEqual(expected);
  },
);

test.each(LINES)("$name: an option that neither the SDK nor the pipeline knows is refused", async (line) => {
  const { wrapped } = await wrappedInMemory(line);
  await expect(line.call(wrapped, "echo", { text: "x" }, { timeuot: 5 })).rejects.toThrow(
    /takes the call option "timeuot"/,
  );
});

test("the types hold for a user with isolatedDeclarations and exactOptionalPropertyTypes", async () => {
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
  const project = fileURLToPath(new URL("./tsconfig.types.json", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, "-p", project]).catch((failure) => failure);
  expect(stdout).toBe("");
});

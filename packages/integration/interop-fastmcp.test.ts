import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  type Classifier,
  type Fetch,
  OutcomeUnknownError,
  reportOf,
  textOf,
  type WrapOptions,
  wrapClient,
  wrapFetch,
  wrapServer,
} from "@mcp-tx/core";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { closedPort } from "./fixtures/counting-server.js";
import { fastmcpServer, fastmcpSession } from "./fixtures/interop-fastmcp.mjs";
import { type Line, type SdkClient, type SdkServer, type SdkTransport, v1, v2 } from "./fixtures/lines.js";
import { started } from "./fixtures/proxy-links.js";
import type { Execution } from "./fixtures/tools.mjs";

/** Servers of the `fastmcp` framework, and what its surface allows on their side. */

const SCRIPT = fileURLToPath(new URL("fixtures/interop-fastmcp.mjs", import.meta.url));

interface Served {
  open(line: Line): SdkTransport;
  executions(tool: string): number;
  /** The answer to the next call is lost. Over stdio that takes the death of the server. */
  readonly loseAnswer?: (() => void) | undefined;
}

function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "interop-fastmcp-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

function overStdio(env: Readonly<Record<string, string>> = {}): Served {
  const log = join(tempFolder(), "log");
  const command = { command: process.execPath, args: [SCRIPT], env: { EXECUTION_LOG: log, ...env } };
  return {
    open: () => started(command) as unknown as SdkTransport,
    executions: (tool) => (existsSync(log) ? readFileSync(log, "utf8") : "").split(`"tool":"${tool}"`).length - 1,
  };
}

async function overHttp(stateless: boolean): Promise<Served> {
  const executions: Execution[] = [];
  const server = fastmcpServer((entry) => executions.push(entry));
  // Below the framework somebody tells the console of each session.
  const talk = vi.spyOn(console, "log").mockReturnValue();
  onTestFinished(() => talk.mockRestore());
  // It does not say which port it got.
  const port = await closedPort();
  await server.start({ transportType: "httpStream", httpStream: { host: "127.0.0.1", port, stateless } });
  onTestFinished(() => server.stop());
  let losesAnswer = false;
  const lossy: Fetch = async (input, init) => {
    const response = await fetch(input, init);
    if (!losesAnswer || !String(init?.body).includes('"tools/call"')) return response;
    losesAnswer = false;
    await response.text();
    throw new TypeError("fetch failed", { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
  };
  return {
    open: (line) => line.http(`http://127.0.0.1:${port}/mcp`, { fetch: wrapFetch(lossy) }),
    executions: (name) => executions.filter(({ tool }) => tool === name).length,
    loseAnswer: () => {
      losesAnswer = true;
    },
  };
}

async function connect(line: Line, transport: SdkTransport): Promise<SdkClient> {
  const client = line.client(line === v2 ? { versionNegotiation: { mode: "auto" } } : {});
  await client.connect(transport);
  onTestFinished(() => client.close());
  return client;
}

/** What the service behind the server says, in the words of that service: nothing ran. */
const throttling: Classifier = ({ result }) =>
  result?.isError === true && textOf(result).startsWith("429")
    ? { status: "throttled", execution: "not-executed", transient: true, retryAfterMs: 0, code: "rate_limited" }
    : undefined;
const WRAP: WrapOptions = { classifiers: [throttling] };

const WAYS: readonly { on: string; line: Line; serve: () => Promise<Served> }[] = [
  { on: "v1 over stdio", line: v1, serve: async () => overStdio() },
  { on: "v1 over HTTP with sessions", line: v1, serve: () => overHttp(false) },
  { on: "v1 over HTTP without sessions", line: v1, serve: () => overHttp(true) },
  { on: "v2 over stdio", line: v2, serve: async () => overStdio() },
  { on: "v2 over HTTP with sessions", line: v2, serve: () => overHttp(false) },
  { on: "v2 over HTTP without sessions", line: v2, serve: () => overHttp(true) },
];

describe.each(WAYS)("a client of $on", ({ line, serve }) => {
  test("gets through a refusal, a duplicate, an open circuit and a lost answer as with any server", async () => {
    const { open, executions, loseAnswer } = await serve();
    const bare = await connect(line, open(line));
    const ended = (call: Promise<unknown>) => call.then(reportOf, reportOf);

    const retrying = wrapClient(bare, retry({ baseDelayMs: 0 }), WRAP);
    expect(await ended(retrying.call("busy", { refusals: 2 }))).toMatchObject({ status: "completed", attempts: 3 });
    expect(executions("busy")).toBe(1);

    const recording = wrapClient(bare, idempotency());
    const once = () => recording.call("echo", { text: "once" }, { idempotencyKey: "order-1" });
    expect([(await ended(once()))?.duplicate, (await ended(once()))?.duplicate]).toEqual([false, true]);
    expect(executions("echo")).toBe(1);

    const breaking = wrapClient(bare, circuitBreaker({ consecutiveFailures: 2 }), WRAP);
    for (const _ of [1, 2]) await breaking.call("busy", { refusals: 99 });
    const refused = await ended(breaking.call("busy", { refusals: 99 }));
    expect(refused).toMatchObject({ status: "rejected", attempts: 0, error: { code: "circuit_open" } });

    // A tool that fails and arguments that do not fit are its answers; where there is no tool, nothing ran.
    const failures = { status: "failed", attempts: 1 };
    expect(await ended(retrying.call("throws"))).toMatchObject({ ...failures, execution: "executed" });
    expect(await ended(retrying.call("echo"))).toMatchObject({ ...failures, execution: "executed" });
    expect(await ended(retrying.call("absent"))).toMatchObject({ ...failures, execution: "not-executed" });

    const victim = loseAnswer === undefined ? "dies" : "throws";
    const before = executions(victim);
    loseAnswer?.();
    await expect(retrying.call(victim)).rejects.toThrow(OutcomeUnknownError);
    expect(executions(victim)).toBe(before + 1);
  });
});

test("a session that was wrapped finds the records of the process before", async () => {
  const { open, executions } = overStdio({ RECORDS: join(tempFolder(), "records.db") });
  const reports = [];
  for (const _ of [1, 2]) {
    const client = wrapClient(await connect(v1, open(v1)), []);
    const result = await client.call("echo", { text: "once" }, { idempotencyKey: "order-1" });
    reports.push(reportOf(result)?.duplicate);
    await client.close();
  }
  expect(reports).toEqual([false, true]);
  expect(executions("echo")).toBe(1);
});

test("a server of the framework can be wrapped in no event of its own: it has connected by then", async () => {
  const server = fastmcpServer(() => undefined);
  const wrapped: unknown[] = [];
  server.on("connect", ({ session }) => {
    try {
      wrapped.push(wrapServer(session.server, idempotency({ store: memoryStore() })));
    } catch (error) {
      wrapped.push((error as Error).message);
    }
  });
  const [near, far] = v1.pair();
  const session = server.connect(far as never);
  await connect(v1, near);
  await session;
  expect(wrapped).toEqual(["wrapServer: wrap the server before it connects"]);
});

test("a session of the framework recognises duplicates of several clients", async () => {
  const store = memoryStore();
  const executions: Execution[] = [];
  const reports = [];
  for (const _ of [1, 2]) {
    const session = fastmcpSession((entry) => executions.push(entry));
    wrapServer(session.server as unknown as SdkServer, idempotency({ store }));
    const [near, far] = v1.pair();
    const serving = session.connect(far as never);
    const client = wrapClient(await connect(v1, near), []);
    await serving;
    onTestFinished(() => session.close());
    const result = await client.call("echo", { text: "once" }, { idempotencyKey: "order-1" });
    reports.push(reportOf(result)?.duplicate);
  }
  expect(reports).toEqual([false, true]);
  expect(executions).toHaveLength(1);
});

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { CALL_META_KEY } from "@mcp-tx/core";
import { afterEach, expect, onTestFinished, test, vi } from "vitest";
import {
  type Command,
  connected,
  type ProxyOptions,
  proxied,
  proxiedUrl,
  servedProxy,
  started,
} from "./fixtures/proxy-links.js";

/** The proxy as a process: how it begins, what it says, how it ends, and what it leaves behind. */

vi.setConfig({ testTimeout: 120_000 });

const LEDGER = fileURLToPath(new URL("fixtures/proxy-ledger.mjs", import.meta.url));
const TALKER = fileURLToPath(new URL("fixtures/proxy-talker.mjs", import.meta.url));

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly result?: { readonly content?: readonly { readonly text: string }[]; readonly isError?: boolean };
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A proxy whose streams the test holds. */
interface Raw {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** What it wrote to stdout and to stderr. */
  readonly lines: string[];
  readonly said: () => string;
  say(message: object | string): void;
  /** Resolves with the answer to a request. */
  ask(method: string, params?: object): Promise<Message>;
  leave(): void;
}

const running = new Set<ChildProcess>();
afterEach(() => {
  for (const child of running) child.kill("SIGKILL");
  running.clear();
});

function raw({ command, args }: Command): Raw {
  const child = spawn(command, [...args], { stdio: ["pipe", "pipe", "pipe"] });
  running.add(child);
  const lines: string[] = [];
  const waiting = new Map<number, (message: Message) => void>();
  let text = "";
  let lastId = 0;
  child.stderr.on("data", (chunk) => {
    text += chunk;
  });
  child.stdin.on("error", () => undefined);
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    const message: Message = JSON.parse(line);
    if (message.method === undefined && message.id !== undefined) waiting.get(message.id)?.(message);
  });
  const ended = new Promise<Ended>((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  const say = (message: object | string): void => {
    child.stdin.write(`${typeof message === "string" ? message : JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  };
  return {
    child,
    ended,
    lines,
    said: () => text,
    say,
    ask(method, params = {}) {
      lastId += 1;
      const id = lastId;
      const answer = new Promise<Message>((resolve, reject) => {
        waiting.set(id, resolve);
        void ended.then(({ code }) => reject(new Error(`the proxy ended with ${code}: ${text}`)));
      });
      answer.catch(() => undefined);
      say({ id, method, params });
      return answer;
    },
    leave: () => void child.stdin.end(),
  };
}

const HELLO = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "h", version: "1" } };

async function greeted(command: Command): Promise<Raw> {
  const proxy = raw(command);
  const { result } = await proxy.ask("initialize", HELLO);
  expect(result).toBeDefined();
  proxy.say({ method: "notifications/initialized" });
  return proxy;
}

function talker(...args: readonly string[]): Command {
  return { command: process.execPath, args: [TALKER, ...args] };
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "mcp-tx-proxy-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  await expect.poll(() => isAlive(pid), { timeout: 30_000 }).toBe(false);
}

// Beginning

test("says that the command does not exist, and exits with 127", async () => {
  const proxy = raw(proxied({ command: "mcp-tx-no-such-command", args: [] }));
  expect(await proxy.ended).toEqual({ code: 127, signal: null });
  expect(proxy.said()).toContain('mcp-tx: the command "mcp-tx-no-such-command" was not found; check the name and PATH');
  expect(proxy.lines).toEqual([]);
});

test("says that the command may not be executed, and exits with 126", async () => {
  const proxy = raw(proxied({ command: LEDGER, args: [] }));
  expect(await proxy.ended).toEqual({ code: 126, signal: null });
  expect(proxy.said()).toContain("may not be executed");
});

test("gives up on a server that ends again and again, and tells the host", async () => {
  const proxy = raw(proxied(talker("dies at once")));
  const { error } = await proxy.ask("initialize", HELLO);
  expect(error?.message).toContain("the server exited with code 3");
  expect(await proxy.ended).toEqual({ code: 1, signal: null });
  expect(proxy.said()).toContain("the server exited with code 3");
});

test("says that a URL cannot be reached, tells the host, and exits with 69", async () => {
  // Nobody listens there any more.
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`);
  await new Promise((resolve) => server.close(resolve));
  const proxy = raw(proxiedUrl(url));
  const { error } = await proxy.ask("initialize", HELLO);
  expect(error?.message).toMatch(
    /The server is not connected: http:\/\/127\.0\.0\.1:\d+\/mcp cannot be reached: [A-Z_]+\.$/,
  );
  expect(await proxy.ended).toEqual({ code: 69, signal: null });
  expect(proxy.said()).toContain(`${url.href} cannot be reached`);
});

// What goes over its streams

test("writes nothing but JSON-RPC to stdout, whatever the server writes", async () => {
  const proxy = await greeted(proxied(talker("chatters")));
  expect((await proxy.ask("ping")).result).toEqual({});
  proxy.say("no JSON either");
  expect((await proxy.ask("ping")).result).toEqual({});
  proxy.leave();
  expect((await proxy.ended).code).toBe(0);
  expect(proxy.lines).toHaveLength(3);
  expect(proxy.said()).toContain('ignored a line of the server that is no JSON-RPC: "not JSON"');
  expect(proxy.said()).toContain('ignored a line of the host that is no JSON-RPC: "no JSON either"');
  expect(proxy.said().match(/a line of the server/g)).toHaveLength(3);
});

test("passes numbers on that JavaScript cannot hold", async () => {
  const proxy = await greeted(proxied(talker("talks")));
  await proxy.ask("tools/call", { name: "exact" });
  expect(proxy.lines.at(-1)).toBe(
    '{"jsonrpc":"2.0","id":2,"result":{"content":[],"structuredContent":{"n":12345678901234567890,"x":1.0}}}',
  );
});

test("ends a server that writes a line without end, and its calls with it", async () => {
  const proxy = await greeted(proxied(talker("talks")));
  const { result } = await proxy.ask("tools/call", { name: "flood" });
  expect(result?.isError).toBe(true);
  expect(result?.content?.[0]?.text).toContain("unknown whether the tool ran");
  await expect.poll(() => proxy.said()).toContain("the server wrote a line of more than 64 MiB");
  expect((await proxy.ask("ping")).result).toEqual({});
});

// Ending

/** The process of the server behind a proxy. */
async function pidBehind(proxy: Raw): Promise<number> {
  const { result } = await proxy.ask("tools/call", { name: "pid", arguments: {} });
  return Number(result?.content?.[0]?.text);
}

async function ledger(
  options: ProxyOptions = {},
): Promise<{ readonly command: Command; readonly runs: () => Promise<string[]> }> {
  const path = join(await folder(), "ledger");
  const env = { LEDGER: path };
  return {
    command: proxied({ command: process.execPath, args: [LEDGER], env }, options),
    runs: async () => (existsSync(path) ? (await readFile(path, "utf8")).trim().split("\n") : []),
  };
}

test("exits with 0 when the host leaves, and the server with it", async () => {
  const proxy = await greeted((await ledger()).command);
  const pid = await pidBehind(proxy);
  proxy.leave();
  expect(await proxy.ended).toEqual({ code: 0, signal: null });
  await gone(pid);
});

test("lets a call end whose host leaves, so that its outcome is known", async () => {
  const { command, runs } = await ledger();
  const proxy = await greeted(command);
  const paid = proxy.ask("tools/call", { name: "pay", arguments: { id: "last", ms: 20 } });
  proxy.leave();
  expect((await paid).result).toMatchObject({ content: [{ text: "last" }] });
  expect((await proxy.ended).code).toBe(0);
  expect(await runs()).toEqual(["last"]);
});

test.each([
  ["SIGTERM", 143],
  ["SIGINT", 130],
] as const)("ends by %s with its server, with %i", async (signal, code) => {
  const proxy = await greeted((await ledger()).command);
  const pid = await pidBehind(proxy);
  proxy.child.kill(signal);
  expect(await proxy.ended).toEqual({ code, signal: null });
  await gone(pid);
});

test("kills a server that does not end, and what it has started", async () => {
  const stubborn = raw(proxied(talker("never ends")));
  await stubborn.ask("initialize", HELLO);
  stubborn.leave();
  expect((await stubborn.ended).code).toBe(0);

  const file = join(await folder(), "pid");
  const parent = raw(proxied(talker("has children", file)));
  await parent.ask("initialize", HELLO);
  await expect.poll(() => existsSync(file), { timeout: 30_000 }).toBe(true);
  const grandchild = Number(await readFile(file, "utf8"));
  parent.leave();
  expect((await parent.ended).code).toBe(0);
  await gone(grandchild);
});

test("goes on with a new server when the server is killed, and says so", async () => {
  const proxy = await greeted((await ledger()).command);
  const first = await pidBehind(proxy);
  process.kill(first, "SIGKILL");
  const second = await pidBehind(proxy);
  expect(second).not.toBe(first);
  // What the proxy writes to stderr comes by another pipe than its answers, and may come later.
  await expect.poll(() => proxy.said()).toContain("the server was ended by SIGKILL; connecting again");
});

test("ends a call as unknown whose proxy was killed, for whoever asks again under its key", async () => {
  const database = join(await folder(), "store.db");
  const { command, runs } = await ledger({ database, leaseMs: 1000 });
  const call = {
    name: "hang",
    arguments: { id: "once" },
    _meta: { [CALL_META_KEY]: { requestId: "r", idempotencyKey: "k", attempt: 1, epoch: 0 } },
  };
  const first = await greeted(command);
  void first.ask("tools/call", call);
  await expect.poll(runs, { timeout: 60_000 }).toEqual(["once"]);
  first.child.kill("SIGKILL");
  await first.ended;

  const second = await greeted(command);
  const { error } = await second.ask("tools/call", call);
  expect(error?.message).toContain('unknown whether tool "hang" ran');
  expect(error?.data).toMatchObject({ "dev.mcp-tx/receipt": { requestId: "r", execution: "unknown" } });
  expect(await runs()).toEqual(["once"]);
});

test("replays to an aware host, after a restart, what was recorded before it", async () => {
  const database = join(await folder(), "store.db");
  const { command, runs } = await ledger({ database });
  const call = {
    name: "pay",
    arguments: { id: "once", ms: 1 },
    _meta: { [CALL_META_KEY]: { requestId: "r", idempotencyKey: "k", attempt: 1, epoch: 0 } },
  };
  const receipts: unknown[] = [];
  for (const end of [(proxy: Raw) => void proxy.child.kill("SIGKILL"), (proxy: Raw) => proxy.leave()]) {
    const proxy = await greeted(command);
    const { result } = await proxy.ask("tools/call", call);
    receipts.push((result as { _meta?: Record<string, unknown> })._meta?.["dev.mcp-tx/receipt"]);
    end(proxy);
    await proxy.ended;
  }
  expect(receipts).toMatchObject([{ duplicate: false }, { duplicate: true, execution: "executed" }]);
  expect(await runs()).toEqual(["once"]);
});

// Over HTTP

test("gives each host over HTTP a server of its own, and ends it with the session", async () => {
  const env = { LEDGER: join(await folder(), "ledger") };
  const proxy = await servedProxy({ command: process.execPath, args: [LEDGER], env });
  onTestFinished(() => proxy.stop());
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const pids: number[] = [];
  for (const _ of [1, 2]) {
    const transport = new StreamableHTTPClientTransport(proxy.url);
    const client = await connected(transport as never);
    const { content } = await client.callTool({ name: "pid", arguments: {} });
    pids.push(Number((content as { text: string }[])[0]?.text));
    await transport.terminateSession();
    await client.close();
  }
  expect(new Set(pids).size).toBe(2);
  for (const pid of pids) await gone(pid);
});

test("refuses pages from elsewhere, unknown sessions and other paths", async () => {
  const proxy = await servedProxy(talker("talks"));
  onTestFinished(() => proxy.stop());
  const post = async (headers: Record<string, string>, url: URL = proxy.url): Promise<number> => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" });
    const accept = "application/json, text/event-stream";
    const response = await fetch(url, {
      method: "POST",
      body,
      headers: { accept, "content-type": "application/json", ...headers },
    });
    await response.body?.cancel();
    return response.status;
  };
  expect(await post({ origin: "https://example.com" })).toBe(403);
  expect(await post({ "mcp-session-id": "nobody" })).toBe(404);
  expect(await post({}, new URL("/elsewhere", proxy.url))).toBe(404);
  expect(await post({})).toBe(400);
});

test("is a server like any other to a client of the SDK", async () => {
  const client = await connected(started((await ledger()).command));
  onTestFinished(() => client.close());
  expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["pay", "pid", "hang"]);
});

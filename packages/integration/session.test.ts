import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type CallReport,
  type ClientLike,
  type Middleware,
  type WrapOptions,
  wrapClient,
  wrapFetch,
} from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { createSession, type SessionOptions } from "mcp-tx";
import { describe, expect, onTestFinished, test } from "vitest";
import { httpV2, refuse } from "./fixtures/http-servers.js";
import { LINES, type Line, type SdkMcpServer, v1, v2 } from "./fixtures/lines.js";
import { restartableHttp } from "./fixtures/session-http.js";
import { registerTools } from "./fixtures/tools.mjs";

const TEXT = expect.objectContaining({ content: [{ type: "text", text: "hello" }] });

/** A session with retries round it, closed when the test ends. */
function open(options: SessionOptions, wrap: WrapOptions = {}, inner: readonly Middleware[] = []) {
  const reports: CallReport[] = [];
  const lost: string[] = [];
  const session = createSession({
    ...options,
    reconnect: { baseDelayMs: 1 },
    onEvent: (event) => {
      if (event.type === "lost") lost.push(event.reason);
    },
  });
  onTestFinished(() => session.close({ graceMs: 0 }));
  const client = wrapClient(session.client, [retry({ baseDelayMs: 1 }), ...inner, session.middleware], {
    ...wrap,
    onReport: (report) => reports.push(report),
  });
  return { session, client, reports, lost };
}

describe.each(LINES)("a stdio server on SDK $name", (line) => {
  /** Connects to processes, and says which of them is the present one. */
  function processes(line: Line) {
    const folder = mkdtempSync(join(tmpdir(), "session-"));
    const log = join(folder, "executions");
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const pids: (number | null)[] = [];
    const connect = async (): Promise<ClientLike> => {
      const transport = line.stdio({ EXECUTION_LOG: log });
      const client = line.client();
      await client.connect(transport);
      pids.push(transport.pid);
      return client as unknown as ClientLike;
    };
    const ran = (tool: string): number =>
      existsSync(log) ? readFileSync(log, "utf8").split(`"tool":"${tool}"`).length - 1 : 0;
    return { connect, pids, ran };
  }

  test("killed in a call: the call ends unknown, and the next one finds a new process", async () => {
    const { connect, pids, ran } = processes(line);
    const { client, reports, lost } = open({ connect });
    const ending = client.call("slow", { ms: 600_000 }).catch((error: unknown) => error);
    await expect.poll(() => ran("slow")).toBe(1);
    process.kill(pids[0] ?? 0, "SIGKILL");
    expect(await ending).toMatchObject({ code: "outcome_unknown" });
    expect(reports[0]).toMatchObject({ execution: "unknown", status: "unknown", attempts: 1 });
    expect(await client.call("echo", { text: "hello" })).toEqual(TEXT);
    expect(lost).toEqual(["closed"]);
    expect(new Set(pids).size).toBe(2);
    expect(ran("slow")).toBe(1);
  });

  test("killed between calls: 100 calls make one new process", async () => {
    const { connect, pids, ran } = processes(line);
    const { client, session, lost } = open({ connect });
    await client.call("echo", { text: "hello" });
    process.kill(pids[0] ?? 0, "SIGKILL");
    await expect.poll(() => lost).toEqual(["closed"]);
    expect(session.state).not.toBe("connected");
    const calls = Array.from({ length: 100 }, () => client.call("echo", { text: "hello" }));
    for (const result of await Promise.all(calls)) expect(result).toEqual(TEXT);
    expect(pids).toHaveLength(2);
    expect(ran("echo")).toBe(101);
  });
});

/** Counts runs, and gives servers that have the tools. */
function counting(newServer: () => SdkMcpServer) {
  const runs: string[] = [];
  const build = (): SdkMcpServer => {
    const server = newServer();
    registerTools(server, ({ tool }) => runs.push(tool));
    return server;
  };
  return { runs, build };
}

function overHttp(line: Line, url: string, options?: Readonly<Record<string, unknown>>) {
  const given: unknown[] = [];
  const connect = async (): Promise<ClientLike> => {
    const client = line.client(options);
    await client.connect(line.http(url, { fetch: wrapFetch() }));
    given.push(client);
    return client as unknown as ClientLike;
  };
  return { connect, given };
}

/** Closes the present client after each attempt that failed. */
function cutAfterFailure(given: readonly unknown[]): readonly Middleware[] {
  return [
    async (ctx, next) => {
      try {
        return await next(ctx);
      } catch (error) {
        await (given.at(-1) as { close(): Promise<void> }).close();
        throw error;
      }
    },
  ];
}

describe.each(LINES)("an HTTP server with sessions, clients of SDK $name", (line) => {
  test("restarted: the call was not executed, is not sent in the new session, and the next one is", async () => {
    const { runs, build } = counting(() => v1.mcpServer());
    const server = await restartableHttp(build);
    onTestFinished(() => server.close());
    const { connect } = overHttp(line, server.url);
    const { client, reports, lost } = open({ connect });
    await client.call("echo", { text: "hello" });
    await server.restart();
    const error = await client.call("echo", { text: "hello" }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "session_expired" });
    expect(reports[1]).toMatchObject({ execution: "not-executed", attempts: 1 });
    expect(lost).toEqual(["expired"]);
    expect(await client.call("echo", { text: "hello" })).toEqual(TEXT);
    expect(server.sessions).toBe(2);
    expect(runs).toEqual(["echo", "echo"]);
  });

  test("restarted: where its sessions keep nothing, the call is sent again in a new one", async () => {
    const { runs, build } = counting(() => v1.mcpServer());
    const server = await restartableHttp(build);
    onTestFinished(() => server.close());
    const { connect } = overHttp(line, server.url);
    const { client, reports } = open({ connect, replayAcrossSessions: true });
    await client.call("echo", { text: "hello" });
    await server.restart();
    expect(await client.call("echo", { text: "hello" })).toEqual(TEXT);
    expect(reports[1]).toMatchObject({ status: "completed", attempts: 2 });
    expect(runs).toEqual(["echo", "echo"]);
  });

  test("restarted: what only reads, at a trusted server, is read again", async () => {
    const { build } = counting(() => v1.mcpServer());
    const server = await restartableHttp(build);
    onTestFinished(() => server.close());
    const { connect } = overHttp(line, server.url);
    const { client, reports } = open({ connect }, { trustAnnotations: true });
    await client.call("read");
    await server.restart();
    await client.call("read");
    expect(reports[1]).toMatchObject({ status: "completed", attempts: 2 });
  });

  test("restarted: the tools are listed in a new session", async () => {
    const { build } = counting(() => v1.mcpServer());
    const server = await restartableHttp(build);
    onTestFinished(() => server.close());
    const { connect } = overHttp(line, server.url);
    const { client, session, lost } = open({ connect });
    await client.call("echo", { text: "hello" });
    await server.restart();
    expect((await session.tools()).map(({ name }) => name)).toContain("echo");
    expect(lost).toEqual(["expired"]);
    expect(server.sessions).toBe(2);
  });

  test("throttled, and then cut off: the call is not sent in another session", async () => {
    const { runs, build } = counting(() => v1.mcpServer());
    const server = await restartableHttp(build);
    onTestFinished(() => server.close());
    const { connect, given } = overHttp(line, server.url);
    const { client, reports } = open({ connect }, {}, cutAfterFailure(given));
    server.script.push(refuse(429));
    await expect(client.call("echo", { text: "hello" })).rejects.toMatchObject({ code: "session_expired" });
    expect(reports[0]).toMatchObject({ execution: "not-executed", attempts: 1 });
    expect(runs).toEqual([]);
  });
});

describe.each([
  { on: "v1", line: v1, options: {} },
  { on: "v2", line: v2, options: {} },
  { on: "v2, 2026-07-28", line: v2, options: { versionNegotiation: { mode: "auto" } } },
])("a stateless HTTP server, clients of SDK $on", ({ line, options }) => {
  test("refusals end no connection, and what was throttled is sent again", async () => {
    const { runs, build } = counting(() => v2.mcpServer());
    const server = await httpV2(build);
    onTestFinished(() => server.close());
    const { connect, given } = overHttp(line, server.url, options);
    const { client, reports, lost } = open({ connect });
    await client.call("echo", { text: "hello" });
    server.script.push(refuse(429));
    expect(await client.call("echo", { text: "hello" })).toEqual(TEXT);
    server.script.push(refuse(404));
    await expect(client.call("echo", { text: "hello" })).rejects.toThrow();
    server.script.push(refuse(503));
    await expect(client.call("echo", { text: "hello" })).rejects.toThrow();
    expect(reports.map(({ execution }) => execution)).toEqual(["executed", "executed", "not-executed", "unknown"]);
    expect(given).toHaveLength(1);
    expect(lost).toEqual([]);
    expect(runs).toEqual(["echo", "echo"]);
  });

  test("throttled, and then cut off: the call goes on over a new connection, for there is no session to lose", async () => {
    const { runs, build } = counting(() => v2.mcpServer());
    const server = await httpV2(build);
    onTestFinished(() => server.close());
    const { connect, given } = overHttp(line, server.url, options);
    const { client, reports } = open({ connect }, {}, cutAfterFailure(given));
    server.script.push(refuse(429));
    expect(await client.call("echo", { text: "hello" })).toEqual(TEXT);
    expect(reports[0]).toMatchObject({ status: "completed", attempts: 2 });
    expect(given).toHaveLength(2);
    expect(runs).toEqual(["echo"]);
  });
});

test("the tools are listed anew when the server says that they changed", async () => {
  for (const line of LINES) {
    const server = line.mcpServer();
    registerTools(server, () => undefined);
    const [near, far] = line.pair();
    await server.connect(far);
    const { session } = open({
      connect: async () => {
        const client = line.client();
        await client.connect(near);
        return client as unknown as ClientLike;
      },
    });
    const first = await session.tools();
    expect(await session.tools()).toBe(first);
    server.registerTool("later", {}, () => ({ content: [] }));
    await expect.poll(async () => (await session.tools()).some(({ name }) => name === "later")).toBe(true);
    await session.close();
  }
});

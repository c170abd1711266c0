import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeadlineError, middlewareOf, reportOf } from "@mcp-tx/core";
import { McpTxError, type Reliable, type ReliableConfig, reliable } from "mcp-tx";
import { describe, expect, onTestFinished, test } from "vitest";
import { httpV1, refuse } from "./fixtures/http-servers.js";
import { LINES, type Line, v1 } from "./fixtures/lines.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

const QUICK = { baseDelayMs: 1, maxDelayMs: 1 } as const;
const caught = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);

function closing(tx: Reliable): Reliable {
  onTestFinished(() => tx.close({ graceMs: 0 }));
  return tx;
}

/** Reliable calls to a stdio server that is started anew for each connection. */
async function overStdio(line: Line, config?: ReliableConfig, env: Readonly<Record<string, string>> = {}) {
  const folder = await mkdtemp(join(tmpdir(), "mcp-tx-connect-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const log = join(folder, "executions");
  let connections = 0;
  const connect = async () => {
    connections += 1;
    const client = line.client();
    await client.connect(line.stdio({ EXECUTION_LOG: log, ...env }));
    return client;
  };
  const tx = closing(reliable({ connect }, config));
  const runs = async (): Promise<readonly string[]> => {
    const lines = await readFile(log, "utf8").catch(() => "");
    return lines
      .split("\n")
      .filter((text) => text !== "")
      .map((text) => (JSON.parse(text) as Execution).tool);
  };
  return { tx, runs, connections: () => connections };
}

/** Reliable calls to an HTTP server that forgets its sessions when the test says so. */
async function overHttp(line: Line, config?: ReliableConfig) {
  const runs: Execution[] = [];
  const http = await httpV1(() => {
    const server = v1.mcpServer();
    registerTools(server, (entry) => runs.push(entry));
    return server;
  });
  onTestFinished(() => http.close());
  let connections = 0;
  const connect = async () => {
    connections += 1;
    const client = line.client();
    await client.connect(line.http(http.url));
    return client;
  };
  const tx = closing(reliable({ connect }, { retry: QUICK, ...config }));
  return { tx, http, runs, connections: () => connections };
}

describe.each(LINES)("reliable({ connect }) on $name", (line) => {
  test("connects when the first call needs it, once for all that come at the same time", async () => {
    const { tx, connections } = await overStdio(line);
    expect(connections()).toBe(0);
    expect(tx.health()).toMatchObject({ status: "pass", servers: { default: { connection: "idle" } } });
    const values = await Promise.all(
      Array.from({ length: 10 }, (_, index) => tx.invoke("echo", { text: `${index}x` })),
    );
    expect(values).toEqual(Array.from({ length: 10 }, (_, index) => `${index}x`));
    expect((await tx.tools()).map(({ name }) => name)).toContain("echo");
    expect(connections()).toBe(1);
    expect(tx.health()).toMatchObject({ status: "pass", servers: { default: { connection: "connected" } } });
    expect(middlewareOf(tx)?.some(({ seat }) => seat === "idempotency")).toBe(true);
  });

  test("the very first call is kept under the server's name as all later ones are", async () => {
    const { tx, runs } = await overStdio(line);
    const key = { idempotencyKey: "order-1" };
    const reports = [];
    for (let index = 0; index < 3; index += 1) reports.push(reportOf(await tx.call("read", {}, key)));
    expect(reports.map((report) => report?.duplicate)).toEqual([false, true, true]);
    expect(await runs()).toEqual(["read"]);
  });

  test("a call that the server's death interrupted is unknown and not made again; the next one connects anew", async () => {
    const { tx, runs, connections } = await overStdio(line, { retry: QUICK });
    const error = await caught(tx.call("dies"));
    expect(McpTxError.isInstance(error) && error.code).toBe("outcome_unknown");
    const values = await Promise.all(Array.from({ length: 20 }, () => tx.invoke("read")));
    expect(new Set(values)).toEqual(new Set(["read"]));
    expect(connections()).toBe(2);
    expect((await runs()).filter((tool) => tool === "dies")).toHaveLength(1);
  });

  test("an expired session is made anew for the next call, and a call that relied on it is not made again", async () => {
    const { tx, http, runs, connections } = await overHttp(line);
    await tx.call("read");
    http.script.push(refuse(404));
    const error = await caught(tx.call("read"));
    expect(McpTxError.isInstance(error) && error.message).toContain("the session in which it was called has ended");
    expect(reportOf(error)).toMatchObject({ execution: "not-executed", attempts: 1 });
    expect(await tx.invoke("read")).toBe("read");
    expect(connections()).toBe(2);
    expect(runs).toHaveLength(2);
  });

  test.each<[string, ReliableConfig]>([
    ["where the user says so", { replayAcrossSessions: true }],
    ["when it only reads and the server is trusted", { trustAnnotations: true }],
  ])("a call whose session had expired is made again %s", async (_, config) => {
    const events: string[] = [];
    const { tx, http, connections } = await overHttp(line, { ...config, onEvent: (name) => void events.push(name) });
    await tx.call("read");
    http.script.push(refuse(404));
    const result = await tx.call("read");
    expect(reportOf(result)).toMatchObject({ status: "completed", attempts: 2 });
    expect(connections()).toBe(2);
    expect(events.filter((name) => name === "session.reconnect")).toHaveLength(1);
  });

  test("a lost call is made again where the server's own records cover it", async () => {
    const { tx, http, runs } = await overHttp(line, { trustAnnotations: true });
    await tx.call("read");
    http.script.push(({ response }) => void response.destroy());
    expect(reportOf(await tx.call("read"))).toMatchObject({ status: "completed", attempts: 2 });
    expect(runs).toHaveLength(2);
  });
});

test("a server that cannot be reached is tried again by the retry, and the call says that nothing was sent", async () => {
  let tries = 0;
  const connect = async (): Promise<never> => {
    tries += 1;
    throw new Error("s3cret reason");
  };
  const tx = closing(reliable({ connect }, { retry: QUICK, reconnect: { baseDelayMs: 1, maxDelayMs: 1 } }));
  const error = await caught(tx.call("pay"));
  expect(McpTxError.isInstance(error)).toBe(true);
  expect((error as Error).message).toBe(
    'Tool "pay" was not called: its server cannot be reached. Nothing was done; call it again later.',
  );
  expect(reportOf(error)).toMatchObject({ execution: "not-executed", attempts: 0 });
  expect(tries).toBe(3);
  expect(tx.health()).toMatchObject({ status: "warn", servers: { default: { connection: "waiting" } } });
});

test("a call does not wait longer for its connection than it may, and others get it all the same", async () => {
  let open: (() => void) | undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const server = v1.mcpServer();
  registerTools(server, () => undefined);
  const connect = async () => {
    await gate;
    const [near, far] = v1.pair();
    await server.connect(far);
    const client = v1.client();
    await client.connect(near);
    return client;
  };
  const tx = closing(reliable({ connect }));
  const patient = tx.invoke("read");
  const late = await caught(tx.call("read", {}, { timeoutMs: 20, retry: false }));
  expect(DeadlineError.isInstance(late)).toBe(true);
  expect(reportOf(late)).toMatchObject({ execution: "not-executed", attempts: 0 });
  const controller = new AbortController();
  const given = caught(tx.call("read", {}, { signal: controller.signal }));
  controller.abort(new Error("changed my mind"));
  expect(await given).toMatchObject({ message: "changed my mind" });
  open?.();
  expect(await patient).toBe("read");
});

test("several servers are called by their names, each with its own circuits, and closed together", async () => {
  const sources = await Promise.all(
    LINES.map(async (line) => {
      const connect = async () => {
        const server = line.mcpServer(line.name);
        registerTools(server, () => undefined);
        const [near, far] = line.pair();
        await server.connect(far);
        const client = line.client();
        await client.connect(near);
        return client;
      };
      return [line.name, { connect }] as const;
    }),
  );
  const config: ReliableConfig = { tools: { "v1.echo": { idempotency: { key: { fields: ["text"] } } } } };
  const tx = closing(reliable({ servers: Object.fromEntries(sources) }, config));
  expect(await tx.invoke("v1.echo", { text: "a" })).toBe("a");
  expect(reportOf(await tx.call("v1.echo", { text: "a" }))).toMatchObject({ duplicate: true });
  await tx.call("v2.echo", { text: "a" });
  expect(reportOf(await tx.call("v2.echo", { text: "a" }))).toMatchObject({ duplicate: false });
  expect((await tx.tools()).map(({ name }) => name)).toEqual(expect.arrayContaining(["v1.read", "v2.read"]));
  expect(Object.keys(tx.health().servers)).toEqual(["v1", "v2"]);
  await expect(tx.call("v3.read")).rejects.toThrow('there is no server "v3"');
  await tx.close();
  expect(tx.health().status).toBe("fail");
});

test("a call goes to the replica that can be reached, and the health tells of the other", async () => {
  const server = v1.mcpServer();
  registerTools(server, () => undefined);
  const up = async () => {
    const [near, far] = v1.pair();
    await server.connect(far);
    const client = v1.client();
    await client.connect(near);
    return client;
  };
  const down = async (): Promise<never> => {
    throw new Error("down");
  };
  const servers = { files: { replicas: [{ connect: down }, { connect: up }] } };
  const tx = closing(reliable({ servers }, { reconnect: { baseDelayMs: 1, maxDelayMs: 1 } }));
  const results = [];
  for (let index = 0; index < 8; index += 1) results.push(reportOf(await tx.call("files.read"))?.status);
  expect(results).toEqual(Array(8).fill("completed"));
  expect(tx.health().servers["files"]).toMatchObject({ connection: "connected" });
  expect((await tx.tools()).map(({ name }) => name)).toContain("files.read");
});

test.each([
  [{}, "give it a connected MCP SDK client, { connect } or { servers }"],
  [{ servers: {} }, "servers must name at least one server"],
  [{ servers: { a: {} } }, "servers.a must be { connect }, a function that makes a client"],
  [{ servers: { a: { replicas: [] } } }, "servers.a.replicas must be a list of { connect }"],
  [{ servers: { a: { replicas: [{}] } } }, "servers.a.replicas[0] must be { connect }"],
  [
    { servers: { a: { replicas: [{ connect() {} }], connect() {} } } },
    "servers.a must have connect or replicas, not both",
  ],
  [{ servers: { "a.b": { connect() {} } } }, 'servers["a.b"] must not have a dot in its name'],
  [{ servers: { a: { conect: () => undefined } } }, 'servers.a.conect does not exist; did you mean "connect"?'],
  [{ servers: { a: null } }, "servers.a must be an object, got null"],
])("%j is no source", (source, message) => {
  expect(() => reliable(source as never)).toThrow(message);
});

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, LoggingMessageNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { expect, onTestFinished, test, vi } from "vitest";
import type { HttpHost } from "./downstream-http.js";
import { HostServer } from "./downstream-server.js";
import type { Message } from "./proxy-messages.js";

vi.setConfig({ testTimeout: 60_000 });

const RESULT = { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "s", version: "1" } };

interface Scene {
  readonly url: URL;
  readonly hosts: HttpHost[];
  readonly ended: HttpHost[];
}

/** Serves hosts; `respond` says what the server behind says to a message. */
async function scene(respond: (message: Message, host: HttpHost) => void): Promise<Scene> {
  const hosts: HttpHost[] = [];
  const ended: HttpHost[] = [];
  const server = new HostServer({
    port: 0,
    host: "127.0.0.1",
    path: "/mcp",
    onDiagnostic: () => undefined,
    onHost(host) {
      hosts.push(host);
      host.onmessage = (message) => {
        if (message.method === "initialize") void host.send({ jsonrpc: "2.0", id: message.id, result: RESULT });
        else respond(message, host);
      };
      return {
        async close() {
          ended.push(host);
          await host.close();
        },
      };
    },
  });
  const url = await server.listen();
  onTestFinished(() => server.close());
  return { url, hosts, ended };
}

async function connect(
  url: URL,
): Promise<{ client: Client; transport: StreamableHTTPClientTransport; logs: unknown[] }> {
  const client = new Client({ name: "h", version: "1" }, { capabilities: { sampling: {} } });
  const logs: unknown[] = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logs.push(params.data));
  client.setRequestHandler(CreateMessageRequestSchema, () => ({
    model: "m",
    role: "assistant",
    content: { type: "text", text: "sampled" },
  }));
  const transport = new StreamableHTTPClientTransport(url);
  // The SDK's own types disagree under exactOptionalPropertyTypes.
  await client.connect(transport as never);
  onTestFinished(() => client.close());
  return { client, transport, logs };
}

function log(data: string): Message {
  return { jsonrpc: "2.0", method: "notifications/message", params: { level: "info", data } };
}

test("keeps for a host what is said before it listens", async () => {
  const { url } = await scene((message, host) => {
    // Its stream is opened in answer to this having been accepted.
    if (message.method === "notifications/initialized") void host.send(log("early"));
  });
  const { logs } = await connect(url);
  await expect.poll(() => logs, { timeout: 30_000 }).toEqual(["early"]);
});

test("sends what a server asks and says while it works before its answer", async () => {
  const { url } = await scene((message, host) => {
    if (message.method === "ping") {
      void host.send(log("working"));
      void host.send({
        jsonrpc: "2.0",
        id: 0,
        method: "sampling/createMessage",
        params: { messages: [], maxTokens: 1 },
      });
    }
    // The ping is answered with the host's answer.
    if (message.method === undefined) void host.send({ jsonrpc: "2.0", id: 1, result: {} });
  });
  const { client, logs } = await connect(url);
  await client.ping();
  expect(logs).toEqual(["working"]);
});

test("gives each progress to the request whose token it has", async () => {
  const open: Message[] = [];
  const answer = (host: HttpHost, id: Message["id"], result: object): void =>
    void host.send({ jsonrpc: "2.0", id, result });
  const { url } = await scene((message, host) => {
    if (message.method === "ping") {
      for (const { id } of open) answer(host, id, { content: [] });
      answer(host, message.id, {});
    }
    if (message.method !== "tools/call") return;
    open.push(message);
    if (open.length < 2) return;
    // The later one first.
    for (const { id, params } of open.toReversed()) {
      const { progressToken } = (params?._meta ?? {}) as { progressToken?: number };
      void host.send({
        jsonrpc: "2.0",
        method: "notifications/progress",
        params: { progressToken, progress: Number(id) },
      });
    }
  });
  const { client } = await connect(url);
  const heard: unknown[][] = [[], []];
  const calls = heard.map((list) =>
    client.callTool({ name: "a" }, undefined, { onprogress: ({ progress }) => void list.push(progress) }),
  );
  // The SDK's first request has id 0: initialize.
  await expect.poll(() => heard, { timeout: 30_000 }).toEqual([[1], [2]]);
  await client.ping();
  expect(await Promise.all(calls)).toMatchObject([{ content: [] }, { content: [] }]);
});

test("ends a session when its host says so, and knows it no more", async () => {
  const { url, hosts, ended } = await scene((message, host) => {
    if (message.method === "ping") void host.send({ jsonrpc: "2.0", id: message.id, result: {} });
  });
  const { client, transport } = await connect(url);
  const { sessionId } = transport;
  await client.ping();
  expect(hosts).toHaveLength(1);
  expect(ended).toHaveLength(0);
  await transport.terminateSession();
  await expect.poll(() => ended, { timeout: 30_000 }).toHaveLength(1);
  const headers = { "mcp-session-id": sessionId ?? "", accept: "application/json, text/event-stream" };
  expect((await fetch(url, { method: "POST", headers, body: "{}" })).status).toBe(404);
});

test("names the address that it cannot listen on", async () => {
  const { url } = await scene(() => undefined);
  const second = new HostServer({
    port: Number(url.port),
    host: "127.0.0.1",
    path: "/mcp",
    onHost: () => ({ close: async () => undefined }),
    onDiagnostic: () => undefined,
  });
  await expect(second.listen()).rejects.toThrow(`cannot listen on 127.0.0.1:${url.port}: `);
});

test("closes only when a session that its host has ended is over, whether or not it ends well", async () => {
  const diagnostics: string[] = [];
  let fail: ((reason: Error) => void) | undefined;
  const server = new HostServer({
    port: 0,
    host: "127.0.0.1",
    path: "/mcp",
    onDiagnostic: (line) => void diagnostics.push(line),
    onHost(host) {
      host.onmessage = (message) => {
        if (message.method === "initialize") void host.send({ jsonrpc: "2.0", id: message.id, result: RESULT });
      };
      return {
        close: () =>
          new Promise((_, reject) => {
            fail = reject;
          }),
      };
    },
  });
  const url = await server.listen();
  const { transport } = await connect(url);
  await transport.terminateSession();
  await expect.poll(() => fail).toBeDefined();

  let isClosed = false;
  const closed = server.close().then(() => {
    isClosed = true;
  });
  const reach = (): Promise<string> =>
    fetch(url).then(
      () => "served",
      () => "refused",
    );
  await expect.poll(reach).toBe("refused");
  expect(isClosed).toBe(false);
  fail?.(new Error("the server would not go"));
  await closed;
  expect(diagnostics).toEqual(["a session did not end well: the server would not go"]);
});

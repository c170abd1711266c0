import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { ToolResult } from "@mcp-tx/core";
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
  InMemoryTransport as InMemoryV2,
} from "@modelcontextprotocol/client";
import { StdioClientTransport as StdioV2 } from "@modelcontextprotocol/client/stdio";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { InMemoryTransport as InMemoryV1 } from "@modelcontextprotocol/sdk/inMemory.js";
import { McpServer as ServerV1 } from "@modelcontextprotocol/sdk/server/mcp.js";
import { McpServer as ServerV2 } from "@modelcontextprotocol/server";
import { registerEcho } from "./tool.mjs";

/** A line of the SDK. */
export type Line = "v1" | "v2";

/** How client and server are connected. */
export type Link = "in memory" | "stdio" | "HTTP";

/** What is used of a client of either line. */
export interface BenchClient {
  callTool(params: { readonly name: string; readonly arguments: Record<string, unknown> }): Promise<ToolResult>;
  close(): Promise<void>;
}

/** Makes clients that reach the same kind of server. */
export interface Site {
  connect(): Promise<BenchClient>;
  /** Ends clients and servers. */
  close(): Promise<void>;
}

const INFO = { name: "bench", version: "1.0.0" };
const SERVER = fileURLToPath(new URL("server.mjs", import.meta.url));

/** What the transports of both lines have in common, their types aside. */
type AnyTransport = Parameters<ClientV1["connect"]>[0] & Parameters<ClientV2["connect"]>[0];

async function clientOf(line: Line, transport: unknown): Promise<BenchClient> {
  const client = line === "v1" ? new ClientV1(INFO) : new ClientV2(INFO);
  await client.connect(transport as AnyTransport);
  return client as unknown as BenchClient;
}

async function inMemory(line: Line): Promise<BenchClient> {
  if (line === "v1") {
    const [near, far] = InMemoryV1.createLinkedPair();
    await registerEcho(new ServerV1(INFO)).connect(far);
    return clientOf(line, near);
  }
  const [near, far] = InMemoryV2.createLinkedPair();
  await registerEcho(new ServerV2(INFO)).connect(far);
  return clientOf(line, near);
}

function overStdio(line: Line): Promise<BenchClient> {
  const command = { command: process.execPath, args: [SERVER, "stdio", line] };
  return clientOf(line, line === "v1" ? new StdioV1(command) : new StdioV2(command));
}

function overHttp(line: Line, url: URL): Promise<BenchClient> {
  return clientOf(line, line === "v1" ? new HttpV1(url) : new HttpV2(url));
}

/** Servers in processes of their own: over stdio one for each client, over HTTP one for all. */
export async function openSite(line: Line, link: Link): Promise<Site> {
  const clients: BenchClient[] = [];
  const site = (connect: () => Promise<BenchClient>, end: () => void): Site => ({
    async connect() {
      const client = await connect();
      clients.push(client);
      return client;
    },
    async close() {
      await Promise.all(clients.map((client) => client.close()));
      end();
    },
  });
  if (link === "in memory")
    return site(
      () => inMemory(line),
      () => undefined,
    );
  if (link === "stdio")
    return site(
      () => overStdio(line),
      () => undefined,
    );
  const server = fork(SERVER, ["http", line], { execArgv: [] });
  const [{ port }] = (await once(server, "message")) as [{ readonly port: number }];
  const url = new URL(`http://127.0.0.1:${port}/mcp`);
  return site(
    () => overHttp(line, url),
    () => server.kill(),
  );
}

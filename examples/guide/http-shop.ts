/** What the three HTTP examples share: the shop in a process of its own, a client of it, and one of what is made of it. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const folder = mkdtempSync(join(tmpdir(), "mcp-tx-http-"));
const log = join(folder, "executions.log");
const server = fileURLToPath(new URL("http-shop-server.ts", import.meta.url));

/** Starts the shop; gives a client that is connected to it. */
export async function connectShop(): Promise<Client> {
  const client = new Client({ name: "guide", version: "1.0.0" });
  const args = ["--import", import.meta.resolve("tsx"), server, log];
  await client.connect(new StdioClientTransport({ command: process.execPath, args }));
  return client;
}

/** What the shop has executed, by its own log. */
export function executions(): readonly string[] {
  return readFileSync(log, "utf8").trim().split("\n");
}

/** Status and JSON of an answer, which is taken to be a `T`. */
export async function request<T>(url: string, init?: RequestInit): Promise<{ status: number; body: T }> {
  const response = await fetch(url, init);
  return { status: response.status, body: (await response.json()) as T };
}

/** A POST of JSON. */
export function post(body: unknown, headers: Readonly<Record<string, string>> = {}): RequestInit {
  return { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
}

process.once("exit", () => rmSync(folder, { recursive: true, force: true }));

import { type CallReport, type ClientLike, type Middleware, type WrapOptions, wrapClient } from "@mcp-tx/core";
import { announcingServer, type ServedTool, type VirtualTime } from "@mcp-tx/core/testing";
import { Client as ClientV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { createSession } from "./session.js";
import type { Session, SessionEvent, SessionOptions } from "./types.js";

const INFO = { name: "test", version: "1.0.0" };

/** A client of either line, as far as these tests use it. */
export interface TestClient extends ClientLike {
  connect(transport: unknown): Promise<void>;
  close(): Promise<void>;
  readonly transport?: unknown;
}

/** The SDK lines. */
export const LINES = [
  { line: "v1", client: (): TestClient => new ClientV1(INFO) as never },
  { line: "v2", client: (): TestClient => new ClientV2(INFO) as never },
] as const;

/** A server in memory that can be cut off, and everything that was connected to it. */
export interface World {
  readonly clients: readonly TestClient[];
  /** Clients that were given out and not closed again. */
  readonly open: number;
  readonly executions: (tool: string) => number;
  /** Ends the present connection, as a process that dies does. */
  cut(): void;
  readonly connect: SessionOptions["connect"];
}

/** Serves tools in memory, over real clients of one SDK line. */
export function world(tools: Readonly<Record<string, ServedTool>>, newClient: () => TestClient): World {
  const server = announcingServer({ tools, announce: false });
  const clients: TestClient[] = [];
  let present: { readonly close: () => Promise<void> } | undefined;
  return {
    clients,
    get open() {
      return clients.filter(({ transport }) => transport !== undefined).length;
    },
    executions: (tool) => server.executions(tool),
    cut: () => {
      present?.close();
    },
    connect: async () => {
      const transport = server.connect();
      const client = newClient();
      await client.connect(transport);
      clients.push(client);
      present = transport;
      return client;
    },
  };
}

/** A session on a virtual clock with a wrapped client, and what was told of it. */
export interface Subject {
  readonly session: Session;
  readonly call: (tool: string, args?: object, options?: object) => Promise<unknown>;
  readonly reports: readonly CallReport[];
  readonly events: readonly SessionEvent[];
}

/** Makes a session and wraps its client. */
export function subject(
  time: VirtualTime,
  options: SessionOptions,
  middleware: readonly Middleware[] = [],
  wrap: WrapOptions = {},
): Subject {
  const events: SessionEvent[] = [];
  const reports: CallReport[] = [];
  const session = createSession({
    runtime: time.runtime,
    reconnect: { jitter: "none" },
    onEvent: (event) => events.push(event),
    ...options,
  });
  const wrapped = wrapClient(session.client, [...middleware, session.middleware], {
    runtime: time.runtime,
    onReport: (report) => reports.push(report),
    ...wrap,
  });
  return {
    session,
    reports,
    events,
    call: (tool, args = {}, given = {}) => wrapped.call(tool, args as Readonly<Record<string, unknown>>, given),
  };
}

/** A client without any server: every call gives the same. */
export interface FakeClient extends ClientLike {
  readonly transport: { send(): Promise<void>; onclose?: () => void };
  closes: number;
  close(): Promise<void>;
}

/** Makes a client without any server. */
export function fakeClient(): FakeClient {
  return {
    transport: { send: async () => undefined },
    closes: 0,
    callTool: async () => ({ content: [] }),
    async close() {
      this.closes += 1;
    },
  };
}

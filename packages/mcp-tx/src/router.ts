import {
  type Caller,
  type CallOptions,
  type InvokeOptions,
  invokeThrough,
  type ListToolsOptions,
  McpTxError,
  pipeline,
  run,
  type ToolInfo,
  type ToolResult,
} from "@mcp-tx/core";
import { number, readOptions } from "@mcp-tx/core/options";
import { type Health, overallHealth, type ServerHealth } from "./health.js";
import type { CloseOptions, Reliable } from "./reliable-types.js";

type Args = Readonly<Record<string, unknown>>;

/** Where a name leads: everything before the first dot is the server, for tools may have dots in their names and servers may not. */
function split(name: string): { readonly server: string; readonly tool: string } {
  const dot = name.indexOf(".");
  return dot < 0 ? { server: name, tool: "" } : { server: name.slice(0, dot), tool: name.slice(dot + 1) };
}

function checkName(name: string): void {
  if (name === "") throw new TypeError("createRouter: servers must not have an empty name");
  if (!name.includes(".")) return;
  throw new TypeError(
    `createRouter: servers[${JSON.stringify(name)}] must not have a dot in its name: what comes before the first dot of "server.tool" is the server`,
  );
}

function checkServers(servers: Readonly<Record<string, Reliable>>): ReadonlyMap<string, Reliable> {
  if (typeof servers !== "object" || servers === null || Array.isArray(servers)) {
    throw new TypeError("createRouter: servers must be an object of servers by name");
  }
  const known = new Map(Object.entries(servers));
  if (known.size === 0) throw new TypeError("createRouter: servers must name at least one server");
  for (const [name, server] of known) {
    checkName(name);
    if (typeof server?.call !== "function") {
      throw new TypeError(`createRouter: servers[${JSON.stringify(name)}] must be what reliable() gives`);
    }
  }
  return known;
}

/** A call that leads nowhere. It ends as a call does, with a report. */
function refuse(message: string, tool: string): Promise<ToolResult> {
  const error = new McpTxError(message, "protocol_error", {
    outcome: { status: "rejected", execution: "not-executed", transient: false },
  });
  const handler = pipeline(
    () => Promise.reject(error),
    () => Promise.reject(error),
  );
  return run(handler, { tool, side: "client" });
}

/** The health of one server, which may itself report under any name. */
function healthOf(server: Reliable): ServerHealth | undefined {
  return Object.values(server.health().servers)[0];
}

class Router implements Reliable {
  readonly #servers: ReadonlyMap<string, Reliable>;
  /** Servers whose tools could not be listed the last time. */
  readonly #unlisted = new Set<string>();

  constructor(servers: ReadonlyMap<string, Reliable>) {
    this.#servers = servers;
  }

  call(name: string, args?: Args, options?: CallOptions): Promise<ToolResult> {
    const { server, tool } = split(String(name));
    const target = this.#servers.get(server);
    if (target === undefined) {
      const known = [...this.#servers.keys()].join(", ");
      return refuse(`Tool "${name}" was not called: there is no server "${server}". Servers: ${known}.`, `${name}`);
    }
    if (tool === "") {
      return refuse(`Tool "${name}" was not called: name it with its server, as in "${server}.tool".`, server);
    }
    return target.call(tool, args, options);
  }

  invoke<T = unknown>(name: string, args?: Args, options?: InvokeOptions<T>): Promise<T> {
    return invokeThrough<T>((callOptions) => this.call(name, args, callOptions), name, options);
  }

  /** A server that cannot be asked does not hide the tools of the others. */
  async tools(options?: ListToolsOptions): Promise<readonly ToolInfo[]> {
    const names = [...this.#servers.keys()];
    const listings = await Promise.allSettled([...this.#servers.values()].map((server) => server.tools(options)));
    const found: ToolInfo[] = [];
    const errors: unknown[] = [];
    for (const [index, listing] of listings.entries()) {
      const server = names[index] ?? "";
      if (listing.status === "rejected") {
        this.#unlisted.add(server);
        errors.push(listing.reason);
        continue;
      }
      this.#unlisted.delete(server);
      for (const tool of listing.value) found.push({ ...tool, name: `${server}.${tool.name}` });
    }
    options?.signal?.throwIfAborted();
    if (errors.length === names.length)
      throw errors.length === 1 ? errors[0] : new AggregateError(errors, everyoneFailed(names));
    return found;
  }

  health(): Health {
    const healths: [string, ServerHealth][] = [];
    for (const [name, server] of this.#servers) {
      const health = healthOf(server);
      if (health === undefined) continue;
      const isHidden = health.status === "pass" && this.#unlisted.has(name);
      healths.push([name, isHidden ? { ...health, status: "warn" } : health]);
    }
    return overallHealth(Object.fromEntries(healths));
  }

  async close(options?: CloseOptions): Promise<void> {
    readOptions("close", options, { graceMs: number({ min: 0, infinite: true }, undefined) });
    const ends = await Promise.allSettled([...this.#servers.values()].map((server) => server.close(options)));
    const errors: readonly unknown[] = ends.flatMap((end) => (end.status === "rejected" ? [end.reason] : []));
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, "Several servers could not be closed");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function everyoneFailed(names: readonly string[]): string {
  return `The tools of no server could be listed: ${names.join(", ")}`;
}

/**
 * One caller for several servers: `search.query` is the tool `query` of the server `search`. Each server keeps its own limits, circuits and
 * connection; what one does never delays another.
 *
 * @remarks
 * The name of a server ends at the first dot; a tool's own name may have more of them. `tools()` lists what can be listed and fails only when
 * no server answers; `health()` shows who did not.
 *
 * @param servers - what `reliable` gives for each of them
 * @throws TypeError for a server's name with a dot in it, or no servers
 */
export function createRouter(servers: Readonly<Record<string, Reliable>>): Reliable {
  const router: Caller & Reliable = new Router(checkServers(servers));
  return router;
}

import { type ClientLike, listTools, middlewareOf } from "@mcp-tx/core";
import { callback } from "@mcp-tx/core/options";
import { assemble, type Connection } from "./assemble.js";
import { childPath, fields, plainObject } from "./config-path.js";
import type { ReliableConfig } from "./config-types.js";
import { sessionConnection } from "./connect-source.js";
import type { Reliable, ReliableClient } from "./reliable-types.js";
import { createRouter } from "./router.js";
import { doubledSeats } from "./seats.js";
import { createPreset, type Preset } from "./standard-order.js";
import type { Connect, ConnectSource, ReplicasSource, ServerSource } from "./types.js";
import { warnOnce } from "./warn.js";

/** The name of the only server. */
const ONLY = "default";

/** What of a client tells whether it is connected, and ends it. */
interface Closable {
  readonly transport?: unknown;
  close?(): Promise<void>;
}

/** A client that the user connected. */
function clientConnection<C extends ClientLike>(client: C): Connection<C> {
  // Any client may have these members.
  const closable = client as ClientLike & Closable;
  return {
    client,
    outermost: [],
    innermost: [],
    breakers: [],
    // Both SDK lines forget the transport when it closes; a client that does not say is taken at its word.
    state: () => ("transport" in closable && closable.transport === undefined ? "closed" : "connected"),
    tools: (options) => listTools(client, options),
    close: async () => closable.close?.(),
  };
}

/** A client that has a pipeline already has two then: each retry of one runs through all those of the other. */
function warnOfSecondPipeline({ middleware, config }: Preset, client: ClientLike): void {
  const inner = middlewareOf(client);
  if (inner === undefined) return;
  for (const problem of doubledSeats([...middleware, ...inner])) {
    warnOnce(`reliable: the client is wrapped already. ${problem}`, config.logger);
  }
}

/** Several servers, by the names that their tools have in front; a name has no dot. */
export interface ServersSource {
  readonly servers: Readonly<Record<string, ServerSource>>;
}

type Source = ClientLike | ConnectSource | ServersSource;

function isClient(source: Source): source is ClientLike {
  // A client has a method `connect` as well.
  return typeof (source as Partial<ClientLike> | undefined)?.callTool === "function";
}

/** @param name - of a server of several: there it is known by what the user calls it */
function connecting(source: ServerSource, config: ReliableConfig | undefined, name?: string) {
  const preset = createPreset(config, { prefix: name === undefined ? "" : `${name}.` });
  return assemble(preset, sessionConnection(source, preset.config, name), name ?? ONLY);
}

const connectSource = fields<ConnectSource>({ connect: callback<Connect>() });
const serverSource = fields<Partial<ConnectSource & ReplicasSource>>({
  connect: callback<Connect>(),
  replicas: (value, path) => {
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.length === 0) throw new TypeError(`${path} must be a list of { connect }`);
    return value.map((each, index) =>
      checkedConnect(connectSource(each ?? null, `${path}[${index}]`), `${path}[${index}]`),
    );
  },
});

function checkedConnect(source: { readonly connect?: Connect | undefined } | undefined, path: string): ConnectSource {
  if (source?.connect === undefined) throw new TypeError(`${path} must be { connect }, a function that makes a client`);
  return { connect: source.connect };
}

/** Where the tools of one server come from. */
function readServer(given: unknown, path: string): ServerSource {
  const { connect, replicas } = serverSource(given ?? null, path) ?? {};
  if (connect !== undefined && replicas !== undefined)
    throw new TypeError(`${path} must have connect or replicas, not both`);
  return replicas === undefined ? checkedConnect({ connect }, path) : { replicas };
}

function connectingAll({ servers }: ServersSource, config: ReliableConfig | undefined): Reliable {
  const given = Object.entries(plainObject(servers, "servers", "an object of { connect } by name"));
  const sources = given.map(([name, source]) => [name, readServer(source, childPath("servers", name))] as const);
  return createRouter(Object.fromEntries(sources.map(([name, source]) => [name, connecting(source, config, name)])));
}

/**
 * Makes tool calls reliable: retries as far as they cannot do harm, keys that make calls happen once, circuits, limits.
 *
 * @param source - a connected client of either SDK line; or `{ connect }`, which makes one whenever that is needed; or
 * `{ servers: { name: { connect } } }`, whose tools are called as `name.tool`, and of which each may have `replicas` instead
 * @returns for a client: the client with reliable calls, which fits wherever the client fits
 * @throws TypeError or RangeError naming the full path of what is wrong, such as `config.tools["pay*"].retry.maxAttempts`
 */
export function reliable<C extends ClientLike>(source: C, config?: ReliableConfig): ReliableClient<C>;
export function reliable(source: ConnectSource | ServersSource, config?: ReliableConfig): Reliable;
export function reliable(source: Source, config?: ReliableConfig): Reliable {
  if (isClient(source)) {
    const preset = createPreset(config);
    warnOfSecondPipeline(preset, source);
    return assemble(preset, clientConnection(source), ONLY);
  }
  if (typeof (source as Partial<ConnectSource> | undefined)?.connect === "function") {
    return connecting(source as ConnectSource, config);
  }
  if ((source as Partial<ServersSource> | undefined)?.servers !== undefined) {
    return connectingAll(source as ServersSource, config);
  }
  throw new TypeError("reliable: give it a connected MCP SDK client, { connect } or { servers }");
}

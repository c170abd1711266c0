import {
  type ClientLike,
  defaultRuntime,
  type ListToolsOptions,
  type Middleware,
  type ToolInfo,
  wrapClient,
} from "@mcp-tx/core";
import { number, readOptions } from "@mcp-tx/core/options";
import { Drain } from "./drain.js";
import { type ConnectionState, overallHealth, serverHealth } from "./health.js";
import type { CloseOptions, Reliable, ReliableClient } from "./reliable-types.js";
import type { Preset } from "./standard-order.js";

/** How long a host or an orchestrator usually lets a process finish, and less than it. */
const GRACE_MS = 10_000;

/** What a pipeline stands on: a client, or a session that makes one after the other. */
export interface Connection<C extends ClientLike> {
  readonly client: C;
  /** Goes outside of the standard order, inside of time limits. */
  readonly outermost: readonly Middleware[];
  /** Goes innermost, inside of all limits. */
  readonly innermost: readonly Middleware[];
  /** Those of its own, such as one for each replica. */
  readonly breakers: Preset["breakers"];
  state(): ConnectionState;
  tools(options?: ListToolsOptions): Promise<readonly ToolInfo[]>;
  /** Called once, after the calls under way have had their time. */
  close(): Promise<void>;
}

function graceOf(options: CloseOptions | undefined): number {
  return readOptions("close", options, { graceMs: number({ min: 0, infinite: true }, GRACE_MS) }).graceMs;
}

/** Members of ours in front of those of a wrapped client, which stays what it is for everybody else. */
function inFront<C extends object, M extends object>(wrapped: C, members: M): C & M {
  return new Proxy(wrapped, {
    get: (target, property) =>
      Object.hasOwn(members, property) ? members[property as keyof M] : Reflect.get(target, property),
    has: (target, property) => Object.hasOwn(members, property) || Reflect.has(target, property),
  }) as C & M;
}

/**
 * Puts a preset round a connection.
 *
 * @param name - what the server is called in the health
 */
export function assemble<C extends ClientLike>(
  preset: Preset,
  connection: Connection<C>,
  name: string,
): ReliableClient<C> {
  const { runtime = defaultRuntime } = preset.config;
  const drain = new Drain();
  const { outer, layers } = preset;
  const middleware = [drain.middleware, ...outer, ...connection.outermost, ...layers, ...connection.innermost];
  const wrapped = wrapClient(connection.client, middleware, preset.wrapOptions);
  const breakers = [...preset.breakers, ...connection.breakers];
  let closing: Promise<void> | undefined;

  function close(options?: CloseOptions): Promise<void> {
    try {
      const graceMs = graceOf(options);
      closing ??= drain.close(graceMs, runtime).then(() => connection.close());
      return closing;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  const members: Omit<Reliable, "call" | "invoke"> = {
    tools: (options) => connection.tools(options),
    health() {
      const state = drain.isClosed ? "closed" : connection.state();
      return overallHealth({ [name]: serverHealth(state, drain.inFlight, breakers) });
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  };
  return inFront(wrapped, members);
}

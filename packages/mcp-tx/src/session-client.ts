import type { ClientLike, Runtime } from "@mcp-tx/core";
import type { Link } from "./session-link.js";
import type { Patience } from "./session-wait.js";

/** What the client of a session is made of. */
export interface SessionClientSpec {
  /** The present connection, or the last one. */
  present(): Link | undefined;
  acquire(patience: Patience): Promise<Link>;
  readonly runtime: Runtime;
  readonly name: string | undefined;
}

/** Request options of both SDK lines, as far as they bound the wait for a connection. */
interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeout?: number | undefined;
}

/**
 * One client before those that come and go: `wrapClient` looks once at what it is given, and takes this for a client of SDK v2. A call
 * goes to the present connection and is put in that client's own form.
 */
export function sessionClient({ present, acquire, runtime, name }: SessionClientSpec): ClientLike {
  return {
    get transport(): unknown {
      return present()?.client.transport;
    },
    getProtocolEra: (): unknown => present()?.client.getProtocolEra?.(),
    getServerCapabilities: (): unknown => present()?.capabilities,
    // A name of the user's is known before the first connection: limits and circuits are kept by it.
    getServerVersion: (): unknown => (name === undefined ? present()?.client.getServerVersion?.() : { name }),
    callTool(params: unknown, options?: unknown): Promise<unknown> {
      const client = present()?.client;
      if (client === undefined) return Promise.reject(new Error("Not connected"));
      const isV2 = typeof client.getProtocolEra === "function";
      return isV2 ? client.callTool(params, options) : client.callTool(params, undefined, options);
    },
    async request(request: unknown, schema: unknown, options: RequestOptions = {}): Promise<unknown> {
      const { signal, timeout = Infinity } = options;
      const startedAt = runtime.now();
      const { client } = await acquire({ signal, deadline: startedAt + timeout });
      if (client.request === undefined) throw new TypeError("The client has no request method");
      const left = timeout === Infinity ? undefined : Math.max(1, timeout - (runtime.now() - startedAt));
      return client.request(request, schema, left === undefined ? options : { ...options, timeout: left });
    },
  } as ClientLike;
}

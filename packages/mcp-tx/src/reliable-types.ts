import type { Caller, ClientLike, ListToolsOptions, ToolInfo, WrappedClient } from "@mcp-tx/core";
import type { Health } from "./health.js";

/** Options of {@link Reliable.close}. */
export interface CloseOptions {
  /**
   * Milliseconds that calls under way may still take. At least 0; Infinity is allowed.
   * @defaultValue 10000
   */
  readonly graceMs?: number | undefined;
}

/** Reliable tool calls to one or several servers. */
export interface Reliable extends Caller, AsyncDisposable {
  /** All tools, as the server describes them. With several servers their names begin with the server's: `search.query`. */
  tools(options?: ListToolsOptions): Promise<readonly ToolInfo[]>;
  /** Connections and circuits at present. Asks no server. */
  health(): Health;
  /**
   * Refuses new calls, waits for those under way, and closes the connection. A call that is still under way after `graceMs` ends as
   * one whose connection was lost. Closing again does nothing more.
   *
   * @throws RangeError for a bad `graceMs`; what the client throws when it closes
   */
  close(options?: CloseOptions): Promise<void>;
}

/** A client with reliable tool calls, which fits wherever the client fits. */
export type ReliableClient<C extends ClientLike> = WrappedClient<C> & Reliable;

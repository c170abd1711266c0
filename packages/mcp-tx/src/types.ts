import type { ClientLike, ListToolsOptions, Middleware, Peer, Runtime, ToolInfo } from "@mcp-tx/core";
import type { ReconnectConfig } from "./config-types.js";
import type { ConnectionState } from "./health.js";
import type { CloseOptions } from "./reliable-types.js";

/**
 * Makes a connected client of either SDK line: a new one each time, because the last one may still be answering.
 *
 * @remarks
 * Called when there is no connection and somebody calls a tool; never twice at the same time. The signal aborts when nobody waits
 * for the connection any more, when `connectTimeoutMs` is over, or when the session is closed. A client that comes too late is
 * closed. Return the bare client, not one that is wrapped already.
 */
export type Connect = (options: { readonly signal: AbortSignal }) => ClientLike | Promise<ClientLike>;

/** A server that is connected to when it is needed, and again when the connection is lost. */
export interface ConnectSource {
  readonly connect: Connect;
}

/** Several servers that are the same to a caller: whichever of them answers will do. */
export interface ReplicasSource {
  /** At least one. */
  readonly replicas: readonly ConnectSource[];
}

/** Where the tools of one server come from. */
export type ServerSource = ConnectSource | ReplicasSource;

/** Why a connection is no longer used. */
export type LossReason =
  /** The transport closed: a process that ended, a connection that was cut, a client that somebody closed. */
  | "closed"
  /** The server no longer knows the session. */
  | "expired";

/** What happens to the connection of a session. `session` counts the connections from 1. */
export type SessionEvent =
  | { readonly type: "connecting"; readonly name: string | undefined; readonly failures: number }
  | { readonly type: "connected"; readonly name: string | undefined; readonly session: number }
  | {
      readonly type: "connect_failed";
      readonly name: string | undefined;
      /** Failures in a row, this one included. */
      readonly failures: number;
      /** Milliseconds before the next try. */
      readonly delayMs: number;
      readonly error: unknown;
    }
  | {
      readonly type: "lost";
      readonly name: string | undefined;
      readonly session: number;
      readonly reason: LossReason;
    }
  | { readonly type: "closed"; readonly name: string | undefined };

/** Whether a call of which an attempt was sent in one session may be sent again in another one. */
export type ReplayAcrossSessions = boolean | ((peer: Peer) => boolean);

/** Options of {@link createSession}. */
export interface SessionOptions extends ConnectSource {
  /** How long to wait between connections that fail. */
  readonly reconnect?: ReconnectConfig | undefined;
  /**
   * Milliseconds that making one connection may take. Greater than 0.
   * @defaultValue 30000
   */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * Whether a call of which an attempt was sent may be sent again in a fresh session, which may have lost what the server knew (a
   * browser, a working directory). The replay gate stands in any case.
   * @defaultValue only for stateless servers (the 2026-07-28 protocol, HTTP without a session id) and read-only tools of trusted ones
   */
  readonly replayAcrossSessions?: ReplayAcrossSessions | undefined;
  /**
   * The clock, which has to be that of the calls.
   * @defaultValue the process clock
   */
  readonly runtime?: Runtime | undefined;
  /** Told of the life of the connection; whatever it throws is swallowed. */
  readonly onEvent?: ((event: SessionEvent) => void) | undefined;
  /**
   * What the server is called in messages, events and `call.peer`.
   * @defaultValue in `call.peer`, what the server calls itself
   */
  readonly name?: string | undefined;
}

/** A connection that is made when it is needed, and made anew when it is lost. */
export interface Session extends AsyncDisposable {
  /** For `wrapClient`: whichever client is connected at present, always with the signatures of SDK v2. */
  readonly client: ClientLike;
  /** Goes innermost in the pipeline round {@link Session.client}. Without it the client is never connected. */
  readonly middleware: Middleware;
  readonly state: ConnectionState;
  /**
   * All tools, as the server describes them. Kept until the server says that they changed, or a new connection is made; a server
   * that has no means of saying so is asked each time.
   *
   * @throws what the client throws; an McpTxError when there is no connection
   */
  tools(options?: ListToolsOptions): Promise<readonly ToolInfo[]>;
  /**
   * Refuses new calls, waits for those under way, and closes the client. Calls that wait for a connection fail at once: they were
   * not sent. Closing again does nothing more.
   *
   * @throws RangeError for a bad `graceMs`; what the client throws when it closes
   */
  close(options?: CloseOptions): Promise<void>;
}

declare module "@mcp-tx/core" {
  interface CallEvents {
    /** The call waited for a connection that replaced a lost one. */
    "session.reconnect": {
      readonly tool: string;
      readonly attempt: number;
      /** Number of the new connection. */
      readonly session: number;
      readonly waitedMs: number;
    };
  }
}

import { type ClientLike, middlewareOf, type ToolInfo, type TransportLike } from "@mcp-tx/core";
import { ConnectFailure } from "./session-errors.js";
import type { LossReason } from "./types.js";

/** What of a client of either SDK line is used here. Whatever a line lacks is optional. */
export interface SdkClient {
  callTool(...args: readonly unknown[]): Promise<unknown>;
  request?(request: unknown, schema: unknown, options?: unknown): Promise<unknown>;
  close?(): Promise<void> | void;
  getServerCapabilities?(): unknown;
  getServerVersion?(): unknown;
  /** Only SDK v2 has it. */
  getProtocolEra?(): unknown;
  readonly transport?: unknown;
}

/** What of a transport is used here. */
interface Listened {
  onmessage?: ((message: unknown, extra?: unknown) => void) | undefined;
  onclose?: (() => void) | undefined;
  readonly sessionId?: unknown;
  readonly terminateSession?: unknown;
}

/** A listing of the tools, and how often they had changed when it was made. */
export interface Listing {
  readonly edition: number;
  readonly tools: readonly ToolInfo[];
}

/** What a link tells its session. */
export interface LinkOwner {
  lost(link: Link, reason: LossReason): void;
  /** The client is closed, and nothing of the link is needed any more. */
  gone(link: Link): void;
}

const LIST_CHANGED = "notifications/tools/list_changed";

function isListChanged(message: unknown): boolean {
  return typeof message === "object" && message !== null && "method" in message && message.method === LIST_CHANGED;
}

/** Whether the server keeps nothing from one call to the next, as far as the connection tells. */
function isStateless(client: SdkClient, transport: Listened): boolean {
  if (client.getProtocolEra?.() === "modern") return true;
  // Of the transports, only Streamable HTTP can end a session; without an id there is none.
  return typeof transport.terminateSession === "function" && transport.sessionId === undefined;
}

/** One connected client: whether it is still good, who is calling through it, and when it may be closed. */
export class Link {
  readonly isStateless: boolean;
  /** How often the server has said that its tools changed. */
  toolChanges = 0;
  /** Whether the server has answered anything. */
  hasAnswered = false;
  listing: Listing | undefined;
  readonly #capabilities: unknown;
  readonly #transport: Listened;
  #inFlight = 0;
  #isLost = false;
  /** Whether the connection ended by itself, so that there is nothing to close. */
  #isEnded = false;
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(
    readonly client: SdkClient,
    readonly number: number,
    readonly connectedAt: number,
    private readonly owner: LinkOwner,
  ) {
    // Checked by `connectedClient`.
    this.#transport = client.transport as Listened;
    this.isStateless = isStateless(client, this.#transport);
    this.#capabilities = client.getServerCapabilities?.();
    this.#listen(this.#transport);
  }

  /** Whether calls may go through it. */
  get isAlive(): boolean {
    if (!this.#isLost && this.client.transport === undefined) this.#end();
    return !this.#isLost;
  }

  /** Whether the server tells that its tools changed: a stateless one has no way to. */
  get tellsChanges(): boolean {
    return !this.isStateless;
  }

  /** Also of a connection that is lost: whether a resend is recognised is asked before the next one is made. */
  get capabilities(): unknown {
    return this.client.getServerCapabilities?.() ?? this.#capabilities;
  }

  get hasSession(): boolean {
    return this.#transport.sessionId !== undefined;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  enter(): void {
    this.#inFlight += 1;
  }

  leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight > 0) return;
    this.#onIdle?.();
    if (this.#isLost) this.#retire();
  }

  /** Resolves when nobody calls through it any more. */
  idle(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  /** No call goes through it any more; those under way may end. */
  lose(reason: LossReason): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.owner.lost(this, reason);
    if (this.#inFlight === 0) this.#retire();
  }

  /** Closes the client; once, and not at all where the connection has ended by itself. */
  close(): Promise<void> {
    this.#isLost = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #retire(): void {
    this.close().catch(() => undefined);
  }

  async #close(): Promise<void> {
    try {
      if (!this.#isEnded) await this.client.close?.();
    } finally {
      this.owner.gone(this);
    }
  }

  #end(): void {
    this.#isEnded = true;
    this.lose("closed");
  }

  /** Hears what the transport says, without taking it from the SDK: nobody else's handlers are touched. */
  #listen(transport: Listened): void {
    const { onclose, onmessage } = transport;
    transport.onclose = () => {
      this.#end();
      onclose?.call(transport);
    };
    transport.onmessage = (message, extra) => {
      if (isListChanged(message)) this.toolChanges += 1;
      onmessage?.call(transport, message, extra);
    };
  }
}

function refused(message: string): ConnectFailure {
  return new ConnectFailure(
    "connect gave no client that can be used",
    false,
    new TypeError(`connect must give ${message}`),
  );
}

/**
 * What `connect` gave, if it is a client that can be called now; else what is wrong with it.
 *
 * @remarks Whether a call was sent is seen at the transport alone: what does not show its transport would pass for never sent.
 */
export function connectedClient(given: ClientLike): SdkClient | ConnectFailure {
  if (typeof given?.callTool !== "function") return refused("an MCP SDK client with a callTool method");
  if (middlewareOf(given) !== undefined) return refused("the bare client, not one that is wrapped already");
  // What any SDK's callTool gives is of no interest here.
  const client = given as ClientLike as SdkClient;
  if (!("transport" in client)) return refused("an MCP SDK client with a transport property");
  if (typeof (client.transport as Partial<TransportLike> | null | undefined)?.send === "function") return client;
  return new ConnectFailure("connect gave a client that is not connected, or not any more", true);
}

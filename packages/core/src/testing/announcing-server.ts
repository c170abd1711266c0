import type { IdempotencyAnnouncement, OutcomeCode, ToolAnnotations, ToolResult } from "../contract.js";
import type { Message } from "../wire.js";
import {
  ANNOUNCEMENT_KEY,
  asBag,
  type CallMeta,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  type Receipt,
  readCallMeta,
  WIRE_VERSION,
} from "../wire.js";

/** What a tool of the server gets beside its arguments. */
export interface ServedRun {
  /** The attempt's number, as the client says; 1 for a plain client. */
  readonly attempt: number;
  /** Aborts when the client cancels or goes away; a call with a key goes on all the same. */
  readonly signal: AbortSignal;
}

/** A tool of the server. What it throws becomes a result with `isError`. */
export interface ServedTool {
  readonly annotations?: ToolAnnotations | undefined;
  run(args: Readonly<Record<string, unknown>>, run: ServedRun): ToolResult | Promise<ToolResult>;
}

/** Options of {@link announcingServer}. */
export interface AnnouncingServerOptions {
  readonly tools: Readonly<Record<string, ServedTool>>;
  /**
   * Whether the server is aware: announces its store, recognises duplicates, answers with receipts. A server that is not is plain.
   * @defaultValue true
   */
  readonly announce?: boolean | undefined;
  /** @defaultValue "store-1" */
  readonly storeId?: string | undefined;
  /** @defaultValue 60000 */
  readonly windowMs?: number | undefined;
  /** @defaultValue false */
  readonly durable?: boolean | undefined;
}

/** The client's end of a connection; fits the clients of both SDK lines. */
export interface ServerConnection {
  onmessage?: (message: unknown, extra?: unknown) => void;
  onclose?: () => void;
  onerror?: (error: Error) => void;
  sessionId?: string;
  start(): Promise<void>;
  send(message: unknown, options?: unknown): Promise<void>;
  close(): Promise<void>;
}

/** A server that plays its part of the wire contract without any SDK. */
export interface AnnouncingServer {
  /** The present identity of the store. */
  readonly storeId: string;
  /** Opens a connection in memory; there may be several. */
  connect(): ServerConnection;
  /** Answers one JSON-RPC message, for mounting the server behind HTTP; `undefined` for what has no answer. */
  handle(message: unknown): Promise<Message | undefined>;
  /** How often a tool really ran. */
  executions(tool: string): number;
  /** Forgets every record, as a volatile store does in a restart: the store is another one from now on. */
  loseStore(): void;
}

interface StoredRun {
  readonly epoch: number;
  readonly fingerprint: string;
  readonly done: Promise<ToolResult>;
  /** Whether it failed; `undefined` while it runs. */
  failed: boolean | undefined;
}

/** The requests in flight of one connection. */
type Session = Map<string, AbortController>;

class JsonRpcFailure extends Error {
  constructor(
    readonly code: number,
    message: string,
    readonly data?: unknown,
  ) {
    super(message);
  }
}

function textOfError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function refuse(meta: CallMeta, code: OutcomeCode, message: string): never {
  const receipt: Receipt = { requestId: meta.requestId, ack: true, execution: "not-executed", duplicate: false, code };
  throw new JsonRpcFailure(RECEIPT_ERROR_CODE, message, { [RECEIPT_KEY]: receipt });
}

class ScriptedServer {
  readonly announcement: IdempotencyAnnouncement | undefined;
  storeId: string;
  readonly #tools: ReadonlyMap<string, ServedTool>;
  readonly #records = new Map<string, StoredRun>();
  readonly #executions = new Map<string, number>();
  #losses = 0;

  constructor({
    tools,
    announce = true,
    storeId = "store-1",
    windowMs = 60_000,
    durable = false,
  }: AnnouncingServerOptions) {
    this.#tools = new Map(Object.entries(tools));
    this.storeId = storeId;
    this.announcement = announce ? { storeId, windowMs, durable } : undefined;
  }

  executions(tool: string): number {
    if (!this.#tools.has(tool)) throw new Error(`announcingServer: there is no tool "${tool}"`);
    return this.#executions.get(tool) ?? 0;
  }

  loseStore(): void {
    this.#records.clear();
    this.#losses += 1;
    this.storeId = `${this.announcement?.storeId ?? this.storeId}/${this.#losses}`;
  }

  async handle(raw: unknown, session: Session): Promise<Message | undefined> {
    const message = asBag(raw) as Message | undefined;
    if (message?.method === undefined) return undefined;
    const { id } = message;
    if (id === undefined || id === null) {
      this.#notified(message, session);
      return undefined;
    }
    try {
      return { jsonrpc: "2.0", id, result: await this.#answer(message, id, session) };
    } catch (error) {
      if (error === CANCELLED) return undefined;
      if (!(error instanceof JsonRpcFailure)) throw error;
      const { code, message: text, data } = error;
      return { jsonrpc: "2.0", id, error: { code, message: text, ...(data !== undefined && { data }) } };
    }
  }

  #notified({ method, params }: Message, session: Session): void {
    if (method === "notifications/cancelled") session.get(String(params?.requestId))?.abort();
  }

  #answer(message: Message, id: string | number, session: Session): unknown {
    switch (message.method) {
      case "initialize":
        return this.#initialize(message.params);
      case "ping":
        return {};
      case "tools/list":
        return { tools: [...this.#tools].map(([name, tool]) => describe(name, tool)) };
      case "tools/call":
        return this.#call(message.params, id, session);
      default:
        throw new JsonRpcFailure(-32_601, `Method not found: ${String(message.method)}`);
    }
  }

  #initialize(params: Message["params"]): unknown {
    const entry = this.announcement && {
      version: WIRE_VERSION,
      idempotency: { ...this.announcement, storeId: this.storeId },
    };
    return {
      protocolVersion: params?.protocolVersion ?? "2025-06-18",
      capabilities: { tools: {}, ...(entry !== undefined && { experimental: { [ANNOUNCEMENT_KEY]: entry } }) },
      serverInfo: { name: "announcing-server", version: "1.0.0" },
    };
  }

  /** One `tools/call`; a cancelled one gets no answer, as with the SDKs' servers. */
  async #call(params: Message["params"], id: string | number, session: Session): Promise<ToolResult> {
    const name = params?.name;
    const tool = typeof name === "string" ? this.#tools.get(name) : undefined;
    if (typeof name !== "string" || tool === undefined)
      throw new JsonRpcFailure(-32_602, `Unknown tool: ${String(name)}`);
    const args = asBag(params?.arguments) ?? {};
    const meta = this.announcement === undefined ? undefined : readCallMeta(params?._meta);
    const controller = new AbortController();
    session.set(String(id), controller);
    try {
      const running =
        meta === undefined ? this.#execute(name, tool, args, 1, controller.signal) : this.#once(name, tool, args, meta);
      return await unlessAborted(running, controller.signal);
    } finally {
      session.delete(String(id));
    }
  }

  /** Runs a call that has a key, joins it, or repeats what it gave. */
  #once(name: string, tool: ServedTool, args: Readonly<Record<string, unknown>>, meta: CallMeta): Promise<ToolResult> {
    if (meta.expectStore !== undefined && meta.expectStore !== this.storeId) {
      refuse(
        meta,
        "store_mismatch",
        `Tool "${name}" was not called: the record of the earlier attempt is in another store.`,
      );
    }
    const key = JSON.stringify([name, meta.idempotencyKey]);
    const fingerprint = JSON.stringify(args);
    const known = this.#records.get(key);
    if (known !== undefined && known.fingerprint !== fingerprint) {
      refuse(meta, "idempotency_conflict", `Tool "${name}" was not called: its key was used with other arguments.`);
    }
    const isRepeat = known !== undefined && !(known.failed === true && meta.epoch > known.epoch);
    if (isRepeat) return known.done.then((result) => withReceipt(result, meta, true));
    // Detached from the request: what a caller that has gone started is finished and recorded.
    const done = this.#execute(name, tool, args, meta.attempt, new AbortController().signal);
    const record: StoredRun = { epoch: meta.epoch, fingerprint, done, failed: undefined };
    this.#records.set(key, record);
    return done.then((result) => {
      record.failed = result.isError === true;
      return withReceipt(result, meta, false);
    });
  }

  async #execute(
    name: string,
    tool: ServedTool,
    args: Readonly<Record<string, unknown>>,
    attempt: number,
    signal: AbortSignal,
  ): Promise<ToolResult> {
    this.#executions.set(name, this.executions(name) + 1);
    try {
      return await tool.run(args, { attempt, signal });
    } catch (error) {
      return { content: [{ type: "text", text: textOfError(error) }], isError: true };
    }
  }
}

const CANCELLED: unique symbol = Symbol("cancelled");

function unlessAborted(running: Promise<ToolResult>, signal: AbortSignal): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(CANCELLED), { once: true });
    running.then(resolve, reject);
  });
}

function describe(name: string, { annotations }: ServedTool): unknown {
  return { name, inputSchema: { type: "object" }, ...(annotations !== undefined && { annotations }) };
}

function withReceipt(result: ToolResult, meta: CallMeta, duplicate: boolean): ToolResult {
  const code: { readonly code?: OutcomeCode } = result.isError === true ? { code: "tool_error" } : {};
  const receipt: Receipt = { requestId: meta.requestId, ack: true, execution: "executed", duplicate, ...code };
  return { ...result, _meta: { ...result._meta, [RECEIPT_KEY]: receipt } };
}

/** What crosses the wire: symbols and `undefined` do not. */
function overTheWire<T>(message: T): T {
  return JSON.parse(JSON.stringify(message)) as T;
}

function connectTo(server: ScriptedServer): ServerConnection {
  const session: Session = new Map();
  let isOpen = true;
  const connection: ServerConnection = {
    async start() {},
    async send(message) {
      if (!isOpen) throw new Error("Not connected");
      // Not awaited: a message is sent when it has left.
      server.handle(overTheWire(message), session).then(
        (answer) => {
          if (isOpen && answer !== undefined) connection.onmessage?.(overTheWire(answer));
        },
        (error) => connection.onerror?.(error),
      );
    },
    async close() {
      if (!isOpen) return;
      isOpen = false;
      for (const controller of session.values()) controller.abort();
      connection.onclose?.();
    },
  };
  return connection;
}

/**
 * Makes a server that announces an idempotency store and honours keys in their simplest form: a duplicate joins the run in
 * flight or gets the recorded result, a higher epoch runs a failed call again, and a call that expects another store is
 * refused without running.
 *
 * @remarks Nothing expires: whoever resends past the announced window is caught by the client's own gate.
 */
export function announcingServer(options: AnnouncingServerOptions): AnnouncingServer {
  const tools = Object.entries(asBag(options)?.tools ?? {});
  const broken = tools.find(([, tool]) => typeof asBag(tool)?.run !== "function");
  if (broken !== undefined)
    throw new TypeError(`announcingServer: tools["${broken[0]}"] must have a method run(args, { attempt, signal })`);
  const server = new ScriptedServer(options);
  const session: Session = new Map();
  return {
    get storeId() {
      return server.storeId;
    },
    connect: () => connectTo(server),
    handle: (message) => server.handle(message, session),
    executions: (tool) => server.executions(tool),
    loseStore: () => server.loseStore(),
  };
}

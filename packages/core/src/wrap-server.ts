import type {
  Announcement,
  CallOptions,
  CallReport,
  CallRequest,
  Handler,
  IdempotencyAnnouncement,
  InputRound,
  Middleware,
  Outcome,
  Peer,
  ToolResult,
  WrapOptions,
} from "./contract.js";
import { type ErrorAnswer, McpTxError, ReplayedError } from "./errors.js";
import { frozen } from "./frozen.js";
import { extraFor } from "./handler-extra.js";
import { flatten } from "./pipeline.js";
import { reportOf } from "./report.js";
import { ClaimedKeys, createEntry, type Entry, NO_OPTIONS, NOTHING } from "./run.js";
import { localTerminal } from "./terminal.js";
import {
  ANNOUNCEMENT_KEY,
  asBag,
  type Bag,
  type CallMeta,
  inputRoundOf,
  isCallable,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  type Receipt,
  readAnnouncement,
  readCallMeta,
  WIRE_VERSION,
} from "./wire.js";

/** A JSON-RPC request handler of either SDK line, as it stands in the server's table. */
type RequestHandler = (request: ToolsCall, extra: unknown) => Promise<unknown>;

interface ToolsCall {
  readonly method: string;
  readonly params?: Bag | undefined;
}

/** An MCP server of either SDK line: `McpServer`, or the low-level `Server`. */
export interface ServerLike {
  connect(transport: never): Promise<void>;
}

/** Internal view of a low-level server. */
interface LowLevelServer {
  readonly _requestHandlers?: unknown;
  readonly _capabilities?: unknown;
  readonly _serverInfo?: unknown;
  readonly transport?: unknown;
  registerCapabilities?(capabilities: Bag): void;
}

/** A call on the server, with what its terminal needs. */
interface ServerRequest extends CallRequest {
  readonly raw: ToolsCall;
  readonly extra: unknown;
  readonly handler: RequestHandler;
}

const TOOLS_CALL = "tools/call";
const INTERNAL_ERROR = -32_603;

/** A JSON-RPC error: both SDKs send `code` and `data` of whatever a handler throws. */
class WireError extends Error {
  constructor(
    readonly code: number,
    message: string,
    readonly data?: unknown,
  ) {
    super(message);
  }
}

/** What an SDK hands to a handler about its request: v1 `extra`, v2 `ctx`. */
function readExtra(
  extra: unknown,
  params?: Bag,
): {
  readonly signal: AbortSignal | undefined;
  readonly peer: Peer;
  readonly round: InputRound | undefined;
} {
  const bag = asBag(extra);
  const v2 = asBag(bag?.mcpReq);
  const signal = (v2?.signal ?? bag?.signal) as AbortSignal | undefined;
  const sessionId = typeof bag?.sessionId === "string" ? bag.sessionId : undefined;
  const peer = { sessionId, authInfo: bag?.authInfo ?? asBag(bag?.http)?.authInfo };
  const { inputResponses, requestState } = v2 ?? {};
  // SDK v2 gives the state through a function; there it is also for a request that has none.
  const state = typeof requestState === "function" ? requestState() : requestState;
  return { signal, peer, round: inputRoundOf({ inputResponses, requestState: state }) ?? inputRoundOf(params) };
}

/** Runs the server's own handler with what the pipeline made of the request. */
const runHandler: Handler = (ctx) => {
  const { raw, extra, handler } = ctx.call.request as ServerRequest;
  const { request } = ctx.call;
  const changed = ctx.tool !== request.tool || ctx.args !== request.args || ctx.meta !== request.meta;
  const params = changed ? { ...raw.params, name: ctx.tool, arguments: ctx.args, _meta: ctx.meta } : raw.params;
  return handler(changed ? { ...raw, params } : raw, extraFor(ctx, extra)) as Promise<ToolResult>;
};

function callOptionsOf(meta: CallMeta | undefined, signal: AbortSignal | undefined, honoursKeys: boolean): CallOptions {
  if (meta === undefined) return signal === undefined ? NO_OPTIONS : { signal };
  const { transactionId } = meta;
  return {
    ...(signal !== undefined && { signal }),
    ...(transactionId !== undefined && { transactionId }),
    // The client was told what is honoured here: for a tool without it, the key is no mistake of the caller.
    ...(honoursKeys && { idempotencyKey: meta.idempotencyKey, [ClaimedKeys]: true }),
  };
}

function receiptOf(meta: CallMeta, report: CallReport, outcome: Partial<Outcome>): Receipt {
  return {
    requestId: meta.requestId,
    ack: true,
    execution: outcome.execution ?? report.execution,
    duplicate: report.duplicate,
    ...(outcome.code !== undefined && { code: outcome.code }),
    ...(outcome.retryAfterMs !== undefined && { retryAfterMs: outcome.retryAfterMs }),
  };
}

function withReceipt(result: ToolResult, meta: CallMeta | undefined): ToolResult {
  const report = reportOf(result);
  if (meta === undefined || report === undefined) return result;
  const code = result.isError === true ? (report.error?.code ?? "tool_error") : undefined;
  const receipt = receiptOf(meta, report, {
    execution: report.execution,
    code,
    retryAfterMs: report.error?.retryAfterMs,
  });
  return { ...result, _meta: { ...result._meta, [RECEIPT_KEY]: receipt } };
}

/** What a handler threw, which the SDK sends as a JSON-RPC error: for an aware client with a receipt that says that it ran. */
function withErrorReceipt(error: unknown, meta: CallMeta | undefined): unknown {
  const report = reportOf(error);
  const bag = asBag(error);
  const data = bag?.data ?? {};
  if (meta === undefined || report === undefined || asBag(data) === undefined || Array.isArray(data)) return error;
  const code = Number.isSafeInteger(bag?.code) ? (bag?.code as number) : INTERNAL_ERROR;
  const receipt = receiptOf(meta, report, { execution: report.execution });
  return new WireError(code, error instanceof Error ? error.message : "Internal error", {
    ...data,
    [RECEIPT_KEY]: receipt,
  });
}

/** An error answer from a record: it goes out as it did the first time. */
function replayed(error: ReplayedError, { code, message, data }: ErrorAnswer, meta: CallMeta | undefined): WireError {
  const report = reportOf(error);
  const bag = data === undefined ? {} : asBag(data);
  if (meta === undefined || report === undefined || bag === undefined || Array.isArray(data))
    return new WireError(code, message, data);
  const receipt = receiptOf(meta, report, { execution: "executed", code: error.code });
  return new WireError(code, message, { ...bag, [RECEIPT_KEY]: receipt });
}

/** A refusal of ours: a receipt for an aware client, an ordinary tool error for a plain one. */
function refusal(error: McpTxError, meta: CallMeta | undefined): ToolResult {
  if (ReplayedError.isInstance(error) && error.answer !== undefined) throw replayed(error, error.answer, meta);
  const report = reportOf(error);
  if (meta === undefined || report === undefined) {
    return { content: [{ type: "text", text: error.message }], isError: true };
  }
  const { code, retryAfterMs } = error;
  const receipt = receiptOf(meta, report, { execution: report.execution, code, retryAfterMs });
  throw new WireError(RECEIPT_ERROR_CODE, error.message, { [RECEIPT_KEY]: receipt });
}

function announcementOf(idempotency: IdempotencyAnnouncement | undefined): Announcement {
  return idempotency === undefined ? { version: WIRE_VERSION } : { version: WIRE_VERSION, idempotency };
}

/** The capabilities that go to one client: what is announced may depend on who it is. */
function announceTo(result: unknown, announcement: Announcement): unknown {
  const bag = asBag(result);
  const capabilities = asBag(bag?.capabilities);
  if (capabilities === undefined) return result;
  const changed: Record<string, unknown> = { ...capabilities };
  for (const place of ["experimental", "extensions"]) {
    const entries = asBag(changed[place]);
    if (entries !== undefined && ANNOUNCEMENT_KEY in entries)
      changed[place] = { ...entries, [ANNOUNCEMENT_KEY]: announcement };
  }
  return { ...bag, capabilities: changed };
}

/**
 * Puts a pipeline round every `tools/call` of an MCP server, of SDK v1 or v2, high or low level, whatever the order in which
 * tools are registered.
 *
 * @remarks
 * The pipeline sees the raw parameters. Clients that are aware of mcp-tx get receipts, all others plain MCP. What the server's
 * own handlers return or throw goes out as the SDK sends it; of an error inside the pipeline no text leaves.
 *
 * @returns the server it was given
 * @throws TypeError for something that is no MCP server, and for a server that is connected: capabilities are fixed by then
 */
export function wrapServer<S extends ServerLike>(
  server: S,
  middleware: Middleware | readonly Middleware[],
  options?: WrapOptions,
): S {
  const low = (asBag(server)?.server ?? server) as LowLevelServer;
  const handlers = low?._requestHandlers;
  if (!(handlers instanceof Map)) {
    throw new TypeError("wrapServer: server must be an McpServer or Server of the MCP SDK, v1 or v2");
  }
  if (low.transport !== undefined) throw new TypeError("wrapServer: wrap the server before it connects");
  const layers = flatten(middleware, "wrapServer");
  const takesKeys = layers.some((layer) => layer.optionKeys?.includes("idempotencyKey") === true);
  const announces = layers.find((layer) => layer.announces !== undefined)?.announces;
  const honoursKeys = (peer: Peer): boolean => takesKeys && (announces === undefined || announces(peer) !== undefined);
  const enter = createEntry({
    owner: "wrapServer",
    middleware: layers,
    terminal: localTerminal(runHandler),
    side: "server",
    peer: { server: nameOf(low) },
    options,
  });
  const known = announces === undefined ? readAnnouncement(low._capabilities)?.idempotency : announces(NO_PEER);
  const announcement = { [ANNOUNCEMENT_KEY]: announcementOf(known) };
  low.registerCapabilities?.({ experimental: announcement, extensions: announcement });
  intercept(handlers, TOOLS_CALL, (handler) => wrapHandler(handler, enter, honoursKeys));
  if (announces !== undefined) {
    const greet = (handler: RequestHandler): RequestHandler => {
      return async (raw, extra) =>
        announceTo(await handler(raw, extra), announcementOf(announces(readExtra(extra).peer)));
    };
    for (const method of GREETINGS) intercept(handlers, method, greet);
  }
  return server;
}

const NO_PEER: Peer = frozen({});
/** The requests whose answer holds the server's capabilities. */
const GREETINGS = ["initialize", "server/discover"];

function nameOf(server: LowLevelServer): string | undefined {
  const name = asBag(server._serverInfo)?.name;
  return typeof name === "string" ? name : undefined;
}

/** Replaces one entry of a server's handler table, the present one and every later one. */
function intercept(
  handlers: Map<string, unknown>,
  method: string,
  wrap: (handler: RequestHandler) => RequestHandler,
): void {
  const { set } = handlers;
  /** Past the `set` of an earlier wrapping, which must not wrap what is round it. */
  const wrapPresent = (): void => {
    const present = handlers.get(method);
    if (typeof present === "function") Map.prototype.set.call(handlers, method, wrap(present as RequestHandler));
  };
  wrapPresent();
  handlers.set = (name, handler) => {
    set.call(handlers, name, handler);
    if (name === method) wrapPresent();
    return handlers;
  };
}

/** Stands for no error of the handler: anything else may be thrown, `undefined` too. */
const NOTHING_THROWN: unique symbol = Symbol("nothing thrown");

function wrapHandler(handler: RequestHandler, enter: Entry, honoursKeys: (peer: Peer) => boolean): RequestHandler {
  return async (raw, extra) => {
    const { params } = raw;
    // Malformed: the SDK's own answer is the right one.
    if (!isCallable(params)) return handler(raw, extra);
    const meta = readCallMeta(params._meta);
    const { signal, peer, round } = readExtra(extra, params);
    let thrown: unknown = NOTHING_THROWN;
    const request: ServerRequest = {
      tool: params.name,
      args: params.arguments ?? NOTHING,
      meta: params._meta ?? NOTHING,
      options: callOptionsOf(meta, signal, honoursKeys(peer)),
      raw,
      extra,
      peer,
      round,
      handler: async (changed, given) => {
        try {
          return await handler(changed, given);
        } catch (error) {
          thrown = error;
          throw error;
        }
      },
    };
    try {
      return withReceipt(await enter(request), meta);
    } catch (error) {
      if (thrown === error) throw withErrorReceipt(error, meta);
      if (McpTxError.isInstance(error)) return refusal(error, meta);
      // To an aborted request the SDK sends no answer.
      throw signal?.aborted === true ? error : new WireError(INTERNAL_ERROR, "Internal error");
    }
  };
}

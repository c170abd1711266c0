import type { CallRequest } from "./contract.js";
import { McpTxError, ReplayedError } from "./errors.js";
import { reportOf } from "./report.js";
import { asBag, type Bag, type Message, RECEIPT_ERROR_CODE, RECEIPT_KEY, type Receipt, readCallMeta } from "./wire.js";

/** A JSON-RPC request id. */
export type Id = string | number;

/** A call that the host may cancel, and what it said when it did. */
export interface ActiveCall {
  readonly controller: AbortController;
  cancellation: Message["params"];
}

/** One `tools/call` of the host. */
export interface HostRequest extends CallRequest {
  readonly message: Message;
  readonly id: Id;
  readonly sendOptions: Bag | undefined;
  readonly active: ActiveCall;
  /** Attempts made for it; the first one keeps the host's id, so that an empty pipeline changes nothing on the wire. */
  attempts: number;
  /** The last answer of the server, and what its transport said about it. */
  answer: Message | undefined;
  extra: unknown;
  /** How often the transport had closed when the call came. */
  readonly closes: number;
}

/** A request of ours that waits for its answer. */
export interface Waiting {
  settle(message: Message, extra: unknown): void;
  close(): void;
}

/** How many ids of abandoned attempts are remembered, to drop their late answers. */
const MAX_REMEMBERED = 10_000;

/** A set that forgets its oldest entries, so that it does not grow for ever. */
export class LastingSet extends Set<string> {
  override add(entry: string): this {
    super.add(entry);
    const [oldest] = this;
    if (this.size > MAX_REMEMBERED && oldest !== undefined) this.delete(oldest);
    return this;
  }
}

/** What a JSON-RPC answer holds. */
export type Content = Pick<Message, "result" | "error">;

/** A JSON-RPC answer without a result, kept as it came so that the host gets just that: an error, or something malformed. */
export class JsonRpcError extends Error {
  readonly code: unknown;
  readonly data: unknown;
  readonly content: Content;

  constructor({ result, error }: Content) {
    super(String(error?.message));
    this.code = error?.code;
    this.data = error?.data;
    this.content = error === undefined ? { result } : { error, ...(result !== undefined && { result }) };
  }
}

/** The transport failed; the host hears of it as it would without us. */
export class SendFailure extends Error {
  constructor(override readonly cause: unknown) {
    super("send failed");
  }
}

/** What the stateless protocol era wants in the `_meta` of every message: the call's own. */
export function envelopeOf(meta: Bag): { readonly _meta?: Bag } {
  const envelope = Object.entries(meta).filter(([key]) => key.startsWith("io.modelcontextprotocol/"));
  return envelope.length === 0 ? {} : { _meta: Object.fromEntries(envelope) };
}

/**
 * A result as its host gets it: one that said nothing of us in its request gets plain MCP, without the server's receipt. Some
 * hosts show a model whatever metadata a result has.
 */
export function forHost(content: Content, { meta }: HostRequest): Content {
  const result = asBag(content.result);
  const own = asBag(result?._meta);
  if (own === undefined || !(RECEIPT_KEY in own) || readCallMeta(meta) !== undefined) return content;
  const { [RECEIPT_KEY]: _receipt, ...rest } = own;
  const { _meta, ...bare } = { ...result };
  return { result: Object.keys(rest).length === 0 ? bare : { ...bare, _meta: rest } };
}

const INTERNAL_ERROR = -32_603;

/**
 * What the host hears of what a call threw.
 *
 * @throws what the transport's `send` threw
 */
export function contentOf(error: unknown): Content {
  if (error instanceof SendFailure) throw error.cause;
  if (error instanceof JsonRpcError) return error.content;
  // A recorded failure reaches the host as it did the first time.
  if (ReplayedError.isInstance(error) && error.answer !== undefined) return { error: error.answer };
  return { error: errorFor(error) };
}

/** In words that a model can act on. */
function errorFor(error: unknown): NonNullable<Message["error"]> {
  if (!McpTxError.isInstance(error))
    return { code: INTERNAL_ERROR, message: error instanceof Error ? error.message : String(error) };
  const report = reportOf(error);
  const { code, retryAfterMs } = error;
  const receipt: Receipt = {
    requestId: report?.requestId ?? "",
    ack: report?.ack ?? false,
    execution: report?.execution ?? error.outcome.execution,
    duplicate: false,
    code,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
  return { code: RECEIPT_ERROR_CODE, message: error.message, data: { [RECEIPT_KEY]: receipt } };
}

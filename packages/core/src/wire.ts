import type { Announcement, Execution, IdempotencyAnnouncement, InputRound, OutcomeCode } from "./contract.js";

/** Under `capabilities.experimental` in the handshake eras, `capabilities.extensions` in the stateless one. */
export const ANNOUNCEMENT_KEY = "dev.mcp-tx/reliability";
/** `_meta` key of a request to a server that announced. */
export const CALL_META_KEY = "dev.mcp-tx/call";
/** `_meta` key of a result, and key of an error's `data`. */
export const RECEIPT_KEY = "dev.mcp-tx/receipt";
/** `_meta` key of a value that is no ToolResult by itself and travels in `structuredContent`. */
export const VALUE_KEY = "dev.mcp-tx/value";
/** JSON-RPC code of our refusals. Receivers must not read meaning into -32000…-32019, so ours lies outside -32768…-32000. */
export const RECEIPT_ERROR_CODE = -31_001;
/** Version of the wire contract. */
export const WIRE_VERSION = 1;

/** A JSON-RPC message, as far as it is looked at here. */
export interface Message {
  readonly jsonrpc?: unknown;
  readonly id?: string | number | null | undefined;
  readonly method?: string | undefined;
  readonly params?: Readonly<Record<PropertyKey, unknown>> | undefined;
  readonly result?: unknown;
  readonly error?: { readonly code?: unknown; readonly message?: unknown; readonly data?: unknown } | undefined;
}

/** The parameters of a `tools/call` that a pipeline can take. */
export interface CallParams extends Bag {
  readonly name: string;
  readonly arguments?: Bag | undefined;
  readonly _meta?: Bag | undefined;
}

function isBagOrAbsent(value: unknown): boolean {
  return value === undefined || (asBag(value) !== undefined && !Array.isArray(value));
}

/** Whether a pipeline can take the call. To any other the server, or its SDK, has the right answer. */
export function isCallable(params: Bag | undefined): params is CallParams {
  if (typeof params?.name !== "string" || params.name === "") return false;
  return isBagOrAbsent(params.arguments) && isBagOrAbsent(params._meta);
}

/** The answer to an `input_required` result that a request carries, wherever its SDK puts the two fields. */
export function inputRoundOf(carrier: Bag | undefined): InputRound | undefined {
  const { inputResponses, requestState } = carrier ?? {};
  return inputResponses === undefined && requestState === undefined ? undefined : { inputResponses, requestState };
}

/** What a client tells an announcing server about a request. */
export interface CallMeta {
  readonly requestId: string;
  readonly idempotencyKey: string;
  readonly transactionId?: string | undefined;
  readonly attempt: number;
  readonly epoch: number;
  /** The store that unresolved attempts were sent to: a server with another one refuses without executing. */
  readonly expectStore?: string | undefined;
}

/** What an announcing server tells about a request. */
export interface Receipt {
  readonly requestId: string;
  readonly ack: boolean;
  readonly execution: Execution;
  readonly duplicate: boolean;
  readonly code?: OutcomeCode | undefined;
  readonly retryAfterMs?: number | undefined;
}

/** An object whose keys can be read. */
export type Bag = Readonly<Record<string, unknown>>;

/** Narrows to an object whose keys can be read. */
export function asBag(value: unknown): Bag | undefined {
  return typeof value === "object" && value !== null ? (value as Bag) : undefined;
}

const CODES: readonly string[] = [
  "circuit_open",
  "rate_limited",
  "queue_full",
  "deadline",
  "attempt_timeout",
  "cancelled",
  "outcome_unknown",
  "idempotency_conflict",
  "idempotency_in_progress",
  "store_unavailable",
  "store_mismatch",
  "tool_error",
  "protocol_error",
  "transport_error",
  "session_expired",
] satisfies readonly OutcomeCode[];

function isExecution(value: unknown): value is Execution {
  return value === "executed" || value === "not-executed" || value === "unknown";
}

/** A usable number of milliseconds, else `undefined`: hints come from strangers. */
export function hintMs(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** Reads a receipt from a result's `_meta` or an error's `data`. A malformed one counts as none. */
export function readReceipt(carrier: unknown): Receipt | undefined {
  const receipt = asBag(asBag(carrier)?.[RECEIPT_KEY]);
  if (receipt === undefined || !isExecution(receipt.execution)) return undefined;
  const code =
    typeof receipt.code === "string" && CODES.includes(receipt.code) ? (receipt.code as OutcomeCode) : undefined;
  return {
    requestId: typeof receipt.requestId === "string" ? receipt.requestId : "",
    ack: receipt.ack === true,
    execution: receipt.execution,
    duplicate: receipt.duplicate === true,
    code,
    retryAfterMs: hintMs(receipt.retryAfterMs),
  };
}

function nonEmpty(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function countFrom(first: number, value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= first ? value : first;
}

/** Reads what the client said about a request; `undefined` for a plain client or a malformed entry. */
export function readCallMeta(meta: unknown): CallMeta | undefined {
  const call = asBag(asBag(meta)?.[CALL_META_KEY]);
  const requestId = nonEmpty(call?.requestId);
  const idempotencyKey = nonEmpty(call?.idempotencyKey);
  if (call === undefined || requestId === undefined || idempotencyKey === undefined) return undefined;
  return {
    requestId,
    idempotencyKey,
    transactionId: nonEmpty(call.transactionId),
    attempt: countFrom(1, call.attempt),
    epoch: countFrom(0, call.epoch),
    expectStore: nonEmpty(call.expectStore),
  };
}

function readStore(value: unknown): IdempotencyAnnouncement | undefined {
  const store = asBag(value);
  const windowMs = hintMs(store?.windowMs);
  if (store === undefined || typeof store.storeId !== "string" || store.storeId === "" || windowMs === undefined)
    return undefined;
  return { storeId: store.storeId, windowMs, durable: store.durable === true };
}

/** Reads a server's announcement from its capabilities; `undefined` for a plain server or a version we do not know. */
export function readAnnouncement(capabilities: unknown): Announcement | undefined {
  const bag = asBag(capabilities);
  const entry =
    asBag(asBag(bag?.experimental)?.[ANNOUNCEMENT_KEY]) ?? asBag(asBag(bag?.extensions)?.[ANNOUNCEMENT_KEY]);
  if (entry === undefined || entry.version !== WIRE_VERSION) return undefined;
  const idempotency = readStore(entry.idempotency);
  return idempotency === undefined ? { version: WIRE_VERSION } : { version: WIRE_VERSION, idempotency };
}

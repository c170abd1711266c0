import { RECEIPT_ERROR_CODE, RECEIPT_KEY, type Receipt } from "@mcp-tx/core";

/** An object whose keys can be read. */
export type Bag = Readonly<Record<string, unknown>>;
/** A JSON-RPC request id. */
export type Id = string | number;

/** A JSON-RPC message, as far as a proxy looks at it. */
export interface Message {
  readonly jsonrpc?: unknown;
  readonly id?: Id | null | undefined;
  readonly method?: string | undefined;
  readonly params?: Bag | undefined;
  readonly result?: unknown;
  readonly error?: { readonly code?: unknown; readonly message?: unknown; readonly data?: unknown } | undefined;
}

/** A message that wants an answer. */
export interface Request extends Message {
  readonly id: Id;
  readonly method: string;
}

/** Narrows to an object whose keys can be read. */
export function asBag(value: unknown): Bag | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Bag) : undefined;
}

export function isRequest(message: Message): message is Request {
  return message.method !== undefined && message.id !== undefined && message.id !== null;
}

export function isAnswer(message: Message): boolean {
  return message.method === undefined && message.id !== undefined;
}

/** The requests that open a session, in either protocol era. */
export function isOpening({ method }: Message): boolean {
  return method === "initialize" || method === "server/discover";
}

const INTERNAL_ERROR = -32_603;

/** An error in the place of an answer, for a request that is no tool call. */
export function errorAnswer(id: Id, message: string, code: number = INTERNAL_ERROR): Message {
  return { jsonrpc: "2.0", id, error: { code, message } };
}

/** What both SDKs call `ConnectionClosed`. */
const CONNECTION_CLOSED = -32_000;

/** The answer to a request that the server took with it, for a host that would wait for it in vain. */
export function lostAnswer({ id, method }: Request, isToolCall: boolean): Message {
  if (!isToolCall)
    return errorAnswer(id, `The connection to the server was lost before it answered ${method}.`, CONNECTION_CLOSED);
  // The core reads evidence from a receipt: handed over, not acknowledged, nobody knows.
  const receipt: Receipt = {
    requestId: "",
    ack: false,
    execution: "unknown",
    duplicate: false,
    code: "transport_error",
  };
  const message = "The connection to the server was lost before it answered; it is unknown whether the tool ran.";
  return { jsonrpc: "2.0", id, error: { code: RECEIPT_ERROR_CODE, message, data: { [RECEIPT_KEY]: receipt } } };
}

/** The request is certain not to have left; the core knows the code. */
export function notConnected(reason: string): Error {
  return Object.assign(new Error(reason), { code: "NOT_CONNECTED" });
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

import { classifyResult, type HttpEvidence, type WireAnswer, type WireEvidence } from "./classify.js";
import type { Announcement, Attempt, Call, CallContext, Outcome, ToolResult } from "./contract.js";
import { expectResponse } from "./http-registry.js";
import {
  asBag,
  type CallMeta,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  type Receipt,
  readCallMeta,
  readReceipt,
} from "./wire.js";

/** A JSON-RPC message, as far as it is looked at here. */
export interface Message {
  readonly jsonrpc?: unknown;
  readonly id?: string | number | null | undefined;
  readonly method?: string | undefined;
  readonly params?: Readonly<Record<PropertyKey, unknown>> | undefined;
  readonly result?: unknown;
  readonly error?: { readonly code?: unknown; readonly message?: unknown; readonly data?: unknown } | undefined;
}

/** The part of an MCP transport, of either SDK line, that is used here. */
export interface TransportLike {
  send(message: never, options?: never): Promise<void>;
  onmessage?: ((message: never, extra?: never) => void) | undefined;
  onclose?: (() => void) | undefined;
  readonly sessionId?: string | undefined;
}

/** Structural view of a transport for patching: parameters open, so that either SDK's messages pass. */
interface Patched {
  send(message: Message, options?: unknown): Promise<void>;
  onmessage?: ((message: Message, extra?: unknown) => void) | undefined;
  onclose?: (() => void) | undefined;
  readonly sessionId?: string | undefined;
}

/**
 * Enumerable symbol on `params` by which a request is recognised at the transport: it survives the spreads of both SDKs and
 * never reaches the JSON.
 */
export const WireKey: unique symbol = Symbol("@mcp-tx/core.wire");

/** What goes with a hand-over: the key and the store it is meant for. */
export interface Sent {
  readonly key?: string | undefined;
  readonly storeId?: string | undefined;
}

/** The evidence of one attempt, filled in by the watched transport. */
export class Wire implements WireEvidence {
  sent = false;
  answer: WireAnswer | undefined;
  acknowledged = false;
  sendError: unknown;
  closed = false;
  session = false;
  http: HttpEvidence | undefined;

  constructor(
    readonly attempt: Attempt,
    readonly handOver: Sent,
  ) {}

  /** The request leaves, possibly once more: an SDK may send it again after authentication or an input round. */
  leave(session: boolean): void {
    this.sent = true;
    this.session = session;
    this.answer = undefined;
    this.sendError = undefined;
    this.http = undefined;
    this.attempt.handOver(this.handOver);
  }

  arrive(message: Message): void {
    const { error } = message;
    this.answer = error === undefined ? { kind: "result" } : { kind: "error", code: error.code, data: error.data };
    this.acknowledged = asBag(asBag(error?.data)?.[RECEIPT_KEY])?.ack !== false;
    this.attempt.release();
  }

  fail(error: unknown): void {
    this.sendError = error;
    this.attempt.release();
  }

  close(): void {
    this.closed = true;
    this.attempt.release();
  }

  /** Ends the attempt with the result that arrived. */
  endWith(result: ToolResult, { call }: CallContext): void {
    noteReceipt(call, result._meta);
    this.attempt.end(classifyResult(result, call.runtime.wallNow()), result, true);
    this.attempt.release();
  }

  /** Ends the attempt with what was thrown. One that was sent is released when its exchange is over. */
  endWithError(error: unknown, outcome: Outcome, { call }: CallContext): void {
    if (this.answer?.kind === "error") noteReceipt(call, this.answer.data);
    this.attempt.end(outcome, error, this.acknowledged);
    if (!this.sent) this.attempt.release();
  }
}

/** Takes over what a receipt says beside the outcome: whether the answer came from a record. */
function noteReceipt(call: Call, carrier: unknown): void {
  const receipt = readReceipt(carrier);
  if (receipt !== undefined) call.note({ duplicate: receipt.duplicate });
}

/** A transport under watch. */
export interface Watch {
  /** Called when the server says that its tools changed. */
  readonly listChanged: Set<() => void>;
}

const watches = new WeakMap<object, Watch>();

/** JSON-RPC error that says: the exchange ended and nobody knows what became of the request. */
export function lostAnswer(id: string | number): Message {
  const receipt: Receipt = {
    requestId: "",
    ack: false,
    execution: "unknown",
    duplicate: false,
    code: "transport_error",
  };
  return {
    jsonrpc: "2.0",
    id,
    error: {
      code: RECEIPT_ERROR_CODE,
      message: "The response ended without an answer; it is unknown whether the tool ran.",
      data: { [RECEIPT_KEY]: receipt },
    },
  };
}

/** Starts watching a transport; watching it again changes nothing. */
export function watch(transport: object): Watch {
  const known = watches.get(transport);
  if (known !== undefined) return known;
  const patched = transport as Patched;
  const pending = new Map<string, Wire>();
  const state: Watch = { listChanged: new Set() };
  watches.set(transport, state);
  let closed = false;

  const { send, onmessage, onclose } = patched;
  patched.send = (message, options) => {
    const wire = message?.method === "tools/call" ? message.params?.[WireKey] : undefined;
    if (message?.method === "initialize" || message?.method === "server/discover") closed = false;
    if (!(wire instanceof Wire) || message.id === undefined || message.id === null) {
      return send.call(patched, message, options);
    }
    return dispatch(message, message.id, wire, options);
  };

  async function dispatch(message: Message, id: string | number, wire: Wire, options: unknown): Promise<void> {
    // A closed transport that refuses the message has not let it out.
    wire.closed = closed;
    if (!closed) wire.leave(patched.sessionId !== undefined);
    pending.set(String(id), wire);
    const responded = expectResponse(id, message, wire);
    try {
      await send.call(
        patched,
        message,
        withStreamEnd(patched, options, () => abandon(id)),
      );
      if (!wire.sent) wire.leave(patched.sessionId !== undefined);
    } catch (error) {
      pending.delete(String(id));
      const answer = answerInBody(error, id);
      if (answer === undefined) wire.fail(error);
      else wire.arrive(answer);
      throw error;
    } finally {
      responded();
    }
  }

  /** The stream of a request ended without its answer: settle the request instead of letting it run into its timeout. */
  function abandon(id: string | number): void {
    const wire = pending.get(String(id));
    if (wire === undefined) return;
    pending.delete(String(id));
    wire.close();
    onmessage?.call(patched, lostAnswer(id));
  }

  patched.onmessage = (message, extra) => {
    closed = false;
    if (message?.method === undefined && message?.id !== undefined) {
      const key = String(message.id);
      pending.get(key)?.arrive(message);
      pending.delete(key);
    }
    if (message?.method === "notifications/tools/list_changed") for (const listener of state.listChanged) listener();
    onmessage?.call(patched, message, extra);
  };
  patched.onclose = () => {
    closed = true;
    for (const wire of pending.values()) wire.close();
    pending.clear();
    onclose?.call(patched);
  };
  return state;
}

/** SDK v2's HTTP transport tells when a request's stream has ended, if it is asked to. */
function withStreamEnd(transport: object, options: unknown, ended: () => void): unknown {
  if (!("hasPerRequestStream" in transport)) return options;
  const given = asBag(options);
  const theirs = given?.onRequestStreamEnd;
  return {
    ...given,
    onRequestStreamEnd: () => {
      if (typeof theirs === "function") theirs();
      ended();
    },
  };
}

/** An HTTP error status may carry a JSON-RPC answer to this very request: then the server did handle it. */
function answerInBody(error: unknown, id: string | number): Message | undefined {
  const bag = asBag(error);
  const text = asBag(bag?.data)?.text ?? bag?.message;
  if (typeof text !== "string") return undefined;
  const start = text.indexOf("{");
  if (start < 0) return undefined;
  try {
    const message: Message = JSON.parse(text.slice(start));
    return message.jsonrpc === "2.0" && message.id === id && typeof message.error === "object" ? message : undefined;
  } catch {
    return undefined;
  }
}

/** What an attempt tells an announcing server, and what is remembered of it; nothing for a plain server. */
export function callMetaOf(
  ctx: CallContext,
  announcement: Announcement | undefined,
): { readonly sent: Sent; readonly callMeta: CallMeta | undefined } {
  if (announcement === undefined) return PLAIN;
  const { call, options } = ctx;
  // Another pipeline round this one has named the call already: under a name of our own each of its attempts would be new.
  const outer = readCallMeta(ctx.meta);
  const idempotencyKey = options.idempotencyKey ?? outer?.idempotencyKey ?? call.id;
  // The store that has to recognise this request, because an unresolved one went there.
  const earlier = call.attempts.find(
    ({ storeId, outcome }) => storeId !== undefined && (outcome === undefined || outcome.execution === "unknown"),
  );
  const expectStore = earlier?.storeId ?? outer?.expectStore;
  const transactionId = options.transactionId ?? outer?.transactionId;
  const callMeta: CallMeta = {
    requestId: call.id,
    idempotencyKey,
    ...(transactionId !== undefined && { transactionId }),
    attempt: ctx.attempt,
    epoch: (outer?.epoch ?? 0) + call.epoch,
    ...(expectStore !== undefined && { expectStore }),
  };
  const store = announcement.idempotency;
  return { sent: store === undefined ? NOTHING_SENT : { key: idempotencyKey, storeId: store.storeId }, callMeta };
}

const NOTHING_SENT: Sent = Object.freeze({});
const PLAIN = Object.freeze({ sent: NOTHING_SENT, callMeta: undefined });

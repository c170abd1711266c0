import { classifyResult, type HttpEvidence, type WireAnswer, type WireEvidence } from "./classify.js";
import type { Announcement, Attempt, Call, CallContext, Outcome, ToolResult } from "./contract.js";
import { frozen } from "./frozen.js";
import { SUCCESS } from "./outcome.js";
import { admitDispatch, callOf, type Limit, limitOf } from "./terminal.js";
import {
  asBag,
  type Bag,
  type CallMeta,
  type Message,
  RECEIPT_KEY,
  type Receipt,
  readCallMeta,
  readReceipt,
} from "./wire.js";

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
  /** Called when the server asks for something before it goes on. */
  onInputRequired: (() => void) | undefined;
  #isBetweenRounds = false;

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
    this.#isBetweenRounds = false;
    this.attempt.handOver(this.handOver);
  }

  arrive(message: Message): void {
    const { error } = message;
    // An error that is no object, such as `null`, still comes in the place of an answer.
    this.answer = error === undefined ? { kind: "result" } : { kind: "error", code: error?.code, data: error?.data };
    this.acknowledged = asBag(asBag(error?.data)?.[RECEIPT_KEY])?.ack !== false;
    this.#isBetweenRounds = asBag(message.result)?.resultType === "input_required";
    // The next round is the same work: whoever waits for its end waits on.
    if (this.#isBetweenRounds) this.onInputRequired?.();
    else this.attempt.release();
  }

  /** The attempt is given up after a round: what was answered so far is not its answer. */
  interrupt(): void {
    this.answer = undefined;
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
    // The clock is read for failures alone: only what they hint at may be a date.
    const outcome = result.isError === true ? classifyResult(result, call.runtime.wallNow()) : SUCCESS;
    this.attempt.end(outcome, result, true);
    this.attempt.release();
  }

  /** Ends the attempt with what was thrown. One that was sent is released when its exchange is over. */
  endWithError(error: unknown, outcome: Outcome, { call }: CallContext): void {
    // What a record said of an earlier attempt is not how the call ended; an aborted one, such as a hedge's loser, ends nothing.
    if (outcome.status !== "cancelled")
      call.note({ duplicate: this.answer?.kind === "error" && isReplay(readReceipt(this.answer.data)) });
    this.attempt.end(outcome, error, this.acknowledged);
    if (!this.sent || this.#isBetweenRounds) this.attempt.release();
  }
}

/** A copy of `params` that the watched transport recognises. */
export function markedParams(params: Bag | undefined, wire: Wire): Record<PropertyKey, unknown> {
  // The symbol first: adding it to a copy costs 0.4 µs on Node 20. Then once more, because a pipeline round this one may have
  // marked what was given.
  const marked: Record<PropertyKey, unknown> = { [WireKey]: wire, ...params };
  marked[WireKey] = wire;
  return marked;
}

/** Takes over what a receipt says beside the outcome: whether the answer came from a record. */
function noteReceipt(call: Call, carrier: unknown): void {
  const receipt = readReceipt(carrier);
  if (receipt !== undefined) call.note({ duplicate: isReplay(receipt) });
}

/** Whether an answer came from a record: only of what was executed is there one. */
function isReplay(receipt: Receipt | undefined): boolean {
  return receipt?.duplicate === true && receipt.execution === "executed";
}

/** What an attempt tells an announcing server, and what is remembered of it; nothing for a plain server. */
function callMetaOf(
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

const NOTHING_SENT: Sent = frozen({});
const PLAIN = frozen({ sent: NOTHING_SENT, callMeta: undefined });

/** An attempt over the wire that is about to be dispatched. */
export interface OpenAttempt {
  readonly wire: Wire;
  readonly callMeta: CallMeta | undefined;
  readonly limit: Limit | undefined;
}

/**
 * Asks the gates and opens an attempt over the wire.
 *
 * @throws what keeps the attempt from starting
 */
export function openAttempt(ctx: CallContext, announcement: Announcement | undefined, asksGates = true): OpenAttempt {
  const call = callOf(ctx);
  const limit = limitOf(ctx);
  if (asksGates) admitDispatch(ctx, limit);
  const { sent, callMeta } = callMetaOf(ctx, announcement);
  return { wire: new Wire(call.beginAttempt(ctx), sent), callMeta, limit };
}

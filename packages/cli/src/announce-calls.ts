import {
  CALL_META_KEY,
  type CallContext,
  type CallMeta,
  type CallReport,
  type Handler,
  McpTxError,
  type Middleware,
  readCallMeta,
  type ToolResult,
} from "@mcp-tx/core";
import { StoreMismatchError } from "@mcp-tx/idempotency";
import { errorWithReceipt, plainFailure, resultWithReceipt } from "./announce-answers.js";
import { asBag, type Id, type Message, type Request } from "./proxy-messages.js";

const PROTOCOL_VERSION_KEY = "io.modelcontextprotocol/protocolVersion";

/** A tool call of the host that has not been answered. */
interface HostCall {
  /** What an aware host says about it. */
  readonly meta: CallMeta | undefined;
  /** Whether it was made in the stateless protocol era, in which each request says so. */
  readonly isStateless: boolean;
  report: CallReport | undefined;
}

const LOST_CALLS = {
  "not-executed": (tool: string) => `Tool "${tool}" was not called: its server could not be reached. Try again later.`,
  unknown: (tool: string) =>
    `It is unknown whether tool "${tool}" ran: the connection to its server was lost. Check what it did before calling it again.`,
  // An attempt had failed in the tool before another one was lost.
  executed: (tool: string) =>
    `Tool "${tool}" ran and failed, and was called again: then the connection to its server was lost. Check what it did before calling it again.`,
};

/** The connection failed under a call. In words for a model, which a transport does not have. */
class CallLostError extends McpTxError {
  override readonly name = "CallLostError";
  constructor({ tool, call }: CallContext, cause: unknown) {
    const { execution } = call;
    const what = LOST_CALLS[execution](tool);
    const { transient, retryAfterMs, code = "transport_error", status } = call.outcomeOf(cause, true);
    super(what, code, { cause, outcome: { status, execution, transient, retryAfterMs } });
  }
}

/** What a transport fails with, in the words of outcomes. An answer of the server may say the same, and is its own. */
const CONNECTION_CODES: readonly unknown[] = ["transport_error", "session_expired", "rate_limited"];

function translated(error: unknown, ctx: CallContext): unknown {
  if (McpTxError.isInstance(error) || ctx.signal?.aborted === true) return error;
  // The core gives a server's answer, as it came, as the `content` of what is thrown.
  if (asBag(error)?.content !== undefined) return error;
  const { code } = ctx.call.outcomeOf(error, true);
  return CONNECTION_CODES.includes(code) ? new CallLostError(ctx, error) : error;
}

/**
 * Ends the wire contract between an aware host and the proxy: what the host says about a call becomes its options, and what became
 * of it goes back as a receipt. A plain host gets plain results.
 */
export class HostCalls {
  readonly #calls = new Map<Id, HostCall>();
  /** Aware calls by the `_meta` that they came with, and by the id that the pipeline gave them. */
  readonly #byMeta = new WeakMap<object, HostCall>();
  readonly #byCall = new Map<string, HostCall>();
  readonly #storeId: string | undefined;
  #whenIdle: (() => void) | undefined;

  /** @param storeId - of the store that the proxy announces */
  constructor(storeId: string | undefined) {
    this.#storeId = storeId;
  }

  get size(): number {
    return this.#calls.size;
  }

  /** Resolves when no call is under way. */
  idle(): Promise<void> {
    if (this.#calls.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  begin({ id, params }: Request): void {
    const said = asBag(params?._meta);
    const isStateless = said !== undefined && PROTOCOL_VERSION_KEY in said;
    const call: HostCall = { meta: readCallMeta(said), isStateless, report: undefined };
    this.#calls.set(id, call);
    if (said !== undefined && call.meta !== undefined) this.#byMeta.set(said, call);
  }

  /** A cancelled call gets no answer. */
  cancel(id: unknown): void {
    this.#end(id as Id);
  }

  #end(id: Id): HostCall | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (this.#calls.size === 0) {
      this.#whenIdle?.();
      this.#whenIdle = undefined;
    }
    return call;
  }

  /** Outside all other middleware. */
  get middleware(): Middleware {
    const enter = (ctx: CallContext, next: Handler): Promise<ToolResult> => this.#enter(ctx, next);
    return async function hostCall(ctx, next) {
      try {
        return await enter(ctx, next);
      } catch (error) {
        throw translated(error, ctx);
      }
    };
  }

  #enter(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const call = this.#byMeta.get(ctx.call.request.meta);
    if (call?.meta === undefined) return next(ctx);
    this.#byCall.set(ctx.call.id, call);
    const { idempotencyKey, transactionId, expectStore, ...rest } = call.meta;
    if (expectStore !== undefined && expectStore !== this.#storeId) throw new StoreMismatchError(ctx.tool);
    if (transactionId !== undefined) ctx.call.note({ transactionId });
    // The epoch goes on with it; the store that the host relies on is ours, not the server's.
    const meta = { ...ctx.meta, [CALL_META_KEY]: { ...rest, idempotencyKey, transactionId } };
    return next({ ...ctx, meta, options: { ...ctx.options, idempotencyKey, transactionId } });
  }

  /** Takes the report of every call that has ended. */
  readonly onReport = (report: CallReport): void => {
    const call = this.#byCall.get(report.requestId);
    this.#byCall.delete(report.requestId);
    if (call !== undefined) call.report = report;
  };

  /** The answer as its host gets it; anything that answers no tool call as it is. */
  present(answer: Message): Message {
    const call = answer.id === undefined || answer.id === null ? undefined : this.#end(answer.id);
    if (call === undefined) return answer;
    const { meta, report, isStateless } = call;
    if (meta === undefined || report === undefined)
      return answer.error === undefined ? answer : plainFailure(answer, isStateless);
    const shape = answer.error === undefined ? resultWithReceipt : errorWithReceipt;
    return shape(answer, meta, report);
  }
}

import {
  type Call,
  type CallContext,
  type Handler,
  McpTxError,
  type Middleware,
  type Outcome,
  OutcomeUnknownError,
  type PastAttempt,
  readReceipt,
  replayGate,
  storeCovers,
  type ToolResult,
  withGate,
  withInnermost,
} from "@mcp-tx/core";
import type { Arguments } from "./definition.js";
import type { UnitMemory } from "./port.js";

const LEFT_UNKNOWN: Outcome = { status: "failure", execution: "unknown", transient: true, code: "outcome_unknown" };

/** What one call of a unit is about. */
export interface SagaCallTerms {
  readonly saga: string;
  readonly id: string;
  readonly step: string;
  readonly phase: "action" | "compensation";
  readonly key: string;
  readonly args: Arguments;
  readonly epoch: number;
  /** Calls in all, this one included. */
  readonly calls: number;
  readonly past: readonly PastAttempt[];
  readonly replay: "safe" | "always" | "never";
  readonly memory: UnitMemory;
  /** The saga does not want the step any more: what did not happen need not happen. */
  readonly isUnwanted: boolean;
}

declare module "@mcp-tx/core" {
  interface CallOptions {
    /** Makes the call a part of a saga; made by a saga runner or by `compensating`. */
    readonly saga?: SagaCall | undefined;
  }
  interface CallEvents {
    "saga.step": {
      readonly saga: string;
      readonly id: string;
      readonly step: string;
      readonly phase: "action" | "compensation";
      readonly tool: string;
    };
  }
}

/** What an error carries. Anything can be thrown, so that even looking may throw. */
function dataOf(error: unknown): unknown {
  try {
    return (error as { readonly data?: unknown } | null | undefined)?.data;
  } catch {
    return undefined;
  }
}

/** One call under a saga: what it must do on its way, and what was seen of it. */
export class SagaCall {
  /** The call, once it has begun. */
  call: Call | undefined;
  /** What came out of it. */
  outcome: Outcome | undefined;
  /** The gate's last word: nobody knows whether an earlier attempt ran. */
  isFinallyUnknown = false;
  /** The call was only to find out, and found that nothing happened. */
  isNotNeeded = false;
  /** The engine's own error that kept the call from leaving. */
  interruption: { readonly error: unknown } | undefined;
  readonly #terms: SagaCallTerms;
  #hasPassedGate = false;
  #intended: { readonly storeId: string | undefined; readonly written: Promise<void> } | undefined;

  constructor(terms: SagaCallTerms) {
    this.#terms = terms;
  }

  /** The attempts that nobody knows the outcome of, now that the call is over. */
  unresolved(sentAtWall: number): readonly PastAttempt[] {
    const { key, past } = this.#terms;
    if (this.call === undefined) return [...past, { key, sentAtWall }];
    return this.call.attempts
      .filter(
        ({ handedOver, outcome }) =>
          handedOver &&
          (outcome === undefined || (outcome.execution === "unknown" && outcome.code !== "idempotency_in_progress")),
      )
      .map((attempt) => ({
        key: attempt.key ?? key,
        storeId: attempt.storeId,
        sentAtWall: attempt.sentAtWall ?? sentAtWall,
      }));
  }

  /** Goes round the call. */
  async run(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const { call } = ctx;
    this.#begin(ctx);
    const gated = withGate(ctx, () => this.#admit());
    const inner = withInnermost(gated, (last, dispatch) => this.#dispatch(last, dispatch));
    try {
      const result = await next(inner);
      this.outcome = call.outcomeOf(result, false);
      return result;
    } catch (error) {
      this.outcome = call.outcomeOf(error, true);
      throw error;
    }
  }

  /** Writes the intent for a caller that may not say when it dispatches. */
  intendEarly(sentAtWall: number): Promise<void> {
    return this.#intend(undefined, sentAtWall);
  }

  #begin({ call, tool }: CallContext): void {
    const { saga, id, step, phase, epoch, past } = this.#terms;
    this.call = call;
    for (const attempt of past) call.adoptAttempt(attempt);
    for (let raised = 0; raised < epoch; raised += 1) call.raiseEpoch();
    if (call.observed) call.emit("saga.step", { saga, id, step, phase, tool });
  }

  #admit(): void {
    try {
      this.#terms.memory.check();
    } catch (error) {
      throw this.#interrupt(error);
    }
  }

  /** Inside all other middleware: what an earlier process sent passes the gate, and the intent becomes durable. */
  async #dispatch(ctx: CallContext, dispatch: Handler): Promise<ToolResult> {
    const { memory, past, replay } = this.#terms;
    ctx.signal?.throwIfAborted();
    if (past.length > 0 && !this.#hasPassedGate) {
      const asked = memory.onlyVerify ? "never" : replay;
      const decision = await replayGate(ctx, { outcome: LEFT_UNKNOWN, replay: asked });
      if (!decision.replay) return this.#turnedBack(ctx, decision);
      this.#hasPassedGate = true;
    }
    if (memory.onlyVerify) throw this.#refuse("it has been undone already, and must not run any more", "not needed");
    if (this.#terms.isUnwanted && ctx.call.execution === "not-executed") {
      throw this.#refuse("it did not happen, and is not wanted any more", "not needed");
    }
    ctx.admit?.();
    await this.#intend(ctx.call.endpoint?.announcement()?.idempotency?.storeId, ctx.call.runtime.wallNow());
    if (past.length === 0 || !storeCovers(ctx.call)) return dispatch(ctx);
    try {
      const result = await dispatch(ctx);
      this.#believe(ctx.call, result._meta);
      return result;
    } catch (error) {
      this.#believe(ctx.call, dataOf(error));
      throw error;
    }
  }

  /** The server keeps one record of all attempts: what its receipt says of this one, it says of those before. */
  #believe(call: Call, carrier: unknown): void {
    if (readReceipt(carrier)?.execution === "executed") call.resolveAttempts("executed");
  }

  #turnedBack(
    ctx: CallContext,
    decision: Exclude<Awaited<ReturnType<typeof replayGate>>, { replay: true }>,
  ): ToolResult {
    if (decision.reason === "verified") return decision.result;
    if (decision.reason === "cancelled") throw ctx.call.signal?.reason ?? new Error("the call was cancelled");
    this.isFinallyUnknown = true;
    throw new OutcomeUnknownError(ctx.tool);
  }

  async #intend(storeId: string | undefined, sentAtWall: number): Promise<void> {
    const { memory, args, epoch, calls, past, key } = this.#terms;
    // Each attempt of one call is the same intent, unless it goes to another store.
    if (this.#intended === undefined || this.#intended.storeId !== storeId) {
      const attempts = [...past, { key, storeId, sentAtWall }];
      this.#intended = { storeId, written: memory.intend({ args, epoch, attempts }, calls) };
    }
    try {
      await this.#intended.written;
    } catch (error) {
      throw this.#interrupt(error);
    }
  }

  #interrupt(error: unknown): McpTxError {
    this.interruption = { error };
    return this.#refuse("its saga cannot go on in this process", "interrupted", error);
  }

  #refuse(why: string, kind: "not needed" | "interrupted", cause?: unknown): McpTxError {
    if (kind === "not needed") this.isNotNeeded = true;
    const message = `Step "${this.#terms.step}" of saga "${this.#terms.id}" was not called: ${why}.`;
    const outcome: Outcome = { status: "rejected", execution: "not-executed", transient: false };
    return new McpTxError(message, "store_unavailable", { outcome, cause });
  }
}

/**
 * Keys and journals the calls that are made under a saga, at its place in the pipeline; other calls pass untouched.
 *
 * @remarks
 * A runner puts one round each of its calls by itself when the pipeline has none. Give it a place of its own to have telemetry and
 * monitoring outside of it: outside `idempotency()`, inside `otel()` and `monitor()`.
 */
export function saga(): Middleware {
  function saga(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const call = ctx.options.saga;
    return call === undefined ? next(ctx) : call.run(ctx, next);
  }
  return Object.assign(saga, { seat: "saga", optionKeys: ["saga", "idempotencyKey"] } as const);
}

import {
  type Call,
  type CallContext,
  type Handler,
  McpTxError,
  type Outcome,
  type Runtime,
  type ToolResult,
} from "@mcp-tx/core";
import type { Limit } from "./gcra.js";
import type { LimitKey } from "./key.js";
import { Line, type LineRules, type Waiter } from "./line.js";
import { outcomeOf } from "./outcome.js";
import type { LimitQuota } from "./quota.js";
import { LocalTokens, type Tokens } from "./tokens.js";

/** What a {@link RateLimiter} is made from. */
export interface RateLimiterSettings extends Pick<LineRules, "maxQueue" | "maxWaitMs" | "rejects"> {
  readonly tokens: Tokens;
  readonly limit: Limit;
  readonly runtimeOf: (call: Call) => Runtime;
  readonly keyOf: LimitKey;
  readonly costOf: (ctx: CallContext) => number;
  readonly maxRetryAfterMs: number;
}

/** Share of a token that rounding may have taken from it. */
const ROUNDING = 1e-6;

/** Leads calls to their tokens, lets them through, and hears what became of them. */
export class RateLimiter {
  readonly #settings: RateLimiterSettings;
  /** The tokens, when there is nobody to be asked for them. */
  readonly #local: LocalTokens | undefined;
  readonly #lines = new Map<string, Line>();
  readonly #rules: LineRules;

  constructor(settings: RateLimiterSettings) {
    this.#settings = settings;
    this.#local = settings.tokens instanceof LocalTokens ? settings.tokens : undefined;
    this.#rules = {
      ...settings,
      lines: this.#lines,
      giveBack: (key, cost, takenAt, runtime) => this.#giveBack(key, cost, takenAt, runtime),
    };
  }

  /** @throws what stops the call before it takes anything */
  enter(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const { runtimeOf, keyOf, costOf } = this.#settings;
    const runtime = runtimeOf(ctx.call);
    const key = keyOf(ctx);
    const cost = costOf(ctx);
    ctx.signal?.throwIfAborted();
    const now = runtime.now();
    const line = this.#lines.size === 0 ? undefined : this.#lines.get(key);
    if (line === undefined && this.#local?.take(key, cost, now) === 0) {
      return this.#run(ctx, key, cost, now, next);
    }
    return (line ?? new Line(key, this.#rules, runtime)).join(ctx, cost, now).then(
      (waiter) => this.#resume(waiter, key, next),
      (error) => {
        noteWait(ctx, now);
        if (error !== ctx.signal?.reason) tellRefusal(ctx, key, error);
        throw error;
      },
    );
  }

  /** What is left for a call. Tokens that others wait for count as there until they are taken. @throws what `key` throws */
  quota(ctx: CallContext): LimitQuota {
    const { keyOf, tokens, limit } = this.#settings;
    const { intervalMs, burstMs } = limit;
    const now = ctx.call.runtime.now();
    const key = keyOf(ctx);
    const resetMs = tokens.fullIn(key, now);
    // While the key rests, what is there may not be taken.
    const isResting = tokens.waitFor(key, Math.min(1, burstMs / intervalMs), now) > 0;
    const left = Math.floor((burstMs - resetMs) / intervalMs + ROUNDING);
    return { limit: burstMs / intervalMs, remaining: isResting ? 0 : Math.max(0, left), windowMs: burstMs, resetMs };
  }

  /** Lets a call go on that waited. Meanwhile a gate may have closed. */
  #resume({ ctx, cost, takenAt, enteredAt, isQueued }: Waiter, key: string, next: Handler): Promise<ToolResult> {
    const waitMs = noteWait(ctx, enteredAt);
    try {
      ctx.admit?.();
    } catch (error) {
      this.#undo(ctx, key, cost, takenAt);
      throw error;
    }
    if (isQueued && ctx.call.observed) ctx.call.emit("limit.wait", { tool: ctx.tool, key, waitMs });
    return this.#run(ctx, key, cost, takenAt, next);
  }

  #run(ctx: CallContext, key: string, cost: number, takenAt: number | undefined, next: Handler): Promise<ToolResult> {
    const { call } = ctx;
    const began = call.attempts.length;
    let result: Promise<ToolResult>;
    try {
      result = Promise.resolve(next(ctx));
    } catch (error) {
      result = Promise.reject(error);
    }
    return result.then(
      (value) => {
        const outcome = outcomeOf(call, value, false);
        if (outcome?.retryAfterMs !== undefined) this.#obey(ctx, key, outcome.status, outcome.retryAfterMs);
        return value;
      },
      (error) => {
        const outcome = outcomeOf(call, error, true);
        if (isUnsent(ctx, began, outcome)) this.#undo(ctx, key, cost, takenAt);
        else if (outcome?.retryAfterMs !== undefined) this.#obey(ctx, key, outcome.status, outcome.retryAfterMs);
        throw error;
      },
    );
  }

  #undo(ctx: CallContext, key: string, cost: number, takenAt: number | undefined): void {
    if (takenAt !== undefined) this.#giveBack(key, cost, takenAt, ctx.call.runtime);
  }

  /** Pauses a key whose server says when to come again. */
  #obey(ctx: CallContext, key: string, status: Outcome["status"], retryAfterMs: number): void {
    if (status !== "throttled" && status !== "failure") return;
    const ms = Math.min(retryAfterMs, this.#settings.maxRetryAfterMs);
    // A classifier of the user's may say anything.
    if (!(ms > 0)) return;
    this.#settings.tokens.pause(key, ms, ctx.call.runtime.now());
  }

  #giveBack(key: string, cost: number, takenAt: number, runtime: Runtime): void {
    const advance = (): void => this.#lines.get(key)?.advance(runtime.now());
    const given = this.#settings.tokens.refund(key, cost, takenAt, runtime.now());
    if (given === undefined) advance();
    else void given.then(advance);
  }
}

/** Whether a call was certainly stopped before it left: the server has not counted it. */
function isUnsent({ call, signal }: CallContext, began: number, outcome: Outcome | undefined): boolean {
  const { status, code } = outcome ?? {};
  const isStopped = status === "rejected" || status === "cancelled" || code === "deadline" || signal?.aborted === true;
  return isStopped && !call.attempts.slice(began).some((attempt) => attempt.handedOver);
}

function noteWait({ call }: CallContext, since: number): number {
  const waitedMs = call.runtime.now() - since;
  call.note({ waitedMs });
  return waitedMs;
}

function tellRefusal({ tool, call }: CallContext, key: string, error: unknown): void {
  if (!call.observed || !McpTxError.isInstance(error)) return;
  const { code, retryAfterMs } = error;
  call.emit("limit.rejected", { tool, key, code, retryAfterMs });
}

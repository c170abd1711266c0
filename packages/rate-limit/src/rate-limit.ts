import { type CallContext, type Handler, type Middleware, oneRuntime, type ToolResult } from "@mcp-tx/core";
import { callback, number, type OptionReader, objectWith, oneOf, readOptions } from "@mcp-tx/core/options";
import type { RateLimitStore } from "@mcp-tx/core/stores";
import "./events.js";
import { limitOf } from "./gcra.js";
import { ask, type LimitKey, limitKey } from "./key.js";
import type { LimitQuota } from "./quota.js";
import { RateLimiter, type RateLimiterSettings } from "./rate-limiter.js";
import { SharedTokens } from "./shared-limit.js";
import { LocalTokens } from "./tokens.js";

/** Tokens that a call takes. */
export type LimitCost = number | ((ctx: CallContext) => number);

/** Options of {@link rateLimit}. */
export interface RateLimitOptions {
  /** Tokens per second. Greater than 0. */
  readonly rate: number;
  /** Tokens that may be taken at once after a rest. Greater than 0. */
  readonly burst: number;
  /**
   * Which calls share a limit: those for which it gives the same string.
   * @defaultValue one limit for each server
   */
  readonly key?: LimitKey | undefined;
  /**
   * Tokens that a call takes, greater than 0 and at most `burst`; more is a RangeError at once.
   * @defaultValue 1
   */
  readonly cost?: LimitCost | undefined;
  /**
   * What a call does for which there are no tokens.
   * @defaultValue "wait"
   */
  readonly onLimit?: "wait" | "reject" | undefined;
  /**
   * Calls of one key that may wait. At least 0.
   * @defaultValue 1000
   */
  readonly maxQueue?: number | undefined;
  /**
   * Milliseconds that a call may wait. At least 0.
   * @defaultValue no limit but the call's own deadline
   */
  readonly maxWaitMs?: number | undefined;
  /**
   * Upper bound of a pause that the server asks for, in milliseconds.
   * @defaultValue 300000
   */
  readonly maxRetryAfterMs?: number | undefined;
  /**
   * Where the limit is kept when several processes share it.
   * @defaultValue this process
   */
  readonly store?: RateLimitStore | undefined;
  /**
   * What happens to calls while the store cannot be asked: they fail, or they pass without a limit.
   * @defaultValue "fail"
   */
  readonly storeErrors?: "fail" | "bypass" | undefined;
}

/** The middleware, which can be asked what is left. */
export interface RateLimit extends Middleware {
  /**
   * What is left of the limit that a call counts for. With a `store`, as far as this process knows.
   *
   * @throws TypeError when `key` throws, or gives no string
   */
  quota(ctx: CallContext): LimitQuota;
}

const OWNER = "rateLimit";

const positive: OptionReader<number> = (value, path) => {
  const read = number({ min: 0, above: true }, undefined)(value, path);
  if (read === undefined) throw new TypeError(`${path} is required: a number > 0`);
  return read;
};

const fixedOrAsked: OptionReader<LimitCost> = (value, path) => {
  if (value === undefined) return 1;
  if (typeof value === "number" || typeof value === "function") return value as LimitCost;
  throw new TypeError(`${path} must be a number or a function (ctx) => number, got ${typeof value}`);
};

function readSettings(options: RateLimitOptions): RateLimiterSettings {
  const read = readOptions(OWNER, options, {
    rate: positive,
    burst: positive,
    key: callback<LimitKey>(),
    cost: fixedOrAsked,
    onLimit: oneOf(["wait", "reject"], "wait"),
    maxQueue: number({ min: 0, integer: true, infinite: true }, 1000),
    maxWaitMs: number({ min: 0, infinite: true }, Infinity),
    maxRetryAfterMs: number({ min: 0, infinite: true }, 300_000),
    store: objectWith<RateLimitStore>("take", "refund", "pause"),
    storeErrors: oneOf(["fail", "bypass"], "fail"),
  });
  const { rate, burst, store, maxQueue, maxWaitMs, maxRetryAfterMs } = read;
  const limit = limitOf(read);
  if (limit.burstMs === 0 || limit.burstMs === Infinity) {
    throw new RangeError(`${OWNER}: burst / rate must be a number of seconds, got ${burst} / ${rate}`);
  }
  return {
    limit,
    tokens: store === undefined ? new LocalTokens(limit) : new SharedTokens(store, { rate, burst }, read.storeErrors),
    runtimeOf: oneRuntime(OWNER),
    keyOf: limitKey(OWNER, read.key),
    costOf: costOf(read.cost, burst),
    rejects: read.onLimit === "reject",
    maxQueue,
    maxWaitMs,
    maxRetryAfterMs,
  };
}

/** What a call takes, checked. A cost above the burst would wait for ever. */
function costOf(cost: LimitCost, burst: number): (ctx: CallContext) => number {
  const read = number({ min: 0, above: true, max: burst }, undefined);
  const check = (value: unknown, path: string): number => {
    const amount = read(value, path);
    if (amount === undefined) throw new TypeError(`${path} must be a number, got undefined`);
    return amount;
  };
  if (typeof cost === "function") {
    return (ctx) => check(ask(OWNER, "cost", cost, ctx), `${OWNER}: cost for tool "${ctx.tool}"`);
  }
  const fixed = check(cost, `${OWNER}: cost`);
  return () => fixed;
}

/**
 * Keeps calls within a rate: never more than `burst + rate * seconds` in any window, first come, first served.
 *
 * @remarks
 * The generic cell rate algorithm: there are no windows at whose edges twice the rate gets through. Calls without tokens wait for
 * theirs, unless that takes longer than they may, or than their deadline. Tokens of a call that is stopped before it leaves go
 * back. When the server says when to come again, its key rests until then.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function rateLimit(options: RateLimitOptions): RateLimit {
  const limiter = new RateLimiter(readSettings(options));
  function rateLimit(ctx: CallContext, next: Handler): Promise<ToolResult> {
    try {
      return limiter.enter(ctx, next);
    } catch (error) {
      return Promise.reject(error);
    }
  }
  return Object.assign(rateLimit, { seat: "rate-limit", quota: (ctx: CallContext) => limiter.quota(ctx) } as const);
}

import type { CallContext, Handler, Middleware, Outcome, ToolResult } from "@mcp-tx/core";
import { callback, number, readOptions } from "@mcp-tx/core/options";
import { ConcurrencyLimiter, QUEUE_OPTIONS } from "./concurrency-limiter.js";
import { GradientLimit, type GradientTerms } from "./gradient.js";
import { type LimitKey, limitKey } from "./key.js";
import { Lane, Lanes } from "./lanes.js";
import { outcomeOf } from "./outcome.js";

/** Options of {@link adaptiveConcurrency}. */
export interface AdaptiveConcurrencyOptions {
  /**
   * The limit never goes below. An integer of at least 1.
   * @defaultValue 1
   */
  readonly min?: number | undefined;
  /**
   * The limit never goes above. An integer of at least `min`.
   * @defaultValue 200, or `min` where that is more
   */
  readonly max?: number | undefined;
  /**
   * The limit of a key that was not seen before. An integer from `min` to `max`; better too low than too high, for what it
   * takes at the beginning is what answers are compared with.
   * @defaultValue 10, or what is nearest to it between `min` and `max`
   */
  readonly initial?: number | undefined;
  /**
   * How many times as long as without a queue answers may take before the limit is lowered. At least 1. Lower values keep queues
   * shorter, higher ones bear with tools whose answers take now long and now short.
   * @defaultValue 1.5
   */
  readonly tolerance?: number | undefined;
  /**
   * What is left of the limit after the server throttled or did not answer in time. Greater than 0, at most 1.
   * @defaultValue 0.75
   */
  readonly backoffRatio?: number | undefined;
  /**
   * Keys without a call whose limit is remembered; those used longest ago are forgotten first. At least 1.
   * @defaultValue 10000
   */
  readonly maxKeys?: number | undefined;
  /**
   * Which calls share a limit: those for which it gives the same string.
   * @defaultValue one limit for each server
   */
  readonly key?: LimitKey | undefined;
  /**
   * Calls of one key that may wait for a slot. At least 0; Infinity is allowed.
   * @defaultValue 1000
   */
  readonly maxQueue?: number | undefined;
  /**
   * Milliseconds that a call may wait for a slot. At least 0.
   * @defaultValue no limit but the call's own deadline
   */
  readonly maxWaitMs?: number | undefined;
  /**
   * On the client: milliseconds for which a request that nobody waits for any more, and that was never answered, still holds its
   * slot. At least 0; Infinity is allowed. A local tool holds its slot until it settles, whatever this says.
   * @defaultValue the call's `attemptTimeoutMs`, else 60000
   */
  readonly abandonedMs?: number | undefined;
}

/** What {@link adaptiveConcurrency} makes. */
export interface AdaptiveConcurrency extends Middleware {
  /** Calls of the key that may run at once at present; by default the key is the server's name. */
  limit(key: string): number;
}

declare module "@mcp-tx/core" {
  interface CallEvents {
    /** An adaptive concurrency limit changed. */
    "limit.changed": { readonly tool: string; readonly key: string; readonly from: number; readonly to: number };
  }
}

const OWNER = "adaptiveConcurrency";
const DEFAULT_MAX = 200;
const DEFAULT_INITIAL = 10;

/** Learns from how a call ended that began in the given window. */
function learn(gradient: GradientLimit, outcome: Outcome, window: number, latencyMs: number): void {
  if (outcome.status === "throttled") gradient.throttled(window);
  else if (isTimeout(outcome)) gradient.timedOut(window, latencyMs);
  else if (isAnswer(outcome)) gradient.answered(window, latencyMs);
}

/** Whether it was sent and no answer came in time. */
function isTimeout({ code, execution }: Outcome): boolean {
  return execution === "unknown" && (code === "attempt_timeout" || code === "deadline");
}

function isAnswer({ status, execution }: Outcome): boolean {
  return status === "success" || (status === "failure" && execution === "executed");
}

/** Measures the calls that have a slot, and sets the limit by what they took. */
function measured(lane: Lane, next: Handler): Handler {
  const { gradient, key } = lane;
  if (gradient === undefined) return next;
  return (ctx) => {
    const { call, tool } = ctx;
    const window = gradient.begin(lane.held);
    const start = call.runtime.now();
    const conclude = (value: unknown, thrown: boolean): void => {
      const from = lane.limit;
      const outcome = outcomeOf(call, value, thrown);
      if (outcome !== undefined) learn(gradient, outcome, window, call.runtime.now() - start);
      const to = gradient.limit;
      if (to === from) return;
      lane.limit = to;
      if (call.observed) call.emit("limit.changed", { tool, key, from, to });
    };
    return Promise.resolve(next(ctx)).then(
      (result) => {
        conclude(result, false);
        return result;
      },
      (error) => {
        conclude(error, true);
        throw error;
      },
    );
  };
}

/** Who runs how many at once, from what the user said. */
function readSettings(options: AdaptiveConcurrencyOptions) {
  const integer = { min: 1, integer: true } as const;
  const {
    min,
    max: givenMax,
    initial: givenInitial,
    tolerance,
    backoffRatio,
    ...rest
  } = readOptions(OWNER, options, {
    min: number(integer, 1),
    max: number(integer, undefined),
    initial: number(integer, undefined),
    tolerance: number({ min: 1 }, 1.5),
    backoffRatio: number({ min: 0, above: true, max: 1 }, 0.75),
    maxKeys: number(integer, 10_000),
    key: callback<LimitKey>(),
    ...QUEUE_OPTIONS,
  });
  const max = givenMax ?? Math.max(min, DEFAULT_MAX);
  if (max < min) throw new RangeError(`${OWNER}: max must be at least min, which is ${min}, got ${max}`);
  const initial = givenInitial ?? Math.min(max, Math.max(min, DEFAULT_INITIAL));
  if (initial < min || initial > max) {
    throw new RangeError(`${OWNER}: initial must be from min to max, which is ${min} to ${max}, got ${initial}`);
  }
  const terms: GradientTerms = { min, max, initial, tolerance, backoffRatio };
  return { ...rest, terms };
}

/**
 * Lets as many calls of a key run at once as the server bears: a `concurrencyLimit` whose limit follows what answers take.
 *
 * @remarks
 * While answers take no more than `tolerance` times what they take without a queue the limit grows, by its square root; when they
 * take longer it shrinks in proportion, at most by half. It shrinks when the server throttles or does not answer in time. Once in
 * a while it is lowered for 20 calls, to see what answers take without a queue. The formula is the gradient of Netflix's
 * concurrency-limits and of Envoy's adaptive concurrency filter; medians make single slow answers harmless.
 *
 * Calls of one key should take about equally long: where tools differ much, give each its own key.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function adaptiveConcurrency(options: AdaptiveConcurrencyOptions = {}): AdaptiveConcurrency {
  const { terms, maxKeys, key, ...settings } = readSettings(options);
  const lanes = new Lanes((name) => new Lane(name, terms.initial, new GradientLimit(terms)), maxKeys);
  const limiter = new ConcurrencyLimiter(lanes, limitKey(OWNER, key), settings);

  function adaptiveConcurrency(ctx: CallContext, next: Handler): Promise<ToolResult> {
    return limiter.enter(ctx, next, measured);
  }
  return Object.assign(adaptiveConcurrency, {
    seat: "concurrency",
    limit: (name: string): number => lanes.peek(name)?.limit ?? terms.initial,
  } as const);
}

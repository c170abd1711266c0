import {
  type CallContext,
  DeadlineError,
  type Handler,
  type Middleware,
  type Outcome,
  OutcomeUnknownError,
  RateLimitError,
  type ReplayDecision,
  replayGate,
  sleepUntil,
  storeCovers,
  type ToolResult,
} from "@mcp-tx/core";
import { callback, number, objectWith, oneOf, readOptions } from "@mcp-tx/core/options";
import { type Backoff, backoff, type Jitter } from "./backoff.js";
import type { RetryBudget } from "./budget.js";

/** What {@link RetryOptions.retryOn} and {@link RetryOptions.delay} are told. */
export interface RetryInfo {
  readonly tool: string;
  /** Number of the attempt that failed, from 1. */
  readonly attempt: number;
  /** What the attempt threw, when it threw. */
  readonly error?: unknown;
  /** The failure that the attempt returned, when it returned one. */
  readonly result?: ToolResult | undefined;
}

/** Options of {@link retry}, for all calls or, as the call option `retry`, for one. */
export interface RetryOptions {
  /**
   * Attempts in all, the first included. At least 1; Infinity is allowed.
   * @defaultValue 3
   */
  readonly maxAttempts?: number | undefined;
  /**
   * Milliseconds before the first repetition, before jitter.
   * @defaultValue 1000
   */
  readonly baseDelayMs?: number | undefined;
  /**
   * Upper bound of every delay of our own making, in milliseconds.
   * @defaultValue 30000
   */
  readonly maxDelayMs?: number | undefined;
  /**
   * Growth from one delay to the next. At least 1.
   * @defaultValue 2
   */
  readonly multiplier?: number | undefined;
  /** @defaultValue "full" */
  readonly jitter?: Jitter | undefined;
  /** Milliseconds after which no further attempt starts. */
  readonly maxElapsedMs?: number | undefined;
  /**
   * Upper bound of a delay that the server asks for, in milliseconds.
   * @defaultValue 300000
   */
  readonly maxRetryAfterMs?: number | undefined;
  /**
   * What to do when nobody knows whether the call ran: repeat it only on evidence, always, or never.
   * @defaultValue "safe"
   */
  readonly replay?: "safe" | "always" | "never" | undefined;
  /**
   * Whether to repeat after an outcome; overrides `outcome.transient`. Returning `true` for a call that ran and failed repeats
   * it. `undefined` leaves the decision as it is. The replay gate stands in any case.
   */
  readonly retryOn?: ((outcome: Outcome, info: RetryInfo) => boolean | undefined) | undefined;
  /** Milliseconds before a repetition, instead of the backoff. A server's retry-after still wins. */
  readonly delay?: ((repetition: number, outcome: Outcome, info: RetryInfo) => number) | undefined;
  /** Shared limit of repetitions. */
  readonly budget?: RetryBudget | undefined;
}

declare module "@mcp-tx/core" {
  interface CallOptions {
    /** Overrides options of `retry` for this call; `false` makes one attempt. */
    readonly retry?: RetryOptions | false | undefined;
  }
  interface CallEvents {
    "retry.scheduled": {
      readonly tool: string;
      readonly attempt: number;
      readonly delayMs: number;
      readonly outcome: Outcome;
    };
  }
}

interface Policy {
  readonly maxAttempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  readonly multiplier: number;
  readonly jitter: Jitter;
  readonly maxElapsedMs: number;
  readonly maxRetryAfterMs: number;
  readonly replay: "safe" | "always" | "never";
  readonly retryOn: RetryOptions["retryOn"];
  readonly delay: RetryOptions["delay"];
  readonly budget: RetryBudget | undefined;
}

function readPolicy(owner: string, options: RetryOptions): Policy {
  return readOptions(owner, options, {
    maxAttempts: number({ min: 1, integer: true, infinite: true }, 3),
    baseDelayMs: number({ min: 0 }, 1000),
    maxDelayMs: number({ min: 0 }, 30_000),
    multiplier: number({ min: 1 }, 2),
    jitter: oneOf(["full", "equal", "decorrelated", "none"], "full"),
    maxElapsedMs: number({ min: 0, infinite: true }, Infinity),
    maxRetryAfterMs: number({ min: 0, infinite: true }, 300_000),
    replay: oneOf(["safe", "always", "never"], "safe"),
    retryOn: callback<NonNullable<RetryOptions["retryOn"]>>(),
    delay: callback<NonNullable<RetryOptions["delay"]>>(),
    budget: objectWith<RetryBudget>("deposit", "withdraw"),
  });
}

/** What came out of one attempt that did not succeed. A class, so that no result can pass for one. */
class Failure {
  constructor(
    readonly thrown: boolean,
    readonly value: unknown,
    readonly outcome: Outcome,
  ) {}
}

/** A wait before the next attempt. */
interface Wait {
  readonly delayMs: number;
  /** Whether the server, not the backoff, asks for it. */
  readonly isServers: boolean;
}

/** The repetitions of one call. */
class Repetition {
  readonly #ctx: CallContext;
  readonly #policy: Policy;
  readonly #startedAt: number;
  #backoff: Backoff | undefined;
  #count = 0;

  constructor(ctx: CallContext, policy: Policy, startedAt: number) {
    this.#ctx = ctx;
    this.#policy = policy;
    this.#startedAt = startedAt;
  }

  /** Goes on after a failure until the call succeeds or must not be repeated. */
  async run(first: Failure, next: Handler): Promise<ToolResult> {
    let failure = first;
    for (;;) {
      const step = await this.#decide(failure);
      if ("result" in step) return step.result;
      const attemptCtx = await this.#wait(step, failure);
      const after = await attemptOnce(attemptCtx, next);
      if (after instanceof Failure) failure = after;
      else {
        this.#policy.budget?.deposit(this.#now());
        return after;
      }
    }
  }

  #now(): number {
    return this.#ctx.call.runtime.now();
  }

  #info({ thrown, value }: Failure): RetryInfo {
    const attempt = this.#ctx.attempt + this.#count;
    const { tool } = this.#ctx;
    return thrown ? { tool, attempt, error: value } : { tool, attempt, result: value as ToolResult };
  }

  /** The wait before the next attempt, or the value to return; throws what the call ends with. */
  async #decide(failure: Failure): Promise<Wait | { readonly result: ToolResult }> {
    const { outcome } = failure;
    if (outcome.status === "cancelled" || this.#ctx.call.signal?.aborted === true) return conclude(failure);
    const asked = this.#policy.retryOn?.(outcome, this.#info(failure));
    const isWanted = asked ?? (outcome.transient || outcome.status === "throttled");
    const wait = isWanted && this.#count + 1 < this.#policy.maxAttempts ? this.#nextWait(failure) : undefined;
    const fits = wait !== undefined && wait.delayMs < this.#timeLeft();
    if (!fits && this.#ctx.call.execution !== "unknown") return this.#giveUp(failure, wait);

    const decision = await this.#askGate(outcome, asked === true);
    if (!decision.replay) return this.#refuse(failure, decision);
    if (!fits) return this.#giveUp(failure, wait);
    if (this.#policy.budget?.withdraw(this.#now()) === false) return conclude(failure);
    return wait;
  }

  #askGate(outcome: Outcome, repeatFailures: boolean): Promise<ReplayDecision> {
    return replayGate(this.#ctx, { outcome, replay: this.#policy.replay, repeatFailures });
  }

  #refuse(
    failure: Failure,
    decision: Exclude<ReplayDecision, { readonly replay: true }>,
  ): { readonly result: ToolResult } {
    if (decision.reason === "verified") return { result: decision.result };
    if (decision.reason !== "unknown" || !failure.thrown) return conclude(failure);
    if (OutcomeUnknownError.isInstance(failure.value)) throw failure.value;
    throw new OutcomeUnknownError(this.#ctx.tool, { cause: failure.value, retryAfterMs: failure.outcome.retryAfterMs });
  }

  /** Ends with the last failure; where the server said when to come back and there is no time for it, with that. */
  #giveUp(failure: Failure, wait: Wait | undefined): { readonly result: ToolResult } {
    if (wait?.isServers !== true || !failure.thrown) return conclude(failure);
    const { tool, call } = this.#ctx;
    const { retryAfterMs, status } = failure.outcome;
    const { execution } = call;
    if (status === "throttled") throw new RateLimitError(tool, { retryAfterMs, execution, cause: failure.value });
    const message = `Tool "${tool}" failed and asks to be called again in ${wait.delayMs} ms, which is past the time this call has.`;
    throw new DeadlineError(message, { execution, retryAfterMs, cause: failure.value });
  }

  #nextWait(failure: Failure): Wait {
    const { retryAfterMs } = failure.outcome;
    const { delay, maxRetryAfterMs } = this.#policy;
    if (retryAfterMs !== undefined) return { delayMs: Math.min(retryAfterMs, maxRetryAfterMs), isServers: true };
    this.#backoff ??= backoff(this.#policy, this.#ctx.call.runtime.random);
    const repetition = this.#count + 1;
    const delayMs =
      delay === undefined ? this.#backoff(repetition) : delay(repetition, failure.outcome, this.#info(failure));
    if (typeof delayMs === "number" && delayMs >= 0 && delayMs !== Infinity) return { delayMs, isServers: false };
    throw new RangeError(`retry: delay must return a finite number >= 0, got ${String(delayMs)}`);
  }

  #timeLeft(): number {
    const now = this.#now();
    return Math.min(this.#ctx.deadline - now, this.#policy.maxElapsedMs - (now - this.#startedAt));
  }

  /** Sleeps, and makes the context of the next attempt. */
  async #wait({ delayMs }: Wait, failure: Failure): Promise<CallContext> {
    const { call, tool, signal, attempt } = this.#ctx;
    // Before the wait: what the gate relied on now is what has to hold when the attempt starts.
    const admit = this.#admission();
    if (call.execution === "executed") call.raiseEpoch();
    this.#count += 1;
    const number = attempt + this.#count;
    if (call.observed) call.emit("retry.scheduled", { tool, attempt: number, delayMs, outcome: failure.outcome });
    if (delayMs > 0) await this.#sleep(delayMs, signal);
    return { ...this.#ctx, attempt: number, admit };
  }

  async #sleep(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { call } = this.#ctx;
    const start = this.#now();
    try {
      await sleepUntil(call.runtime, start + delayMs, signal);
    } finally {
      call.note({ waitedMs: this.#now() - start });
    }
  }

  /** Asks again right before the dispatch: the window of a store may have closed in a queue further in. */
  #admission(): (() => void) | undefined {
    const ctx = this.#ctx;
    if (ctx.call.execution !== "unknown" || this.#policy.replay === "always" || !storeCovers(ctx.call))
      return ctx.admit;
    return () => {
      ctx.admit?.();
      if (!storeCovers(ctx.call)) throw new OutcomeUnknownError(ctx.tool);
    };
  }
}

/** Ends with a failure as it came. */
function conclude({ thrown, value }: Failure): { readonly result: ToolResult } {
  if (thrown) throw value;
  return { result: value as ToolResult };
}

async function attemptOnce(ctx: CallContext, next: Handler): Promise<ToolResult | Failure> {
  try {
    const result = await next(ctx);
    const outcome = ctx.call.outcomeOf(result, false);
    return outcome.status === "success" ? result : new Failure(false, result, outcome);
  } catch (error) {
    return new Failure(true, error, ctx.call.outcomeOf(error, true));
  }
}

/** The shared options with those of one call on top. */
function override(options: RetryOptions, own: RetryOptions): RetryOptions {
  if (typeof own !== "object" || own === null)
    throw new TypeError("retry (call option): must be false or an object of options");
  return { ...options, ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined)) };
}

/**
 * Repeats calls that failed for a passing reason, as far as that cannot do harm.
 *
 * @remarks
 * A call whose outcome is unknown is repeated only where the replay gate allows it; else it ends with an `OutcomeUnknownError`.
 * A tool that ran and failed is repeated only when it was throttled or `retryOn` says so. The last error or result comes back
 * as it was.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function retry(options: RetryOptions = {}): Middleware {
  const shared = readPolicy("retry", options);

  async function retry(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const own = ctx.options.retry;
    if (own === false) return next(ctx);
    const policy = own === undefined ? shared : readPolicy("retry (call option)", override(options, own));
    const startedAt = policy.maxElapsedMs === Infinity ? 0 : ctx.call.runtime.now();
    const first = await attemptOnce(ctx, next);
    if (first instanceof Failure) return new Repetition(ctx, policy, startedAt).run(first, next);
    policy.budget?.deposit(ctx.call.runtime.now());
    return first;
  }
  return Object.assign(retry, { seat: "retry", optionKeys: ["retry"] } as const);
}

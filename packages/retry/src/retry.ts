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
import { deposit, type RetryBudget, withdraws } from "./budget.js";

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
   * it. `undefined`, or throwing, leaves the decision as it is. The replay gate stands in any case.
   */
  readonly retryOn?: ((outcome: Outcome, info: RetryInfo) => boolean | undefined) | undefined;
  /**
   * Milliseconds before a repetition, instead of the backoff. A server's retry-after still wins; anything but a finite number
   * >= 0 leaves it to the backoff.
   */
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

/** What a call ends with when it is not repeated. */
interface Ending {
  readonly result: ToolResult;
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
      const step = await this.#after(failure);
      if ("result" in step) return step.result;
      // In one function with the loop: every async function less is a promise less for each attempt.
      let end: ToolResult | Failure;
      try {
        const result = await next(step);
        end = failureIn(result, step) ?? result;
      } catch (error) {
        end = failureBy(error, step);
      }
      if (!(end instanceof Failure)) {
        deposit(this.#policy.budget, this.#now());
        return end;
      }
      failure = end;
    }
  }

  /** Decides about a failure and waits: gives the next attempt's context or what to return; throws what the call ends with. */
  async #after(failure: Failure): Promise<CallContext | Ending> {
    const { outcome } = failure;
    if (outcome.status === "cancelled" || this.#ctx.call.signal?.aborted === true) return conclude(failure);
    const asked = this.#ask(failure);
    const isWanted = asked ?? (outcome.transient || outcome.status === "throttled");
    const wait = isWanted && this.#count + 1 < this.#policy.maxAttempts ? this.#nextWait(failure) : undefined;
    const fits = wait !== undefined && wait.delayMs < this.#timeLeft();
    if (!fits && this.#ctx.call.execution !== "unknown") return this.#giveUp(failure, wait);

    const decision = await this.#askGate(outcome, asked === true);
    if (!decision.replay) return this.#refuse(failure, decision);
    if (!fits) return this.#giveUp(failure, wait);
    if (!withdraws(this.#policy.budget, this.#now())) return this.#giveUp(failure, undefined);
    // Before the wait: what the gate relied on now is what has to hold when the attempt starts.
    const admit = this.#admission();
    const attempt = this.#schedule(wait, failure);
    if (wait.delayMs > 0) await this.#sleep(wait.delayMs, this.#ctx.signal);
    return { ...this.#ctx, attempt, admit };
  }

  #now(): number {
    return this.#ctx.call.runtime.now();
  }

  #info({ thrown, value }: Failure): RetryInfo {
    const attempt = this.#ctx.attempt + this.#count;
    const { tool } = this.#ctx;
    return thrown ? { tool, attempt, error: value } : { tool, attempt, result: value as ToolResult };
  }

  /** The user's opinion. A callback that throws has none: it must not replace what the call came to. */
  #ask(failure: Failure): boolean | undefined {
    try {
      const verdict = this.#policy.retryOn?.(failure.outcome, this.#info(failure));
      return typeof verdict === "boolean" ? verdict : undefined;
    } catch {
      return undefined;
    }
  }

  #askGate(outcome: Outcome, repeatFailures: boolean): Promise<ReplayDecision> {
    return replayGate(this.#ctx, { outcome, replay: this.#policy.replay, repeatFailures });
  }

  #refuse(failure: Failure, decision: Exclude<ReplayDecision, { readonly replay: true }>): Ending {
    if (decision.reason === "verified") return { result: decision.result };
    return decision.reason === "unknown" && failure.thrown ? this.#endUnknown(failure) : conclude(failure);
  }

  /** Ends with the last failure; where the server said when to come back and there is no time for it, with that. */
  #giveUp(failure: Failure, wait: Wait | undefined): Ending {
    if (this.#isMisleading(failure)) return this.#endUnknown(failure);
    const { retryAfterMs, status } = failure.outcome;
    // A refusal says by itself when to come back.
    if (wait?.isServers !== true || !failure.thrown || status === "rejected") return conclude(failure);
    const { tool, call } = this.#ctx;
    const { execution } = call;
    if (status === "throttled") throw new RateLimitError(tool, { retryAfterMs, execution, cause: failure.value });
    const message = `Tool "${tool}" failed and asks to be called again in ${wait.delayMs} ms, which is past the time this call has.`;
    throw new DeadlineError(message, { execution, retryAfterMs, cause: failure.value });
  }

  /** A refusal of the last attempt invites to call again, but an earlier one may have run. */
  #isMisleading({ thrown, outcome }: Failure): boolean {
    const isRefusal = thrown && outcome.execution === "not-executed";
    return isRefusal && this.#ctx.call.execution === "unknown" && this.#policy.replay !== "always";
  }

  #endUnknown({ value, outcome }: Failure): never {
    if (OutcomeUnknownError.isInstance(value)) throw value;
    throw new OutcomeUnknownError(this.#ctx.tool, { cause: value, retryAfterMs: outcome.retryAfterMs });
  }

  #nextWait(failure: Failure): Wait {
    const { retryAfterMs } = failure.outcome;
    if (retryAfterMs !== undefined) {
      return { delayMs: Math.min(retryAfterMs, this.#policy.maxRetryAfterMs), isServers: true };
    }
    const { runtime } = this.#ctx.call;
    this.#backoff ??= backoff(this.#policy, () => runtime.random());
    const repetition = this.#count + 1;
    return { delayMs: this.#ownDelay(repetition, failure) ?? this.#backoff(repetition), isServers: false };
  }

  /** The user's delay; what is no usable number, or throws, leaves it to the backoff. */
  #ownDelay(repetition: number, failure: Failure): number | undefined {
    try {
      const delayMs = this.#policy.delay?.(repetition, failure.outcome, this.#info(failure));
      return typeof delayMs === "number" && delayMs >= 0 && delayMs !== Infinity ? delayMs : undefined;
    } catch {
      return undefined;
    }
  }

  #timeLeft(): number {
    const deadline = Math.min(this.#ctx.deadline, this.#ctx.call.deadline);
    if (deadline === Infinity && this.#policy.maxElapsedMs === Infinity) return Infinity;
    const now = this.#now();
    return Math.min(deadline - now, this.#policy.maxElapsedMs - (now - this.#startedAt));
  }

  /** Counts the next attempt, whose number it returns, and tells whoever listens. */
  #schedule({ delayMs }: Wait, { outcome }: Failure): number {
    const { call, tool } = this.#ctx;
    if (call.execution === "executed") call.raiseEpoch();
    this.#count += 1;
    const attempt = this.#ctx.attempt + this.#count;
    if (call.observed) call.emit("retry.scheduled", { tool, attempt, delayMs, outcome });
    return attempt;
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
function conclude({ thrown, value }: Failure): Ending {
  if (thrown) throw value;
  return { result: value as ToolResult };
}

/** The failure that a result reports, if it does. */
function failureIn(result: ToolResult, { call }: CallContext): Failure | undefined {
  const outcome = call.outcomeOf(result, false);
  return outcome.status === "success" ? undefined : new Failure(false, result, outcome);
}

function failureBy(error: unknown, { call }: CallContext): Failure {
  return new Failure(true, error, call.outcomeOf(error, true));
}

/** Makes the first attempt, and the others if need be. Not async: a call that succeeds at once pays for one promise. */
function repeat(ctx: CallContext, next: Handler, policy: Policy): Promise<ToolResult> {
  const startedAt = policy.maxElapsedMs === Infinity ? 0 : ctx.call.runtime.now();
  let first: Promise<ToolResult>;
  try {
    first = Promise.resolve(next(ctx));
  } catch (error) {
    first = Promise.reject(error);
  }
  return first.then(
    (result) => {
      const failure = failureIn(result, ctx);
      if (failure !== undefined) return new Repetition(ctx, policy, startedAt).run(failure, next);
      if (policy.budget !== undefined) deposit(policy.budget, ctx.call.runtime.now());
      return result;
    },
    (error) => new Repetition(ctx, policy, startedAt).run(failureBy(error, ctx), next),
  );
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

  function retry(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const own = ctx.options.retry;
    if (own === undefined) return repeat(ctx, next, shared);
    return own === false ? next(ctx) : overridden(ctx, next, own);
  }

  async function overridden(ctx: CallContext, next: Handler, own: RetryOptions): Promise<ToolResult> {
    return repeat(ctx, next, readPolicy("retry (call option)", override(options, own)));
  }
  return Object.assign(retry, { seat: "retry", optionKeys: ["retry"] } as const);
}

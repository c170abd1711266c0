import type { Outcome } from "@mcp-tx/core";
import { callback, number, oneOf, readOptions } from "@mcp-tx/core/options";

/** What {@link StepRetry.retryOn} is told. */
export interface StepFailure {
  readonly tool: string;
  /** Number of the call that failed, from 1. */
  readonly call: number;
  /** What the call threw, or the `ToolError` of a result that is a failure. */
  readonly error: unknown;
}

/**
 * How a step's call is repeated. This is the step's own patience, between whole calls; `retry()` in the pipeline stands inside one call.
 *
 * @remarks
 * A call that ran and failed is made again on purpose, with a higher epoch, so that a server that keeps records runs it again. One of
 * which nobody knows whether it ran is only sent again through the replay gate, whatever stands here.
 */
export interface StepRetry {
  /** Calls in all, the first included. At least 1; Infinity is allowed. @defaultValue 1, as if there were no `retry` */
  readonly maxAttempts?: number | undefined;
  /** Milliseconds before the second call, before jitter. @defaultValue 1000 */
  readonly baseDelayMs?: number | undefined;
  /** Upper bound of the delay, in milliseconds. @defaultValue 30000 */
  readonly maxDelayMs?: number | undefined;
  /** Growth from one delay to the next. At least 1. @defaultValue 2 */
  readonly multiplier?: number | undefined;
  /** `full` spreads each delay evenly from 0 up. @defaultValue "full" */
  readonly jitter?: "full" | "none" | undefined;
  /**
   * Whether to repeat after a failure. `undefined`, or throwing, leaves it at: every call that ran and failed, and those that did not run
   * for a reason that may pass.
   */
  readonly retryOn?: ((outcome: Outcome, failure: StepFailure) => boolean | undefined) | undefined;
  /**
   * What to do when nobody knows whether the call ran: send it again only on evidence, always, or never.
   * @defaultValue "safe"
   */
  readonly replay?: "safe" | "always" | "never" | undefined;
}

/** How compensations, forward steps and questions are repeated that say nothing themselves. */
export const DEFAULT_RETRY: StepRetry = Object.freeze({ maxAttempts: 5 });

/** {@link StepRetry}, checked and completed. */
export interface StepPolicy {
  readonly maxAttempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  readonly multiplier: number;
  readonly jitter: "full" | "none";
  readonly retryOn: StepRetry["retryOn"];
  readonly replay: "safe" | "always" | "never";
}

/** Options do not change: each is read once. */
const read = new WeakMap<StepRetry, StepPolicy>();
const ONCE: StepRetry = Object.freeze({});

/** @throws TypeError or RangeError naming the option */
export function readPolicy(owner: string, retry: StepRetry = ONCE): StepPolicy {
  const known = typeof retry === "object" && retry !== null ? read.get(retry) : undefined;
  if (known !== undefined) return known;
  const policy = readOptions(owner, retry, {
    maxAttempts: number({ min: 1, integer: true, infinite: true }, 1),
    baseDelayMs: number({ min: 0 }, 1000),
    maxDelayMs: number({ min: 0 }, 30_000),
    multiplier: number({ min: 1 }, 2),
    jitter: oneOf(["full", "none"], "full"),
    retryOn: callback<NonNullable<StepRetry["retryOn"]>>(),
    replay: oneOf(["safe", "always", "never"], "safe"),
  });
  read.set(retry, policy);
  return policy;
}

/** The delay before the n-th repetition, n from 1: exponential growth, capped, jitter after the cap. */
export function delayBefore(repetition: number, policy: StepPolicy, random: () => number): number {
  const { baseDelayMs, maxDelayMs, multiplier, jitter } = policy;
  const most = baseDelayMs === 0 ? 0 : Math.min(maxDelayMs, baseDelayMs * multiplier ** (repetition - 1));
  return jitter === "full" ? random() * most : most;
}

import type { RateLimitStore } from "@mcp-tx/core/stores";
import { GcraTable, type Limit, limitOf } from "./gcra.js";
import { type Tokens, WITHOUT } from "./tokens.js";

/** A denial is not asked about again sooner, whatever a store that counts in seconds says. */
const MIN_WAIT_MS = 1;

/** Calls a store. One that throws at once, or answers with something else than a promise, is caught as well. */
function ask<T>(question: () => Promise<T>): Promise<T> {
  return new Promise((resolve) => {
    resolve(question());
  });
}

function ignore(): void {}

/** The decision of a store as {@link Tokens.take} gives it; anything that is none is a failure of the store. */
function waitIn(decision: unknown): number {
  const { allowed, retryAfterMs } = (decision ?? {}) as { readonly allowed?: unknown; readonly retryAfterMs?: unknown };
  if (allowed === true) return 0;
  if (allowed === false && typeof retryAfterMs === "number" && retryAfterMs >= 0 && retryAfterMs < Infinity) {
    return Math.max(MIN_WAIT_MS, retryAfterMs);
  }
  throw new TypeError(`the store must decide { allowed: boolean, retryAfterMs: number >= 0 }`);
}

/** Tokens in a store. What it last said is remembered, so that nobody asks before the tokens can be there. */
export class SharedTokens implements Tokens {
  readonly #store: RateLimitStore;
  readonly #terms: { readonly rate: number; readonly burst: number };
  readonly #limit: Limit;
  /** What this process knows of the limits that the store keeps. It may lag behind, and decides nothing. */
  readonly #known = new GcraTable();
  readonly bypasses: boolean;

  constructor(
    store: RateLimitStore,
    terms: { readonly rate: number; readonly burst: number },
    storeErrors: "fail" | "bypass",
  ) {
    this.#store = store;
    this.#terms = terms;
    this.#limit = limitOf(terms);
    this.bypasses = storeErrors === "bypass";
  }

  take(key: string, cost: number): Promise<number> {
    const decision = ask(() => this.#store.take(key, { ...this.#terms, cost })).then(waitIn);
    return this.bypasses ? decision.catch(() => WITHOUT) : decision;
  }

  learn(key: string, cost: number, waitMs: number, now: number): void {
    const { intervalMs, burstMs } = this.#limit;
    if (waitMs > 0) this.#known.learn(key, now + waitMs + burstMs - cost * intervalMs, now);
    else if (waitMs === 0 && this.#known.take(key, cost, this.#limit, now) > 0) {
      // The store has more than was known of it.
      this.#known.learn(key, now + burstMs, now);
    }
  }

  waitFor(key: string, cost: number, now: number): number {
    return this.#known.waitFor(key, cost, this.#limit, now);
  }

  fullIn(key: string, now: number): number {
    return this.#known.fullIn(key, now);
  }

  refund(key: string, cost: number, takenAt: number, now: number): Promise<void> {
    // Afterwards: what it says of the time before it must not count any more.
    return ask(() => this.#store.refund(key, { ...this.#terms, cost }, now - takenAt)).then(
      () => this.#known.refund(key, cost, this.#limit, takenAt, now),
      ignore,
    );
  }

  pause(key: string, ms: number, now: number): void {
    this.#known.pause(key, ms, this.#limit, now);
    ask(() => this.#store.pause(key, this.#terms, ms)).catch(ignore);
  }
}

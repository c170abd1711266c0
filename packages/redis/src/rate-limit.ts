import type { RateLimitDecision, RateLimitStore, RateLimitTerms } from "@mcp-tx/core/stores";
import { type Connection, type Script, textOf } from "./connection.js";
import type { Keys } from "./keys.js";
import { PAUSE, REFUND, TAKE } from "./rate-limit-lua.js";
import { checkText, numberText } from "./text.js";

const ALLOWED: RateLimitDecision = Object.freeze({ allowed: true, retryAfterMs: 0 });

function decisionOf(reply: unknown): RateLimitDecision {
  const retryAfterMs = Number(textOf(reply));
  return retryAfterMs === 0 ? ALLOWED : { allowed: false, retryAfterMs };
}

function nothing(): void {}

/** Shared rate limits, a string each, which expires when nothing is left to remember. */
export class RedisRateLimitStore implements RateLimitStore {
  readonly #connection: Connection;
  readonly #keys: Keys;

  constructor(connection: Connection, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  async take(key: string, { rate, burst, cost }: RateLimitTerms): Promise<RateLimitDecision> {
    if (!(cost > 0 && cost <= burst)) {
      throw new RangeError(`redisStore: cost must be > 0 and <= burst (${burst}), got ${cost}`);
    }
    const intervalMs = 1000 / rate;
    return this.#run(TAKE, key, cost * intervalMs, burst * intervalMs, decisionOf);
  }

  async refund(key: string, { rate, cost }: RateLimitTerms, ageMs: number): Promise<void> {
    await this.#run(REFUND, key, (cost * 1000) / rate, Math.max(0, ageMs), nothing);
  }

  async pause(key: string, { rate, burst }: Omit<RateLimitTerms, "cost">, ms: number): Promise<void> {
    if (!(ms > 0)) return;
    await this.#run(PAUSE, key, Math.min(ms, Number.MAX_SAFE_INTEGER), (Math.max(0, burst - 1) * 1000) / rate, nothing);
  }

  #run<T>(script: Script, key: string, first: number, second: number, read: (reply: unknown) => T): Promise<T> {
    checkText("the key", key);
    return this.#connection.run(script, [this.#keys.rate(key)], [numberText(first), numberText(second)], read);
  }
}

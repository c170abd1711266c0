import { defaultRuntime, type Runtime } from "@mcp-tx/core";
import { objectWith, readOptions } from "@mcp-tx/core/options";
import type { RateLimitDecision, RateLimitStore } from "@mcp-tx/core/stores";
import { GcraTable, limitOf } from "./gcra.js";

/** Options of {@link memoryRateLimitStore}. */
export interface MemoryRateLimitStoreOptions {
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
}

const ALLOWED: RateLimitDecision = Object.freeze({ allowed: true, retryAfterMs: 0 });

/**
 * Keeps shared rate limits in this process: for tests, and for several middlewares that share one limit.
 *
 * @throws TypeError at construction, naming the option
 */
export function memoryRateLimitStore(options: MemoryRateLimitStoreOptions = {}): RateLimitStore {
  const { runtime = defaultRuntime } = readOptions("memoryRateLimitStore", options, {
    runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
  });
  const table = new GcraTable();
  return {
    async take(key, { cost, ...terms }) {
      if (!(cost > 0 && cost <= terms.burst)) {
        throw new RangeError(`memoryRateLimitStore: cost must be > 0 and <= burst, got ${cost}, burst ${terms.burst}`);
      }
      const retryAfterMs = table.take(key, cost, limitOf(terms), runtime.now());
      return retryAfterMs === 0 ? ALLOWED : { allowed: false, retryAfterMs };
    },
    async refund(key, { cost, ...terms }, ageMs) {
      const now = runtime.now();
      table.refund(key, cost, limitOf(terms), now - ageMs, now);
    },
    async pause(key, terms, ms) {
      table.pause(key, ms, limitOf(terms), runtime.now());
    },
  };
}

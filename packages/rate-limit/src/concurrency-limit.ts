import type { CallContext, Handler, Middleware, ToolResult } from "@mcp-tx/core";
import { callback, number, type OptionReader, readOptions } from "@mcp-tx/core/options";
import { ConcurrencyLimiter, QUEUE_OPTIONS } from "./concurrency-limiter.js";
import { type LimitKey, limitKey } from "./key.js";
import { Lane, Lanes } from "./lanes.js";

/** Options of {@link concurrencyLimit}. */
export interface ConcurrencyLimitOptions {
  /** Calls of one key that may run at once. An integer of at least 1. */
  readonly max: number;
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

const OWNER = "concurrencyLimit";
/** One lane stays, so that calls one after the other do not build theirs again. */
const IDLE_LANES = 1;

const atLeastOne: OptionReader<number> = (value, path) => {
  const read = number({ min: 1, integer: true }, undefined)(value, path);
  if (read === undefined) throw new TypeError(`${path} is required: calls that may run at once`);
  return read;
};

/**
 * Lets no more than `max` calls of a key run at once (a bulkhead); the others wait, first come, first served.
 *
 * @remarks
 * A slot is held as long as the work goes on, also when its caller has given up: for a local tool until it settles, for a remote
 * one until an answer arrives, the connection closes, or `abandonedMs` are over.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function concurrencyLimit(options: ConcurrencyLimitOptions): Middleware {
  const { key, max, ...settings } = readOptions(OWNER, options, {
    max: atLeastOne,
    key: callback<LimitKey>(),
    ...QUEUE_OPTIONS,
  });
  const lanes = new Lanes((name) => new Lane(name, max), IDLE_LANES);
  const limiter = new ConcurrencyLimiter(lanes, limitKey(OWNER, key), settings);

  function concurrencyLimit(ctx: CallContext, next: Handler): Promise<ToolResult> {
    return limiter.enter(ctx, next);
  }
  return Object.assign(concurrencyLimit, { seat: "concurrency" } as const);
}

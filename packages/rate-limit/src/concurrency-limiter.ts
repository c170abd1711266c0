import type { CallContext, Handler, Runtime, ToolResult } from "@mcp-tx/core";
import { number, type OptionReader } from "@mcp-tx/core/options";
import type { LimitKey } from "./key.js";
import type { Lane, Lanes } from "./lanes.js";
import { type Moment, Passage, type PassageRules } from "./passage.js";

/** How calls wait for their slots and keep them. */
export interface QueueSettings {
  readonly maxQueue: number;
  readonly maxWaitMs: number;
  readonly abandonedMs: number | undefined;
}

/** Reads what every concurrency limit lets one choose. */
export const QUEUE_OPTIONS: {
  readonly maxQueue: OptionReader<number>;
  readonly maxWaitMs: OptionReader<number>;
  readonly abandonedMs: OptionReader<number | undefined>;
} = {
  maxQueue: number({ min: 0, integer: true, infinite: true }, 1000),
  maxWaitMs: number({ min: 0, infinite: true }, Infinity),
  abandonedMs: number({ min: 0, infinite: true }, undefined),
};

/** Lets calls through as slots are free, and queues the others. */
export class ConcurrencyLimiter implements PassageRules {
  readonly maxQueue: number;
  readonly maxWaitMs: number;
  readonly abandonedMs: number | undefined;
  admitted: Passage | undefined = undefined;
  readonly #lanes: Lanes;
  readonly #keyOf: LimitKey;
  /** A reading of the clock, for as long as a crowd arrives. */
  #moment: Moment | undefined;

  constructor(lanes: Lanes, keyOf: LimitKey, { maxQueue, maxWaitMs, abandonedMs }: QueueSettings) {
    this.maxQueue = maxQueue;
    this.maxWaitMs = maxWaitMs;
    this.abandonedMs = abandonedMs;
    this.#lanes = lanes;
    this.#keyOf = keyOf;
  }

  /** Runs `next` as soon as there is a slot; `wrap` may put something round it. */
  enter(ctx: CallContext, next: Handler, wrap?: (lane: Lane, next: Handler) => Handler): Promise<ToolResult> {
    try {
      const lane = this.#lanes.of(this.#keyOf(ctx));
      return new Passage(this, lane, ctx, wrap === undefined ? next : wrap(lane, next)).start();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  timeOf(runtime: Runtime): Moment {
    if (this.#moment?.runtime === runtime) return this.#moment;
    const moment = { runtime, now: runtime.now() };
    this.#moment = moment;
    SOON.then(() => {
      this.#moment = undefined;
    });
    return moment;
  }

  release(lane: Lane): void {
    this.#lanes.release(lane);
  }
}

const SOON: Promise<void> = Promise.resolve();

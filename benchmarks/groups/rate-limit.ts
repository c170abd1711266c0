import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import { rateLimit } from "@mcp-tx/rate-limit";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { readyContext } from "../harness/context.js";
import type { Group, Task } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
/** So much that nobody ever waits. */
const PLENTY = 1e9;
const KEYS = 100_000;

/** A call with a token for it; rate-limiter-flexible's memory limiter counts in fixed windows. */
function uncontended(ctx: CallContext): Readonly<Record<string, Task>> {
  const ours = pipeline(rateLimit({ rate: PLENTY, burst: PLENTY }), async () => RESULT);
  const limiter = new RateLimiterMemory({ points: PLENTY, duration: 1 });
  const tool: Handler = async () => RESULT;
  return {
    "rateLimit()": () => ours(ctx),
    "rate-limiter-flexible": async () => {
      await limiter.consume("server");
      return await tool(ctx);
    },
  };
}

const collect = (): void => globalThis.gc?.();

/** Takes a token for every key, and says what is left of that: something that holds the limiter, so that it is not collected. */
type Fill = (keys: readonly string[]) => Promise<unknown>;

/** Each key is hit twice a second at most: its state has to be kept for a while. */
function fillOurs(ctx: CallContext): Fill {
  return async (keys) => {
    const limit = rateLimit({ rate: 0.5, burst: 10, key: ({ tool }) => tool });
    const handler = pipeline(limit, async () => RESULT);
    for (const tool of keys) await handler({ ...ctx, tool });
    return limit;
  };
}

/** The memory limiter arms a timer for each key, which deletes it when its window is over. */
const fillFlexible: Fill = async (keys) => {
  const limiter = new RateLimiterMemory({ points: 10, duration: 20 });
  for (const key of keys) await limiter.consume(key);
  return limiter;
};

/** Bytes on the heap for each key, its text not counted: the texts are there before. */
function bytesPerKey(fill: Fill): Task {
  return async () => {
    const keys = Array.from({ length: KEYS }, (_, index) => `tool-${index}`);
    // Interned before, as a key of a map would be.
    const known = new Set(keys);
    collect();
    const before = process.memoryUsage().heapUsed;
    const held = await fill(keys);
    collect();
    const bytes = (process.memoryUsage().heapUsed - before) / KEYS;
    if (held === undefined || known.size !== KEYS) throw new Error("nothing was held");
    return bytes;
  };
}

/** Timers that are armed for all keys together, those included that do not keep the process alive. */
function timersArmed(fill: Fill): Task {
  return async () => {
    const keys = Array.from({ length: KEYS }, (_, index) => `tool-${index}`);
    const { setTimeout: arm, clearTimeout: disarm } = globalThis;
    const armed = new Set<unknown>();
    globalThis.setTimeout = Object.assign((...given: Parameters<typeof arm>) => {
      const timer = arm(...given);
      armed.add(timer);
      return timer;
    }, arm) as typeof arm;
    globalThis.clearTimeout = (timer) => {
      armed.delete(timer);
      disarm(timer);
    };
    try {
      if ((await fill(keys)) === undefined) throw new Error("nothing was held");
      return armed.size;
    } finally {
      Object.assign(globalThis, { setTimeout: arm, clearTimeout: disarm });
    }
  };
}

export default async (): Promise<readonly Group[]> => {
  const ctx = await readyContext();
  return [
    {
      title: "rate limit: a token is there",
      measure: "time",
      contenders: uncontended(ctx),
      reference: "rateLimit()",
      targets: [{ ours: "rateLimit()", peer: "rate-limiter-flexible", atMost: 0.95 }],
    },
    {
      title: `rate limit: memory per key, ${KEYS} keys`,
      measure: "value",
      unit: "B",
      contenders: { "rateLimit()": bytesPerKey(fillOurs(ctx)), "rate-limiter-flexible": bytesPerKey(fillFlexible) },
      reference: "rateLimit()",
      targets: [{ ours: "rateLimit()", atMost: 64 }, { ours: "rate-limiter-flexible" }],
    },
    {
      title: `rate limit: timers armed for ${KEYS} keys`,
      measure: "value",
      contenders: { "rateLimit()": timersArmed(fillOurs(ctx)), "rate-limiter-flexible": timersArmed(fillFlexible) },
      reference: "rateLimit()",
      // One for all of them, at most.
      targets: [{ ours: "rateLimit()", atMost: 1 }, { ours: "rate-limiter-flexible" }],
    },
  ];
};

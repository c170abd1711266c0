import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { Sema } from "async-sema";
import { bulkhead } from "cockatiel";
import pLimit from "p-limit";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { readyContext } from "../harness/context.js";
import type { Group, Task } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
/** So much that nobody ever waits. */
const PLENTY = 1e9;
const WAITERS = 10_000;
const SLOTS = 8;

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

/** What a tool does at least: it answers later. */
function later(): Handler {
  return () => new Promise((resolve) => setImmediate(resolve, RESULT));
}

/** Starts everything at once and waits for all of it. */
function atOnce(start: (index: number) => Promise<unknown>): Promise<unknown> {
  return Promise.all(Array.from({ length: WAITERS }, (_, index) => start(index)));
}

function contended(ctx: CallContext, tool: () => Handler): Readonly<Record<string, Task>> {
  const ours = pipeline(concurrencyLimit({ max: SLOTS, maxQueue: WAITERS }), tool());
  const policy = bulkhead(SLOTS, WAITERS);
  const limited = pLimit(SLOTS);
  const semaphore = new Sema(SLOTS, { capacity: WAITERS });
  const [guarded, counted, held] = [tool(), tool(), tool()];
  return {
    "concurrencyLimit()": () => atOnce(() => ours(ctx)),
    "cockatiel bulkhead": () => atOnce(() => policy.execute(() => guarded(ctx))),
    "p-limit": () => atOnce(() => limited(() => counted(ctx))),
    "async-sema": () =>
      atOnce(async () => {
        await semaphore.acquire();
        try {
          return await held(ctx);
        } finally {
          semaphore.release();
        }
      }),
  };
}

function free(ctx: CallContext): Readonly<Record<string, Task>> {
  const ours = pipeline(concurrencyLimit({ max: SLOTS }), async () => RESULT);
  const policy = bulkhead(SLOTS);
  const tool: Handler = async () => RESULT;
  return { "concurrencyLimit()": () => ours(ctx), "cockatiel bulkhead": () => policy.execute(() => tool(ctx)) };
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
      title: `concurrency: ${WAITERS} calls at once, ${SLOTS} slots`,
      measure: "time",
      contenders: contended(ctx, () => async () => RESULT),
      reference: "concurrencyLimit()",
      targets: [
        { ours: "concurrencyLimit()", peer: "cockatiel bulkhead", atMost: 0.75 },
        { ours: "concurrencyLimit()", peer: "p-limit", atMost: 0.6 },
        { ours: "concurrencyLimit()", peer: "async-sema", atMost: 1 },
      ],
    },
    {
      title: `concurrency: the same with calls that take a turn of the event loop`,
      measure: "time",
      contenders: contended(ctx, later),
      reference: "concurrencyLimit()",
      targets: [
        { ours: "concurrencyLimit()", peer: "cockatiel bulkhead" },
        { ours: "concurrencyLimit()", peer: "p-limit" },
        { ours: "concurrencyLimit()", peer: "async-sema" },
      ],
    },
    {
      title: "concurrency: a slot is free",
      measure: "time",
      contenders: free(ctx),
      reference: "concurrencyLimit()",
      targets: [{ ours: "concurrencyLimit()", peer: "cockatiel bulkhead" }],
    },
  ];
};

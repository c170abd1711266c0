import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import { monitor } from "@mcp-tx/monitor";
import { rateLimit } from "@mcp-tx/rate-limit";
import { readyContext } from "../harness/context.js";
import type { Task } from "../harness/group.js";
import { type Curve, type Series, timePoints } from "../harness/scaling.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const SIZES = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000];
const MOST = Math.max(...SIZES);
/** So much that nobody ever waits, at a rate that leaves every key with something to keep. */
const RATE = 1e6;
/** A step that has no divisor in common with the sizes: neighbours in time are not neighbours in memory. */
const STEP = 612_373;

const MAP = "bare Map";

const KEYS: readonly string[] = Array.from({ length: MOST }, (_, index) => `tool-${index}`);

/** Calls one key after the other, jumping about; every key has been there once before. */
async function overKeys(size: number, contexts: readonly CallContext[], handler: Handler): Promise<Task> {
  for (let index = 0; index < size; index += 1) await handler(contexts[index] as CallContext);
  let at = 0;
  return () => {
    at = (at + STEP) % size;
    return handler(contexts[at] as CallContext);
  };
}

async function series(name: string, contexts: readonly CallContext[], make: () => Handler): Promise<Series> {
  const tasks = new Map<number, Task>();
  for (const size of SIZES) tasks.set(size, await overKeys(size, contexts, make()));
  return { name, points: await timePoints(name, tasks) };
}

/** What a look at a map costs, of which every one of them needs one at least: it grows with the misses of the processor's caches. */
function bareMap(): Handler {
  const counts = new Map<string, number>();
  return async ({ tool }) => {
    counts.set(tool, (counts.get(tool) ?? 0) + 1);
    return RESULT;
  };
}

export default async (): Promise<readonly Curve[]> => {
  const ctx = await readyContext();
  const contexts = KEYS.map((tool): CallContext => ({ ...ctx, tool }));
  const terminal: Handler = async () => RESULT;
  const key = ({ tool }: CallContext): string => tool;
  return [
    {
      title: "Cost per call against keys",
      xLabel: "keys",
      unit: "ns",
      expectation: "logarithmic",
      relativeTo: MAP,
      maxGrowth: 2,
      series: [
        await series("rateLimit()", contexts, () => pipeline(rateLimit({ rate: RATE, burst: RATE, key }), terminal)),
        await series("circuitBreaker()", contexts, () => pipeline(circuitBreaker({ maxKeys: MOST }), terminal)),
        await series("monitor()", contexts, () => pipeline(monitor(), terminal)),
        { ...(await series(MAP, contexts, bareMap)), isReference: true },
      ],
    },
  ];
};

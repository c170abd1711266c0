import { type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import { concurrencyLimit } from "@mcp-tx/rate-limit";
import { Sema } from "async-sema";
import pLimit from "p-limit";
import { readyContext } from "../harness/context.js";
import { cockatiels } from "../harness/peers.js";
import type { Curve, Point } from "../harness/scaling.js";
import { median } from "../harness/statistics.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const SIZES = [1, 10, 100, 1000, 10_000, 100_000];
const MOST = Math.max(...SIZES);
const SLOTS = 8;
const ROUNDS = 5;
/** Few waiters are timed many times over. */
const CALLS_PER_ROUND = 10_000;
/** What takes longer than this is measured once. */
const LONG_NS = 5e8;
const OURS = "concurrencyLimit()";
/** What holds as many calls in memory as briefly as it can be written, without a bound, deadlines or a way out of the queue. */
const BARE = "bare queue";

type Guarded = () => Promise<unknown>;

const tool: Handler = async () => RESULT;

function bareQueue(work: Guarded): Guarded {
  const waiting: (() => void)[] = [];
  let first = 0;
  let free = SLOTS;
  function leave(): void {
    const next = waiting[first];
    if (next === undefined) {
      free += 1;
      return;
    }
    first += 1;
    if (first === waiting.length) {
      waiting.length = 0;
      first = 0;
    }
    next();
  }
  return async () => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      leave();
    }
  };
}

async function limiters(): Promise<ReadonlyMap<string, Guarded>> {
  const ctx = await readyContext();
  const ours = pipeline(concurrencyLimit({ max: SLOTS, maxQueue: MOST }), async () => RESULT);
  const bulkheads = cockatiels.map(({ name, api }): [string, Guarded] => {
    const policy = api.bulkhead(SLOTS, MOST);
    return [`${name} bulkhead`, () => policy.execute(() => tool(ctx))];
  });
  const limited = pLimit(SLOTS);
  const slots = new Sema(SLOTS, { capacity: MOST });
  const held = async (): Promise<unknown> => {
    await slots.acquire();
    try {
      return await tool(ctx);
    } finally {
      slots.release();
    }
  };
  return new Map([
    [OURS, () => ours(ctx)],
    ...bulkheads,
    ["p-limit", () => limited(() => tool(ctx))],
    ["async-sema", held],
    [BARE, bareQueue(() => tool(ctx))],
  ]);
}

/** Nanoseconds per call when so many come at once. */
async function timed(guarded: Guarded, size: number): Promise<number> {
  const repetitions = Math.max(1, Math.round(CALLS_PER_ROUND / size));
  const start = performance.now();
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    await Promise.all(Array.from({ length: size }, guarded));
  }
  return ((performance.now() - start) * 1e6) / (repetitions * size);
}

/** All rounds of all limiters at all sizes. */
async function sampled(
  tasks: readonly (readonly [string, Guarded])[],
): Promise<readonly ReadonlyMap<number, number[]>[]> {
  const samples = tasks.map(() => new Map<number, number[]>(SIZES.map((size) => [size, []])));
  async function turn(index: number, size: number, round: number): Promise<void> {
    const [guarded, values] = [tasks[index]?.[1], samples[index]?.get(size)];
    if (guarded === undefined || values === undefined || (values[0] ?? 0) * size > LONG_NS) return;
    // The first round warms up and counts only where there is no other.
    if (round === 1) values.pop();
    globalThis.gc?.();
    values.push(await timed(guarded, size));
  }
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const size of SIZES) {
      for (let place = 0; place < tasks.length; place += 1) await turn((place + round) % tasks.length, size, round);
    }
  }
  return samples;
}

export default async (): Promise<readonly Curve[]> => {
  const tasks = [...(await limiters())];
  const samples = await sampled(tasks);
  const pointsOf = (values: ReadonlyMap<number, readonly number[]> | undefined): Point[] =>
    SIZES.map((x) => ({ x, y: median(values?.get(x) ?? []) }));
  return [
    {
      title: "Cost per call against calls that wait",
      xLabel: `calls at once, ${SLOTS} slots`,
      unit: "ns",
      expectation: "flat",
      // From the first size at which calls wait at all.
      from: 10,
      relativeTo: BARE,
      maxGrowth: 2,
      series: tasks.map(([name], index) => ({ name, points: pointsOf(samples[index]), isReference: name !== OURS })),
    },
  ];
};

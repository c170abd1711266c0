import { type CallContext, type Handler, type Middleware, pipeline, type ToolResult } from "@mcp-tx/core";
import koaCompose from "koa-compose";
import { readyContext } from "../harness/context.js";
import type { Task } from "../harness/group.js";
import { type Curve, type Series, timePoints } from "../harness/scaling.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const SIZES = [0, 1, 2, 5, 10, 20, 50];

/** Functions round each other, as one would write them by hand. */
function nested(layers: number): Handler {
  let handler: Handler = async () => RESULT;
  for (let layer = 0; layer < layers; layer += 1) {
    const inner = handler;
    handler = async (ctx) => await inner(ctx);
  }
  return handler;
}

function ours(layers: number): Handler {
  const middleware = Array.from({ length: layers }, (): Middleware => async (ctx, next) => await next(ctx));
  return pipeline(middleware, async () => RESULT);
}

function koa(layers: number): Handler {
  type Layer = koaCompose.Middleware<CallContext>;
  const composed = koaCompose(Array.from({ length: layers }, (): Layer => async (_, next) => await next()));
  return (ctx) => composed(ctx, async () => RESULT) as unknown as Promise<ToolResult>;
}

/** Nanoseconds per function: the layers and what they are round. */
async function series(name: string, ctx: CallContext, make: (layers: number) => Handler): Promise<Series> {
  const tasks = new Map<number, Task>();
  for (const size of SIZES) {
    const handler = make(size);
    tasks.set(size, () => handler(ctx));
  }
  const points = await timePoints(name, tasks);
  return { name, points: points.map(({ x, y }) => ({ x, y: y / (x + 1) })) };
}

export default async (): Promise<readonly Curve[]> => {
  const ctx = await readyContext();
  return [
    {
      title: "Cost per layer against layers",
      xLabel: "async pass-through layers",
      unit: "ns",
      expectation: "flat",
      maxGrowth: 2,
      series: [
        await series("pipeline", ctx, ours),
        { ...(await series("hand-nested", ctx, nested)), isReference: true },
        { ...(await series("koa-compose", ctx, koa)), isReference: true },
      ],
    },
  ];
};

import { type Handler, pipeline, run, type ToolResult } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { expect, test } from "vitest";
import { ConcurrencyLimiter } from "./concurrency-limiter.js";
import { Lane, Lanes } from "./lanes.js";

const RESULT: ToolResult = { content: [] };

function limiterOf(maxWaitMs = Infinity) {
  const lanes = new Lanes((key) => new Lane(key, 1), 1);
  const rules = { maxQueue: 1000, maxWaitMs, abandonedMs: undefined };
  const limiter = new ConcurrencyLimiter(lanes, (ctx) => String(ctx.args.key), rules);
  const start = (tool: Handler, key: string, time = virtualTime()): Promise<ToolResult> =>
    run(
      pipeline((ctx, next) => limiter.enter(ctx, next), tool),
      { tool: "work", args: { key } },
      { runtime: time.runtime },
    );
  return { lanes, limiter, start };
}

test("100 000 keys, each with a call that ran and one that waited, leave nothing behind", async () => {
  const { lanes, limiter } = limiterOf();
  const handler = pipeline(
    (ctx, next) => limiter.enter(ctx, next),
    async () => RESULT,
  );
  for (let batch = 0; batch < 100; batch += 1) {
    const keys = Array.from({ length: 1000 }, (_, index) => `key ${batch * 1000 + index}`);
    await Promise.all(
      keys.flatMap((key) => [
        run(handler, { tool: "work", args: { key } }),
        run(handler, { tool: "work", args: { key } }),
      ]),
    );
  }
  expect(lanes.size).toBe(1);
  expect(limiter.admitted).toBeUndefined();
}, 30_000);

test("a key leaves with its last work, not with its last caller", async () => {
  const time = virtualTime();
  const { lanes, limiter } = limiterOf(20);
  const slow: Handler = async (ctx) => {
    await ctx.call.runtime.sleep(100);
    return RESULT;
  };
  const handler = pipeline((ctx, next) => limiter.enter(ctx, next), slow);
  const call = (key: string, attemptTimeoutMs: number): Promise<unknown> =>
    run(handler, { tool: "work", args: { key }, options: { attemptTimeoutMs } }, { runtime: time.runtime }).catch(
      (error: unknown) => error,
    );
  await time.run(Promise.all([call("a", 10), call("a", 10), call("b", 10)]));
  expect(time.now()).toBe(20);
  expect(lanes.peek("a")?.held).toBe(1);
  await time.advance(80);
  expect([lanes.peek("a")?.held ?? 0, lanes.peek("b")?.held ?? 0, lanes.size]).toEqual([0, 0, 1]);
});

test("reads the time of a crowd once, and that of the next moment anew", async () => {
  const time = virtualTime();
  const { limiter } = limiterOf();
  let readings = 0;
  const runtime = {
    ...time.runtime,
    now: () => {
      readings += 1;
      return time.now();
    },
  };
  for (let index = 0; index < 100; index += 1) limiter.timeOf(runtime);
  expect(readings).toBe(1);
  await time.advance(5);
  expect(limiter.timeOf(runtime).now).toBe(5);
});

test("does not take the time of one clock for that of another", () => {
  const { limiter } = limiterOf();
  const [early, late] = [virtualTime({ now: 1 }), virtualTime({ now: 1000 })];
  const times = [early, late, early].map(({ runtime }) => limiter.timeOf(runtime).now);
  expect(times).toEqual([1, 1000, 1]);
});

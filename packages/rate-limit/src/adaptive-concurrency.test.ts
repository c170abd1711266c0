import {
  type CallEvents,
  type CallOptions,
  type Classifier,
  type Handler,
  type Middleware,
  pipeline,
  RateLimitError,
  run,
  type ToolResult,
} from "@mcp-tx/core";
import { context, middlewareContract, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import {
  type AdaptiveConcurrency,
  type AdaptiveConcurrencyOptions,
  adaptiveConcurrency,
} from "./adaptive-concurrency.js";
import { QueueFullError } from "./errors.js";

const RESULT: ToolResult = { content: [] };
const THROTTLED: ToolResult = { content: [], isError: true };

/** What a server that throttles looks like to the core. */
const classifiers: readonly Classifier[] = [
  ({ result }) => (result === THROTTLED ? { status: "throttled", transient: true, code: "rate_limited" } : undefined),
];

/** Callers of a tool that behaves as `tool` says, through one adaptive limit. */
function callers(options: AdaptiveConcurrencyOptions, tool: Handler, before?: Middleware) {
  const time = virtualTime();
  const limit: AdaptiveConcurrency = adaptiveConcurrency(options);
  const handler = pipeline(before === undefined ? limit : [before, limit], tool);
  const events: CallEvents["limit.changed"][] = [];
  const call = (args = {}, callOptions?: CallOptions): Promise<unknown> =>
    run(
      handler,
      { tool: "work", args, options: callOptions },
      {
        runtime: time.runtime,
        classifiers,
        onEvent: (name, detail) => {
          if (name === "limit.changed") events.push(detail as CallEvents["limit.changed"]);
        },
      },
    ).catch((error: unknown) => error);
  /** That many callers, each with that many calls one after the other. */
  const crowd = (size: number, calls: number, callOptions?: CallOptions): Promise<unknown> =>
    time.run(
      Promise.all(
        Array.from({ length: size }, async () => {
          for (let count = 0; count < calls; count += 1) await call({}, callOptions);
        }),
      ),
    );
  return { time, limit, call, crowd, events };
}

/** Takes a while, whatever happens meanwhile. */
const taking = (ms: number, result: ToolResult = RESULT): Handler => {
  return async (ctx) => {
    await ctx.call.runtime.sleep(ms);
    return result;
  };
};

describe("options", () => {
  test.each([
    [{ min: 0 }, RangeError, "adaptiveConcurrency: min must be an integer >= 1, got 0"],
    [{ max: 1.5 }, RangeError, "max must be an integer >= 1"],
    [{ min: 10, max: 5 }, RangeError, "adaptiveConcurrency: max must be at least min, which is 10, got 5"],
    [{ max: 20, initial: 21 }, RangeError, "initial must be from min to max, which is 1 to 20, got 21"],
    [{ min: 5, initial: 4 }, RangeError, "initial must be from min to max, which is 5 to 200, got 4"],
    [{ tolerance: 0.9 }, RangeError, "tolerance must be a number >= 1"],
    [{ backoffRatio: 0 }, RangeError, "backoffRatio must be a number > 0 and <= 1"],
    [{ backoffRatio: 1.1 }, RangeError, "backoffRatio must be a number > 0 and <= 1"],
    [{ maxKeys: 0 }, RangeError, "maxKeys must be an integer >= 1"],
    [{ maxQueue: "all" }, TypeError, "maxQueue must be an integer >= 0"],
    [{ limit: 3 }, TypeError, 'unknown option "limit"'],
  ])("refuses %j at construction, naming the option", (options, type, message) => {
    const construct = (): unknown => adaptiveConcurrency(options as AdaptiveConcurrencyOptions);
    expect(construct).toThrow(type);
    expect(construct).toThrow(message);
  });

  test.each([
    [{}, 10],
    [{ max: 3 }, 3],
    [{ min: 50 }, 50],
    [{ min: 500 }, 500],
    [{ initial: 7 }, 7],
  ])("with %j it begins at %i", (options, initial) => {
    expect(adaptiveConcurrency(options).limit("any")).toBe(initial);
  });

  test("has the seat of a concurrency limit", () => {
    const { name, seat } = adaptiveConcurrency();
    expect([name, seat]).toEqual(["adaptiveConcurrency", "concurrency"]);
  });
});

test("converges on a server whose capacity goes from 20 to 5 to 40, and keeps what runs there below the limit", async () => {
  let capacity = 20;
  let working = 0;
  let atServer = 0;
  const queue: (() => void)[] = [];
  const limits = { most: 0 };
  const { time, limit, call } = callers({ maxQueue: Infinity }, async (ctx) => {
    atServer += 1;
    limits.most = Math.max(limits.most, atServer - limit.limit(""));
    if (working >= capacity) await new Promise<void>((resolve) => queue.push(resolve));
    working += 1;
    await ctx.call.runtime.sleep(100);
    working -= 1;
    atServer -= 1;
    while (queue.length > 0 && working < capacity) {
      queue.shift()?.();
      // The one that was woken counts itself a microtask later.
      await Promise.resolve();
    }
    return RESULT;
  });
  let isOver = false;
  const everybody = Promise.all(
    Array.from({ length: 100 }, async () => {
      while (!isOver) await call();
    }),
  );
  for (const next of [20, 5, 40]) {
    capacity = next;
    await time.advance(12_000);
    const seen: number[] = [];
    for (let sample = 0; sample < 40; sample += 1) {
      await time.advance(100);
      seen.push(limit.limit(""));
    }
    const mean = seen.reduce((sum, each) => sum + each, 0) / seen.length;
    expect(mean).toBeGreaterThan(next * 0.8);
    expect(mean).toBeLessThan(next * 2);
  }
  isOver = true;
  await time.run(everybody);
}, 30_000);

describe("shrinks", () => {
  test("when the server throttles, and says so as an event", async () => {
    const { limit, crowd, events } = callers({ initial: 20, key: () => "api" }, taking(10, THROTTLED));
    await crowd(20, 1);
    expect(limit.limit("api")).toBe(15);
    expect(events).toEqual([{ tool: "work", key: "api", from: 20, to: 15 }]);
  });

  test("when attempts time out", async () => {
    const { limit, crowd } = callers({ initial: 20 }, taking(50));
    await crowd(20, 1, { attemptTimeoutMs: 40 });
    expect(limit.limit("")).toBe(15);
  });

  test("to min and not below, and still lets calls through", async () => {
    const { limit, crowd, call, time } = callers({ initial: 20, min: 2, maxQueue: Infinity }, taking(10, THROTTLED));
    await crowd(20, 50);
    expect(limit.limit("")).toBe(2);
    expect(await time.run(call())).toEqual(THROTTLED);
  });
});

describe("grows", () => {
  test("while answers take no longer, and lets those who wait go on", async () => {
    const { limit, crowd, events } = callers({ initial: 4, max: 30, maxQueue: Infinity }, taking(10));
    await crowd(100, 20);
    expect(limit.limit("")).toBeGreaterThan(20);
    expect(events.every(({ from, to }) => from !== to)).toBe(true);
  });

  test("also by answers that report a failure of the tool: it ran and answered", async () => {
    const failed: ToolResult = { content: [], isError: true };
    const { limit, crowd } = callers({ initial: 4, maxQueue: Infinity }, taking(10, failed));
    await crowd(20, 20);
    expect(limit.limit("")).toBeGreaterThan(4);
  });

  test("not while less than half of it is in use", async () => {
    const { limit, crowd } = callers({ initial: 10 }, taking(10));
    await crowd(4, 300);
    expect(limit.limit("")).toBe(10);
  });
});

describe("does not learn", () => {
  /** What the limit comes to when these calls come before 60 ordinary ones, and without them. */
  async function compare(
    disturb: (tools: ReturnType<typeof callers>) => Promise<unknown>,
    before?: Middleware,
  ): Promise<number[]> {
    const limits: number[] = [];
    for (const isDisturbed of [false, true]) {
      const tools = callers({ initial: 10, maxQueue: Infinity }, taking(100), before);
      await tools.crowd(10, 6);
      if (isDisturbed) await disturb(tools);
      await tools.crowd(10, 6);
      limits.push(tools.limit.limit(""));
    }
    return limits;
  }

  test("from calls that their caller cancelled", async () => {
    const [without, withThem] = await compare(async ({ time, call }) => {
      for (let count = 0; count < 60; count += 1) {
        const controller = new AbortController();
        const cancelled = call({}, { signal: controller.signal });
        controller.abort(new Error("cancelled"));
        await time.run(cancelled);
        await time.advance(100);
      }
    });
    expect(withThem).toBe(without);
  });

  test("from calls that a gate refused", async () => {
    const gate: Middleware = (ctx, next) => {
      if (ctx.args.refused !== true) return next(ctx);
      const admit = (): void => {
        throw new RateLimitError(ctx.tool);
      };
      return next({ ...ctx, admit });
    };
    const [without, withThem] = await compare(async ({ time, call }) => {
      for (let count = 0; count < 60; count += 1) await time.run(call({ refused: true }));
    }, gate);
    expect(withThem).toBe(without);
  });

  test("from calls that found the queue full", async () => {
    const limits: number[] = [];
    for (const refused of [0, 60]) {
      const { limit, time, call, crowd } = callers({ initial: 10, maxQueue: 0 }, taking(100));
      await crowd(10, 4);
      await time.run(Promise.all(Array.from({ length: limit.limit("") + refused }, () => call())));
      await crowd(10, 4);
      limits.push(limit.limit(""));
    }
    expect(limits[1]).toBe(limits[0]);
  });
});

test("passes a result on that cannot be looked at", async () => {
  const unreadable: ToolResult = {
    get isError(): boolean {
      throw new Error("not to be read");
    },
  };
  expect(await adaptiveConcurrency()(context(), async () => unreadable)).toBe(unreadable);
});

test("one slow call among many does not collapse it", async () => {
  let runs = 0;
  const { limit, crowd } = callers({ initial: 10, maxQueue: Infinity }, async (ctx) => {
    runs += 1;
    await ctx.call.runtime.sleep(runs === 50 ? 5000 : 20);
    return RESULT;
  });
  await crowd(10, 40);
  expect(limit.limit("")).toBeGreaterThanOrEqual(10);
});

test("holds a slot as long as the work goes on, also when its caller has given up", async () => {
  let running = 0;
  const { time, call } = callers({ min: 2, max: 2, maxWaitMs: 100 }, async (ctx) => {
    running += 1;
    await ctx.call.runtime.sleep(1000);
    running -= 1;
    return RESULT;
  });
  const ends = await time.run(Promise.all([1, 2, 3].map(() => call({}, { attemptTimeoutMs: 10 }))));
  expect(running).toBe(2);
  expect(QueueFullError.isInstance(ends[2])).toBe(true);
});

describe("keys", () => {
  test("each have a limit of their own", async () => {
    const { limit, time, call } = callers({ initial: 20, key: (ctx) => String(ctx.args.key) }, taking(10, THROTTLED));
    await time.run(call({ key: "slow" }));
    expect([limit.limit("slow"), limit.limit("other")]).toEqual([15, 20]);
  });

  test("keep what they learned while nobody calls, up to maxKeys of them", async () => {
    const { limit, time, call } = callers(
      { initial: 20, maxKeys: 2, key: (ctx) => String(ctx.args.key) },
      taking(10, THROTTLED),
    );
    for (const key of ["a", "b", "a", "c"]) await time.run(call({ key }));
    expect(["a", "b", "c"].map((key) => limit.limit(key))).toEqual([11, 20, 15]);
  });
});

describe("keeps the contract of a middleware", () => {
  for (const { name, run: prove } of middlewareContract(() => adaptiveConcurrency())) test(name, prove);
});

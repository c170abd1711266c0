import {
  type CallEvents,
  type Classifier,
  type McpTxError,
  type Middleware,
  pipeline,
  RateLimitError,
  reportOf,
  run,
  StoreUnavailableError,
  type ToolResult,
  type WrapOptions,
} from "@mcp-tx/core";
import type { RateLimitDecision, RateLimitStore } from "@mcp-tx/core/stores";
import { countingSignal, middlewareContract, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { QueueFullError } from "./errors.js";
import { memoryRateLimitStore } from "./memory-store.js";
import { type RateLimitOptions, rateLimit } from "./rate-limit.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };

/** One request to the store. */
type Request = readonly [at: number, method: "take" | "refund" | "pause", ...given: unknown[]];

interface Setup extends WrapOptions {
  readonly limit?: Partial<RateLimitOptions>;
  /** Stands in front of the store, or instead of it. */
  readonly take?: (taken: () => Promise<RateLimitDecision>, count: number) => Promise<RateLimitDecision>;
  readonly refund?: () => Promise<void>;
  readonly pause?: () => Promise<void>;
  readonly outer?: readonly Middleware[];
  readonly inner?: readonly Middleware[];
}

type Ended = { readonly at: number; readonly value: unknown } | { readonly at: number; readonly error: unknown };

/** A tool behind a shared limit of one call a second, and what the store is asked. */
function scene({ limit = {}, take, refund, pause, outer = [], inner = [], ...wrap }: Setup = {}) {
  const time = virtualTime();
  const kept = memoryRateLimitStore({ runtime: time.runtime });
  const requests: Request[] = [];
  let takes = 0;
  const store: RateLimitStore = {
    take(key, terms) {
      requests.push([time.now(), "take", key, terms.cost]);
      takes += 1;
      return take === undefined ? kept.take(key, terms) : take(() => kept.take(key, terms), takes);
    },
    refund(key, terms, ageMs) {
      requests.push([time.now(), "refund", key, terms.cost, ageMs]);
      return refund === undefined ? kept.refund(key, terms, ageMs) : refund();
    },
    pause(key, terms, ms) {
      requests.push([time.now(), "pause", key, ms]);
      return pause === undefined ? kept.pause(key, terms, ms) : pause();
    },
  };
  const ran: { readonly at: number; readonly tool: string }[] = [];
  const handler = pipeline([...outer, rateLimit({ rate: 1, burst: 1, store, ...limit }), ...inner], async (ctx) => {
    ran.push({ at: time.now(), tool: ctx.tool });
    return OK;
  });
  function call(options: object = {}, tool = "search"): Promise<Ended> {
    return run(handler, { tool, options }, { runtime: time.runtime, ...wrap }).then(
      (value) => ({ at: time.now(), value }),
      (error) => ({ at: time.now(), error }),
    );
  }
  const count = (method: Request[1]): number => requests.filter(([, name]) => name === method).length;
  return { time, kept, ran, requests, count, call };
}

function errorOf(end: Ended): unknown {
  if ("error" in end) return end.error;
  throw new Error("the call did not fail");
}

const down = (): Promise<never> => Promise.reject(new Error("connection refused"));
const hang = (): Promise<never> => new Promise(() => undefined);
const throwing = (): never => {
  throw new Error("client is closed");
};

describe("a store that fails", () => {
  const broken: Readonly<Record<string, () => Promise<RateLimitDecision>>> = {
    "is down": down,
    "throws at once": throwing,
    "decides undefined": async () => undefined as never,
    "decides null": async () => null as never,
    "decides true": async () => true as never,
    "decides nothing about allowed": async () => ({ retryAfterMs: 5 }) as never,
    "decides with a word": async () => ({ allowed: "no", retryAfterMs: 5 }) as never,
    "denies for no time that is known": async () => ({ allowed: false }) as never,
    "denies for NaN": async () => ({ allowed: false, retryAfterMs: Number.NaN }),
    "denies for ever": async () => ({ allowed: false, retryAfterMs: Infinity }),
    "denies for a negative time": async () => ({ allowed: false, retryAfterMs: -1 }),
    "does not even return a promise": () => "no" as never,
  };
  for (const [what, take] of Object.entries(broken)) {
    test(`and ${what}: the call is refused, nothing is sent, nothing let through silently`, async () => {
      const { time, call, ran } = scene({ take });
      const end = await time.run(call());
      const error = errorOf(end);
      expect(StoreUnavailableError.isInstance(error)).toBe(true);
      expect(error).toMatchObject({ code: "store_unavailable", cause: expect.any(Error) });
      expect(reportOf(error)).toMatchObject({ status: "rejected", execution: "not-executed" });
      expect((error as McpTxError).outcome.transient).toBe(true);
      expect(String(error)).not.toContain("connection refused");
      expect(ran).toEqual([]);
    });

    test(`and ${what}: with storeErrors "bypass" the call passes without a limit`, async () => {
      const { time, call, ran, count } = scene({ take, limit: { storeErrors: "bypass" } });
      await time.run(Promise.all([call(), call(), call()]));
      expect(ran.map(({ at }) => at)).toEqual([0, 0, 0]);
      expect(count("refund")).toBe(0);
    });
  }

  test("has given no tokens to a call that passes all the same, so that none go back", async () => {
    const inner: Middleware = () => Promise.reject(new RateLimitError("search"));
    const { time, call, count } = scene({ take: down, limit: { storeErrors: "bypass" }, inner: [inner] });
    await time.run(call());
    expect(count("refund")).toBe(0);
  });

  test("tells whoever listens", async () => {
    const events: [string, unknown][] = [];
    const { time, call } = scene({ take: down, onEvent: (name, detail) => events.push([name, detail]) });
    await time.run(call());
    expect(events).toEqual([
      ["limit.rejected", { tool: "search", key: "", code: "store_unavailable" } satisfies CallEvents["limit.rejected"]],
    ]);
  });

  test("while calls wait: the first is refused, and the next one asks", async () => {
    const { time, call, ran } = scene({ take: (taken, count) => (count === 4 ? down() : taken()) });
    const calls = [call({}, "first"), call({}, "second"), call({}, "third")];
    const ends = await time.run(Promise.all(calls));
    expect(StoreUnavailableError.isInstance(errorOf(ends[1] as Ended))).toBe(true);
    expect(ran).toEqual([
      { at: 0, tool: "first" },
      { at: 1000, tool: "third" },
    ]);
  });

  test("hanging: the call is refused when maxWaitMs is over, or its deadline", async () => {
    for (const [limit, options, at] of [
      [{ maxWaitMs: 300 }, {}, 300],
      [{}, { timeoutMs: 200 }, 200],
      [{ maxWaitMs: 300, onLimit: "reject" }, {}, 300],
    ] as const) {
      const { time, call, ran } = scene({ take: hang, limit });
      const end = await time.run(call(options));
      expect(end.at).toBe(at);
      expect(StoreUnavailableError.isInstance(errorOf(end))).toBe(true);
      expect(ran).toEqual([]);
      expect(time.timers).toBe(0);
    }
  });

  test("hanging: with storeErrors bypass the call passes when maxWaitMs is over", async () => {
    const { time, call } = scene({ take: hang, limit: { maxWaitMs: 300, storeErrors: "bypass" } });
    expect(await time.run(call())).toMatchObject({ at: 300, value: OK });
  });

  test("hanging for one call: the others are not held up", async () => {
    const { time, call, ran } = scene({
      limit: { rate: 10, burst: 1 },
      take: (taken, count) => (count === 1 ? hang() : taken()),
    });
    const controller = new AbortController();
    const lost = call({ signal: controller.signal }, "lost");
    await time.run(Promise.all([call({}, "a"), call({}, "b"), call({}, "c")]));
    expect(ran).toEqual([
      { at: 0, tool: "a" },
      { at: 100, tool: "b" },
      { at: 200, tool: "c" },
    ]);
    controller.abort(new Error("enough"));
    await lost;
  });

  test("hanging for the first in line: the others go on when that one leaves", async () => {
    const { time, call, ran } = scene({ take: (taken, count) => (count === 4 ? hang() : taken()) });
    const controller = new AbortController();
    const calls = [call({}, "first"), call({ signal: controller.signal }, "second"), call({}, "third")];
    await time.advance(5000);
    controller.abort(new Error("enough"));
    await time.run(Promise.all(calls));
    expect(ran.map(({ tool, at }) => [tool, at])).toEqual([
      ["first", 0],
      ["third", 5000],
    ]);
  });

  test("a refund or a pause that fails changes nothing of what the call came to", async () => {
    const error = new RateLimitError("search");
    const inner: Middleware = () => Promise.reject(error);
    const readBusy: Classifier = ({ result }) =>
      result === OK ? { status: "throttled", retryAfterMs: 50 } : undefined;
    for (const fail of [down, throwing]) {
      const refused = scene({ inner: [inner], refund: fail });
      expect(errorOf(await refused.time.run(refused.call()))).toBe(error);
      const busy = scene({ pause: fail, classifiers: [readBusy] });
      expect(await busy.time.run(busy.call())).toMatchObject({ value: OK });
      expect(busy.count("pause")).toBe(1);
    }
  });
});

describe("a store that works", () => {
  test("is asked once for a call that passes", async () => {
    const { time, call, requests } = scene();
    expect(await time.run(call())).toMatchObject({ at: 0, value: OK });
    expect(requests).toEqual([[0, "take", "", 1]]);
  });

  test("shares one limit between middlewares", async () => {
    const time = virtualTime();
    const store = memoryRateLimitStore({ runtime: time.runtime });
    const at: number[] = [];
    const call = () => {
      const handler = pipeline(rateLimit({ rate: 1, burst: 1, store }), async () => OK);
      return run(handler, { tool: "search" }, { runtime: time.runtime }).then(() => at.push(time.now()));
    };
    await time.run(Promise.all([call(), call(), call()]));
    expect(at).toEqual([0, 1000, 2000]);
  });

  test("is asked by the first in line alone, and not before its tokens can be there", async () => {
    const { time, call, ran, requests } = scene();
    const calls = ["a", "b", "c", "d"].map((tool) => call({}, tool));
    await time.advance(0);
    // All came before any was denied.
    expect(requests).toHaveLength(4);
    const late = ["e", "f"].map((tool) => call({}, tool));
    await time.run(Promise.all([...calls, ...late]));
    expect(ran.map(({ tool }) => tool)).toEqual(["a", "b", "c", "d", "e", "f"]);
    expect(ran.map(({ at }) => at)).toEqual([0, 1000, 2000, 3000, 4000, 5000]);
    expect(requests.slice(4).map(([at]) => at)).toEqual([1000, 2000, 3000, 4000, 5000]);
  });

  test("keeps the order of arrival where its answers come in another", async () => {
    const delays = [10, 50, 30, 20];
    const { time, call, ran } = scene({
      take: async (taken, count) => {
        const decision = await taken();
        await time.runtime.sleep(delays[count - 1] ?? 1);
        return decision;
      },
    });
    await time.run(Promise.all(["a", "b", "c", "d"].map((tool) => call({}, tool))));
    expect(ran.map(({ tool }) => tool)).toEqual(["a", "b", "c", "d"]);
  });

  test("may have less than was thought: the first in line asks again when it says", async () => {
    const other = { rate: 1, burst: 1, cost: 1 };
    const { time, kept, call, requests } = scene();
    await time.run(call());
    // Another process is faster.
    void time.runtime.sleep(1000).then(() => kept.take("", other));
    expect(await time.run(call())).toMatchObject({ at: 2000, value: OK });
    expect(requests.map(([at]) => at)).toEqual([0, 0, 1000, 2000]);
  });

  test("that denies the first in line once more does not count it twice", async () => {
    const { time, kept, call } = scene({ limit: { maxQueue: 2 } });
    await time.run(call());
    void time.runtime.sleep(1000).then(() => kept.take("", { rate: 1, burst: 1, cost: 1 }));
    const first = call();
    await time.advance(1500);
    const second = call();
    expect(await time.run(first)).toMatchObject({ at: 2000, value: OK });
    expect(await time.run(second)).toMatchObject({ at: 3000, value: OK });
  });

  test("may use up the time that a call has: then there is none to wait", async () => {
    const { time, kept, call } = scene({
      limit: { maxWaitMs: 1200 },
      take: async (taken) => {
        await time.runtime.sleep(400);
        return taken();
      },
    });
    await kept.take("", { rate: 1000 / 1500, burst: 1, cost: 1 });
    const end = await time.run(call());
    expect(end.at).toBe(400);
    expect(errorOf(end)).toMatchObject({ code: "rate_limited" });
  });

  test("that denies for 0 ms is not asked in a loop", async () => {
    const { time, call, requests } = scene({
      take: (_taken, count) => Promise.resolve({ allowed: count === 5, retryAfterMs: 0 }),
    });
    expect(await time.run(call())).toMatchObject({ at: 4 });
    expect(requests.map(([at]) => at)).toEqual([0, 1, 2, 3, 4]);
  });

  test("that gives more than the terms say makes nobody wait longer than by the terms", async () => {
    let asked = 0;
    const { time, call, ran } = scene({
      limit: { rate: 10, burst: 2 },
      take: async () => {
        asked += 1;
        return asked === 1 ? { allowed: false, retryAfterMs: 40 } : { allowed: true, retryAfterMs: 0 };
      },
    });
    await time.run(Promise.all(["a", "b", "c", "d", "e", "f"].map((tool) => call({}, tool))));
    expect(ran.at(-1)).toEqual({ at: 100, tool: "a" });
  });

  test("a denial is a refusal at once with onLimit reject, a full queue or too long a wait, each saying when to come again", async () => {
    const rejecting = scene({ limit: { onLimit: "reject" } });
    await rejecting.time.run(rejecting.call());
    await rejecting.time.advance(300);
    expect(errorOf(await rejecting.time.run(rejecting.call()))).toMatchObject({
      code: "rate_limited",
      retryAfterMs: 700,
    });

    const full = scene({ limit: { maxQueue: 1 } });
    const calls = [full.call(), full.call(), full.call()];
    const third = errorOf(await full.time.run(calls[2] as Promise<Ended>));
    expect(QueueFullError.isInstance(third) && third.retryAfterMs).toBe(2000);
    expect(errorOf(await full.time.run(full.call()))).toMatchObject({ code: "queue_full", retryAfterMs: 2000 });
    await full.time.run(Promise.all(calls));

    const hasty = scene({ limit: { maxWaitMs: 1500 } });
    const two = [hasty.call(), hasty.call()];
    await hasty.time.advance(0);
    expect(errorOf(await hasty.time.run(hasty.call()))).toMatchObject({ code: "rate_limited", retryAfterMs: 2000 });
    expect(errorOf(await hasty.time.run(hasty.call({ timeoutMs: 1000 })))).toMatchObject({ code: "rate_limited" });
    expect(hasty.time.now()).toBe(0);
    await hasty.time.run(Promise.all(two));
  });

  test("the time that the store takes counts as waiting, and is no limit.wait", async () => {
    const events: string[] = [];
    const { time, call } = scene({
      take: async (taken) => {
        await time.runtime.sleep(25);
        return taken();
      },
      onEvent: (name) => events.push(name),
    });
    const end = await time.run(call());
    expect(reportOf("value" in end && end.value)).toMatchObject({ waitedMs: 25 });
    expect(events).not.toContain("limit.wait");
  });
});

describe("aborts and refunds", () => {
  const slow: Setup["take"] = async (taken) => {
    const decision = await taken();
    await new Promise((resolve) => setImmediate(resolve));
    return decision;
  };

  test("an abort while the store is asked settles at once, and tokens that come afterwards go back", async () => {
    let answer: (() => void) | undefined;
    const { time, call, requests, kept } = scene({
      take: async (taken, count) => {
        const decision = await taken();
        if (count === 1)
          await new Promise<void>((resolve) => {
            answer = resolve;
          });
        return decision;
      },
    });
    const controller = new AbortController();
    const counting = countingSignal();
    const reason = new Error("no longer wanted");
    const aborted = call({ signal: controller.signal });
    await time.advance(100);
    controller.abort(reason);
    const end = await aborted;
    expect([errorOf(end), end.at]).toEqual([reason, 100]);
    await time.advance(50);
    answer?.();
    await time.advance(0);
    expect(requests.at(-1)).toEqual([150, "refund", "", 1, 150]);
    expect(await kept.take("", { rate: 1, burst: 1, cost: 1 })).toMatchObject({ retryAfterMs: 0, allowed: true });
    expect(counting.listeners).toBe(0);
    expect(time.timers).toBe(0);
  });

  test("an abort of the first in line while it asks lets the next one ask, and nothing is lost", async () => {
    const controller = new AbortController();
    const { time, call, ran, count } = scene({
      take: async (taken, asked) => {
        const decision = await taken();
        if (asked === 4) controller.abort(new Error("now"));
        return decision;
      },
    });
    const calls = [call({}, "first"), call({ signal: controller.signal }, "second"), call({}, "third")];
    await time.run(Promise.all(calls));
    expect(ran).toEqual([
      { at: 0, tool: "first" },
      { at: 1000, tool: "third" },
    ]);
    expect(count("refund")).toBe(1);
  });

  test("a refusal further in gives the tokens back, with their age", async () => {
    let isOpen = true;
    const inner: Middleware = async (ctx, next) => {
      if (!isOpen) return next(ctx);
      await ctx.call.runtime.sleep(200);
      throw new RateLimitError(ctx.tool);
    };
    const { time, call, requests } = scene({ inner: [inner] });
    await time.run(call());
    expect(requests.at(-1)).toEqual([200, "refund", "", 1, 200]);
    isOpen = false;
    expect(await time.run(call())).toMatchObject({ at: 200, value: OK });
  });

  test("gates are asked again after the store, and a refusal gives the tokens back", async () => {
    let isOpen = false;
    const refusal = new RateLimitError("search");
    const outer: Middleware = (ctx, next) =>
      next({
        ...ctx,
        admit: () => {
          if (isOpen) throw refusal;
        },
      });
    const { time, call, count, ran } = scene({ outer: [outer], take: slow });
    const calling = call();
    isOpen = true;
    expect(errorOf(await time.run(calling))).toBe(refusal);
    expect(count("refund")).toBe(1);
    expect(ran).toEqual([]);
  });

  test("tokens that go back wake who waits for them", async () => {
    const inner: Middleware = async (ctx, next) => {
      if (ctx.tool !== "refused") return next(ctx);
      await ctx.call.runtime.sleep(200);
      throw new RateLimitError(ctx.tool);
    };
    const { time, call } = scene({ inner: [inner] });
    const refused = call({}, "refused");
    await time.advance(10);
    const waiting = call();
    expect(await time.run(waiting)).toMatchObject({ at: 200, value: OK });
    await refused;
  });

  test("nonsense that a classifier takes for a retry-after does not reach the store", async () => {
    for (const retryAfterMs of [Number.NaN, -1, 0]) {
      const { time, call, count } = scene({ classifiers: [() => ({ status: "throttled", retryAfterMs })] });
      await time.run(call());
      expect(count("pause")).toBe(0);
    }
  });

  test("a pause reaches the store, capped, and those who wait here", async () => {
    const readBusy: Classifier = ({ result }) =>
      result === OK ? { status: "throttled", retryAfterMs: 1e9 } : undefined;
    const { time, call, requests, ran } = scene({ classifiers: [readBusy], limit: { maxRetryAfterMs: 5000 } });
    await time.run(Promise.all([call({}, "first"), call({}, "second")]));
    expect(requests).toContainEqual([0, "pause", "", 5000]);
    expect(ran.map(({ at }) => at)).toEqual([0, 5000]);
    expect(requests.filter(([, method]) => method === "take").map(([at]) => at)).toEqual([0, 0, 5000]);
  });
});

describe("middlewareContract", () => {
  const local = () => rateLimit({ rate: 1e6, burst: 1e4, store: memoryRateLimitStore() });
  for (const { name, run: prove } of middlewareContract(local)) test(name, prove);
  const bypassing = () =>
    rateLimit({ rate: 1, burst: 1, store: { take: down, refund: down, pause: down }, storeErrors: "bypass" });
  for (const { name, run: prove } of middlewareContract(bypassing)) test(`${name}, past a store that is down`, prove);
});

test("a scripted tool behind a shared limit runs once per call", async () => {
  const time = virtualTime();
  const tool = scriptedTool([{ result: OK }], { repeatLast: true });
  const store = memoryRateLimitStore({ runtime: time.runtime });
  const handler = pipeline(rateLimit({ rate: 100, burst: 10, store }), tool);
  await time.run(Promise.all(Array.from({ length: 50 }, () => run(handler, { tool: "t" }, { runtime: time.runtime }))));
  expect(tool.executions).toBe(50);
  expect(time.now()).toBe(400);
});

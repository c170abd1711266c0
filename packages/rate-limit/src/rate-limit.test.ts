import { setMaxListeners } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  type CallEvents,
  type CallOptions,
  type CallReport,
  type Classifier,
  DeadlineError,
  type Handler,
  McpTxError,
  type Middleware,
  type Outcome,
  pipeline,
  RateLimitError,
  reportOf,
  run,
  type ToolResult,
  type WrapOptions,
  wrapTransport,
} from "@mcp-tx/core";
import {
  announcingServer,
  context,
  countingSignal,
  middlewareContract,
  type ScriptedStep,
  scriptedTool,
  virtualTime,
} from "@mcp-tx/core/testing";
import fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { QueueFullError } from "./errors.js";
import { memoryRateLimitStore } from "./memory-store.js";
import { type RateLimitOptions, rateLimit } from "./rate-limit.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };

/** An error that says, to the test's classifier, what it stands for. */
class Fault extends Error {
  constructor(readonly outcome: Partial<Outcome>) {
    super("fault");
  }
}
const readFaults: Classifier = ({ error }) => (error instanceof Fault ? error.outcome : undefined);

const throttled = (retryAfterMs?: number): Fault =>
  new Fault({ status: "throttled", execution: "not-executed", transient: true, code: "rate_limited", retryAfterMs });

interface Setup extends WrapOptions {
  readonly limit?: Partial<RateLimitOptions>;
  readonly steps?: readonly ScriptedStep[];
  readonly outer?: readonly Middleware[];
  readonly inner?: readonly Middleware[];
}

type Ended = { readonly at: number; readonly value: unknown } | { readonly at: number; readonly error: unknown };

/** A limited tool: by default one call a second, and no burst. */
function scene({ limit = {}, steps = [{ result: OK }], outer = [], inner = [], ...wrap }: Setup = {}) {
  const time = virtualTime();
  const ran: { readonly at: number; readonly tool: string }[] = [];
  const tool = scriptedTool(steps, { repeatLast: true });
  const terminal: Handler = (ctx) => {
    ran.push({ at: time.now(), tool: ctx.tool });
    return tool(ctx);
  };
  const middleware = rateLimit({ rate: 1, burst: 1, ...limit });
  const handler = pipeline([...outer, middleware, ...inner], terminal);
  const wrapOptions: WrapOptions = { runtime: time.runtime, classifiers: [readFaults], ...wrap };

  /** Starts a call; what it came to, and when. */
  function call(options: object = {}, name = "search"): Promise<Ended> {
    return run(handler, { tool: name, options }, wrapOptions).then(
      (value) => ({ at: time.now(), value }),
      (error) => ({ at: time.now(), error }),
    );
  }
  return { time, ran, tool, handler, wrapOptions, call, finish: (options?: object) => time.run(call(options)) };
}

function errorOf(end: Ended): unknown {
  if ("error" in end) return end.error;
  throw new Error("the call did not fail");
}

function reportIn(end: Ended): CallReport | undefined {
  return reportOf("error" in end ? end.error : end.value);
}

describe("refusals", () => {
  test("a cost above the burst is a RangeError at construction, not an endless wait", () => {
    expect(() => rateLimit({ rate: 1, burst: 2, cost: 3 })).toThrow(RangeError);
    expect(() => rateLimit({ rate: 1, burst: 2, cost: 3 })).toThrow(
      "rateLimit: cost must be a number > 0 and <= 2, got 3",
    );
    expect(() => rateLimit({ rate: 1, burst: 0.5 })).toThrow(/cost must be a number > 0 and <= 0.5, got 1/);
  });

  test("a cost above the burst that a function gives is a RangeError at once, and holds nobody up", async () => {
    let cost = 3;
    const { finish, tool } = scene({ limit: { burst: 2, cost: () => cost } });
    expect(errorOf(await finish())).toBeInstanceOf(RangeError);
    expect(tool.executions).toBe(0);
    cost = 2;
    expect(await finish()).toMatchObject({ at: 0, value: OK });
  });

  test("a cost or key function that throws, or gives something else, fails the call before anything is sent", async () => {
    const boom = () => {
      throw new Error("boom");
    };
    const bad: readonly (readonly [Partial<RateLimitOptions>, RegExp])[] = [
      [{ cost: boom }, /rateLimit: cost threw for tool "search"/],
      [{ cost: () => "1" as never }, /rateLimit: cost for tool "search" must be a number/],
      [{ cost: () => undefined as never }, /rateLimit: cost for tool "search" must be a number/],
      [{ cost: () => Number.NaN }, /rateLimit: cost for tool "search" must be a number/],
      [{ cost: () => 0 }, /rateLimit: cost for tool "search" must be a number > 0/],
      [{ key: boom }, /rateLimit: key threw for tool "search"/],
      [{ key: () => 1 as never }, /rateLimit: key must return a string for tool "search", got number/],
    ];
    for (const [limit, message] of bad) {
      const { finish, tool } = scene({ limit });
      const error = errorOf(await finish());
      expect(error instanceof TypeError || error instanceof RangeError).toBe(true);
      expect(String(error)).toMatch(message);
      expect(tool.executions).toBe(0);
    }
  });

  test("onLimit reject refuses at once, and says exactly when to come again", async () => {
    const { time, finish } = scene({ limit: { onLimit: "reject" } });
    await finish();
    await time.advance(300);
    const end = await finish();
    expect(end.at).toBe(300);
    const error = errorOf(end);
    expect(RateLimitError.isInstance(error) && error.retryAfterMs).toBe(700);
    expect(reportIn(end)).toMatchObject({ status: "rejected", execution: "not-executed", attempts: 0, waitedMs: 0 });
    await time.advance(699);
    expect(RateLimitError.isInstance(errorOf(await finish()))).toBe(true);
    await time.advance(1);
    expect(await finish()).toMatchObject({ value: OK });
  });

  test("a full queue refuses at once, and says exactly when a call would pass", async () => {
    const { time, call } = scene({ limit: { maxQueue: 2 } });
    const first = [call(), call(), call()];
    const error = errorOf(await time.run(call()));
    expect(QueueFullError.isInstance(error) && error.retryAfterMs).toBe(3000);
    expect((error as Error).message).toBe(
      'Tool "search" was not called: 2 calls wait for its rate limit already. Call it again in 3000 ms, not earlier.',
    );
    expect((await time.run(Promise.all(first))).map(({ at }) => at)).toEqual([0, 1000, 2000]);
    await time.advance(1000);
    expect(await time.run(call())).toMatchObject({ at: 3000, value: OK });
  });

  test("maxQueue 0 lets nobody wait", async () => {
    const { finish } = scene({ limit: { maxQueue: 0 } });
    await finish();
    const error = errorOf(await finish());
    expect(QueueFullError.isInstance(error)).toBe(true);
    expect((error as Error).message).toBe(
      'Tool "search" was not called: its rate limit is reached. Call it again in 1000 ms, not earlier.',
    );
  });

  test("a wait beyond maxWaitMs is refused at once, with an exact retryAfterMs; one that fits is waited", async () => {
    const { time, call } = scene({ limit: { maxWaitMs: 2000 } });
    const calls = [call(), call(), call()];
    const error = errorOf(await time.run(call()));
    expect(time.now()).toBe(0);
    expect(RateLimitError.isInstance(error) && error.retryAfterMs).toBe(3000);
    expect((await time.run(Promise.all(calls))).map((end) => ["value" in end, end.at])).toEqual([
      [true, 0],
      [true, 1000],
      [true, 2000],
    ]);
  });

  test("a wait up to the deadline or beyond is refused at once", async () => {
    const { time, call, tool } = scene();
    await time.run(call());
    const error = errorOf(await time.run(call({ timeoutMs: 1000 })));
    expect(RateLimitError.isInstance(error) && error.retryAfterMs).toBe(1000);
    expect(time.now()).toBe(0);
    expect(await time.run(call({ timeoutMs: 1001 }))).toMatchObject({ at: 1000, value: OK });
    expect(tool.executions).toBe(2);
  });

  test("plans its waits by the caller's deadline where the context's is later", async () => {
    const detach: Middleware = (ctx, next) => next({ ...ctx, deadline: Infinity });
    const { time, call } = scene({ outer: [detach] });
    await time.run(call());
    expect(RateLimitError.isInstance(errorOf(await time.run(call({ timeoutMs: 500 }))))).toBe(true);
    expect(time.now()).toBe(0);
  });

  test("a pause that comes in between ends a wait that no longer fits when its time is over", async () => {
    const step: ScriptedStep = async (ctx) => {
      await ctx.call.runtime.sleep(500);
      throw throttled(10_000);
    };
    const { time, call } = scene({ limit: { maxWaitMs: 1500 }, steps: [step, { result: OK }] });
    const first = call();
    const second = call();
    const end = await time.run(second);
    expect(end.at).toBe(1500);
    const error = errorOf(end);
    expect(RateLimitError.isInstance(error) && error.retryAfterMs).toBe(9000);
    expect(reportIn(end)).toMatchObject({ status: "rejected", waitedMs: 1500 });
    await first;
  });

  test("options are checked at construction", () => {
    const bad: readonly (readonly [unknown, RegExp])[] = [
      [undefined, /rateLimit: rate is required/],
      [{ rate: 1 }, /rateLimit: burst is required/],
      [{ rate: 0, burst: 1 }, /rateLimit: rate must be a number > 0, got 0/],
      [{ rate: Infinity, burst: 1 }, /rateLimit: rate must be a number > 0/],
      [{ rate: 1, burst: -1 }, /rateLimit: burst must be a number > 0/],
      [{ rate: 1e-300, burst: 1e300 }, /burst \/ rate must be a number of seconds/],
      [{ rate: 1, burst: 1, cost: "1" }, /rateLimit: cost must be a number or a function/],
      [{ rate: 1, burst: 1, cost: Number.NaN }, /rateLimit: cost must be a number > 0/],
      [{ rate: 1, burst: 1, onLimit: "drop" }, /rateLimit: onLimit must be one of "wait", "reject"/],
      [{ rate: 1, burst: 1, maxQueue: 1.5 }, /rateLimit: maxQueue must be an integer >= 0/],
      [{ rate: 1, burst: 1, maxWaitMs: -1 }, /rateLimit: maxWaitMs must be a number >= 0/],
      [{ rate: 1, burst: 1, maxRetryAfterMs: Number.NaN }, /rateLimit: maxRetryAfterMs must be a number >= 0/],
      [{ rate: 1, burst: 1, store: { take() {} } }, /rateLimit: store must be an object with a method refund\(\)/],
      [{ rate: 1, burst: 1, storeErrors: "ignore" }, /rateLimit: storeErrors must be one of "fail", "bypass"/],
      [{ rate: 1, burst: 1, max: 1 }, /rateLimit: unknown option "max"/],
    ];
    for (const [options, message] of bad) expect(() => rateLimit(options as RateLimitOptions)).toThrow(message);
  });

  test("calls on two clocks are refused", async () => {
    const { handler, time, call } = scene();
    await time.run(call());
    const other = virtualTime();
    await expect(run(handler, { tool: "search" }, { runtime: other.runtime })).rejects.toThrow(
      /rateLimit: runtime must be the same/,
    );
  });
});

describe("waiting", () => {
  test("lets a burst through at once, and the others at the rate", async () => {
    const { time, call } = scene({ limit: { rate: 10, burst: 3 } });
    const ends = await time.run(Promise.all(Array.from({ length: 6 }, () => call())));
    expect(ends.map(({ at }) => at)).toEqual([0, 0, 0, 100, 200, 300]);
  });

  test("tells the report how long a call waited, and whoever listens", async () => {
    const events: [string, unknown][] = [];
    const { time, call } = scene({ limit: { maxQueue: 1 }, onEvent: (name, detail) => events.push([name, detail]) });
    const ends = await time.run(Promise.all([call(), call(), call()]));
    expect(ends.map((end) => reportIn(end)?.waitedMs)).toEqual([0, 1000, 0]);
    expect(events.filter(([name]) => name.startsWith("limit."))).toEqual([
      ["limit.rejected", { tool: "search", key: "", code: "queue_full", retryAfterMs: 2000 }],
      ["limit.wait", { tool: "search", key: "", waitMs: 1000 } satisfies CallEvents["limit.wait"]],
    ]);
  });

  test("counts calls by server, each with its own limit", async () => {
    const { time, handler, wrapOptions } = scene();
    const call = (server?: string) =>
      run(handler, { tool: "search" }, { ...wrapOptions, peer: { server } }).then(() => time.now());
    expect(await time.run(Promise.all([call("a"), call("b"), call(), call("a")]))).toEqual([0, 0, 0, 1000]);
  });

  test("takes what a call costs, and a small one does not overtake a large one", async () => {
    const costs: Readonly<Record<string, number>> = { small: 1, large: 4 };
    const { time, call, ran } = scene({ limit: { rate: 1, burst: 4, cost: (ctx) => costs[ctx.tool] ?? 0 } });
    await time.run(Promise.all([call({}, "small"), call({}, "large"), call({}, "small")]));
    expect(ran).toEqual([
      { at: 0, tool: "small" },
      { at: 1000, tool: "large" },
      { at: 2000, tool: "small" },
    ]);
  });

  test("a call that comes exactly when tokens are there does not overtake who waits", async () => {
    const { time, call, ran } = scene();
    const waiting = [call({}, "first"), call({}, "second"), call({}, "third")];
    // Comes at the very moment, before the timer of the line.
    const late = time.runtime.sleep(1000).then(() => call({}, "late"));
    await time.run(Promise.all([...waiting, late]));
    expect(ran.map(({ tool }) => tool)).toEqual(["first", "second", "third", "late"]);
    expect(ran.map(({ at }) => at)).toEqual([0, 1000, 2000, 3000]);
  });

  test("10 000 waiters pass first come, first served, with zero inversions", async () => {
    const { time, call, ran } = scene({ limit: { rate: 100, burst: 10, maxQueue: 10_000 } });
    const count = 10_000;
    const calls = Array.from({ length: count }, (_, index) => call({}, `call-${index}`));
    await time.run(Promise.all(calls));
    expect(ran.map(({ tool }) => tool)).toEqual(Array.from({ length: count }, (_, index) => `call-${index}`));
    expect(time.now()).toBeCloseTo(((count - 10) * 1000) / 100);
    expect(time.timers).toBe(0);
  });

  test("one timer serves a whole queue", async () => {
    const { time, call } = scene();
    const calls = Array.from({ length: 100 }, () => call());
    await time.advance(0);
    expect(time.timers).toBe(1);
    await time.run(Promise.all(calls));
    expect(time.timers).toBe(0);
  });

  test("fair sharing: with the tenant as key a flood of 1000 calls does not delay the one of another", async () => {
    const { time, call, ran } = scene({ limit: { rate: 10, burst: 1, key: (ctx) => ctx.tool } });
    const flood = Array.from({ length: 1000 }, () => call({}, "loud"));
    await time.advance(5);
    expect(await time.run(call({}, "quiet"))).toMatchObject({ at: 5, value: OK });
    expect(ran.filter(({ tool }) => tool === "loud")).toHaveLength(1);
    await time.run(Promise.all(flood));
  });

  test("delays above 2^31 ms do not overflow the timer of the process", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const tool = scriptedTool([{ result: OK }], { repeatLast: true });
    const handler = pipeline(rateLimit({ rate: 1e-7, burst: 1 }), tool);
    await run(handler, { tool: "search" });
    const second = run(handler, { tool: "search" });
    await vi.advanceTimersByTimeAsync(9_999_999_000);
    expect(tool.executions).toBe(1);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await second).toMatchObject(OK);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a step of the wall clock neither stalls nor floods", async () => {
    const { time, call, ran } = scene();
    const calls = Array.from({ length: 4 }, () => call());
    await time.advance(500);
    time.stepWall(3_600_000);
    await time.advance(1000);
    time.stepWall(-7_200_000);
    await time.run(Promise.all(calls));
    expect(ran.map(({ at }) => at)).toEqual([0, 1000, 2000, 3000]);
  });

  test("calls of 100 000 keys leave no timer behind, and idle keys are forgotten", async () => {
    const time = virtualTime();
    const ctx = context({}, { runtime: time.runtime });
    let key = "";
    const middleware = rateLimit({ rate: 1, burst: 1, key: () => key });
    const call = (name: string): Promise<ToolResult> => {
      key = name;
      return middleware(ctx, async () => OK);
    };
    const keys = Array.from({ length: 100_000 }, (_, index) => `tenant-${index}`);
    await call("warm");
    const before = heapUsed();
    for (const each of keys) await call(each);
    expect(time.timers).toBe(0);
    const full = heapUsed() - before;
    expect(full / keys.length).toBeLessThanOrEqual(64);
    await time.advance(1000);
    for (let count = 0; count < 50_000; count += 1) await call(`other-${count}`);
    await time.advance(1000);
    for (let count = 0; count < 40_000; count += 1) await call(`last-${count}`);
    expect(heapUsed() - before).toBeLessThan(full / 1.5);
  });
});

function heapUsed(): number {
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  gc();
  return process.memoryUsage().heapUsed;
}

describe("aborts", () => {
  test("an aborted waiter settles at once with the caller's reason, leaves the queue and gives its turn back", async () => {
    const { time, call, tool } = scene();
    const controller = new AbortController();
    const reason = new Error("no longer wanted");
    const first = call();
    const second = call({ signal: controller.signal });
    const third = call();
    await time.advance(400);
    controller.abort(reason);
    const end = await second;
    expect(errorOf(end)).toBe(reason);
    expect(end.at).toBe(400);
    expect(reportIn(end)).toMatchObject({ status: "cancelled", execution: "not-executed", waitedMs: 400 });
    expect(await time.run(third)).toMatchObject({ at: 1000, value: OK });
    await first;
    expect(tool.executions).toBe(2);
    expect(time.timers).toBe(0);
  });

  test("when an expensive waiter at the head leaves, the next is looked at again at once", async () => {
    const costs: Readonly<Record<string, number>> = { small: 1, large: 5 };
    const { time, call } = scene({ limit: { rate: 1, burst: 5, cost: (ctx) => costs[ctx.tool] ?? 0 } });
    const controller = new AbortController();
    await time.run(call({}, "small"));
    const large = call({ signal: controller.signal }, "large");
    const small = call({}, "small");
    await time.advance(500);
    controller.abort();
    await large;
    expect(await small).toMatchObject({ at: 500, value: OK });
  });

  test("a call that is aborted already takes no tokens", async () => {
    const { finish, tool } = scene({ limit: { onLimit: "reject" } });
    const reason = new Error("too late");
    expect(errorOf(await finish({ signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(tool.executions).toBe(0);
    expect(await finish()).toMatchObject({ at: 0, value: OK });
  });

  test("a call that is aborted already does not join the line", async () => {
    const { time, call } = scene();
    await time.run(call());
    const end = await time.run(call({ signal: AbortSignal.abort(new Error("too late")) }));
    expect(end.at).toBe(0);
    expect(time.timers).toBe(0);
  });

  test("a caller's abort is no refusal of the limit, whatever its reason", async () => {
    const events: string[] = [];
    const { time, call } = scene({ onEvent: (name) => events.push(name) });
    const controller = new AbortController();
    await time.run(call());
    const waiting = call({ signal: controller.signal });
    controller.abort(new RateLimitError("other"));
    await waiting;
    expect(events).not.toContain("limit.rejected");
  });

  test("an abort that a middleware outside hides from the context gives the tokens back, too", async () => {
    const outer: Middleware = (ctx, next) => next({ ...ctx, signal: undefined });
    const inner: Middleware = (ctx, next) => {
      if (ctx.call.signal === undefined) return next(ctx);
      controller.abort(new Error("now"));
      return Promise.reject(ctx.call.signal.reason);
    };
    const controller = new AbortController();
    const { finish, tool } = scene({ limit: { onLimit: "reject" }, outer: [outer], inner: [inner] });
    await finish({ signal: controller.signal });
    expect(await finish()).toMatchObject({ at: 0, value: OK });
    expect(tool.executions).toBe(1);
  });

  test("an abort between the grant and the dispatch sends nothing and gives the tokens back", async () => {
    const controller = new AbortController();
    const outer: Middleware = (ctx, next) =>
      next({ ...ctx, admit: ctx.options.signal === undefined ? undefined : () => controller.abort(new Error("now")) });
    const { time, call, tool } = scene({ outer: [outer] });
    const calls = [call(), call({ signal: controller.signal }), call()];
    const [, second, third] = await time.run(Promise.all(calls));
    expect(reportIn(second as Ended)).toMatchObject({ status: "cancelled" });
    expect(third).toMatchObject({ at: 1000, value: OK });
    expect(tool.executions).toBe(2);
  });

  test("the loser of a race that a middleware outside aborts gives its tokens back, too", async () => {
    const controller = new AbortController();
    const outer: Middleware = (ctx, next) => next(ctx.tool === "loser" ? { ...ctx, signal: controller.signal } : ctx);
    const inner: Middleware = (ctx, next) => {
      controller.abort(new DOMException("another attempt won", "AbortError"));
      return next(ctx);
    };
    const { time, call, ran } = scene({ limit: { onLimit: "reject" }, outer: [outer], inner: [inner] });
    expect((errorOf(await time.run(call({}, "loser"))) as Error).name).toBe("AbortError");
    await time.run(call({}, "other"));
    expect(ran).toEqual([{ at: 0, tool: "other" }]);
  });

  test("10 000 waiters on one signal leave at once, in any order, without a listener or a timer left", async () => {
    const counting = countingSignal();
    const controller = new AbortController();
    setMaxListeners(0, controller.signal);
    const { time, call } = scene({ limit: { maxQueue: Infinity } });
    await time.run(call({ signal: counting.signal }));
    const doomed = Array.from({ length: 10_000 }, () => call({ signal: controller.signal }));
    const survivor = call({ signal: counting.signal });
    await time.advance(10);
    expect(counting.listeners).toBeGreaterThan(0);
    controller.abort(new Error("shut down"));
    const ends = await Promise.all(doomed);
    expect(ends.every((end) => "error" in end && end.at === 10)).toBe(true);
    expect(await time.run(survivor)).toMatchObject({ at: 1000, value: OK });
    expect(counting.listeners).toBe(0);
    expect(time.timers).toBe(0);
  }, 30_000);
});

describe("refunds", () => {
  /** Refuses as a breaker or a queue further in does, before anything is sent. */
  function gate(refuses: () => boolean): Middleware {
    return (ctx, next) =>
      next({
        ...ctx,
        admit: () => {
          ctx.admit?.();
          if (refuses()) {
            throw new McpTxError("The circuit is open.", "circuit_open", {
              outcome: { status: "rejected", execution: "not-executed", transient: true, retryAfterMs: 60_000 },
            });
          }
        },
      });
  }

  test("a refusal further in gives the tokens back, and pauses nothing", async () => {
    let isOpen = true;
    const { finish, tool } = scene({ limit: { onLimit: "reject" }, inner: [gate(() => isOpen)] });
    for (let count = 0; count < 10; count += 1) expect(errorOf(await finish())).toMatchObject({ code: "circuit_open" });
    isOpen = false;
    expect(await finish()).toMatchObject({ at: 0, value: OK });
    expect(tool.executions).toBe(1);
  });

  test("a gate outside that closes during the wait refuses, and the tokens go to the next", async () => {
    let isOpen = false;
    const refused: string[] = [];
    const outer: Middleware = (ctx, next) =>
      next({
        ...ctx,
        admit: () => {
          if (!isOpen || ctx.tool !== "second") return;
          refused.push(ctx.tool);
          throw new RateLimitError(ctx.tool);
        },
      });
    const { time, call, ran } = scene({ outer: [outer] });
    const calls = [call({}, "first"), call({}, "second"), call({}, "third")];
    await time.advance(500);
    isOpen = true;
    await time.run(Promise.all(calls));
    expect(refused).toEqual(["second"]);
    expect(ran).toEqual([
      { at: 0, tool: "first" },
      { at: 1000, tool: "third" },
    ]);
  });

  test("a refusal after a while gives back only what the rate has not refilled meanwhile", async () => {
    const inner: Middleware = async (ctx, next) => {
      if (ctx.tool !== "slow") return next(ctx);
      await ctx.call.runtime.sleep(1500);
      throw new RateLimitError(ctx.tool);
    };
    const { time, call, ran } = scene({ limit: { rate: 1, burst: 4, cost: 2 }, inner: [inner] });
    const calls = [call({}, "slow"), call({}, "a"), call({}, "b")];
    await time.run(Promise.all(calls));
    // Without a refund at 2000, with all of it back at 1500 with a token and a half to spare: 0.5 goes back, 2 are there.
    expect(ran).toEqual([
      { at: 0, tool: "a" },
      { at: 1500, tool: "b" },
    ]);
  });

  test("a deadline that passes further in, before anything is sent, gives the tokens back", async () => {
    const inner: Middleware = async (ctx, next) => {
      if (ctx.deadline !== Infinity) await ctx.call.runtime.sleep(200);
      return next(ctx);
    };
    const { time, call, tool } = scene({ limit: { rate: 1, burst: 1 }, inner: [inner] });
    const first = await time.run(call({ timeoutMs: 100 }));
    expect(DeadlineError.isInstance(errorOf(first))).toBe(true);
    expect(tool.executions).toBe(0);
    // 200 ms of it are refilled, 800 ms go back.
    expect(await time.run(call())).toMatchObject({ at: 200, value: OK });
  });

  test("what was sent is not given back, whatever it came to", async () => {
    const controller = new AbortController();
    const steps: readonly (readonly [ScriptedStep, CallOptions])[] = [
      [{ error: new Error("boom") }, {}],
      [{ error: new RateLimitError("other") }, {}],
      [{ hang: true }, { timeoutMs: 50 }],
      [{ hang: true }, { signal: controller.signal }],
    ];
    for (const [step, options] of steps) {
      const { time, call } = scene({ limit: { onLimit: "reject" }, steps: [step] });
      const first = call(options);
      await time.advance(50);
      if (options.signal !== undefined) controller.abort();
      await first;
      expect(RateLimitError.isInstance(errorOf(await time.run(call())))).toBe(true);
    }
  });

  test("what failed for a reason of its own is not given back, also where nobody knows of attempts", async () => {
    const time = virtualTime();
    const middleware = rateLimit({ rate: 1, burst: 1, onLimit: "reject" });
    const ctx = context({}, { runtime: time.runtime });
    await expect(middleware(ctx, () => Promise.reject(new Error("boom")))).rejects.toThrow("boom");
    await expect(middleware(ctx, async () => OK)).rejects.toThrow(/rate limited/);
  });

  test("a second passage that is refused gives its tokens back, though the first was sent", async () => {
    let passages = 0;
    const twice: Middleware = (ctx, next) => next(ctx).catch(() => next(ctx));
    const inner: Middleware = (ctx, next) => {
      passages += 1;
      return passages === 2 ? Promise.reject(new RateLimitError(ctx.tool)) : next(ctx);
    };
    const { time, call } = scene({
      limit: { rate: 1, burst: 2, onLimit: "reject" },
      steps: [{ error: new Error("boom") }, { result: OK }],
      outer: [twice],
      inner: [inner],
    });
    await time.run(call());
    expect(await time.run(call())).toMatchObject({ at: 0, value: OK });
  });

  test("an error that the tool threw is thrown on as it is", async () => {
    const error = new Error("boom");
    const { finish } = scene({ steps: [{ error }] });
    expect(errorOf(await finish())).toBe(error);
  });

  test("a result that cannot be looked at goes on as it is", async () => {
    const unreadable: ToolResult = {
      get isError(): boolean {
        throw new Error("not to be read");
      },
    };
    expect(await rateLimit({ rate: 1, burst: 1 })(context(), async () => unreadable)).toBe(unreadable);
  });

  test("a middleware further in that throws at once, instead of rejecting, is heard as well", async () => {
    const refusal = new RateLimitError("search");
    const inner: Middleware = () => {
      throw refusal;
    };
    const { finish } = scene({ limit: { onLimit: "reject" }, inner: [inner] });
    expect(errorOf(await finish())).toBe(refusal);
    expect(errorOf(await finish())).toBe(refusal);
  });
});

describe("pauses", () => {
  test("a server's 429 with retry-after pauses its key, and no other", async () => {
    const { time, handler, wrapOptions, tool } = scene({
      limit: { rate: 100, burst: 10, onLimit: "reject" },
      steps: [{ error: throttled(5000) }, { result: OK }],
    });
    const call = (server: string) =>
      time.run(run(handler, { tool: "search" }, { ...wrapOptions, peer: { server } })).catch((error: unknown) => error);
    await call("a");
    const error = await call("a");
    expect(RateLimitError.isInstance(error) && error.retryAfterMs).toBe(5000);
    expect(await call("b")).toMatchObject(OK);
    await time.advance(5000);
    expect(await call("a")).toMatchObject(OK);
    expect(tool.executions).toBe(3);
  });

  test("after a pause what waited goes on at the rate, without a burst", async () => {
    const steps: ScriptedStep[] = [{ error: throttled(5000) }, { result: OK }];
    const { time, call, ran } = scene({ limit: { rate: 10, burst: 10 }, steps });
    await time.run(call());
    await time.run(Promise.all(Array.from({ length: 4 }, () => call())));
    expect(ran.map(({ at }) => at)).toEqual([0, 5000, 5100, 5200, 5300]);
  });

  test("calls that wait already wait for the end of the pause", async () => {
    const step: ScriptedStep = async (ctx) => {
      await ctx.call.runtime.sleep(200);
      throw throttled(3000);
    };
    const { time, call, ran } = scene({ steps: [step, { result: OK }] });
    await time.run(Promise.all([call(), call(), call()]));
    expect(ran.map(({ at }) => at)).toEqual([0, 3200, 4200]);
  });

  test("a retry-after of a year is capped", async () => {
    const year = 31_536_000_000;
    for (const [limit, expected] of [
      [{}, 300_000],
      [{ maxRetryAfterMs: 1000 }, 1000],
    ] as const) {
      const { time, call } = scene({
        limit: { rate: 100, burst: 10, ...limit },
        steps: [{ error: throttled(year) }, { result: OK }],
      });
      await time.run(call());
      expect(await time.run(call())).toMatchObject({ at: expected, value: OK });
    }
  });

  test("a failure with a retry-after pauses, too; nonsense and our own refusals do not", async () => {
    const hints: readonly (readonly [Partial<Outcome>, number])[] = [
      [{ status: "failure", execution: "unknown", retryAfterMs: 700 }, 700],
      [{ status: "throttled" }, 0],
      [{ status: "throttled", retryAfterMs: 0 }, 0],
      [{ status: "throttled", retryAfterMs: -5 }, 0],
      [{ status: "throttled", retryAfterMs: Number.NaN }, 0],
      [{ status: "rejected", retryAfterMs: 700 }, 0],
    ];
    for (const [outcome, expected] of hints) {
      const { time, call } = scene({
        limit: { rate: 100, burst: 10 },
        steps: [{ error: new Fault(outcome) }, { result: OK }],
      });
      await time.run(call());
      expect((await time.run(call())).at).toBe(expected);
    }
  });

  test("a result that a classifier reads as throttled pauses its key", async () => {
    const busy: ToolResult = { content: [], structuredContent: { status: 429 } };
    const classifier: Classifier = ({ result }) =>
      result?.structuredContent === busy.structuredContent ? { status: "throttled", retryAfterMs: 2000 } : undefined;
    const { time, call } = scene({
      limit: { rate: 100, burst: 10 },
      steps: [{ result: busy }, { result: OK }],
      classifiers: [classifier],
    });
    expect(await time.run(call())).toMatchObject({ value: busy });
    expect(await time.run(call())).toMatchObject({ at: 2000, value: OK });
  });

  test("a server's isError with a retry-after in its _meta pauses its key", async () => {
    const time = virtualTime();
    let calls = 0;
    const server = announcingServer({
      announce: false,
      tools: {
        search: {
          run: () => {
            calls += 1;
            return calls === 1 ? { content: [], isError: true, _meta: { retryAfterMs: 4000 } } : OK;
          },
        },
      },
    });
    const transport = wrapTransport(server.connect(), rateLimit({ rate: 100, burst: 10 }), { runtime: time.runtime });
    const answers: { readonly id: unknown; readonly at: number }[] = [];
    transport.onmessage = (message: unknown) => {
      answers.push({ id: (message as { readonly id: unknown }).id, at: time.now() });
    };
    await transport.start();
    const send = (id: number) =>
      transport.send({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "search", arguments: {} } });
    void send(1);
    await time.advance(0);
    void send(2);
    await time.advance(10_000);
    expect(answers).toEqual([
      { id: 1, at: 0 },
      { id: 2, at: 4000 },
    ]);
  });
});

describe("never more than burst + rate * t in any window", () => {
  const arrival = fc.record({
    afterMs: fc.integer({ min: 0, max: 400 }),
    cost: fc.integer({ min: 1, max: 4 }),
    abortAfterMs: fc.option(fc.integer({ min: 0, max: 500 })),
    timeoutMs: fc.option(fc.integer({ min: 1, max: 2000 }), { nil: undefined }),
    does: fc.constantFrom("work", "work", "work", "refuse", "refuse later", "throttle"),
  });
  const play = fc.record({
    arrivals: fc.array(arrival, { minLength: 1, maxLength: 40 }),
    rate: fc.integer({ min: 1, max: 20 }),
    burst: fc.integer({ min: 4, max: 8 }),
  });
  type Play = typeof play extends fc.Arbitrary<infer T> ? T : never;
  type Time = ReturnType<typeof virtualTime>;

  /** Plays the arrivals; gives what was sent, and when. */
  async function sentIn({ arrivals, rate, burst }: Play, time: Time, options: Partial<RateLimitOptions>) {
    const sent: { readonly at: number; readonly cost: number }[] = [];
    const inner: Middleware = async (ctx, next) => {
      if (ctx.args.does === "refuse later") await ctx.call.runtime.sleep(150);
      if (String(ctx.args.does).startsWith("refuse")) throw new RateLimitError(ctx.tool);
      return next(ctx);
    };
    const terminal: Handler = async (ctx) => {
      sent.push({ at: time.now(), cost: Number(ctx.args.cost) });
      if (ctx.args.does === "throttle") throw throttled(300);
      return OK;
    };
    const limit = rateLimit({ rate, burst, cost: (ctx) => Number(ctx.args.cost), ...options });
    const handler = pipeline([limit, inner], terminal);
    const calls: Promise<unknown>[] = [];
    for (const { afterMs, cost, abortAfterMs, timeoutMs, does } of arrivals) {
      await time.advance(afterMs);
      const controller = new AbortController();
      const request = { tool: "search", args: { cost, does }, options: { signal: controller.signal, timeoutMs } };
      const wrapOptions = { runtime: time.runtime, classifiers: [readFaults] };
      calls.push(run(handler, request, wrapOptions).catch(() => undefined));
      if (abortAfterMs !== null) void time.runtime.sleep(abortAfterMs).then(() => controller.abort());
    }
    await time.run(Promise.all(calls));
    return sent;
  }

  function limited(name: string, storeOf: (time: Time) => Partial<RateLimitOptions>): void {
    test(`${name}: for any arrivals, costs, aborts, refunds and pauses`, async () => {
      const property = fc.asyncProperty(play, async (given) => {
        const time = virtualTime();
        const sent = await sentIn(given, time, storeOf(time));
        for (const [index, { at }] of sent.entries()) {
          let sum = 0;
          for (const later of sent.slice(index)) {
            sum += later.cost;
            expect(sum).toBeLessThanOrEqual(given.burst + (given.rate * (later.at - at)) / 1000 + 1e-6);
          }
        }
      });
      await fc.assert(property, { numRuns: 100 });
    });
  }
  limited("in this process", () => ({}));
  limited("with a store", (time) => ({ store: memoryRateLimitStore({ runtime: time.runtime }) }));
  limited("with a store that takes its time", (time) => {
    const store = memoryRateLimitStore({ runtime: time.runtime });
    return {
      store: {
        take: async (...given) => {
          await time.runtime.sleep(7);
          const decision = await store.take(...given);
          await time.runtime.sleep(5);
          return decision;
        },
        refund: (...given) => store.refund(...given),
        pause: (...given) => store.pause(...given),
      },
    };
  });

  test("no 9 pass at 5 per second round the edge of a second, as in a limiter with fixed windows", async () => {
    const { time, call, ran } = scene({ limit: { rate: 5, burst: 5, onLimit: "reject" } });
    await time.run(call());
    await time.advance(990);
    const late = Array.from({ length: 10 }, () => call());
    await time.advance(20);
    const early = Array.from({ length: 10 }, () => call());
    await time.run(Promise.all([...late, ...early]));
    expect(ran.filter(({ at }) => at >= 990)).toHaveLength(5);
  });
});

describe("middlewareContract", () => {
  for (const { name, run: prove } of middlewareContract(() => rateLimit({ rate: 1e6, burst: 1e4 }))) test(name, prove);
  const waiting = () => rateLimit({ rate: 1000, burst: 1 });
  for (const { name, run: prove } of middlewareContract(waiting)) test(`${name}, while calls wait`, prove);
});

test("it sits at the rate limit's seat", () => {
  const middleware = rateLimit({ rate: 1, burst: 1 });
  expect([middleware.name, middleware.seat]).toEqual(["rateLimit", "rate-limit"]);
});

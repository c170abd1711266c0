import { AsyncLocalStorage } from "node:async_hooks";
import {
  type CallContext,
  type CallEvents,
  type CallOptions,
  type Handler,
  McpTxError,
  type Middleware,
  pipeline,
  RateLimitError,
  reportOf,
  run,
  type Side,
  type ToolResult,
} from "@mcp-tx/core";
import { context, countingSignal, middlewareContract, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { type ConcurrencyLimitOptions, concurrencyLimit } from "./concurrency-limit.js";
import { QueueFullError } from "./errors.js";

const RESULT: ToolResult = { content: [] };

interface Setup extends ConcurrencyLimitOptions {
  readonly before?: Middleware;
  readonly after?: Middleware;
  readonly side?: Side;
}

/** A limited tool whose runs last until they are told to end. */
function workshop({ before, after, side = "local", ...options }: Setup) {
  const time = virtualTime();
  const ends = new Map<string, () => void>();
  const started: string[] = [];
  const events: [name: keyof CallEvents, detail: unknown][] = [];
  const tool: Handler = (ctx) => {
    started.push(String(ctx.args.name));
    return new Promise((resolve) => ends.set(String(ctx.args.name), () => resolve(RESULT)));
  };
  const layers = [before, concurrencyLimit(options), after].filter((layer) => layer !== undefined);
  const handler = pipeline(layers, tool);

  function call(name: string, callOptions?: CallOptions): Promise<ToolResult> {
    return run(
      handler,
      { tool: "work", args: { name }, options: callOptions, side },
      {
        runtime: time.runtime,
        onEvent: (event, detail) => {
          if (event.startsWith("limit.")) events.push([event, detail]);
        },
      },
    );
  }
  /** A call whose end is looked at later. */
  function launch(name: string, callOptions?: CallOptions) {
    const state = { end: undefined as unknown, at: Number.NaN };
    const conclude = (end: unknown): void => {
      state.end = end;
      state.at = time.now();
    };
    call(name, callOptions).then(conclude, conclude);
    return state;
  }
  return {
    time,
    started,
    events,
    call,
    launch,
    tick: () => time.advance(0),
    end: (name: string) => ends.get(name)?.(),
  };
}

describe("options", () => {
  test.each([
    [{}, TypeError, "concurrencyLimit: max is required"],
    [{ max: 0 }, RangeError, "concurrencyLimit: max must be an integer >= 1, got 0"],
    [{ max: 1.5 }, RangeError, "max must be an integer >= 1"],
    [{ max: "3" }, TypeError, "max must be an integer >= 1"],
    [{ max: 1, maxQueue: -1 }, RangeError, "maxQueue must be an integer >= 0"],
    [{ max: 1, maxWaitMs: -1 }, RangeError, "maxWaitMs must be a number >= 0"],
    [{ max: 1, abandonedMs: Number.NaN }, RangeError, "abandonedMs must be a number >= 0"],
    [{ max: 1, key: "tenant" }, TypeError, "key must be a function"],
    [{ max: 1, limit: 2 }, TypeError, 'unknown option "limit"'],
  ])("refuses %j at construction, naming the option", (options, type, message) => {
    const construct = (): unknown => concurrencyLimit(options as ConcurrencyLimitOptions);
    expect(construct).toThrow(type);
    expect(construct).toThrow(message);
  });

  test.each([
    ["throws", () => JSON.parse("{")],
    ["gives no string", () => 7 as unknown as string],
  ])("fails a call whose key function %s, before anything runs", async (_, key) => {
    const { call, started } = workshop({ max: 1, key });
    await expect(call("a")).rejects.toThrow(/concurrencyLimit: key .*"work"/);
    expect(started).toEqual([]);
  });

  test("has the seat of a concurrency limit", () => {
    const { name, seat } = concurrencyLimit({ max: 1 });
    expect([name, seat]).toEqual(["concurrencyLimit", "concurrency"]);
  });
});

describe("refusals", () => {
  test("refuses at once when maxQueue calls of the key wait", async () => {
    const { call, launch, started, events } = workshop({ max: 1, maxQueue: 2 });
    for (const name of ["a", "b", "c"]) launch(name);
    const error: unknown = await call("d").catch((thrown) => thrown);
    expect(QueueFullError.isInstance(error)).toBe(true);
    expect((error as McpTxError).outcome).toEqual({
      status: "rejected",
      execution: "not-executed",
      transient: true,
      code: "queue_full",
    });
    expect((error as Error).message).toBe(
      'Tool "work" was not called: 2 calls wait for one of its 1 slots already. Call it again later.',
    );
    expect(reportOf(error)).toMatchObject({ status: "rejected", attempts: 0, waitedMs: 0 });
    expect(started).toEqual(["a"]);
    expect(events).toEqual([["limit.rejected", { tool: "work", key: "", code: "queue_full" }]]);
  });

  test("makes room in the queue when one of it runs", async () => {
    const { launch, call, end, tick, started } = workshop({ max: 1, maxQueue: 1 });
    launch("a");
    launch("b");
    end("a");
    await tick();
    launch("c");
    await expect(call("d")).rejects.toThrow(QueueFullError);
    end("b");
    await tick();
    expect(started).toEqual(["a", "b", "c"]);
  });

  test.each([
    ["maxQueue 0", { maxQueue: 0 }, "its 1 slots are taken"],
    ["maxWaitMs 0", { maxQueue: 1, maxWaitMs: 0 }, "none of its 1 slots was free within 0 ms"],
  ])("lets nobody wait with %s, not even for a moment", async (_, options, reason) => {
    const { launch, call } = workshop({ max: 1, ...options });
    launch("a");
    for (const refused of [call("b"), call("c")]) await expect(refused).rejects.toThrow(reason);
  });

  test("refuses after maxWaitMs, and the wait is in the report", async () => {
    const { launch, time, started, end, events } = workshop({ max: 1, maxWaitMs: 250 });
    launch("a");
    const late = launch("b");
    await time.advance(249);
    expect(late.end).toBeUndefined();
    await time.advance(1);
    expect(late.at).toBe(250);
    expect(QueueFullError.isInstance(late.end)).toBe(true);
    expect((late.end as Error).message).toContain("within 250 ms");
    expect(reportOf(late.end)).toMatchObject({ status: "rejected", execution: "not-executed", waitedMs: 250 });
    expect(events.map(([name]) => name)).toEqual(["limit.rejected"]);
    end("a");
    await time.advance(0);
    expect(started).toEqual(["a"]);
    expect(time.timers).toBe(0);
  });

  test("does not refuse, or count as waiting, a call that got its slot in time", async () => {
    const { launch, time, end, started } = workshop({ max: 1, maxWaitMs: 100 });
    launch("a");
    launch("b");
    await time.advance(50);
    end("a");
    await time.advance(0);
    expect(time.timers).toBe(0);
    launch("c");
    await time.advance(90);
    end("b");
    await time.advance(0);
    expect(started).toEqual(["a", "b", "c"]);
  });

  test("refuses at the deadline of the call, before the work of others lets it through too late", async () => {
    const { launch, time, end, started } = workshop({ max: 1, maxWaitMs: 10_000 });
    launch("a");
    const late = launch("b", { timeoutMs: 100 });
    await time.advance(100);
    expect(late.at).toBe(100);
    expect((late.end as Error).message).toContain("before the deadline of the call");
    expect(McpTxError.isInstance(late.end) && late.end.code).toBe("queue_full");
    end("a");
    await time.advance(0);
    expect(started).toEqual(["a"]);
  });

  test("plans the wait by the caller's deadline also where work is detached from its callers", async () => {
    const before: Middleware = (ctx, next) => next({ ...ctx, deadline: Infinity, signal: undefined });
    const { launch, time } = workshop({ max: 1, before });
    launch("a");
    const late = launch("b", { timeoutMs: 100 });
    await time.advance(100);
    expect(late.at).toBe(100);
  });

  test("refuses at once when the deadline has passed", async () => {
    const limit = concurrencyLimit({ max: 1, maxQueue: 1 });
    const { runtime } = virtualTime({ now: 50 });
    const hang: Handler = () => new Promise(() => undefined);
    void limit(context({}, { runtime }), hang);
    const late = [1, 2].map(() => limit(context({ deadline: 50 }, { runtime }), hang));
    for (const refused of late) await expect(refused).rejects.toThrow("before the deadline");
  });

  test("a refused call costs those behind it nothing", async () => {
    const { launch, time, end, started } = workshop({ max: 1, maxWaitMs: 100 });
    launch("a");
    launch("b");
    await time.advance(60);
    launch("c");
    await time.advance(40);
    end("a");
    await time.advance(0);
    expect(started).toEqual(["a", "c"]);
  });
});

describe("the caller's abort", () => {
  test("settles a waiting call at once with the caller's reason, and the call leaves the queue", async () => {
    const { launch, tick, time, end, started, events } = workshop({ max: 1, maxQueue: 2 });
    const controller = new AbortController();
    const reason = new Error("changed my mind");
    launch("a");
    const aborted = launch("b", { signal: controller.signal });
    launch("c");
    await time.advance(30);
    controller.abort(reason);
    await tick();
    expect(aborted).toEqual({ end: reason, at: 30 });
    expect(reportOf(reason)).toMatchObject({ status: "cancelled", execution: "not-executed", waitedMs: 30 });
    launch("d");
    end("a");
    await tick();
    end("c");
    await tick();
    expect(started).toEqual(["a", "c", "d"]);
    expect(events.map(([name]) => name)).toEqual(["limit.wait", "limit.wait"]);
  });

  test("a call that is aborted already does not queue", async () => {
    const limit = concurrencyLimit({ max: 1 });
    const hang: Handler = () => new Promise(() => undefined);
    void limit(context(), hang);
    const reason = new Error("too late");
    await expect(limit(context({ signal: AbortSignal.abort(reason) }), hang)).rejects.toBe(reason);
  });

  test.each([0, 1, 2, 3, 4, 5, 6])(
    "in the moment of its turn, %i microtasks on, it runs nothing",
    async (microtasks) => {
      const limit = concurrencyLimit({ max: 1 });
      const controller = new AbortController();
      let end: (result: ToolResult) => void = () => undefined;
      let ranAborted = false;
      const held: Handler = () =>
        new Promise((resolve) => {
          end = resolve;
        });
      void limit(context(), held);
      const aborted = limit(context({ signal: controller.signal }), async (ctx) => {
        ranAborted = ctx.signal?.aborted === true;
        return RESULT;
      });
      const last = limit(context(), async () => RESULT);
      end(RESULT);
      for (let count = 0; count < microtasks; count += 1) await Promise.resolve();
      controller.abort(new Error("now"));
      await aborted.catch(() => undefined);
      await expect(last).resolves.toBe(RESULT);
      expect(ranAborted).toBe(false);
    },
  );

  test("leaves no listener on a signal that many calls share", async () => {
    const { launch, tick, end } = workshop({ max: 1, maxWaitMs: 1000 });
    const counting = countingSignal();
    const names = Array.from({ length: 8 }, (_, index) => `call ${index}`);
    for (const name of names) launch(name, { signal: counting.signal });
    expect(counting.listeners).toBeGreaterThan(0);
    for (const name of names) {
      end(name);
      await tick();
    }
    expect(counting.listeners).toBe(0);
  });
});

describe("the queue", () => {
  test("10 000 waiters run in the order in which they came, without an inversion", async () => {
    const time = virtualTime();
    const order: number[] = [];
    let running = 0;
    let most = 0;
    const handler = pipeline(concurrencyLimit({ max: 8, maxQueue: Infinity }), async (ctx) => {
      order.push(Number(ctx.args.index));
      running += 1;
      most = Math.max(most, running);
      // The time that each takes is different, so that slots come back in another order than they were given.
      await ctx.call.runtime.sleep(1 + ((order.length * 7919) % 13));
      running -= 1;
      return RESULT;
    });
    const calls = Array.from({ length: 10_000 }, (_, index) =>
      run(handler, { tool: "work", args: { index } }, { runtime: time.runtime }),
    );
    await time.run(Promise.all(calls));
    expect(order).toEqual(Array.from({ length: 10_000 }, (_, index) => index));
    expect(most).toBe(8);
  }, 30_000);

  test("nobody gets between a slot that comes back and the first in the queue", async () => {
    const { launch, tick, end, started } = workshop({ max: 1 });
    launch("a");
    launch("b");
    end("a");
    for (let turn = 0; turn < 12; turn += 1) {
      await Promise.resolve();
      if (started.length === 1) launch(`late ${turn}`);
    }
    await tick();
    expect(started).toEqual(["a", "b"]);
  });

  test("tells how long a call waited, in its report and as an event", async () => {
    const { launch, time, end, events } = workshop({ max: 1, key: () => "shared" });
    launch("a");
    const waiting = launch("b");
    await time.advance(70);
    end("a");
    await time.advance(0);
    end("b");
    await time.advance(0);
    expect(reportOf(waiting.end)).toMatchObject({ status: "completed", waitedMs: 70 });
    expect(events).toEqual([["limit.wait", { tool: "work", key: "shared", waitMs: 70 }]]);
  });

  test("says nothing of a call that does not wait", async () => {
    const { launch, tick, end, events } = workshop({ max: 1 });
    const only = launch("a");
    end("a");
    await tick();
    expect(reportOf(only.end)).toMatchObject({ waitedMs: 0 });
    expect(events).toEqual([]);
  });

  test("a call keeps its asynchronous context through the queue", async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const after: Middleware = (ctx, next) => {
      seen.push(storage.getStore());
      return next(ctx);
    };
    const { launch, tick, end } = workshop({ max: 1, after });
    storage.run("first", () => launch("a"));
    storage.run("second", () => launch("b"));
    end("a");
    await tick();
    expect(seen).toEqual(["first", "second"]);
  });

  test("one tenant's flood of 1000 calls does not delay another's only call", async () => {
    const { launch, tick, started } = workshop({ max: 2, key: (ctx) => String(ctx.args.name).split(" ")[0] ?? "" });
    for (let index = 0; index < 1000; index += 1) launch(`loud ${index}`);
    launch("quiet 0");
    await tick();
    expect(started).toEqual(["loud 0", "loud 1", "quiet 0"]);
  });

  test("by default the calls of one server share a limit, and those of another do not", async () => {
    const limit = concurrencyLimit({ max: 1 });
    const started: string[] = [];
    const handler = pipeline(limit, (ctx) => {
      started.push(`${ctx.call.peer.server}/${ctx.tool}`);
      return new Promise(() => undefined);
    });
    for (const [server, tool] of [
      ["files", "read"],
      ["files", "write"],
      ["mail", "send"],
    ] as const) {
      void run(handler, { tool }, { peer: { server } });
    }
    await virtualTime().advance(0);
    expect(started).toEqual(["files/read", "mail/send"]);
  });
});

describe("gates", () => {
  /** An outer layer with a gate that can be shut. */
  function gate() {
    const state = { isShut: false, asked: 0 };
    const error = new RateLimitError("work");
    const layer: Middleware = (ctx, next) => {
      const admit = (): void => {
        ctx.admit?.();
        state.asked += 1;
        if (state.isShut) throw error;
      };
      return next({ ...ctx, admit });
    };
    return { state, error, layer };
  }

  test("are asked again after the wait, and a refusal gives the slot to the next", async () => {
    const { state, error, layer } = gate();
    const { launch, tick, end, started, events } = workshop({ max: 1, before: layer });
    launch("a");
    const refused = launch("b");
    launch("c");
    state.isShut = true;
    end("a");
    // Open again before the third is asked.
    await Promise.resolve();
    await tick();
    expect(refused.end).toBe(error);
    state.isShut = false;
    launch("d");
    await tick();
    expect(started).toEqual(["a", "d"]);
    expect(events.map(([name]) => name)).not.toContain("limit.wait");
  });

  test("a refusal right before the dispatch frees the slot", async () => {
    const { state, error, layer } = gate();
    const { call, launch, tick, started } = workshop({ max: 1, before: layer });
    state.isShut = true;
    await expect(call("a")).rejects.toBe(error);
    state.isShut = false;
    launch("b");
    await tick();
    expect(started).toEqual(["b"]);
  });

  test("outer ones come before those further in", async () => {
    const asked: string[] = [];
    const named = (name: string): Middleware => {
      return (ctx, next) =>
        next({
          ...ctx,
          admit: () => {
            ctx.admit?.();
            asked.push(name);
          },
        });
    };
    const { launch } = workshop({ max: 1, before: named("outer"), after: named("inner") });
    launch("a");
    expect(asked).toEqual(["outer", "inner"]);
  });

  test("10 000 waiters that are all refused unwind without filling the stack", async () => {
    const { state, layer } = gate();
    const { launch, tick, end } = workshop({ max: 1, maxQueue: Infinity, before: layer });
    launch("a");
    const refused = Array.from({ length: 10_000 }, (_, index) => launch(`call ${index}`));
    state.isShut = true;
    end("a");
    await tick();
    expect(refused.every(({ end: error }) => RateLimitError.isInstance(error))).toBe(true);
  }, 30_000);
});

describe("what comes back from further in", () => {
  test("next that throws instead of rejecting frees its slot", async () => {
    const limit = concurrencyLimit({ max: 1, maxQueue: 0 });
    const error = new Error("thrown");
    const broken: Handler = () => {
      throw error;
    };
    for (let index = 0; index < 3; index += 1) await expect(limit(context(), broken)).rejects.toBe(error);
    await expect(limit(context(), () => Promise.resolve(RESULT))).resolves.toBe(RESULT);
  });

  test("next that throws after a wait frees its slot too", async () => {
    const limit = concurrencyLimit({ max: 1 });
    const error = new Error("thrown");
    let end: (result: ToolResult) => void = () => undefined;
    const first = limit(
      context(),
      () =>
        new Promise((resolve) => {
          end = resolve;
        }),
    );
    const broken = limit(context(), () => {
      throw error;
    });
    const last = limit(context(), () => Promise.resolve(RESULT));
    end(RESULT);
    await first;
    await expect(broken).rejects.toBe(error);
    await expect(last).resolves.toBe(RESULT);
  });

  test("a hung next keeps its slot and no more", async () => {
    const { launch, time, end, started } = workshop({ max: 2, maxWaitMs: 100 });
    launch("hung");
    launch("a");
    launch("b");
    end("a");
    await time.advance(50);
    const refused = launch("c");
    await time.advance(100);
    expect(QueueFullError.isInstance(refused.end)).toBe(true);
    end("b");
    await time.advance(0);
    launch("d");
    await time.advance(0);
    expect(started).toEqual(["hung", "a", "b", "d"]);
  });
});

describe.each(["local", "server"] as const)("a tool on side %s holds its slot until it settles", (side) => {
  test.each<[string, CallOptions]>([
    ["its attempt timed out", { attemptTimeoutMs: 10 }],
    ["the call's deadline passed", { timeoutMs: 10 }],
  ])("also when %s", async (_, options) => {
    const { launch, time, end, started } = workshop({ max: 1, side, abandonedMs: 5 });
    const timedOut = launch("slow", options);
    launch("next");
    await time.advance(10_000);
    expect(timedOut.at).toBe(10);
    expect(started).toEqual(["slow"]);
    end("slow");
    await time.advance(0);
    expect(started).toEqual(["slow", "next"]);
  });

  test("also when the caller aborted and is gone", async () => {
    const { launch, time, end, started } = workshop({ max: 1, side, abandonedMs: 5 });
    const controller = new AbortController();
    const aborted = launch("slow", { signal: controller.signal });
    launch("next");
    controller.abort(new Error("gone"));
    await time.advance(10_000);
    expect(aborted.at).toBe(0);
    expect(started).toEqual(["slow"]);
    end("slow");
    await time.advance(0);
    expect(started).toEqual(["slow", "next"]);
  });
});

describe("several attempts in one passage", () => {
  /** Runs once more as soon as the first attempt threw. */
  const again: Middleware = (ctx, next) => next(ctx).catch(() => next({ ...ctx, attempt: ctx.attempt + 1 }));

  test("hold the slot until the work of the last one is over", async () => {
    const ends: (() => void)[] = [];
    const time = virtualTime();
    const handler = pipeline(
      [concurrencyLimit({ max: 1 }), again],
      () => new Promise<ToolResult>((resolve) => ends.push(() => resolve(RESULT))),
    );
    const start = (): Promise<ToolResult> =>
      run(handler, { tool: "work", options: { attemptTimeoutMs: 10 } }, { runtime: time.runtime });
    const first = start().catch((error: unknown) => error);
    await time.advance(20);
    expect(await first).toMatchObject({ code: "attempt_timeout" });
    start().catch(() => undefined);
    ends[1]?.();
    await time.advance(0);
    expect(ends).toHaveLength(2);
    ends[0]?.();
    await time.advance(0);
    expect(ends).toHaveLength(3);
  });
});

describe("two passages of one call at once", () => {
  /** Two attempts side by side, as a hedge makes them. */
  const twice: Middleware = (ctx, next) => Promise.race([next(ctx), next({ ...ctx, attempt: ctx.attempt + 1 })]);

  test("take two slots, and each gives back its own as its own work ends", async () => {
    const ends: (() => void)[] = [];
    const limit = concurrencyLimit({ max: 2 });
    const tool: Handler = () => new Promise((resolve) => ends.push(() => resolve(RESULT)));
    const time = virtualTime();
    const hedged = run(pipeline([twice, limit], tool), { tool: "work" }, { runtime: time.runtime });
    for (const _ of [1, 2]) void run(pipeline(limit, tool), { tool: "work" }, { runtime: time.runtime });
    expect(ends).toHaveLength(2);
    ends[0]?.();
    await hedged;
    await time.advance(0);
    expect(ends).toHaveLength(3);
    ends[1]?.();
    await time.advance(0);
    expect(ends).toHaveLength(4);
  });

  test("do not deadlock on one slot: the second runs after the first", async () => {
    const time = virtualTime();
    const started: number[] = [];
    const tool: Handler = async (ctx: CallContext) => {
      started.push(time.now());
      await ctx.call.runtime.sleep(10);
      return RESULT;
    };
    const handler = pipeline([twice, concurrencyLimit({ max: 1 })], tool);
    await time.run(run(handler, { tool: "work" }, { runtime: time.runtime }));
    await time.advance(100);
    expect(started).toEqual([0, 10]);
    expect(time.timers).toBe(0);
  });

  test("an attempt of the other passage is not taken for one's own, also where a layer further in waits", async () => {
    const ends: (() => void)[] = [];
    const time = virtualTime();
    const limit = concurrencyLimit({ max: 2 });
    /** Asks the gates before a second wait: the attempt that begins next is the other passage's. */
    const waiting: Middleware = async (ctx, next) => {
      if (ctx.attempt === 2) {
        ctx.admit?.();
        await ctx.call.runtime.sleep(10);
      }
      return next(ctx);
    };
    const reversed: Middleware = (ctx, next) => Promise.race([next({ ...ctx, attempt: 2 }), next(ctx)]);
    const tool: Handler = () => new Promise((resolve) => ends.push(() => resolve(RESULT)));
    void run(pipeline([reversed, limit, waiting], tool), { tool: "work" }, { runtime: time.runtime });
    for (const _ of [1, 2]) void run(pipeline(limit, tool), { tool: "work" }, { runtime: time.runtime });
    await time.advance(10);
    expect(ends).toHaveLength(2);
    // The second of them is the attempt of the passage that waited: its slot must not hang on the first.
    ends[1]?.();
    await time.advance(0);
    expect(ends).toHaveLength(3);
  });
});

describe("keeps the contract of a middleware", () => {
  for (const { name, run: prove } of middlewareContract(() => concurrencyLimit({ max: 5 }))) test(name, prove);
});

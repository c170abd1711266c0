import {
  type CallOptions,
  McpTxError,
  type Middleware,
  OutcomeUnknownError,
  pipeline,
  ReplayedError,
  type Runtime,
  reportOf,
  run,
  type Side,
  StoreUnavailableError,
  type ToolResult,
  type Verify,
  type WrapOptions,
} from "@mcp-tx/core";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { type ScriptedTool, scriptedTool, type VirtualTime, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { IdempotencyInProgressError } from "./errors.js";
import type { IdempotencyOutcome } from "./events.js";
import { fingerprintOf } from "./fingerprint.js";
import { idempotency } from "./idempotency.js";
import { memoryStore } from "./memory-store.js";
import type { IdempotencyOptions } from "./options.js";

const DONE: ToolResult = { structuredContent: { paid: true } };
const FAILED: ToolResult = { content: [], isError: true };
const LEASE_MS = 60_000;
const never = <T>(): Promise<T> => new Promise<never>(() => undefined);

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved with ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

type Method = "claim" | "extend" | "settle" | "release" | "get" | "expire";
const METHODS: readonly Method[] = ["claim", "extend", "settle", "release", "get", "expire"];
/** What happens instead of a method's answer: before it is heard, or after. */
type Fault = "works" | "throws" | "fails" | "hangs" | "loses" | "loses and hangs";

/** A store that breaks on purpose, and counts. */
function faulty(store: IdempotencyStore) {
  const faults = new Map<Method, Fault[]>();
  const calls: Method[] = [];
  async function lose(answer: Promise<unknown>, hangs: boolean): Promise<unknown> {
    await answer;
    if (hangs) return never();
    throw new Error("connection reset");
  }
  function invoke(method: Method, given: readonly unknown[]): unknown {
    calls.push(method);
    const fault = faults.get(method)?.shift();
    const ask = (): Promise<unknown> => (store[method] as (...all: readonly unknown[]) => Promise<unknown>)(...given);
    switch (fault) {
      case "throws":
        throw new Error("no connection");
      case "fails":
        return Promise.reject(new Error("connection refused"));
      case "hangs":
        return never();
      case "loses":
        return lose(ask(), false);
      case "loses and hangs":
        return lose(ask(), true);
      default:
        return ask();
    }
  }
  const methods = Object.fromEntries(
    METHODS.map((method) => [method, (...given: readonly unknown[]) => invoke(method, given)]),
  );
  const broken = { ...methods, storeId: store.storeId, durable: store.durable, sweep: () => Promise.resolve(0) };
  return {
    // Every method of the interface is there, made from the list above.
    store: broken as unknown as IdempotencyStore,
    calls,
    breaks: (method: Method, ...given: readonly Fault[]) => faults.set(method, [...given]),
  };
}

/** A process that can die or be stopped: from then on none of its timers ring and no store answers it. */
function processOn(time: VirtualTime, store: IdempotencyStore, options: IdempotencyOptions = {}) {
  let isAlive = true;
  let wallSkew = 0;
  const held: (() => void)[] = [];
  const gate = (): Promise<void> => (isAlive ? Promise.resolve() : new Promise((resolve) => held.push(resolve)));
  const runtime: Runtime = {
    now: time.runtime.now,
    wallNow: () => time.runtime.wallNow() + wallSkew,
    random: time.runtime.random,
    sleep: (ms, signal) => time.runtime.sleep(ms, signal).then(gate),
  };
  const reachable =
    (method: Method) =>
    async (...given: readonly unknown[]): Promise<unknown> => {
      await gate();
      const answer = await (store[method] as (...all: readonly unknown[]) => Promise<unknown>)(...given);
      await gate();
      return answer;
    };
  const seen = {
    ...Object.fromEntries(METHODS.map((method) => [method, reachable(method)])),
    storeId: store.storeId,
    durable: store.durable,
    sweep: () => Promise.resolve(0),
  };
  // Every method of the interface is there, made from the list above.
  const middleware = idempotency({ leaseMs: LEASE_MS, ...options, store: seen as unknown as IdempotencyStore });
  const events: IdempotencyOutcome["outcome"][] = [];
  return {
    runtime,
    events,
    stop: () => {
      isAlive = false;
    },
    go: () => {
      isAlive = true;
      for (const resume of held.splice(0)) resume();
    },
    skewWall: (ms: number) => {
      wallSkew += ms;
    },
    call(
      tool: ScriptedTool,
      request: {
        key?: string;
        side?: Side;
        options?: CallOptions;
        inner?: readonly Middleware[];
        outer?: readonly Middleware[];
        wrap?: WrapOptions;
      } = {},
    ): Promise<ToolResult> {
      const { key = "k", side, options: extra, inner = [], outer = [], wrap } = request;
      return run(
        pipeline([...outer, middleware, ...inner], tool),
        { tool: "pay", args: { amount: 1 }, side, options: { idempotencyKey: key, ...extra } },
        {
          runtime,
          onEvent: (name, detail) => {
            if (name === "idempotency.outcome") events.push((detail as IdempotencyOutcome).outcome);
          },
          ...wrap,
        },
      );
    },
  };
}

function setUp(options: IdempotencyOptions = {}) {
  const time = virtualTime();
  const memory = memoryStore({ runtime: time.runtime });
  const broken = faulty(memory);
  const start = (own: IdempotencyOptions = options) => processOn(time, broken.store, own);
  const recordKey = JSON.stringify([1, "local", "", null, "pay", "k"]);
  return { time, memory, start, ...broken, record: () => memory.get(recordKey) };
}

const tool = (delayMs = 10, result: ToolResult = DONE): ScriptedTool =>
  scriptedTool([{ result, delayMs }], { repeatLast: true });

describe("the owner dies", () => {
  test("before its claim is heard: the next one runs", async () => {
    const { time, start } = setUp();
    const first = start();
    const act = tool();
    first.stop();
    void first.call(act);
    await time.advance(LEASE_MS * 2);
    expect(await time.run(start().call(act))).toEqual(DONE);
    expect(act.executions).toBe(1);
  });

  test("while it runs: the next one waits, and then does not run it without evidence", async () => {
    const { time, start, record } = setUp();
    const first = start();
    const act = scriptedTool([{ hang: true }, { result: DONE }]);
    void first.call(act);
    await time.advance(1000);
    first.stop();
    const began = time.now();
    const error = await time.run(rejection(start().call(act)));
    expect(OutcomeUnknownError.isInstance(error)).toBe(true);
    expect(reportOf(error)).toMatchObject({ execution: "unknown", attempts: 0 });
    expect(time.now() - began).toBeLessThanOrEqual(LEASE_MS + 1000);
    expect(await record()).toMatchObject({ state: "unknown" });
    expect(act.executions).toBe(1);
  });

  test("after the effect and before the record: the outcome is unknown for good", async () => {
    const { time, start, record } = setUp({ ttlMs: 1000 });
    const first = start();
    const act = tool(10);
    const dying: Middleware = async (ctx, next) => {
      const result = await next(ctx);
      first.stop();
      return result;
    };
    void first.call(act, { inner: [dying] });
    await time.advance(LEASE_MS * 100);
    for (let index = 0; index < 3; index += 1) {
      expect(await time.run(rejection(start().call(act)))).toMatchObject({ code: "outcome_unknown" });
      await time.advance(LEASE_MS * 1000);
    }
    expect(await record()).toMatchObject({ state: "unknown" });
    expect(act.executions).toBe(1);
  });

  test("after the record: the result is not lost", async () => {
    const { time, start } = setUp();
    const first = start();
    const act = tool(10);
    await time.run(first.call(act));
    first.stop();
    const again = await time.run(start().call(act));
    expect(again).toEqual(DONE);
    expect(reportOf(again)).toMatchObject({ duplicate: true, recorded: true });
  });

  const verified = (answer: Verify): WrapOptions => ({ verify: answer });

  test("verify that says executed is believed and recorded", async () => {
    const { time, start, record } = setUp();
    const first = start();
    const act = scriptedTool([{ hang: true }]);
    const sentAtWall = time.runtime.wallNow();
    void first.call(act);
    await time.advance(1000);
    first.stop();
    await time.advance(LEASE_MS);
    const questions: unknown[] = [];
    const verify: Verify = (_ctx, question) => {
      questions.push(question);
      return { execution: "executed", result: DONE };
    };
    const found = await time.run(start().call(act, { wrap: verified(verify) }));
    expect(found).toEqual(DONE);
    expect(questions).toEqual([{ reason: "outcome_unknown", sentAtWall, attempt: 1 }]);
    expect(reportOf(found)).toMatchObject({ execution: "executed", recorded: true, attempts: 0 });
    expect(await record()).toMatchObject({ state: "done" });
    expect(await time.run(start().call(act))).toEqual(DONE);
    expect(act.executions).toBe(1);
  });

  test("a caller whose time is up while what verify found is being recorded gets it", async () => {
    const { time, start, breaks } = setUp();
    const first = start();
    void first.call(scriptedTool([{ hang: true }]));
    await time.advance(1000);
    first.stop();
    await time.advance(LEASE_MS);
    breaks("settle", "hangs");
    const wrap = verified(() => ({ execution: "executed", result: DONE }));
    expect(await time.run(start().call(tool(), { wrap, options: { timeoutMs: 1000 } }))).toEqual(DONE);
  });

  test("verify that says it can no longer happen lets it run, as a new attempt", async () => {
    const { time, start, record } = setUp();
    const first = start();
    const act = scriptedTool([{ hang: true }, { result: DONE, delayMs: 5 }]);
    void first.call(act);
    await time.advance(1000);
    first.stop();
    await time.advance(LEASE_MS);
    const second = start();
    const began = time.runtime.wallNow();
    expect(await time.run(second.call(act, { wrap: verified(() => ({ execution: "not-executed" })) }))).toEqual(DONE);
    expect(second.events).toEqual(["takeover"]);
    expect(await record()).toMatchObject({ state: "done", sentAtWall: began });
    expect(act.executions).toBe(2);
  });

  test("verify that hangs keeps nobody longer than a lease, and that throws knows nothing", async () => {
    for (const verify of [
      () => never<never>(),
      () => {
        throw new Error("down");
      },
    ]) {
      const { time, start } = setUp();
      const first = start();
      void first.call(scriptedTool([{ hang: true }]));
      await time.advance(1000);
      first.stop();
      await time.advance(LEASE_MS);
      const began = time.now();
      const error = await time.run(rejection(start().call(tool(), { wrap: { verify } })));
      expect(error).toMatchObject({ code: "outcome_unknown" });
      expect(time.now() - began).toBeLessThanOrEqual(LEASE_MS);
    }
  });

  for (const fault of ["loses", "loses and hangs", "fails"] as const) {
    test(`a takeover whose claim ${fault} leaves the record unknown, not absent`, async () => {
      const { time, start, record, breaks } = setUp();
      const first = start();
      void first.call(scriptedTool([{ hang: true }]));
      await time.advance(1000);
      first.stop();
      await time.advance(LEASE_MS);
      breaks("claim", "works", fault, fault);
      const act = tool();
      expect(
        StoreUnavailableError.isInstance(await time.run(rejection(start().call(act, { outer: [readOnly] })))),
      ).toBe(true);
      await time.advance(0);
      expect(await record()).toMatchObject({ state: "unknown" });
      expect(act.executions).toBe(0);
    });
  }

  test("a takeover that comes second gives what the first one came to, as something that ran", async () => {
    for (const state of ["done", "failed"] as const) {
      const { time, start, memory } = setUp();
      const first = start();
      void first.call(scriptedTool([{ hang: true }]));
      await time.advance(1000);
      first.stop();
      await time.advance(LEASE_MS);
      const claim = memory.claim.bind(memory);
      const outcome = JSON.stringify({ v: 1, result: { content: [], isError: state === "failed" } });
      memory.claim = async (key, given) => {
        if (given.takeover !== undefined) {
          await claim(key, { ...given, token: "rival" });
          await memory.settle(key, "rival", { state, outcome, ttlMs: 1000 });
        }
        return claim(key, given);
      };
      const act = tool();
      const result = await time.run(start().call(act, { outer: [readOnly] }));
      expect(result.isError).toBe(state === "failed");
      expect(reportOf(result)).toMatchObject({ execution: "executed", duplicate: true, recorded: true });
      expect(act.executions).toBe(0);
    }
  });

  test("a takeover that is refused before it is sent leaves the record unknown, not absent", async () => {
    const { time, start, record } = setUp();
    const first = start();
    void first.call(scriptedTool([{ hang: true }]));
    await time.advance(1000);
    first.stop();
    await time.advance(LEASE_MS);
    const gate: Middleware = () =>
      Promise.reject(
        new McpTxError("shut", "circuit_open", {
          outcome: { status: "rejected", execution: "not-executed", transient: true },
        }),
      );
    const before = await record();
    const error = await time.run(rejection(start().call(tool(), { outer: [readOnly], inner: [gate] })));
    expect(error).toMatchObject({ code: "circuit_open" });
    const after = await record();
    expect(after).toMatchObject({ state: "unknown", sentAtWall: before?.sentAtWall });
    expect(after?.token).not.toBe(before?.token);
  });
});

/** What is read-only may be sent again without knowing: the attempt that is lost stays lost. */
const readOnly: Middleware = (ctx, next) => {
  const endpoint = { announcement: () => undefined, annotations: async () => ({ readOnlyHint: true }) };
  Object.defineProperties(ctx.call, { trustsAnnotations: { value: true }, endpoint: { value: endpoint } });
  return next(ctx);
};

/** The methods of a store, to put others in their place. */
function methodsOf(store: IdempotencyStore): IdempotencyStore {
  const { storeId, durable } = store;
  const [claim, extend, settle] = [store.claim.bind(store), store.extend.bind(store), store.settle.bind(store)];
  const [release, get, sweep] = [store.release.bind(store), store.get.bind(store), store.sweep.bind(store)];
  return { storeId, durable, claim, extend, settle, release, get, sweep, expire: store.expire.bind(store) };
}

describe("a call that somebody further out sends through again", () => {
  const LATER_MS = 200;
  const again: Middleware = (ctx, next) =>
    next(ctx).catch(async () => {
      await ctx.call.runtime.sleep(LATER_MS);
      ctx.call.raiseEpoch();
      return next(ctx);
    });
  const thrower = (): ScriptedTool => scriptedTool([{ error: new Error("no funds") }]);

  test("is reported as what it came to, not as in progress", async () => {
    const { time, start } = setUp();
    const act = tool(100);
    const first = start().call(act);
    const second = await time.run(start({ onConcurrent: "reject" }).call(act, { outer: [again] }));
    expect(reportOf(second)).toMatchObject({ status: "completed", execution: "executed", duplicate: true });
    const third = await time.run(start().call(act, { outer: [again] }));
    expect(reportOf(third)).toMatchObject({ execution: "executed", duplicate: true, recorded: true });
    await first;
  });

  test("is no duplicate when it ran, though it got a recorded failure before", async () => {
    const { time, start } = setUp();
    await time.run(rejection(start().call(thrower())));
    const second = await time.run(start().call(tool(), { outer: [again] }));
    expect(reportOf(second)).toMatchObject({ attempts: 1, duplicate: false, recorded: true, execution: "executed" });
  });

  test("is unknown when its time is up, though it was in progress elsewhere before", async () => {
    const { time, start } = setUp();
    const refusal = new McpTxError("shut", "circuit_open", {
      outcome: { status: "rejected", execution: "not-executed", transient: true },
    });
    const queue: Middleware = async ({ call }) => {
      await call.runtime.sleep(100);
      throw refusal;
    };
    const first = rejection(start().call(tool(), { inner: [queue] }));
    const act = scriptedTool([{ hang: true }]);
    const second = start({ onConcurrent: "reject" });
    const error = await time.run(rejection(second.call(act, { outer: [again], options: { timeoutMs: 1000 } })));
    expect(reportOf(error)).toMatchObject({ status: "timeout", attempts: 1, execution: "unknown" });
    await first;
  });
});

describe("leases", () => {
  test("a heartbeat keeps the record of a run that takes long", async () => {
    const { time, start, record } = setUp();
    const act = tool(LEASE_MS * 10);
    const first = start().call(act);
    await time.advance(LEASE_MS * 9);
    expect(await record()).toMatchObject({ state: "pending" });
    await time.run(first);
    expect(await record()).toMatchObject({ state: "done" });
    expect(time.timers).toBe(0);
  });

  test("a heartbeat comes in time though the answer to the claim was late", async () => {
    const { time, memory, record } = setUp();
    const late = Object.assign(methodsOf(memory), {
      claim: async (...given: Parameters<IdempotencyStore["claim"]>) => {
        const claimed = await memory.claim(...given);
        await time.runtime.sleep(LEASE_MS * 0.9);
        return claimed;
      },
    });
    const first = processOn(time, late).call(tool(LEASE_MS));
    await time.advance(LEASE_MS + 1);
    expect(await record()).toMatchObject({ state: "pending" });
    expect(await time.run(first)).toEqual(DONE);
  });

  test("a heartbeat that fails or hangs now and then does not end the lease", async () => {
    const { time, start, record, breaks, memory } = setUp();
    for (const fault of ["fails", "hangs", "throws", "loses"] as const) {
      breaks("extend", fault);
      const act = tool(LEASE_MS * 2);
      const call = start().call(act, { key: fault });
      await time.advance(LEASE_MS + 1);
      expect(await memory.get(JSON.stringify([1, "local", "", null, "pay", fault]))).toMatchObject({
        state: "pending",
      });
      await time.run(call);
    }
    breaks("extend");
    const first = start().call(tool(LEASE_MS * 4));
    expect(await time.run(first)).toEqual(DONE);
    expect(await record()).toMatchObject({ state: "done" });
  });

  test("a process that was stopped past its lease settles late when nobody took over", async () => {
    const { time, start, record } = setUp();
    const first = start();
    const act = tool(100);
    const late = first.call(act);
    await time.advance(50);
    first.stop();
    await time.advance(LEASE_MS * 2);
    expect(await record()).toMatchObject({ state: "unknown" });
    first.go();
    const result = await time.run(late);
    expect(reportOf(result)).toMatchObject({ recorded: true });
    expect(await record()).toMatchObject({ state: "done" });
    expect(reportOf(await time.run(start().call(act)))).toMatchObject({ duplicate: true });
    expect(act.executions).toBe(1);
  });

  test("a process that was stopped past its lease is fenced off when somebody took over", async () => {
    const { time, start, record } = setUp();
    const first = start();
    const [slow, quick] = [tool(100, { structuredContent: "old" }), tool(5, { structuredContent: "new" })];
    const late = first.call(slow);
    await time.advance(50);
    first.stop();
    await time.advance(LEASE_MS * 2);
    const wrap: WrapOptions = { verify: () => ({ execution: "not-executed" }) };
    await time.run(start().call(quick, { wrap }));
    first.go();
    const result = await time.run(late);
    expect(result.structuredContent).toBe("old");
    expect(reportOf(result)).toMatchObject({ recorded: false, execution: "executed" });
    expect((await record())?.outcome).toContain("new");
  });

  /** Holds the call before its dispatch, as a limiter does. */
  const queue =
    (ms: number): Middleware =>
    async (ctx, next) => {
      await ctx.call.runtime.sleep(ms);
      return next(ctx);
    };

  for (const [name, pause] of [
    ["stops until its lease is over", LEASE_MS + 1],
    ["wakes up in another year by the wall clock alone", undefined],
  ] as const) {
    test(`a run that ${name} is not sent any more`, async () => {
      const { time, start, record } = setUp();
      const first = start();
      const act = tool();
      const late = rejection(first.call(act, { inner: [queue(100)] }));
      await time.advance(50);
      if (pause === undefined) first.skewWall(365 * 86_400_000);
      else {
        first.stop();
        await time.advance(pause);
        first.go();
      }
      const error = await time.run(late);
      expect(IdempotencyInProgressError.isInstance(error)).toBe(true);
      expect(act.executions).toBe(0);
      expect(await record()).toBeUndefined();
      expect(await time.run(start().call(act))).toEqual(DONE);
    });
  }

  test("a run that waits long, heartbeat and all, is sent", async () => {
    const { time, start } = setUp();
    const act = tool();
    await time.run(start().call(act, { inner: [queue(LEASE_MS * 5)] }));
    expect(act.executions).toBe(1);
  });

  test("a run whose lease the store no longer knows is not sent", async () => {
    const { time, start, memory } = setUp();
    const act = tool();
    const late = rejection(start().call(act, { inner: [queue(LEASE_MS / 2)] }));
    await time.advance(10);
    const key = JSON.stringify([1, "local", "", null, "pay", "k"]);
    await memory.settle(key, (await memory.get(key))?.token ?? "", { state: "unknown", ttlMs: 1 });
    expect(IdempotencyInProgressError.isInstance(await time.run(late))).toBe(true);
    expect(act.executions).toBe(0);
  });

  test("clocks that step back end no lease", async () => {
    const { time, start } = setUp();
    const act = tool();
    const first = start();
    const call = first.call(act, { inner: [queue(1000)] });
    await time.advance(10);
    first.skewWall(-365 * 86_400_000);
    time.stepWall(-86_400_000);
    expect(await time.run(call)).toEqual(DONE);
  });
});

describe("two processes", () => {
  test("the second waits for the result of the first", async () => {
    const { time, start } = setUp();
    const act = tool(5000);
    const [one, two] = [start(), start()];
    const first = one.call(act);
    await time.advance(1);
    const second = await time.run(two.call(act));
    expect(second).toEqual(DONE);
    expect(reportOf(second)).toMatchObject({ duplicate: true, recorded: true, attempts: 0 });
    expect(reportOf(second)?.waitedMs).toBeGreaterThanOrEqual(4999);
    expect(time.now()).toBeLessThanOrEqual(6100);
    await first;
    expect(act.executions).toBe(1);
  });

  test("the second runs when the first was refused", async () => {
    const { time, start } = setUp();
    const act = tool();
    const refuse: Middleware = async (ctx) => {
      await ctx.call.runtime.sleep(500);
      throw new McpTxError("shut", "circuit_open", {
        outcome: { status: "rejected", execution: "not-executed", transient: true },
      });
    };
    const first = rejection(start().call(act, { inner: [refuse] }));
    await time.advance(1);
    expect(await time.run(start().call(act))).toEqual(DONE);
    await first;
    expect(act.executions).toBe(1);
  });

  test("the second gives up after a lease, and says when to come back", async () => {
    const { time, start } = setUp();
    void start().call(tool(LEASE_MS * 10));
    await time.advance(1);
    const began = time.now();
    const error = await time.run(rejection(start().call(tool())));
    expect(IdempotencyInProgressError.isInstance(error)).toBe(true);
    expect(time.now() - began).toBe(LEASE_MS);
    expect((error as McpTxError).retryAfterMs).toBeGreaterThan(0);
    expect((error as McpTxError).retryAfterMs).toBeLessThanOrEqual(LEASE_MS);
    expect(reportOf(error)).toMatchObject({ execution: "unknown", status: "rejected", waitedMs: LEASE_MS });
  });

  test("the second waits for a lease in all, also when the owner changes meanwhile", async () => {
    const { time, start, memory } = setUp();
    const key = JSON.stringify([1, "local", "", null, "pay", "k"]);
    const owner = { fingerprint: fingerprintOf({ amount: 1 }), token: "a", leaseMs: LEASE_MS * 10, epoch: 0 };
    await memory.claim(key, { ...owner, sentAtWall: 0 });
    const get = memory.get.bind(memory);
    let isGone = false;
    memory.get = async (...given) => {
      if (isGone || time.now() < LEASE_MS / 2) return get(...given);
      isGone = true;
      return undefined;
    };
    expect(await time.run(rejection(start().call(tool())))).toMatchObject({ code: "idempotency_in_progress" });
    expect(isGone).toBe(true);
    expect(time.now()).toBe(LEASE_MS);
  });

  test("the second is told at its own deadline that the call is in progress", async () => {
    const { time, start } = setUp();
    void start().call(tool(LEASE_MS));
    await time.advance(1);
    const error = await time.run(rejection(start().call(tool(), { options: { timeoutMs: 100 } })));
    expect(time.now()).toBe(101);
    expect(IdempotencyInProgressError.isInstance(error)).toBe(true);
    expect(reportOf(error)).toMatchObject({ execution: "unknown" });
  });

  test.each(["client", "server"] as const)(
    "the second settles at once when it is aborted while it waits, and stops asking (%s)",
    async (side) => {
      const { time, start, calls } = setUp();
      void start().call(tool(LEASE_MS), { side });
      await time.advance(1);
      const controller = new AbortController();
      const second = rejection(start().call(tool(), { side, options: { signal: controller.signal } }));
      await time.advance(100);
      controller.abort(new Error("gone"));
      expect(((await second) as Error).message).toBe("gone");
      const asked = calls.filter((method) => method === "get").length;
      await time.advance(10_000);
      expect(calls.filter((method) => method === "get").length).toBe(asked);
    },
  );

  test("the second is refused at once with onConcurrent reject", async () => {
    const { time, start } = setUp();
    void start().call(tool(1000));
    await time.advance(1);
    const error = await time.run(rejection(start({ onConcurrent: "reject" }).call(tool())));
    expect(IdempotencyInProgressError.isInstance(error)).toBe(true);
    expect(time.now()).toBe(1);
  });

  test("a store that fails while one waits is asked again", async () => {
    const { time, start, breaks } = setUp();
    const act = tool(3000);
    void start().call(act);
    await time.advance(1);
    breaks("get", "fails", "throws", "loses", "fails");
    expect(await time.run(start().call(act))).toEqual(DONE);
    expect(act.executions).toBe(1);
  });
});

describe("the store fails", () => {
  for (const fault of ["throws", "fails", "loses"] as const) {
    test(`a claim that ${fault} once is made again with its own token`, async () => {
      const { time, start, breaks, calls } = setUp();
      breaks("claim", fault);
      const act = tool();
      expect(reportOf(await time.run(start().call(act)))).toMatchObject({ recorded: true });
      expect(calls.slice(0, 2)).toEqual(["claim", "claim"]);
      expect(act.executions).toBe(1);
    });

    test(`a settlement that ${fault} once is made again`, async () => {
      const { time, start, breaks, record } = setUp();
      breaks("settle", fault);
      expect(reportOf(await time.run(start().call(tool())))).toMatchObject({ recorded: true });
      expect(await record()).toMatchObject({ state: "done" });
    });
  }

  for (const fault of ["throws", "fails", "loses", "hangs", "loses and hangs"] as const) {
    test(`a claim that ${fault} for good runs nothing, and leaves nothing behind once the store is back`, async () => {
      const { time, start, breaks, record } = setUp();
      breaks("claim", fault, fault);
      const act = tool();
      const error = await time.run(rejection(start().call(act)));
      expect(StoreUnavailableError.isInstance(error)).toBe(true);
      expect(reportOf(error)).toMatchObject({ status: "rejected", execution: "not-executed" });
      expect(time.now()).toBeLessThanOrEqual(LEASE_MS);
      expect(act.executions).toBe(0);
      await time.advance(0);
      expect(await record()).toBeUndefined();
    });

    test(`a claim that ${fault} for good lets the call run without a record under bypass`, async () => {
      const { time, start, breaks } = setUp();
      breaks("claim", fault, fault);
      const act = tool();
      const result = await time.run(start({ storeErrors: "bypass" }).call(act));
      expect(result).toEqual(DONE);
      expect(reportOf(result)).toMatchObject({ recorded: false, execution: "executed" });
      expect(act.executions).toBe(1);
    });

    test(`a settlement that ${fault} for good never replaces the result`, async () => {
      const { time, start, breaks } = setUp();
      breaks("settle", fault, fault);
      const result = await time.run(start().call(tool()));
      expect(result).toEqual(DONE);
      const isHeard = fault === "loses" || fault === "loses and hangs";
      expect(reportOf(result)).toMatchObject({ recorded: false, execution: "executed" });
      expect(time.now()).toBeLessThanOrEqual(LEASE_MS + 10);
      await time.advance(LEASE_MS * 2);
      const next = start().call(tool());
      if (isHeard) expect(reportOf(await time.run(next))).toMatchObject({ duplicate: true });
      else expect(await time.run(rejection(next))).toMatchObject({ code: "outcome_unknown" });
    });

    test(`a release that ${fault} for good never replaces the refusal`, async () => {
      const { time, start, breaks } = setUp();
      breaks("release", fault, fault);
      const refusal = new McpTxError("shut", "circuit_open", {
        outcome: { status: "rejected", execution: "not-executed", transient: true },
      });
      expect(await time.run(rejection(start().call(tool(), { inner: [() => Promise.reject(refusal)] })))).toBe(refusal);
    });
  }

  test("duplicates of a call whose store is down fail alike, each with an error of its own", async () => {
    const { time, start, breaks } = setUp();
    breaks("claim", "fails", "fails");
    const process = start();
    const errors = await time.run(Promise.all([1, 2, 3].map(() => rejection(process.call(tool())))));
    expect(new Set(errors).size).toBe(3);
    for (const error of errors) {
      expect(StoreUnavailableError.isInstance(error)).toBe(true);
      expect(reportOf(error)).toMatchObject({ execution: "not-executed", status: "rejected" });
    }
  });

  test("a claim that is answered after everybody left is given back", async () => {
    const { time, start, memory, record } = setUp();
    const claim = memory.claim.bind(memory);
    memory.claim = async (...given) => {
      const claimed = await claim(...given);
      await time.runtime.sleep(1000);
      return claimed;
    };
    for (const side of ["client", "server"] as const) {
      const act = tool();
      const controller = new AbortController();
      const call = rejection(start().call(act, { side, options: { signal: controller.signal } }));
      await time.advance(10);
      controller.abort(new Error("gone"));
      expect(reportOf(await call)).toMatchObject({ execution: "not-executed" });
      await time.advance(5000);
      expect(act.executions).toBe(0);
      expect(await record()).toBeUndefined();
    }
  });

  test("a claim that is heard long after it was given up is given back", async () => {
    const { time, start, memory, record } = setUp();
    const claim = memory.claim.bind(memory);
    memory.claim = async (...given) => {
      await time.runtime.sleep(LEASE_MS * 2);
      return claim(...given);
    };
    expect(StoreUnavailableError.isInstance(await time.run(rejection(start().call(tool()))))).toBe(true);
    await time.advance(LEASE_MS * 1.5);
    expect(await record()).toBeUndefined();
  });

  test("a call settles at its deadline while the store hangs", async () => {
    const { time, start, breaks } = setUp();
    breaks("claim", "hangs", "hangs");
    const error = await time.run(rejection(start().call(tool(), { options: { timeoutMs: 100 } })));
    expect(time.now()).toBe(100);
    expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "not-executed" });
  });

  test("a store that answers nonsense is a store that fails", async () => {
    const { time, start, memory } = setUp();
    for (const nonsense of [
      undefined,
      true,
      { won: "yes" },
      { won: false },
      { won: false, record: { state: "new" } },
    ]) {
      memory.claim = () => Promise.resolve(nonsense as never);
      expect(StoreUnavailableError.isInstance(await time.run(rejection(start().call(tool()))))).toBe(true);
    }
  });

  test("a store that never makes up its mind does not keep a call for ever", async () => {
    const { time, start, memory } = setUp({ toolErrors: "reclaim" });
    const act = tool(1, FAILED);
    await time.run(start().call(act));
    const standing = await memory.get(JSON.stringify([1, "local", "", null, "pay", "k"]));
    memory.claim = () => Promise.resolve({ won: false, record: standing } as never);
    expect(StoreUnavailableError.isInstance(await time.run(rejection(start().call(act))))).toBe(true);
  });

  test("a record that cannot be read is one whose result was not kept", async () => {
    const { time, start, memory } = setUp();
    const act = tool();
    await time.run(start().call(act));
    const claim = memory.claim.bind(memory);
    for (const outcome of ["", "{", "null", '{"v":2,"result":{}}', '{"v":1}', '{"v":1,"error":7}']) {
      memory.claim = async (...given) => {
        const claimed = await claim(...given);
        return { ...claimed, record: { ...claimed.record, outcome } };
      };
      expect(ReplayedError.isInstance(await time.run(rejection(start().call(act))))).toBe(true);
    }
    expect(act.executions).toBe(1);
  });

  test("a full store refuses new keys", async () => {
    const time = virtualTime();
    const process = processOn(time, memoryStore({ maxRecords: 1, runtime: time.runtime }));
    const act = tool();
    await time.run(process.call(act));
    expect(StoreUnavailableError.isInstance(await time.run(rejection(process.call(act, { key: "l" }))))).toBe(true);
    expect(await time.run(process.call(act))).toEqual(DONE);
  });
});

describe("what the evidence of attempts says", () => {
  const loses: Middleware = async (ctx, next) => {
    await next({ ...ctx, options: { ...ctx.options, attemptTimeoutMs: 10 } }).catch(() => undefined);
    return next({ ...ctx, attempt: 2 });
  };

  test("a failure after an attempt that was lost is unknown, and a success is a success", async () => {
    for (const [result, state] of [
      [FAILED, "unknown"],
      [DONE, "done"],
    ] as const) {
      const { time, start, record } = setUp();
      const act = scriptedTool([{ hang: true }, { result }]);
      expect(await time.run(start().call(act, { inner: [loses] }))).toEqual(result);
      expect(await record()).toMatchObject({ state });
    }
  });

  test("a failure that was returned by something that did not run leaves no record", async () => {
    const { time, start, record } = setUp();
    const wrap: WrapOptions = {
      classifiers: [
        ({ result }) => (result?.isError === true ? { status: "rejected", execution: "not-executed" } : undefined),
      ],
    };
    const process = start();
    const [first, second] = await time.run(Promise.all([1, 2].map(() => process.call(tool(10, FAILED), { wrap }))));
    expect(first?.isError).toBe(true);
    expect(second).toEqual(first);
    expect(reportOf(second)).toMatchObject({ duplicate: false, execution: "not-executed" });
    expect(await record()).toBeUndefined();
  });

  test("a call that is aborted already does not trouble the store", async () => {
    const { time, start, calls } = setUp();
    await time.run(rejection(start().call(tool(), { options: { signal: AbortSignal.abort(new Error("gone")) } })));
    expect(calls).toEqual([]);
  });
});

describe("what was thrown without an attempt", () => {
  test("by something foreign counts as unknown: a handler that keeps no book may have run", async () => {
    const { time, start, record } = setUp();
    const raw: Middleware = () => Promise.reject(new Error("half done"));
    await time.run(rejection(start().call(tool(), { inner: [raw] })));
    expect(await record()).toMatchObject({ state: "unknown" });
  });

  test("ends the run also when it cannot be looked at", async () => {
    const { time, start, record } = setUp();
    const refuse = (): never => {
      throw new Error("no looking");
    };
    // It passes for an error of ours, and throws when asked for anything.
    const hostile = new Proxy({}, { get: refuse, has: () => true });
    const process = start();
    const raw: Middleware = () => Promise.reject(hostile);
    const isThrown = process.call(tool(), { inner: [raw] }).then(
      () => false,
      () => true,
    );
    expect(await time.run(isThrown)).toBe(true);
    expect(time.timers).toBe(0);
    expect(await record()).toMatchObject({ state: "unknown" });
    expect(await time.run(rejection(process.call(tool())))).toMatchObject({ code: "outcome_unknown" });
  });

  test("as unknown by an error of ours counts as unknown", async () => {
    const { time, start, record } = setUp();
    const raw: Middleware = () => Promise.reject(new OutcomeUnknownError("pay"));
    await time.run(rejection(start().call(tool(), { inner: [raw] })));
    expect(await record()).toMatchObject({ state: "unknown" });
  });
});

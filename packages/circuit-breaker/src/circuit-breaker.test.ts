import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  type CallContext,
  type CallEvents,
  type CallOptions,
  defaultRuntime,
  type Middleware,
  type Outcome,
  pipeline,
  RateLimitError,
  type Runtime,
  reportOf,
  run,
  type Side,
  type ToolResult,
  type WrapOptions,
} from "@mcp-tx/core";
import { context, middlewareContract, virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { StateChange } from "./breaker.js";
import { type CircuitBreaker, circuitBreaker } from "./circuit-breaker.js";
import { CircuitOpenError } from "./errors.js";
import type { CircuitBreakerOptions } from "./options.js";
import type { BreakerSnapshot } from "./snapshot.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const FAILED: ToolResult = { content: [{ type: "text", text: "no" }], isError: true };

/** An error that says, to the test's classifier, what it stands for. */
class Fault extends Error {
  constructor(readonly outcome: Partial<Outcome>) {
    super("fault");
  }
}
const lost = (): Fault => new Fault({ execution: "unknown", transient: true, code: "transport_error" });
const refused = (): Fault => new Fault({ status: "rejected", execution: "not-executed", code: "queue_full" });
const throttled = (retryAfterMs?: number): Fault =>
  new Fault({ status: "throttled", execution: "not-executed", transient: true, code: "rate_limited", retryAfterMs });

interface Asked {
  readonly tool?: string;
  readonly side?: Side;
  readonly server?: string;
  readonly options?: CallOptions;
  readonly wrap?: WrapOptions;
}

/** Holds calls until they are released; asks the gates after the wait, as everybody who waits does. */
class WaitingRoom {
  readonly #doors: (() => void)[] = [];

  readonly middleware: Middleware = async (ctx, next) => {
    await new Promise<void>((resolve, reject) => {
      this.#doors.push(resolve);
      ctx.signal?.addEventListener("abort", () => reject(ctx.signal?.reason), { once: true });
    });
    ctx.admit?.();
    return next(ctx);
  };

  /** Lets the n-th call that came go on. */
  open(index: number): void {
    this.#doors[index]?.();
  }
}

/** A run of the tool that the test ends. */
interface Running {
  succeed(result?: ToolResult): void;
  fail(error?: unknown): void;
}

function setup(
  options: CircuitBreakerOptions = {},
  inner: readonly Middleware[] = [],
  outer: readonly Middleware[] = [],
) {
  const time = virtualTime({ now: 1000 });
  const breaker = circuitBreaker(options);
  const running: Running[] = [];
  const handler = pipeline([...outer, breaker, ...inner], (): Promise<ToolResult> => {
    return new Promise((resolve, reject) => {
      running.push({ succeed: (result = OK) => resolve(result), fail: (error = lost()) => reject(error) });
    });
  });

  function start({ tool = "pay", side = "client", server, options: call = {}, wrap }: Asked = {}): Promise<unknown> {
    const result = run(
      handler,
      { tool, side, options: call },
      {
        runtime: time.runtime,
        classifiers: [({ error }) => (error instanceof Fault ? error.outcome : undefined)],
        ...(server !== undefined && { peer: { server } }),
        ...wrap,
      },
    );
    return result.catch((error: unknown) => error);
  }

  /** One call from start to end. */
  async function call(end: ToolResult | Error = OK, asked: Asked = {}): Promise<unknown> {
    const before = running.length;
    const result = start(asked);
    await time.advance(0);
    const own = running[before];
    if (end instanceof Error) own?.fail(end);
    else own?.succeed(end);
    return result;
  }

  async function fail(times: number, asked: Asked = {}): Promise<void> {
    for (let count = 0; count < times; count += 1) await call(lost(), asked);
  }

  return { time, breaker, running, start, call, fail };
}

function heapUsed(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  return process.memoryUsage().heapUsed;
}

/** Any sequence of UTF-16 units, lone surrogates too. */
const anyString = fc.string({ unit: fc.nat({ max: 0xff_ff }).map((unit) => String.fromCharCode(unit)) });
const isRefusal = (value: unknown): value is CircuitOpenError => CircuitOpenError.isInstance(value);
const key = (tool: string, server: string | null = null): string => JSON.stringify([server, tool]);

describe("opening", () => {
  test("refuses after five failures in a row, before anything is sent, and says when to come back", async () => {
    const { breaker, running, call, fail, time } = setup();
    await fail(5);
    await time.advance(1000);
    const error = await call();
    expect(error).toMatchObject({ code: "circuit_open", state: "open", retryAfterMs: 59_000 });
    expect(running).toHaveLength(5);
    expect(breaker.state("pay")).toBe("open");
    expect(reportOf(error)).toMatchObject({ status: "rejected", execution: "not-executed", attempts: 0 });
  });

  test("starts the row again with every success", async () => {
    const { breaker, call, fail } = setup();
    await fail(4);
    await call(OK);
    await fail(4);
    expect(breaker.state("pay")).toBe("closed");
    await fail(1);
    expect(breaker.state("pay")).toBe("open");
  });

  test("changes nothing after the trip by a failure or success of a call that started before it", async () => {
    const { breaker, running, start, fail, time } = setup({ consecutiveFailures: 2, recoveryTimeoutMs: 100 });
    const early = [start(), start(), start()];
    await time.advance(0);
    await fail(2);
    const before = breaker.snapshot().circuits;
    running[0]?.fail();
    running[1]?.succeed();
    await Promise.all(early.slice(0, 2));
    expect(breaker.snapshot().circuits).toEqual(before);
    await time.advance(100);
    const probe = start();
    await time.advance(0);
    running[2]?.succeed();
    await early[2];
    expect(breaker.state("pay")).toBe("half-open");
    running[5]?.succeed();
    await probe;
    expect(breaker.state("pay")).toBe("closed");
  });

  test("does not count cancelled calls", async () => {
    const { breaker, start, time } = setup({ consecutiveFailures: 1 });
    const controller = new AbortController();
    const result = start({ options: { signal: controller.signal } });
    await time.advance(0);
    controller.abort(new Error("gone"));
    expect(await result).toMatchObject({ message: "gone" });
    expect(breaker.state("pay")).toBe("closed");
  });

  test("does not count rejections of a limiter or a bulkhead", async () => {
    const refuse: Middleware = async (ctx) => {
      throw new RateLimitError(ctx.tool, { retryAfterMs: 5 });
    };
    const { breaker, call } = setup({ consecutiveFailures: 1 }, [refuse]);
    expect(await call()).toMatchObject({ code: "rate_limited" });
    expect(breaker.state("pay")).toBe("closed");
  });

  test.each(["server", "local"] as const)("counts isError and throws as failures on the side %s", async (side) => {
    const { breaker, call } = setup();
    for (let count = 0; count < 5; count += 1) await call(FAILED, { side, tool: "says" });
    for (let count = 0; count < 5; count += 1) await call(new Error("thrown"), { side, tool: "throws" });
    expect([breaker.state("says"), breaker.state("throws")]).toEqual(["open", "open"]);
  });

  test("does not count isError on the client, unless asked to", async () => {
    const plain = setup({ consecutiveFailures: 1 });
    await plain.call(FAILED);
    expect(plain.breaker.state("pay")).toBe("closed");
    const asked = setup({ consecutiveFailures: 1, isFailure: (_, { result }) => result?.isError });
    await asked.call(FAILED);
    expect(asked.breaker.state("pay")).toBe("open");
  });

  test("tells isFailure the tool, and the result or the error", async () => {
    const seen: unknown[] = [];
    const { call } = setup({ isFailure: (outcome, info) => void seen.push([outcome.status, info]) });
    const fault = lost();
    await call(OK);
    await call(fault);
    expect(seen).toEqual([
      ["success", { tool: "pay", result: OK }],
      ["failure", { tool: "pay", error: fault }],
    ]);
  });

  test("keeps what next gave or threw when isFailure throws, and goes by the default", async () => {
    const isFailure = (): never => {
      throw new Error("broken");
    };
    const { breaker, call } = setup({ consecutiveFailures: 1, isFailure });
    const fault = lost();
    expect(await call(OK)).toEqual(OK);
    expect(await call(fault)).toBe(fault);
    expect(breaker.state("pay")).toBe("open");
  });

  test("stays open for as long as the failure that opened it asks for, up to maxRetryAfterMs", async () => {
    const { call } = setup({ consecutiveFailures: 1 });
    await call(throttled(7000));
    expect(await call()).toMatchObject({ retryAfterMs: 7000 });
    const capped = setup({ consecutiveFailures: 1, maxRetryAfterMs: 500 });
    await capped.call(throttled(365 * 86_400_000));
    expect(await capped.call()).toMatchObject({ retryAfterMs: 500 });
    for (const useless of [0, -5, Number.NaN, undefined]) {
      const own = setup({ consecutiveFailures: 1, recoveryTimeoutMs: 100 });
      await own.call(throttled(useless));
      expect(await own.call()).toMatchObject({ retryAfterMs: 100 });
    }
  });

  test("grows its open time with the openings since it was last closed", async () => {
    const openings: number[] = [];
    const recoveryTimeoutMs = (opening: number) => {
      openings.push(opening);
      return opening * 100;
    };
    const { breaker, call, time } = setup({ consecutiveFailures: 1, recoveryTimeoutMs });
    await call(lost());
    await time.advance(100);
    await call(lost());
    await time.advance(199);
    expect(breaker.state("pay")).toBe("open");
    await time.advance(1);
    await call(OK);
    await call(lost());
    expect(openings).toEqual([1, 2, 1]);
  });

  test("takes 60 s where the function of the open time throws or gives no number above 0", async () => {
    const broken = [
      () => Number.NaN,
      () => -1,
      () => 0,
      () => Infinity,
      () => "5" as never,
      async () => 5 as never,
      () => {
        throw new Error("broken");
      },
    ] as readonly (() => number)[];
    for (const recoveryTimeoutMs of broken) {
      const { call } = setup({ consecutiveFailures: 1, recoveryTimeoutMs });
      await call(lost());
      expect(await call()).toMatchObject({ retryAfterMs: 60_000 });
    }
  });
});

describe("windows", () => {
  test("never opens by ratio for one failure of one call: minimumCalls is respected", async () => {
    const { breaker, call, fail } = setup({ window: { type: "count", size: 20, minimumCalls: 4 } });
    await fail(3);
    expect(breaker.state("pay")).toBe("closed");
    await call(lost());
    expect(breaker.state("pay")).toBe("open");
  });

  test("is not diluted by calls in flight", async () => {
    const { breaker, start, fail, time } = setup({ window: { type: "count", size: 10, minimumCalls: 4 } });
    for (let count = 0; count < 100; count += 1) void start();
    await time.advance(0);
    await fail(4);
    expect(breaker.state("pay")).toBe("open");
  });

  test("is empty when it saw no call for longer than its length", async () => {
    const { breaker, fail, call, time } = setup({ window: { type: "time", durationMs: 1000, minimumCalls: 4 } });
    await fail(3);
    await time.advance(1001);
    await call(lost());
    expect(breaker.state("pay")).toBe("closed");
    await fail(3);
    expect(breaker.state("pay")).toBe("open");
  });

  test("is not moved by the wall clock set back an hour", async () => {
    const { breaker, fail, call, time } = setup({ window: { type: "time", durationMs: 1000, minimumCalls: 4 } });
    await fail(3);
    time.stepWall(-3_600_000);
    await time.advance(1001);
    await fail(3);
    expect(breaker.state("pay")).toBe("closed");
    await fail(1);
    expect(breaker.state("pay")).toBe("open");
    time.stepWall(3_600_000);
    expect(await call()).toMatchObject({ retryAfterMs: 60_000 });
  });

  test("counts slow calls even when they succeed", async () => {
    const window = { type: "count", size: 10, minimumCalls: 2, slowCallMs: 100 } as const;
    const { breaker, running, start, time } = setup({ window });
    for (const index of [0, 1]) {
      const result = start();
      await time.advance(101);
      running[index]?.succeed();
      expect(await result).toEqual(OK);
    }
    expect(breaker.state("pay")).toBe("open");
  });

  test("does not take a wait behind the breaker for a slow call", async () => {
    const room = new WaitingRoom();
    const window = { type: "count", size: 10, minimumCalls: 1, slowCallMs: 100 } as const;
    const { breaker, running, start, time } = setup({ window }, [room.middleware]);
    const result = start();
    await time.advance(5000);
    room.open(0);
    await time.advance(100);
    running[0]?.succeed();
    await result;
    expect(breaker.state("pay")).toBe("closed");
  });

  test("opens at exactly the rate, also where a product would round past it", async () => {
    const window = { type: "count", size: 100, minimumCalls: 100, failureRate: 0.07 } as const;
    const { breaker, call, fail } = setup({ window });
    for (let count = 0; count < 93; count += 1) await call(OK);
    await fail(7);
    expect(breaker.state("pay")).toBe("open");
  });

  test("trips by whichever rule is met first when both are given", async () => {
    const window = { type: "count", size: 10, minimumCalls: 10 } as const;
    const { breaker, fail } = setup({ window, consecutiveFailures: 3 });
    await fail(3);
    expect(breaker.state("pay")).toBe("open");
    const rated = setup({ window: { type: "count", size: 4 }, consecutiveFailures: 3 });
    for (const end of [lost(), OK, lost(), OK]) await rated.call(end);
    expect(rated.breaker.state("pay")).toBe("open");
  });

  test("opens for its whole time also where a success is the last of the minimum", async () => {
    const { breaker, call } = setup({ window: { type: "count", size: 3 }, recoveryTimeoutMs: 100 });
    // The server answered, which is a success on this side: its hint is none about failures.
    const answered = new Fault({ execution: "executed", code: "protocol_error", retryAfterMs: 5 });
    for (const end of [throttled(5), lost(), answered]) await call(end);
    expect(breaker.state("pay")).toBe("open");
    expect(await call()).toMatchObject({ retryAfterMs: 100 });
  });

  test("has no rule of failures in a row unless asked for one", async () => {
    const { breaker, fail } = setup({ window: { type: "count", size: 20, minimumCalls: 20 } });
    await fail(19);
    expect(breaker.state("pay")).toBe("closed");
  });
});

describe("half-open", () => {
  const soon = { consecutiveFailures: 1, recoveryTimeoutMs: 100 };

  const due = (options: CircuitBreakerOptions = {}) => setup({ ...soon, ...options });

  test.each([1, 2, 3])("admits exactly %i probes, and closes when all succeeded", async (probes) => {
    const { breaker, running, start, fail, time } = due({ halfOpen: { probes } });
    await fail(1);
    await time.advance(100);
    const calls = Array.from({ length: 10 }, () => start());
    await time.advance(0);
    expect(running).toHaveLength(1 + probes);
    const refused = (await Promise.all(calls.slice(probes))).filter(isRefusal);
    expect(refused).toHaveLength(10 - probes);
    expect(refused[0]).toMatchObject({ state: "half-open", retryAfterMs: undefined });
    for (const [index, probe] of running.slice(1).entries()) {
      expect(breaker.state("pay")).toBe("half-open");
      probe.succeed();
      await calls[index];
    }
    expect(breaker.state("pay")).toBe("closed");
  });

  test("opens again for one failure of a probe, whatever the others do", async () => {
    const { breaker, running, start, fail, time } = due({ halfOpen: { probes: 2 } });
    await fail(1);
    await time.advance(100);
    const calls = [start(), start()];
    await time.advance(0);
    running[1]?.fail();
    running[2]?.succeed();
    await Promise.all(calls);
    expect(breaker.state("pay")).toBe("open");
  });

  test("opens again for one slow probe where slow calls are watched", async () => {
    const window = { type: "count", size: 10, minimumCalls: 10, slowCallMs: 50 } as const;
    const { breaker, running, start, fail, time } = due({ window });
    await fail(1);
    await time.advance(100);
    const probe = start();
    await time.advance(51);
    running[1]?.succeed();
    expect(await probe).toEqual(OK);
    expect(breaker.state("pay")).toBe("open");
  });

  test("gives the slot of a hung probe back after maxWaitMs, and ignores what becomes of it", async () => {
    const { breaker, running, start, call, fail, time } = due({ halfOpen: { maxWaitMs: 500 } });
    await fail(1);
    await time.advance(100);
    const hung = start();
    await time.advance(499);
    expect(await call()).toSatisfy(isRefusal);
    await time.advance(1);
    const second = start();
    await time.advance(0);
    expect(running).toHaveLength(3);
    running[1]?.fail();
    await hung;
    expect(breaker.state("pay")).toBe("half-open");
    running[2]?.succeed();
    await second;
    expect(breaker.state("pay")).toBe("closed");
  });

  test("ignores a hung probe also when nobody took its slot", async () => {
    const { breaker, running, start, fail, time } = due({ halfOpen: { maxWaitMs: 500 } });
    await fail(1);
    await time.advance(100);
    const hung = start();
    await time.advance(500);
    running[1]?.succeed();
    await hung;
    expect(breaker.state("pay")).toBe("half-open");
  });

  test("is neither closed nor opened by a cancelled probe, which frees its slot", async () => {
    const { breaker, start, call, fail, time } = due();
    await fail(1);
    await time.advance(100);
    const controller = new AbortController();
    const probe = start({ options: { signal: controller.signal } });
    await time.advance(0);
    expect(await call()).toSatisfy(isRefusal);
    controller.abort(new Error("gone"));
    await probe;
    expect(breaker.state("pay")).toBe("half-open");
    expect(await call()).toEqual(OK);
    expect(breaker.state("pay")).toBe("closed");
  });

  test("is neither closed nor opened by an ignored probe, which frees its slot", async () => {
    const { breaker, call, fail, time } = due();
    await fail(1);
    await time.advance(100);
    await call(new Fault({ execution: "not-executed", transient: true, code: "session_expired" }));
    expect(breaker.state("pay")).toBe("half-open");
    await call(OK);
    expect(breaker.state("pay")).toBe("closed");
  });

  test("settles a caller that aborts: nobody waits on a probe", async () => {
    const { start, fail, time } = due();
    await fail(1);
    await time.advance(100);
    void start();
    await time.advance(0);
    const controller = new AbortController();
    const behind = start({ options: { signal: controller.signal } });
    controller.abort(new Error("gone"));
    expect(await behind).toSatisfy(isRefusal);
    expect(time.timers).toBe(0);
  });

  test("does not release all at once on close: with a ramp, probes at a time and one more for each success", async () => {
    const { breaker, running, start, call, fail, time } = due({ halfOpen: { probes: 1, ramp: 3 } });
    await fail(1);
    await time.advance(100);
    await call(OK);
    expect(breaker.state("pay")).toBe("closed");
    let answered = running.length;
    for (const atATime of [1, 2, 3]) {
      const calls = Array.from({ length: 10 }, () => start());
      await time.advance(0);
      expect(running.length - answered).toBe(atATime);
      expect(await calls[atATime]).toMatchObject({ state: "closed", retryAfterMs: undefined });
      running[answered]?.succeed();
      await calls[0];
      for (const own of running.slice(answered + 1)) own.fail(refused());
      await Promise.all(calls);
      answered = running.length;
    }
    const crowd = Array.from({ length: 10 }, () => start());
    await time.advance(0);
    expect(running.length - answered).toBe(10);
    for (const own of running.slice(answered)) own.succeed();
    await Promise.all(crowd);
  });

  test("opens during the ramp as it does when closed", async () => {
    const { breaker, call, fail, time } = due({ consecutiveFailures: 2, halfOpen: { ramp: 5 } });
    await fail(2);
    await time.advance(100);
    await call(OK);
    await fail(1);
    expect(breaker.state("pay")).toBe("closed");
    await fail(1);
    expect(breaker.state("pay")).toBe("open");
  });

  test("gives the slot of a hung call of the ramp back after maxWaitMs", async () => {
    const { start, call, fail, time } = due({ halfOpen: { ramp: 2, maxWaitMs: 500 } });
    await fail(1);
    await time.advance(100);
    await call(OK);
    void start();
    await time.advance(499);
    expect(await call()).toSatisfy(isRefusal);
    await time.advance(1);
    expect(await call()).toEqual(OK);
  });

  test("ignores a late success of a call of the ramp also when the ramp is over", async () => {
    const halfOpen = { ramp: 1, probes: 2, maxWaitMs: 500 };
    const { breaker, running, start, call, fail, time } = due({ consecutiveFailures: 2, halfOpen });
    await fail(2);
    await time.advance(100);
    for (let count = 0; count < 2; count += 1) await call(OK);
    const late = start();
    await call(OK);
    await time.advance(500);
    await fail(1);
    running[4]?.succeed();
    await late;
    await fail(1);
    expect(breaker.state("pay")).toBe("open");
  });
});

describe("behind a wait", () => {
  const options = { consecutiveFailures: 1, recoveryTimeoutMs: 100 };
  const due = { key: key("pay"), state: "open", openForMs: 0, consecutiveFailures: 0, openings: 1 } as const;

  test("refuses a call that waited while the circuit opened", async () => {
    const room = new WaitingRoom();
    const { running, start, time } = setup(options, [room.middleware]);
    const calls = [start(), start()];
    await time.advance(0);
    room.open(0);
    await time.advance(0);
    running[0]?.fail();
    await calls[0];
    room.open(1);
    expect(await calls[1]).toMatchObject({ code: "circuit_open", state: "open", retryAfterMs: 100 });
    expect(running).toHaveLength(1);
  });

  test("lets exactly the probes out of a crowd that waited while the circuit became half-open", async () => {
    const room = new WaitingRoom();
    const { breaker, running, start, time } = setup({ ...options, halfOpen: { probes: 2 } }, [room.middleware]);
    const calls = Array.from({ length: 10 }, () => start());
    await time.advance(0);
    room.open(0);
    await time.advance(0);
    running[0]?.fail();
    await calls[0];
    await time.advance(100);
    for (let index = 1; index < 10; index += 1) room.open(index);
    await time.advance(0);
    expect(running).toHaveLength(3);
    running[1]?.succeed();
    running[2]?.succeed();
    const refused = (await Promise.all(calls)).filter(isRefusal);
    expect(refused).toHaveLength(7);
    expect(breaker.state("pay")).toBe("closed");
  });

  test("takes no slot before the wait is over: an abort in the queue costs no probe", async () => {
    const room = new WaitingRoom();
    const { breaker, start, running, time } = setup(options, [room.middleware]);
    const first = start();
    await time.advance(0);
    room.open(0);
    await time.advance(0);
    running[0]?.fail();
    await first;
    await time.advance(100);
    const controller = new AbortController();
    const queued = [start({ options: { signal: controller.signal } }), start()];
    await time.advance(0);
    room.open(2);
    await time.advance(0);
    expect(running).toHaveLength(2);
    controller.abort(new Error("gone"));
    await queued[0];
    running[1]?.succeed();
    expect(await queued[1]).toEqual(OK);
    expect(breaker.state("pay")).toBe("closed");
  });

  test.each([
    { side: "local", state: "closed" },
    { side: "client", state: "half-open" },
  ] as const)("does not count the loser of a race that was stopped while it waited, on side $side", async (given) => {
    const room = new WaitingRoom();
    const race: Middleware = async (ctx, next) => {
      const over = new AbortController();
      const attempts = [next(ctx), next({ ...ctx, signal: over.signal })] as const;
      const won = await attempts[0];
      over.abort(new DOMException("another attempt of this call succeeded", "AbortError"));
      await expect(attempts[1]).rejects.toBe(over.signal.reason);
      return won;
    };
    const { breaker, running, start, time } = setup({ ...options, halfOpen: { probes: 2 } }, [room.middleware], [race]);
    if (given.state === "half-open") breaker.restore({ ...breaker.snapshot(), circuits: [due] });
    const call = start({ side: given.side });
    await time.advance(0);
    room.open(0);
    await time.advance(0);
    running[0]?.succeed();
    expect(await call).toEqual(OK);
    expect(running).toHaveLength(1);
    expect(breaker.state("pay")).toBe(given.state);
  });

  test("counts a call in the generation in which it was sent, not in which it came", async () => {
    const room = new WaitingRoom();
    const { breaker, running, start, time } = setup(options, [room.middleware]);
    const early = start();
    await time.advance(0);
    breaker.isolate("pay");
    breaker.reset("pay");
    room.open(0);
    await time.advance(0);
    running[0]?.fail();
    await early;
    expect(breaker.state("pay")).toBe("open");
  });

  test("asks the gates outside first, once the wait is over", async () => {
    const room = new WaitingRoom();
    let asked = 0;
    const refusing: Middleware = (ctx, next) =>
      next({
        ...ctx,
        admit() {
          ctx.admit?.();
          asked += 1;
          throw new RateLimitError(ctx.tool);
        },
      });
    const time = virtualTime();
    const breaker = circuitBreaker(options);
    const handler = pipeline([refusing, breaker, room.middleware], async () => OK);
    const result = run(handler, { tool: "pay" }, { runtime: time.runtime }).catch((error: unknown) => error);
    await time.advance(0);
    expect(asked).toBe(0);
    breaker.isolate("pay");
    room.open(0);
    expect(await result).toMatchObject({ code: "rate_limited" });
    expect(asked).toBe(1);
  });

  test("finds its circuit again when it left meanwhile", async () => {
    const room = new WaitingRoom();
    const { breaker, running, start, time } = setup({ ...options, maxKeys: 1 }, [room.middleware]);
    const early = start();
    void start({ tool: "other" });
    const later = start();
    await time.advance(0);
    room.open(0);
    await time.advance(0);
    running[0]?.fail();
    await early;
    expect(breaker.state("pay")).toBe("open");
    room.open(2);
    expect(await later).toSatisfy(isRefusal);
  });

  test("counts a handler further in that asks no gate as it entered", async () => {
    const time = virtualTime();
    const { signal } = new AbortController();
    const breaker = circuitBreaker({ ...options, halfOpen: { probes: 2 } });
    let isDown = true;
    const inner = pipeline(breaker, async () => {
      if (isDown) throw lost();
      return OK;
    });
    const outer = pipeline([], (ctx: CallContext) => inner(ctx));
    const call = () =>
      run(outer, { tool: "pay", options: { signal } }, { runtime: time.runtime }).catch((e: unknown) => e);
    await call();
    expect(breaker.state("pay")).toBe("open");
    expect(await call()).toSatisfy(isRefusal);
    await time.advance(100);
    isDown = false;
    await call();
    expect(breaker.state("pay")).toBe("half-open");
    await call();
    expect(breaker.state("pay")).toBe("closed");
  });
});

describe("keys", () => {
  test("are a server and a tool: others go on", async () => {
    const { breaker, call, fail } = setup({ consecutiveFailures: 1 });
    await fail(1, { server: "a" });
    expect(await call(OK, { server: "a" })).toSatisfy(isRefusal);
    expect(await call(OK, { server: "b" })).toEqual(OK);
    expect(await call(OK)).toEqual(OK);
    expect(await call(OK, { server: "a", tool: "refund" })).toEqual(OK);
    expect(breaker.state(key("pay", "a"))).toBe("open");
    expect(breaker.state(key("pay", "b"))).toBe("closed");
    expect(breaker.state("pay")).toBe("open");
  });

  test("are the user's where a function makes them", async () => {
    const { breaker, call, fail } = setup({
      consecutiveFailures: 2,
      key: ({ call: { peer } }) => peer.server ?? "none",
    });
    await fail(1, { server: "a", tool: "pay" });
    await fail(1, { server: "a", tool: "refund" });
    expect(await call(OK, { server: "a", tool: "third" })).toSatisfy(isRefusal);
    expect(await call(OK, { server: "b" })).toEqual(OK);
    expect([breaker.state("a"), breaker.state("pay")]).toEqual(["open", "closed"]);
    expect(breaker.snapshot().circuits).toMatchObject([{ key: "a", state: "open" }]);
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("no tenant");
      },
    ],
    ["gives undefined", () => undefined],
    ["gives a promise", async () => "tenant"],
    ["gives an object", () => ({ toString: () => "tenant" })],
  ])("fail the call with a TypeError before anything is sent, when the function %s", async (_, hostile) => {
    const { running, call } = setup({ key: hostile as () => string });
    expect(await call()).toBeInstanceOf(TypeError);
    expect(running).toHaveLength(0);
  });

  test("named like members of an object are keys as any other", async () => {
    const { breaker, fail } = setup({ consecutiveFailures: 1, key: ({ tool }) => tool });
    for (const tool of ["__proto__", "constructor", "toString"]) {
      expect(breaker.state(tool)).toBe("closed");
      await fail(1, { tool });
      expect(breaker.state(tool)).toBe("open");
    }
  });

  test("take a bounded memory and no timer each, 20 000 of them; the least recently used closed ones leave", async () => {
    const window = { type: "time", durationMs: 60_000, slowCallMs: 1000 } as const;
    const breaker = circuitBreaker({ window, maxKeys: 2000, consecutiveFailures: 1 });
    const { runtime } = virtualTime();
    const noSleep: Runtime = { ...runtime, sleep: () => Promise.reject(new Error("a timer")) };
    const handler = pipeline(breaker, async (ctx) => {
      if (ctx.tool === "bad") throw lost();
      return OK;
    });
    const call = (tool: string, server: string) =>
      run(handler, { tool }, { runtime: noSleep, peer: { server } }).catch(() => undefined);
    await call("bad", "server");
    for (let index = 0; index < 2000; index += 1) await call("tool", `warm-${index}`);
    const before = heapUsed();
    for (let index = 0; index < 18_000; index += 1) await call("tool", `server-${index}`);
    // As many circuits as before; what every key left behind would be 9 times as many.
    expect((heapUsed() - before) / 18_000).toBeLessThan(100);
    expect(breaker.state("bad")).toBe("open");
  }, 60_000);

  test("that left come back closed, and who listens is told when an open one left", async () => {
    const changes: StateChange[] = [];
    const { breaker, call, fail } = setup({ consecutiveFailures: 1, maxKeys: 1 });
    breaker.onStateChange((change) => changes.push(change));
    await fail(1);
    await call(OK, { tool: "other" });
    expect(breaker.state("pay")).toBe("closed");
    expect(changes.map(({ key: name, from, to }) => [name, from, to])).toEqual([
      [key("pay"), "closed", "open"],
      [key("pay"), "open", "closed"],
    ]);
    expect(await call(OK)).toEqual(OK);
  });
});

describe("controls", () => {
  test("isolate stays until released, through time and successes", async () => {
    const { breaker, running, start, call, time } = setup();
    const early = start();
    await time.advance(0);
    breaker.isolate("pay");
    running[0]?.succeed();
    await early;
    await time.advance(365 * 86_400_000);
    const error = await call();
    expect(error).toMatchObject({ state: "isolated", retryAfterMs: undefined, outcome: { transient: false } });
    expect(breaker.state("pay")).toBe("isolated");
    breaker.reset("pay");
    expect(await call()).toEqual(OK);
    expect(breaker.state("pay")).toBe("closed");
  });

  test("isolate a tool at every server, present and future, before the first call too", async () => {
    const { breaker, call } = setup();
    breaker.isolate("pay");
    expect(await call(OK, { server: "a" })).toSatisfy(isRefusal);
    expect(await call(OK, { server: "b" })).toSatisfy(isRefusal);
    expect(await call(OK, { tool: "refund" })).toEqual(OK);
    expect([breaker.state("pay"), breaker.state(key("pay", "c")), breaker.state("refund")]).toEqual([
      "isolated",
      "isolated",
      "closed",
    ]);
  });

  test("isolate one key: the tool goes on at other servers", async () => {
    const { breaker, call } = setup();
    breaker.isolate(key("pay", "a"));
    expect(await call(OK, { server: "a" })).toSatisfy(isRefusal);
    expect(await call(OK, { server: "b" })).toEqual(OK);
    expect([breaker.state("pay"), breaker.state(key("pay", "b"))]).toEqual(["isolated", "closed"]);
    breaker.reset("pay");
    expect(await call(OK, { server: "a" })).toEqual(OK);
  });

  test("reset of a key does not release what was isolated by the tool's name", async () => {
    const { breaker, call } = setup();
    await call();
    breaker.isolate("pay");
    breaker.reset(key("pay"));
    expect(await call()).toSatisfy(isRefusal);
    breaker.reset("pay");
    expect(await call()).toEqual(OK);
  });

  test("survive an isolated circuit leaving for others", async () => {
    const { breaker, call } = setup({ maxKeys: 1 });
    await call();
    breaker.isolate("pay");
    await call(OK, { tool: "other" });
    expect(await call()).toSatisfy(isRefusal);
  });

  test("reset closes all, and forgets failures and openings", async () => {
    const { breaker, call, fail } = setup({ consecutiveFailures: 2 });
    await fail(2);
    await fail(1, { tool: "refund" });
    breaker.isolate("third");
    breaker.reset();
    expect(breaker.snapshot()).toMatchObject({ circuits: [], isolated: [] });
    await fail(1, { tool: "refund" });
    expect(breaker.state("refund")).toBe("closed");
    expect(await call(OK, { tool: "third" })).toEqual(OK);
  });

  test("state changes nothing: it neither makes a circuit nor a transition", async () => {
    const changes: unknown[] = [];
    const { breaker, fail, time } = setup({ consecutiveFailures: 1 });
    await fail(1);
    breaker.onStateChange((change) => changes.push(change));
    await time.advance(60_000);
    expect([breaker.state("pay"), breaker.state("other")]).toEqual(["half-open", "closed"]);
    expect(changes).toEqual([]);
    expect(breaker.snapshot().circuits).toHaveLength(1);
  });

  test("refuse a name that is none", () => {
    const { breaker } = setup();
    for (const method of ["isolate", "state", "reset"] as const) {
      expect(() => breaker[method](7 as never)).toThrow(TypeError);
      expect(() => breaker[method](null as never)).toThrow(`circuitBreaker: ${method}(name)`);
    }
    expect(() => breaker.onStateChange("log" as never)).toThrow("circuitBreaker: onStateChange(listener)");
  });

  test("refuses calls on another clock than its first one's", async () => {
    const { call } = setup();
    await call();
    const other = await call(OK, { wrap: { runtime: virtualTime().runtime } });
    expect(other).toBeInstanceOf(TypeError);
    expect(String(other)).toContain("circuitBreaker: runtime");
    const onProcessClock = setup();
    await onProcessClock.call(OK, { wrap: { runtime: defaultRuntime } });
    expect(await onProcessClock.call()).toBeInstanceOf(TypeError);
  });
});

describe("snapshot and restore", () => {
  const throughJson = (snapshot: BreakerSnapshot): BreakerSnapshot => JSON.parse(JSON.stringify(snapshot));

  async function openOne(): Promise<BreakerSnapshot> {
    const { breaker, fail, time } = setup({ consecutiveFailures: 2 });
    await fail(2);
    await fail(1, { tool: "refund", server: "a" });
    breaker.isolate("third");
    await time.advance(10_000);
    return throughJson(breaker.snapshot());
  }

  test("state survives, with the remaining open time", async () => {
    const snapshot = await openOne();
    expect(snapshot).toEqual({
      version: 1,
      takenAtWall: 1_700_000_010_000,
      circuits: [
        {
          key: key("refund", "a"),
          server: "a",
          tool: "refund",
          state: "closed",
          openForMs: 0,
          consecutiveFailures: 1,
          openings: 0,
        },
        { key: key("pay"), tool: "pay", state: "open", openForMs: 50_000, consecutiveFailures: 0, openings: 1 },
      ],
      isolated: ["third"],
    });
    const { breaker, call, fail, time } = setup({ consecutiveFailures: 2 });
    breaker.restore(snapshot);
    await time.advance(30_000);
    expect(await call()).toMatchObject({ state: "open", retryAfterMs: 30_000 });
    expect(await call(OK, { tool: "third" })).toMatchObject({ state: "isolated" });
    await fail(1, { tool: "refund", server: "a" });
    expect(breaker.state("refund")).toBe("open");
    await time.advance(30_000);
    expect(await call()).toEqual(OK);
  });

  test("wall time that passed shortens the open time, and a clock set back does not prolong it", async () => {
    const snapshot = await openOne();
    for (const [stepMs, leftMs] of [
      [10_000, 50_000],
      [15_000, 45_000],
      [-3_600_000, 50_000],
    ] as const) {
      const { breaker, call, time } = setup();
      time.stepWall(stepMs);
      breaker.restore(snapshot);
      expect(await call()).toMatchObject({ retryAfterMs: leftMs });
    }
    const late = setup();
    late.time.stepWall(86_400_000);
    late.breaker.restore(snapshot);
    expect(await late.call()).toEqual(OK);
  });

  test("works after calls as before them, and puts the snapshot in place of all there was", async () => {
    const snapshot = await openOne();
    const { breaker, call, fail, time } = setup({ consecutiveFailures: 2 });
    time.stepWall(10_000);
    await fail(2, { tool: "gone" });
    await call();
    breaker.isolate("other");
    breaker.restore(snapshot);
    expect(["pay", "gone", "other", "third", "refund"].map((name) => breaker.state(name))).toEqual([
      "open",
      "closed",
      "closed",
      "isolated",
      "closed",
    ]);
    expect(await call()).toMatchObject({ retryAfterMs: 50_000 });
    expect(throughJson(breaker.snapshot())).toEqual(snapshot);
  });

  test("fences what was under way when it was restored", async () => {
    const { breaker, running, start, time } = setup({ consecutiveFailures: 1 });
    const early = start();
    await time.advance(0);
    breaker.restore(breaker.snapshot());
    running[0]?.fail();
    await early;
    expect(breaker.state("pay")).toBe("closed");
  });

  test("half-open comes back as due: a probe is let through at once", async () => {
    const { breaker, fail, time } = setup({ consecutiveFailures: 1, recoveryTimeoutMs: 100 });
    await fail(1);
    await time.advance(100);
    const snapshot = throughJson(breaker.snapshot());
    expect(snapshot.circuits).toMatchObject([{ state: "half-open", openForMs: 0, openings: 1 }]);
    const { breaker: other, running, start, time: later } = setup();
    other.restore(snapshot);
    const calls = [start(), start()];
    await later.advance(0);
    expect(running).toHaveLength(1);
    expect(await calls[1]).toSatisfy(isRefusal);
  });

  test("openings go on from where they were", async () => {
    const snapshot = await openOne();
    const openings: number[] = [];
    const { breaker, fail, time } = setup({ recoveryTimeoutMs: (opening) => openings.push(opening) && 100 });
    breaker.restore(snapshot);
    await time.advance(60_000);
    await fail(1);
    expect(openings).toEqual([2]);
  });

  test("changes nothing when a field is wrong", async () => {
    const { breaker, fail } = setup({ consecutiveFailures: 1 });
    await fail(1);
    breaker.isolate("third");
    const before = breaker.snapshot();
    const [circuit] = before.circuits;
    const hostile = [
      null,
      "{}",
      { ...before, isolated: [7] },
      { ...before, circuits: [circuit, { ...circuit, openForMs: "x" }] },
      { ...before, circuits: [circuit, { ...circuit, key: "pay" }] },
      JSON.parse('{"version":1,"takenAtWall":5,"circuits":[{"__proto__":{"key":"[null,\\"pay\\"]"}}],"isolated":[]}'),
    ];
    for (const snapshot of hostile) expect(() => breaker.restore(snapshot as never)).toThrow(TypeError);
    expect(breaker.snapshot()).toEqual(before);
  });

  test("a snapshot of more circuits than there may be keeps the open ones", async () => {
    const { breaker, fail } = setup({ consecutiveFailures: 2 });
    await fail(2, { tool: "open" });
    for (const tool of ["a", "b", "c"]) await fail(1, { tool });
    const small = setup({ maxKeys: 2 });
    small.breaker.restore(throughJson(breaker.snapshot()));
    expect(small.breaker.snapshot().circuits.map(({ tool }) => tool)).toEqual(["c", "open"]);
  });

  test("restored before the first call, it answers and resets before it as well", async () => {
    const { breaker, call } = setup();
    const snapshot = { ...(await openOne()), takenAtWall: Date.now() + 60_000 };
    breaker.restore(snapshot);
    expect(breaker.state("pay")).toBe("open");
    expect(breaker.snapshot().circuits.at(-1)).toMatchObject({ state: "open", openings: 1 });
    breaker.reset("pay");
    expect(await call()).toEqual(OK);
  });

  test("names of any kind go through JSON and come back", () => {
    const names = fc.uniqueArray(anyString, { maxLength: 5 });
    fc.assert(
      fc.property(names, (all) => {
        const { breaker } = setup();
        for (const name of all) breaker.isolate(name);
        const { breaker: other } = setup();
        other.restore(throughJson(breaker.snapshot()));
        expect(all.map((name) => other.state(name))).toEqual(all.map(() => "isolated"));
      }),
    );
  });
});

describe("observing", () => {
  test("tells calls' listeners of their transitions and refusals", async () => {
    const events: unknown[] = [];
    const onEvent = <K extends keyof CallEvents>(name: K, detail: CallEvents[K]): void => {
      if (name.startsWith("breaker.")) events.push([name, detail]);
    };
    const { call, time } = setup({ consecutiveFailures: 1, recoveryTimeoutMs: 100 });
    const observed = { wrap: { onEvent } };
    await call(lost(), observed);
    await call(OK, observed);
    await time.advance(100);
    await call(OK, observed);
    const pay = { tool: "pay", key: key("pay") };
    expect(events).toEqual([
      ["breaker.state", { ...pay, from: "closed", to: "open", at: 1000, retryAfterMs: 100 }],
      ["breaker.rejected", { ...pay, state: "open", retryAfterMs: 100, code: "circuit_open" }],
      ["breaker.state", { ...pay, from: "open", to: "half-open", at: 1100 }],
      ["breaker.state", { ...pay, from: "half-open", to: "closed", at: 1100 }],
    ]);
  });

  test("tells of refusals behind a wait as well", async () => {
    const room = new WaitingRoom();
    const events: string[] = [];
    const { breaker, start, time } = setup({}, [room.middleware]);
    const result = start({ wrap: { onEvent: (name) => void events.push(name) } });
    await time.advance(0);
    breaker.isolate("pay");
    room.open(0);
    await result;
    expect(events).toEqual(["breaker.rejected"]);
  });

  test("tells of changes by controls, also of names without a call so far", () => {
    const changes: StateChange[] = [];
    const { breaker } = setup();
    const stop = breaker.onStateChange((change) => changes.push(change));
    breaker.isolate("pay");
    breaker.isolate("pay");
    breaker.reset("pay");
    breaker.reset("pay");
    stop();
    breaker.isolate("pay");
    expect(changes).toMatchObject([
      { key: "pay", from: "closed", to: "isolated" },
      { key: "pay", from: "isolated", to: "closed" },
    ]);
    expect(changes).toHaveLength(2);
  });

  test("tells of changes of every circuit that a control changed", async () => {
    const { breaker, call, fail } = setup({ consecutiveFailures: 1 });
    await fail(1, { server: "a" });
    await call(OK, { server: "b" });
    const changes: StateChange[] = [];
    breaker.onStateChange((change) => changes.push(change));
    breaker.isolate("pay");
    breaker.restore({ ...breaker.snapshot(), isolated: [] });
    expect(changes.map(({ key: name, tool, from, to }) => [name, tool, from, to])).toEqual([
      [key("pay", "a"), "pay", "open", "isolated"],
      [key("pay", "b"), "pay", "closed", "isolated"],
      [key("pay", "a"), "pay", "isolated", "closed"],
      [key("pay", "b"), "pay", "isolated", "closed"],
    ]);
  });

  test("listeners that throw change nothing, for the call or for the next listener", async () => {
    const heard: string[] = [];
    const { breaker, call, time } = setup({ consecutiveFailures: 1, recoveryTimeoutMs: 100 });
    breaker.onStateChange(() => {
      throw new Error("broken");
    });
    breaker.onStateChange(({ to }) => heard.push(to));
    const onEvent = (): never => {
      throw new Error("broken");
    };
    const fault = lost();
    expect(await call(fault, { wrap: { onEvent } })).toBe(fault);
    await time.advance(100);
    expect(await call(OK, { wrap: { onEvent } })).toEqual(OK);
    expect(() => breaker.isolate("pay")).not.toThrow();
    expect(heard).toEqual(["open", "half-open", "closed", "isolated"]);
  });

  test("a listener may use the controls: what it does holds at once", async () => {
    const { breaker, running, call, fail, time } = setup({ consecutiveFailures: 1, recoveryTimeoutMs: 100 });
    await fail(1);
    await time.advance(100);
    const stop = breaker.onStateChange(({ to }) => to === "half-open" && breaker.isolate("pay"));
    expect(await call()).toMatchObject({ state: "isolated" });
    expect(running).toHaveLength(1);
    stop();
  });

  test("a listener that isolates stops the very call that waited, too", async () => {
    const doors: (() => void)[] = [];
    const waiting: Middleware = async (ctx, next) => {
      await new Promise<void>((resolve) => doors.push(resolve));
      return next(ctx);
    };
    const { breaker, running, start, time } = setup({ consecutiveFailures: 1, recoveryTimeoutMs: 100 }, [waiting]);
    const calls = [start(), start()];
    await time.advance(0);
    doors[0]?.();
    await time.advance(0);
    running[0]?.fail();
    await calls[0];
    await time.advance(100);
    breaker.onStateChange(({ to }) => to === "half-open" && breaker.isolate("pay"));
    doors[1]?.();
    expect(await calls[1]).toMatchObject({ state: "isolated" });
    expect(running).toHaveLength(1);
  });

  test("a subscription of the same listener twice is two, each with its own end", async () => {
    let heard = 0;
    const listener = () => {
      heard += 1;
    };
    const { breaker } = setup();
    const [first] = [breaker.onStateChange(listener), breaker.onStateChange(listener)];
    breaker.isolate("a");
    first?.();
    first?.();
    breaker.isolate("b");
    expect(heard).toBe(3);
  });
});

describe("as a middleware", () => {
  const factories: Readonly<Record<string, () => CircuitBreaker>> = {
    "failures in a row": () => circuitBreaker(),
    "a count window": () => circuitBreaker({ window: { type: "count", size: 100, slowCallMs: 50 } }),
    "a time window": () => circuitBreaker({ window: { type: "time", durationMs: 1000 } }),
  };
  for (const [kind, factory] of Object.entries(factories)) {
    for (const { name, run: prove } of middlewareContract(factory)) test(`${name} (${kind})`, prove);
  }

  test("has the seat of a breaker", () => {
    expect(circuitBreaker().seat).toBe("breaker");
  });

  test("throws bad options at construction", () => {
    expect(() => circuitBreaker({ consecutiveFailures: 0 })).toThrow(RangeError);
  });

  test("takes a next that throws at once, gives no promise, or gives what cannot be looked at", async () => {
    const error = new Error("at once");
    const breaker = circuitBreaker({ consecutiveFailures: 1 });
    const throwing = breaker(context({ tool: "throws" }), () => {
      throw error;
    });
    await expect(throwing).rejects.toBe(error);
    expect(await breaker(context({ tool: "plain" }), () => OK as never)).toBe(OK);
    const hostile: ToolResult = {
      get isError(): never {
        throw new Error("looked at");
      },
    };
    expect(await breaker(context({ tool: "hostile" }), async () => hostile)).toBe(hostile);
  });

  test("reads no clock while it is closed and calls succeed", async () => {
    const time = virtualTime();
    let reads = 0;
    const runtime = {
      ...time.runtime,
      now: () => {
        reads += 1;
        return time.now();
      },
    };
    const handler = pipeline(circuitBreaker(), async () => OK);
    await run(handler, { tool: "pay" }, { runtime });
    expect(reads).toBe(0);
  });
});

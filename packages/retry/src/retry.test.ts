import {
  type Classifier,
  DeadlineError,
  McpTxError,
  type Middleware,
  type Outcome,
  OutcomeUnknownError,
  pipeline,
  RateLimitError,
  reportOf,
  run,
  type ToolResult,
  type WrapOptions,
} from "@mcp-tx/core";
import { middlewareContract, type ScriptedTool, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { retryBudget } from "./budget.js";
import { type RetryOptions, retry } from "./retry.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const FAILED: ToolResult = { content: [{ type: "text", text: "no" }], isError: true };

/** An error that says, to the test's classifier, what it stands for. */
class Fault extends Error {
  constructor(readonly outcome: Partial<Outcome>) {
    super("fault");
  }
}
const readFaults: Classifier = ({ error }) => (error instanceof Fault ? error.outcome : undefined);

const throttled = (retryAfterMs?: number): Fault =>
  new Fault({ status: "throttled", execution: "not-executed", transient: true, code: "rate_limited", retryAfterMs });
const refused = (): Fault => new Fault({ execution: "not-executed", transient: true, code: "transport_error" });
const lost = (): Fault => new Fault({ execution: "unknown", transient: true, code: "transport_error" });

interface Setup extends WrapOptions {
  readonly retry?: RetryOptions;
  readonly inner?: readonly Middleware[];
  readonly call?: object;
}

function start(tool: ScriptedTool, { retry: options = {}, inner = [], call = {}, ...wrap }: Setup = {}) {
  const time = virtualTime();
  const handler = pipeline([retry(options), ...inner], tool);
  const wrapOptions: WrapOptions = { runtime: time.runtime, classifiers: [readFaults], ...wrap };
  const result = run(handler, { tool: "pay", options: call }, wrapOptions);
  return { time, result: time.run(result) };
}

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved with ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

const plain: RetryOptions = { jitter: "none", baseDelayMs: 100 };

describe("retry", () => {
  test("returns a first success untouched, after one attempt and no wait", async () => {
    const fresh = { ...OK };
    const { time, result } = start(scriptedTool([{ result: fresh }]));
    expect(await result).toBe(fresh);
    expect(reportOf(await result)).toMatchObject({ attempts: 1, status: "completed", waitedMs: 0 });
    expect(time.now()).toBe(0);
  });

  test("repeats what was refused for a passing reason, with growing delays", async () => {
    const tool = scriptedTool([{ error: refused() }, { error: refused() }, { result: OK }]);
    const { time, result } = start(tool, { retry: plain });
    expect(reportOf(await result)).toMatchObject({
      attempts: 3,
      status: "completed",
      execution: "executed",
      waitedMs: 300,
    });
    expect(time.now()).toBe(300);
    expect(tool.contexts.map((ctx) => ctx.attempt)).toEqual([1, 2, 3]);
  });

  test("gives back the last error as it was when the attempts are used up", async () => {
    const last = refused();
    const tool = scriptedTool([{ error: refused() }, { error: refused() }, { error: last }]);
    const { result } = start(tool, { retry: plain });
    expect(await rejection(result)).toBe(last);
    expect(reportOf(last)).toMatchObject({ attempts: 3, status: "failed", execution: "not-executed" });
  });

  test("makes a single attempt with maxAttempts 1 and with the call option false", async () => {
    for (const setup of [{ retry: { maxAttempts: 1 } }, { call: { retry: false } }]) {
      const error = refused();
      const tool = scriptedTool([{ error }]);
      expect(await rejection(start(tool, setup).result)).toBe(error);
      expect(tool.executions).toBe(1);
    }
  });

  test("lets one call override the shared options, and keeps the rest of them", async () => {
    const tool = scriptedTool([{ error: refused() }], { repeatLast: true });
    const { time, result } = start(tool, { retry: plain, call: { retry: { maxAttempts: 5, baseDelayMs: undefined } } });
    await rejection(result);
    expect(tool.executions).toBe(5);
    expect(time.now()).toBe(100 + 200 + 400 + 800);
  });

  test("never repeats a tool that ran and failed, unless asked", async () => {
    const error = new Error("half done");
    const tool = scriptedTool([{ error }], { repeatLast: true });
    expect(await rejection(start(tool, { retry: plain }).result)).toBe(error);
    expect(tool.executions).toBe(1);
  });

  test("returns an isError result as the failure it is, and does not repeat it", async () => {
    const tool = scriptedTool([{ result: FAILED }], { repeatLast: true });
    const { result } = start(tool, { retry: plain });
    expect(await result).toEqual(FAILED);
    expect(reportOf(await result)).toMatchObject({ attempts: 1, status: "failed", execution: "executed" });
  });

  test("repeats an isError result when retryOn says so, and raises the epoch each time", async () => {
    const epochs: number[] = [];
    const watch: Middleware = (ctx, next) => {
      epochs.push(ctx.call.epoch);
      return next(ctx);
    };
    const tool = scriptedTool([{ result: FAILED }, { result: FAILED }, { result: OK }]);
    const { result } = start(tool, { retry: { ...plain, retryOn: () => true }, inner: [watch] });
    expect(await result).toEqual(OK);
    expect(epochs).toEqual([0, 1, 2]);
  });

  test("does not raise the epoch for a call that never ran", async () => {
    const tool = scriptedTool([{ error: refused() }, { result: OK }]);
    await start(tool, { retry: plain }).result;
    expect(tool.contexts.at(-1)?.call.epoch).toBe(0);
  });

  test("repeats a throttled answer of a tool that ran", async () => {
    const answer = new Fault({ status: "throttled", execution: "executed", transient: true, retryAfterMs: 50 });
    const tool = scriptedTool([{ error: answer }, { result: OK }]);
    const { time, result } = start(tool);
    expect(await result).toEqual(OK);
    expect(time.now()).toBe(50);
  });

  test("does not repeat what retryOn turns down, though it is transient", async () => {
    const tool = scriptedTool([{ error: refused() }], { repeatLast: true });
    await rejection(start(tool, { retry: { ...plain, retryOn: () => false } }).result);
    expect(tool.executions).toBe(1);
  });

  test("tells retryOn and delay the attempt, the outcome and the value", async () => {
    const seen: unknown[] = [];
    const error = refused();
    const tool = scriptedTool([{ error }, { result: FAILED }, { result: OK }]);
    const { result } = start(tool, {
      retry: {
        retryOn: (outcome, info) => {
          seen.push({ code: outcome.code, ...info });
          return true;
        },
        delay: (repetition) => repetition * 7,
      },
    });
    expect(reportOf(await result)?.waitedMs).toBe(21);
    expect(seen).toEqual([
      { code: "transport_error", tool: "pay", attempt: 1, error },
      { code: "tool_error", tool: "pay", attempt: 2, result: FAILED },
    ]);
  });
});

describe("unknown outcome", () => {
  const timeouts = { attemptTimeoutMs: 1000 };

  test("ends with an OutcomeUnknownError when nothing proves that a repetition is safe", async () => {
    const tool = scriptedTool([{ hang: true }], { repeatLast: true });
    const error = await rejection(start(tool, timeouts).result);
    expect(OutcomeUnknownError.isInstance(error)).toBe(true);
    expect((error as McpTxError).message).toContain('"pay"');
    expect(McpTxError.isInstance((error as Error).cause)).toBe(true);
    expect(reportOf(error)).toMatchObject({
      attempts: 1,
      execution: "unknown",
      status: "timeout",
      error: { code: "outcome_unknown" },
    });
    expect(tool.executions).toBe(1);
  });

  test("says so also when the attempts were used up on refusals before", async () => {
    const tool = scriptedTool([{ error: refused() }, { error: lost() }]);
    const error = await rejection(start(tool, { retry: { ...plain, maxAttempts: 2 } }).result);
    expect(OutcomeUnknownError.isInstance(error)).toBe(true);
    expect(reportOf(error)).toMatchObject({ attempts: 2, execution: "unknown", status: "unknown" });
  });

  /** Lets the first attempt through and refuses the others. */
  function refuseLater(): Middleware {
    let attempts = 0;
    return (ctx, next) => {
      attempts += 1;
      if (attempts === 1) return next(ctx);
      const outcome: Outcome = { status: "rejected", execution: "not-executed", transient: false, retryAfterMs: 5000 };
      throw new McpTxError("circuit open", "circuit_open", { outcome });
    };
  }

  test("gives back the refusal of a later attempt when replay always accepts running twice", async () => {
    const tool = scriptedTool([{ hang: true }]);
    const { result } = start(tool, { ...timeouts, retry: { ...plain, replay: "always" }, inner: [refuseLater()] });
    const error = await rejection(result);
    expect(McpTxError.isInstance(error) && error.code).toBe("circuit_open");
    expect(reportOf(error)).toMatchObject({ execution: "unknown", status: "unknown", attempts: 1 });
  });

  test("repeats with replay always, and gives back the last error when the attempts are used up", async () => {
    const tool = scriptedTool([{ hang: true }], { repeatLast: true });
    const error = await rejection(start(tool, { ...timeouts, retry: { ...plain, replay: "always" } }).result);
    expect(McpTxError.isInstance(error) && error.code).toBe("attempt_timeout");
    expect(tool.executions).toBe(3);
  });

  test("never repeats it with replay never, but still repeats what did not run", async () => {
    const never: RetryOptions = { ...plain, replay: "never" };
    const unknown = scriptedTool([{ hang: true }], { repeatLast: true });
    await rejection(start(unknown, { ...timeouts, retry: never }).result);
    expect(unknown.executions).toBe(1);
    const notRun = scriptedTool([{ error: refused() }, { result: OK }]);
    expect(await start(notRun, { retry: never }).result).toEqual(OK);
  });

  test("takes the result that verify found, and calls the tool no more", async () => {
    const tool = scriptedTool([{ hang: true }]);
    const { result } = start(tool, { ...timeouts, verify: () => ({ execution: "executed", result: OK }) });
    expect(await result).toEqual(OK);
    expect(reportOf(await result)).toMatchObject({ attempts: 1, status: "completed", execution: "executed" });
  });

  test("calls again when verify says that it can no longer happen", async () => {
    const tool = scriptedTool([{ hang: true }, { result: OK }]);
    const { result } = start(tool, { ...timeouts, retry: plain, verify: () => ({ execution: "not-executed" }) });
    expect(await result).toEqual(OK);
    expect(tool.executions).toBe(2);
  });

  test("asks verify about the last attempt, too", async () => {
    const tool = scriptedTool([{ error: lost() }]);
    const { result } = start(tool, {
      retry: { maxAttempts: 1 },
      verify: () => ({ execution: "executed", result: OK }),
    });
    expect(await result).toEqual(OK);
  });

  test.each([
    ["unknown", () => ({ execution: "unknown" }) as const],
    ["an error", () => Promise.reject(new Error("ledger down"))],
    ["nonsense", () => undefined as never],
  ])("ends unknown when verify gives %s", async (_, verify) => {
    const tool = scriptedTool([{ hang: true }], { repeatLast: true });
    expect(OutcomeUnknownError.isInstance(await rejection(start(tool, { ...timeouts, verify }).result))).toBe(true);
    expect(tool.executions).toBe(1);
  });

  test("does not wait for a hanging verify past the deadline", async () => {
    const tool = scriptedTool([{ hang: true }]);
    const { time, result } = start(tool, { ...timeouts, timeoutMs: 5000, verify: () => new Promise(() => undefined) });
    expect(OutcomeUnknownError.isInstance(await rejection(result))).toBe(true);
    expect(time.now()).toBe(5000);
  });
});

describe("delays", () => {
  test("waits exactly as long as the server asks, beyond maxDelayMs", async () => {
    const tool = scriptedTool([{ error: throttled(60_000) }, { result: OK }]);
    const { time, result } = start(tool, { retry: { maxDelayMs: 10 } });
    await result;
    expect(time.now()).toBe(60_000);
  });

  test("caps what the server asks at maxRetryAfterMs", async () => {
    const tool = scriptedTool([{ error: throttled(365 * 86_400_000) }, { result: OK }]);
    const { time, result } = start(tool);
    await result;
    expect(time.now()).toBe(300_000);
  });

  test("fails at once and says when to come back, when a retry-after does not fit before the deadline", async () => {
    const cause = throttled(60_000);
    const tool = scriptedTool([{ error: cause }]);
    const { time, result } = start(tool, { call: { timeoutMs: 5000 } });
    const error = await rejection(result);
    expect(RateLimitError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ code: "rate_limited", retryAfterMs: 60_000, cause });
    expect(reportOf(error)).toMatchObject({
      status: "rejected",
      execution: "not-executed",
      error: { retryAfterMs: 60_000 },
    });
    expect(time.now()).toBe(0);
  });

  test("names the deadline when something that is no rate limit asks for too long a wait", async () => {
    const cause = new Fault({ execution: "not-executed", transient: true, retryAfterMs: 60_000 });
    const error = await rejection(start(scriptedTool([{ error: cause }]), { call: { timeoutMs: 5000 } }).result);
    expect(DeadlineError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ retryAfterMs: 60_000, cause });
  });

  test("does not sleep a delay that reaches the deadline, and gives back the last error", async () => {
    const error = refused();
    const tool = scriptedTool([{ error }], { repeatLast: true });
    const { time, result } = start(tool, { retry: { ...plain, baseDelayMs: 1000 }, call: { timeoutMs: 1000 } });
    expect(await rejection(result)).toBe(error);
    expect(time.now()).toBe(0);
    expect(tool.executions).toBe(1);
  });

  test("starts no attempt after maxElapsedMs", async () => {
    const tool = scriptedTool([{ error: refused() }], { repeatLast: true });
    const { time, result } = start(tool, { retry: { ...plain, maxAttempts: 100, maxElapsedMs: 1000 } });
    await rejection(result);
    expect(time.now()).toBe(700);
    expect(tool.executions).toBe(4);
  });

  test("arms no timer for a delay of zero", async () => {
    const tool = scriptedTool([{ error: refused() }, { result: OK }]);
    const { time, result } = start(tool, {
      retry: { baseDelayMs: 0 },
      runtime: { ...virtualTime().runtime, sleep: () => Promise.reject(new Error("slept")) },
    });
    expect(await result).toEqual(OK);
    expect(time.timers).toBe(0);
  });

  test("waits on when a timer fires early", async () => {
    const time = virtualTime();
    const early = {
      ...time.runtime,
      sleep: (ms: number, signal?: AbortSignal) => time.runtime.sleep(Math.max(0.1, ms - 1), signal),
    };
    const started: number[] = [];
    const tool = scriptedTool([
      { error: refused() },
      () => {
        started.push(time.now());
        return OK;
      },
    ]);
    await time.run(run(pipeline([retry(plain)], tool), { tool: "pay" }, { runtime: early, classifiers: [readFaults] }));
    expect(started[0]).toBeGreaterThanOrEqual(100);
  });

  test.each([
    ["no finite number", () => Number.NaN],
    ["a negative number", () => -1],
    [
      "an error",
      (): never => {
        throw new Error("delay");
      },
    ],
  ])("falls back to the backoff when delay gives %s", async (_, delay) => {
    const tool = scriptedTool([{ error: refused() }, { result: OK }]);
    const { time, result } = start(tool, { retry: { ...plain, delay } });
    expect(await result).toEqual(OK);
    expect(time.now()).toBe(100);
  });

  test.each([
    [
      "throws",
      (): never => {
        throw new Error("retryOn");
      },
    ],
    ["returns a promise", () => Promise.resolve(true) as never],
  ])("decides by itself when retryOn %s", async (_, retryOn) => {
    const passing = scriptedTool([{ error: refused() }, { result: OK }]);
    expect(await start(passing, { retry: { ...plain, retryOn } }).result).toEqual(OK);
    const error = new Error("half done");
    const ran = scriptedTool([{ error }], { repeatLast: true });
    expect(await rejection(start(ran, { retry: { ...plain, retryOn } }).result)).toBe(error);
    expect(ran.executions).toBe(1);
  });
});

describe("abort", () => {
  test("does not execute a call that is aborted already", async () => {
    const tool = scriptedTool([{ result: OK }]);
    const reason = new Error("changed my mind");
    const { result } = start(tool, { call: { signal: AbortSignal.abort(reason) } });
    expect(await rejection(result)).toBe(reason);
    expect(tool.executions).toBe(0);
    expect(reportOf(reason)).toMatchObject({ status: "cancelled", execution: "not-executed", attempts: 0 });
  });

  test("does not repeat a call that was aborted while it ran, even with replay always", async () => {
    const controller = new AbortController();
    const tool = scriptedTool([
      () => {
        controller.abort();
        return new Promise<never>(() => undefined);
      },
    ]);
    const { result } = start(tool, {
      retry: { replay: "always", retryOn: () => true },
      call: { signal: controller.signal },
    });
    expect(await rejection(result)).toBe(controller.signal.reason);
    expect(tool.executions).toBe(1);
    expect(reportOf(controller.signal.reason)).toMatchObject({ status: "cancelled", execution: "unknown" });
  });

  test("settles at once with the caller's reason when the caller aborts during backoff", async () => {
    const controller = new AbortController();
    const time = virtualTime();
    const tool = scriptedTool([{ error: refused() }], { repeatLast: true });
    const result = rejection(
      run(
        pipeline([retry({ ...plain, baseDelayMs: 10_000 })], tool),
        { tool: "pay", options: { signal: controller.signal } },
        { runtime: time.runtime, classifiers: [readFaults] },
      ),
    );
    await time.advance(4000);
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await result).toBe(reason);
    expect(time.now()).toBe(4000);
    expect(time.timers).toBe(0);
    expect(tool.executions).toBe(1);
    expect(reportOf(reason)).toMatchObject({ status: "cancelled", execution: "not-executed", waitedMs: 4000 });
  });

  test("reports an abort that comes while the gate is asked as cancelled", async () => {
    const controller = new AbortController();
    const tool = scriptedTool([{ error: lost() }], { repeatLast: true });
    const { result } = start(tool, {
      call: { signal: controller.signal },
      verify: () => {
        controller.abort();
        return { execution: "not-executed" };
      },
    });
    await rejection(result);
    expect(tool.executions).toBe(1);
  });

  test("leaves no abort listener behind over 10 000 calls", async () => {
    const controller = new AbortController();
    let listeners = 0;
    const signal = new Proxy(controller.signal, {
      get(target, property) {
        if (property === "addEventListener" || property === "removeEventListener") {
          return (): void => {
            listeners += property === "addEventListener" ? 1 : -1;
          };
        }
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const time = virtualTime();
    let runs = 0;
    const flaky = async (): Promise<ToolResult> => {
      runs += 1;
      if (runs % 2 === 1) throw refused();
      return OK;
    };
    const handler = pipeline([retry({ ...plain, baseDelayMs: 1 })], flaky);
    const options: WrapOptions = { runtime: time.runtime, classifiers: [readFaults] };
    await time.run(async () => {
      for (let n = 0; n < 10_000; n += 1) await run(handler, { tool: "pay", options: { signal } }, options);
    });
    expect(runs).toBe(20_000);
    expect(listeners).toBe(0);
  });
});

describe("budget", () => {
  test("gives back the first error now when the budget is used up", async () => {
    const budget = retryBudget({ ratio: 0, minPerSecond: 0 });
    const error = refused();
    const tool = scriptedTool([{ error }], { repeatLast: true });
    const { time, result } = start(tool, { retry: { ...plain, budget } });
    expect(await rejection(result)).toBe(error);
    expect(tool.executions).toBe(1);
    expect(time.now()).toBe(0);
  });

  test("is paid for by successes, of first attempts and of repetitions", async () => {
    const budget = retryBudget({ ratio: 0.5, minPerSecond: 0 });
    for (let n = 0; n < 2; n += 1) await start(scriptedTool([{ result: OK }]), { retry: { budget } }).result;
    expect(budget.remaining(0)).toBeCloseTo(1);
    await start(scriptedTool([{ error: refused() }, { result: OK }]), { retry: { ...plain, budget } }).result;
    expect(budget.remaining(100)).toBeCloseTo(0.5);
  });
});

describe("observers", () => {
  test("announce each repetition with its delay", async () => {
    const events: unknown[] = [];
    const tool = scriptedTool([{ error: refused() }, { result: OK }]);
    const { result } = start(tool, { retry: plain, onEvent: (name, detail) => void events.push([name, detail]) });
    await result;
    expect(events).toContainEqual([
      "retry.scheduled",
      expect.objectContaining({ tool: "pay", attempt: 2, delayMs: 100 }),
    ]);
  });

  test("change nothing when they throw", async () => {
    const explode = (): never => {
      throw new Error("observer");
    };
    const tool = scriptedTool([{ error: refused() }, { result: OK }]);
    const { result } = start(tool, {
      retry: plain,
      onEvent: explode,
      onReport: explode,
      classifiers: [explode, readFaults],
    });
    expect(await result).toEqual(OK);
  });
});

describe("options", () => {
  test.each([
    [{ maxAttempts: 0 }, RangeError, "maxAttempts"],
    [{ maxAttempts: 1.5 }, RangeError, "maxAttempts"],
    [{ maxAttempts: "3" }, TypeError, "maxAttempts"],
    [{ baseDelayMs: -1 }, RangeError, "baseDelayMs"],
    [{ baseDelayMs: Number.POSITIVE_INFINITY }, RangeError, "baseDelayMs"],
    [{ maxDelayMs: Number.NaN }, RangeError, "maxDelayMs"],
    [{ multiplier: 0.5 }, RangeError, "multiplier"],
    [{ jitter: "half" }, TypeError, "jitter"],
    [{ maxElapsedMs: -5 }, RangeError, "maxElapsedMs"],
    [{ maxRetryAfterMs: -5 }, RangeError, "maxRetryAfterMs"],
    [{ replay: true }, TypeError, "replay"],
    [{ retryOn: 429 }, TypeError, "retryOn"],
    [{ delay: 5 }, TypeError, "delay"],
    [{ budget: {} }, TypeError, "budget"],
    [{ maxRetries: 3 }, TypeError, "maxRetries"],
    [[], TypeError, "options"],
    ["fast", TypeError, "options"],
  ])("refuses %j, naming what is wrong", (options, type, name) => {
    const make = (): Middleware => retry(options as RetryOptions);
    expect(make).toThrow(type);
    expect(make).toThrow(name);
  });

  test.each([[{ maxAttempts: -1 }], [true], [null], [{ attempts: 2 }]])(
    "refuses the call option %j before anything is sent",
    async (own) => {
      const tool = scriptedTool([{ result: OK }]);
      const error = await rejection(start(tool, { call: { retry: own } }).result);
      expect(String(error)).toContain("retry (call option)");
      expect(tool.executions).toBe(0);
    },
  );

  test("takes zero for what may be zero", () => {
    expect(() => retry({ baseDelayMs: 0, maxDelayMs: 0, maxElapsedMs: 0, maxRetryAfterMs: 0 })).not.toThrow();
  });
});

describe("laws", () => {
  const fault = fc.constantFrom(
    refused,
    lost,
    () => throttled(5),
    () => new Error("ran"),
  );
  const replay = fc.constantFrom<"safe" | "always" | "never">("safe", "always", "never");

  test("a safe retry never runs a tool again once an attempt may have run", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 6 }),
        replay,
        fc.integer({ min: 1, max: 6 }),
        async (faults, policy, maxAttempts) => {
          const kinds = faults.map((make) => make());
          const tool = scriptedTool([...kinds.map((error) => ({ error })), { result: OK }], { repeatLast: true });
          const { result } = start(tool, { retry: { ...plain, replay: policy, maxAttempts } });
          await result.catch(() => undefined);
          const mayHaveRun = (index: number): boolean => {
            const error = kinds[index];
            if (error === undefined || !(error instanceof Fault)) return true;
            return error.outcome.execution === "unknown" && policy !== "always";
          };
          for (let index = 0; index < tool.executions - 1; index += 1) expect(mayHaveRun(index)).toBe(false);
          expect(tool.executions).toBeLessThanOrEqual(maxAttempts);
        },
      ),
    );
  });
});

describe("conformance", () => {
  for (const { name, run: check } of middlewareContract(() => retry())) test(name, check);
});

test("asks a runtime that is an object with private state for its random numbers", async () => {
  class Seeded {
    readonly #value = 0.5;
    now = (): number => 0;
    wallNow = (): number => 0;
    sleep = async (): Promise<void> => undefined;
    random(): number {
      return this.#value;
    }
  }
  const tool = scriptedTool([{ error: refused() }, { result: OK }]);
  const handler = pipeline([retry()], tool);
  const options = { runtime: new Seeded(), classifiers: [readFaults] };
  await expect(run(handler, { tool: "t" }, options)).resolves.toEqual(OK);
});

test("a budget that throws does not replace what the call came to", async () => {
  const broken = (): never => {
    throw new Error("no books");
  };
  const budget = { deposit: broken, withdraw: broken, remaining: () => 0 };
  const good = pipeline([retry({ budget })], scriptedTool([{ result: OK }]));
  await expect(run(good, { tool: "t" })).resolves.toEqual(OK);
  const bad = pipeline([retry({ budget })], scriptedTool([{ error: refused() }, { result: OK }]));
  await expect(run(bad, { tool: "t" }, { classifiers: [readFaults] })).rejects.toThrow("fault");
});

test("plans its waits by the caller's deadline where the context's is later", async () => {
  const time = virtualTime();
  const detach: Middleware = (ctx, next) => next({ ...ctx, deadline: Infinity });
  const tool = scriptedTool([{ error: new RateLimitError("tool", { retryAfterMs: 10_000 }) }], { repeatLast: true });
  const limited: Middleware = () => Promise.reject(new RateLimitError("tool", { retryAfterMs: 10_000 }));
  const handler = pipeline([detach, retry(), limited], tool);
  const call = run(handler, { tool: "tool", options: { timeoutMs: 1000 } }, { runtime: time.runtime });
  await expect(time.run(call)).rejects.toSatisfy(RateLimitError.isInstance);
  expect(time.now()).toBe(0);
});

import {
  AttemptTimeoutError,
  type CallContext,
  type CallReport,
  type Handler,
  McpTxError,
  type Middleware,
  type Outcome,
  OutcomeUnknownError,
  pipeline,
  RateLimitError,
  RECEIPT_KEY,
  run,
  type ToolResult,
  type WrapOptions,
} from "@mcp-tx/core";
import { context, middlewareContract, virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Alert } from "./alert.js";
import { monitor } from "./monitor.js";
import type { MonitorOptions } from "./options.js";
import { formatReport, type ToolReport } from "./report.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const FAILED: ToolResult = { content: [{ type: "text", text: "no" }], isError: true };
const NO_OUTCOMES = { completed: 0, failed: 0, timeout: 0, unknown: 0, rejected: 0, cancelled: 0 };

const succeed: Handler = async () => ({ ...OK });
const fail: Handler = async () => ({ ...FAILED });

/** A monitor in a pipeline on virtual time, with the alerts and the reports of its calls. */
function bench(options: MonitorOptions = {}, wrap: WrapOptions = {}) {
  const time = virtualTime();
  const alerts: Alert[] = [];
  const reports: CallReport[] = [];
  const onAlert = (alert: Alert): void => {
    alerts.push(alert);
  };
  const watched = monitor({ onAlert, ...options });
  const settings: WrapOptions = { runtime: time.runtime, onReport: (report) => reports.push(report), ...wrap };

  function start(handler: Handler, tool = "search", inner: readonly Middleware[] = [], signal?: AbortSignal) {
    const request = { tool, ...(signal !== undefined && { options: { signal } }) };
    return run(pipeline([watched, ...inner], handler), request, settings).catch((error: unknown) => error);
  }
  async function times(count: number, handler: Handler, tool?: string): Promise<void> {
    for (let index = 0; index < count; index += 1) await start(handler, tool);
  }
  function toolReport(tool = "search"): ToolReport | undefined {
    return watched.report().tools.find((entry) => entry.tool === tool);
  }
  return { time, alerts, reports, watched, start, times, toolReport };
}

/** Lets everything that is ready run. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Fault extends McpTxError {
  constructor(outcome: Partial<Outcome>) {
    const whole: Outcome = { status: "rejected", execution: "not-executed", transient: true, ...outcome };
    super("fault", whole.code ?? "circuit_open", { outcome: whole });
  }
}

/** A middleware that refuses before anything is sent, as a breaker does. */
const refusing: Middleware = () => Promise.reject(new Fault({ code: "circuit_open" }));

describe("the middleware", () => {
  for (const { name, run: prove } of middlewareContract(() => monitor())) test(name, prove);
  for (const { name, run: prove } of middlewareContract(() => monitor({ minSamples: 1, maxTools: 1 }))) {
    test(`${name} (while its alert fires)`, prove);
  }

  test("has the seat of a monitor and throws bad options at construction", () => {
    expect(monitor().seat).toBe("monitor");
    expect(() => monitor({ windowMs: -1 })).toThrow(RangeError);
  });

  test("refuses a call on another clock, whose times mean something else", async () => {
    const watched = monitor();
    const call = (): Promise<ToolResult> => watched(context({}, { runtime: virtualTime().runtime }), succeed);
    await call();
    await expect(call()).rejects.toThrow("monitor: runtime must be the same");
    expect(watched.report().tools[0]?.inFlight).toBe(0);
  });

  test("takes a next that throws at once, gives no promise, or gives what cannot be looked at", async () => {
    const watched = monitor();
    const error = new Error("at once");
    const throwing = watched(context({ tool: "throws" }), () => {
      throw error;
    });
    await expect(throwing).rejects.toBe(error);
    expect(await watched(context({ tool: "plain" }), () => OK as never)).toBe(OK);
    const reads = (): never => {
      throw new Error("looked at");
    };
    const hostile = Object.defineProperties({}, { isError: { get: reads }, _meta: { get: reads } }) as ToolResult;
    expect(await watched(context({ tool: "hostile" }), async () => hostile)).toBe(hostile);
    const traps = { get: reads, has: reads, getPrototypeOf: reads, ownKeys: reads };
    const thrown = new Proxy({}, traps);
    const rejecting = watched(context({ tool: "proxy" }), () => Promise.reject(thrown));
    await expect(rejecting.then(undefined, (value: unknown) => value === thrown)).resolves.toBe(true);
    const outcomes = watched
      .report()
      .tools.map(({ tool, outcomes: { completed, failed } }) => [tool, completed, failed]);
    expect(outcomes).toEqual([
      ["hostile", 0, 1],
      ["plain", 1, 0],
      ["proxy", 0, 1],
      ["throws", 0, 1],
    ]);
  });

  test("leaves no listener on a call", async () => {
    const ctx = context();
    const watched = monitor();
    for (let index = 0; index < 3; index += 1) await watched(ctx, succeed);
    expect(ctx.call.observed).toBe(false);
  });

  test("keeps the book before whoever awaits the call goes on", async () => {
    const watched = monitor();
    await watched(context(), succeed);
    expect(watched.report().tools[0]?.calls).toBe(1);
  });
});

describe("the report", () => {
  test("of a monitor without calls is empty", () => {
    const { watched } = bench();
    expect(watched.report()).toMatchObject({ windowMs: 300_000, tools: [], alerts: { fired: 0, pending: 0 } });
  });

  test("is plain JSON", async () => {
    const { watched, times, start } = bench({ minSamples: 1 });
    await times(3, fail);
    await times(2, succeed, "other");
    start(() => new Promise(() => undefined), "hangs");
    await settle();
    const report = watched.report();
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(report.tools.map(({ tool }) => tool)).toEqual(["hangs", "other", "search"]);
    expect(formatReport(report).split("\n")).toHaveLength(4);
  });

  test("counts isError as a failure, and what was refused or cancelled as neither", async () => {
    const { start, times, toolReport } = bench();
    const controller = new AbortController();
    const aborted = start(() => new Promise(() => undefined), "search", [], controller.signal);
    await times(3, succeed);
    await times(1, fail);
    await start(succeed, "search", [refusing]);
    controller.abort(new Error("enough"));
    await aborted;
    expect(toolReport()).toMatchObject({
      calls: 6,
      samples: 4,
      successRate: 0.75,
      outcomes: { ...NO_OUTCOMES, completed: 3, failed: 1, rejected: 1, cancelled: 1 },
      codes: { tool_error: 1, circuit_open: 1, cancelled: 1 },
    });
  });

  test("counts refused calls as failures on request", async () => {
    const { start, times, toolReport } = bench({ countRejected: true });
    await times(3, succeed);
    await start(succeed, "search", [refusing]);
    expect(toolReport()).toMatchObject({ samples: 4, successRate: 0.75, outcomes: { rejected: 1 } });
  });

  test("has no rate where every call was cancelled", async () => {
    const { start, toolReport } = bench();
    await start(succeed, "search", [], AbortSignal.abort());
    expect(toolReport()).not.toHaveProperty("successRate");
    expect(toolReport()).not.toHaveProperty("latencyMs");
  });

  test("counts a call that a race further out gave up as cancelled", async () => {
    const controller = new AbortController();
    const watched = monitor();
    controller.abort(new Error("another one won"));
    const lost = watched({ ...context(), signal: controller.signal }, () => Promise.reject(controller.signal.reason));
    await lost.catch(() => undefined);
    expect(watched.report().tools[0]?.outcomes).toEqual({ ...NO_OUTCOMES, cancelled: 1 });
  });

  test("measures from start to end, all attempts and waits included", async () => {
    const { time, start, toolReport } = bench();
    for (const delayMs of [100, 200, 300]) {
      await time.run(
        start(async ({ call }) => {
          await call.runtime.sleep(delayMs);
          return { ...OK };
        }),
      );
    }
    const { latencyMs } = toolReport() ?? {};
    expect(latencyMs?.max).toBe(300);
    expect(Math.abs((latencyMs?.p50 ?? 0) - 200)).toBeLessThanOrEqual(2);
  });

  test("counts the attempts of each call, and for the average only calls that made any", async () => {
    const { start, times, toolReport } = bench();
    const twice: Middleware = async (ctx, next) => {
      await next(ctx);
      return next({ ...ctx, attempt: 2 });
    };
    await start(succeed, "search", [twice]);
    await times(1, succeed);
    await start(succeed, "search", [refusing]);
    expect(toolReport()?.attempts).toEqual({ total: 3, average: 1.5 });
  });

  test("does not count attempts of an earlier process", async () => {
    const { start, toolReport } = bench();
    const adopting: Middleware = (ctx, next) => {
      ctx.call.adoptAttempt({ sentAtWall: 0 });
      return next(ctx);
    };
    await start(succeed, "search", [adopting]);
    expect(toolReport()?.attempts.total).toBe(1);
  });

  test("learns of duplicates and waits from the events of other packages", async () => {
    const { time, start, toolReport } = bench();
    const leaving: Middleware = ({ tool }) => Promise.reject(new AttemptTimeoutError(tool, 10));
    // What idempotency, retry and a limit emit; this package does not depend on them.
    const emits = (name: string, detail: object, ms = 0): Middleware => {
      return async (ctx, next) => {
        (ctx.call.emit as (event: string, about: object) => void)(name, { tool: ctx.tool, ...detail });
        await ctx.call.runtime.sleep(ms);
        return next(ctx);
      };
    };
    await time.run(start(succeed, "search", [emits("idempotency.outcome", { outcome: "miss" })]));
    await time.run(start(succeed, "search", [emits("idempotency.outcome", { outcome: "replayed" })]));
    await time.run(start(succeed, "search", [emits("idempotency.outcome", { outcome: "joined" })]));
    // It left the run that it had joined.
    await time.run(start(succeed, "search", [emits("idempotency.outcome", { outcome: "joined" }), leaving]));
    await time.run(start(succeed, "search", [emits("retry.scheduled", { delayMs: 40 }, 40)]));
    await time.run(start(succeed, "search", [emits("limit.wait", { waitMs: 10 }, 10)]));
    // A backoff that was cut short: never more than the call took.
    await time.run(start(succeed, "search", [emits("retry.scheduled", { delayMs: 4000 }, 5)]));
    await time.run(start(succeed, "search", [emits("limit.wait", { waitMs: Number.NaN }, 5)]));
    expect(toolReport()).toMatchObject({ duplicates: 2, waits: { calls: 3, totalMs: 55 } });
  });

  test("learns from a receipt that the server answered from its record", async () => {
    const { start, toolReport } = bench();
    const receipt = { requestId: "r", ack: true, execution: "executed", duplicate: true };
    await start(async () => ({ ...OK, _meta: { [RECEIPT_KEY]: receipt } }));
    await start(() => Promise.reject(Object.assign(new Error("no"), { data: { [RECEIPT_KEY]: receipt } })));
    await start(async () => ({ ...OK, _meta: { [RECEIPT_KEY]: { ...receipt, duplicate: false } } }));
    expect(toolReport()?.duplicates).toBe(2);
  });

  test("counts only codes that exist, whatever a classifier says", async () => {
    const classifiers = [() => ({ code: "made up" as never })];
    const { times, toolReport } = bench({}, { classifiers });
    await times(1, fail);
    expect(toolReport()).toMatchObject({ codes: {}, outcomes: { failed: 1 } });
  });

  test("forgets what is older than the window; the wall clock has no part in it", async () => {
    const { time, times, toolReport } = bench({ windowMs: 1000 });
    await times(2, succeed);
    time.stepWall(3_600_000);
    await time.advance(999);
    expect(toolReport()?.calls).toBe(2);
    time.stepWall(-7_200_000);
    await time.advance(1);
    expect(toolReport()).toBeUndefined();
  });

  const reason = new Error("the caller's reason");
  const endings: Readonly<Record<string, (ctx: CallContext) => Promise<ToolResult>>> = {
    result: succeed,
    isError: fail,
    throws: () => Promise.reject(new Error("thrown")),
    nothing: () => Promise.reject(undefined),
    rejected: () => Promise.reject(new Fault({ code: "queue_full" })),
    throttled: () => Promise.reject(new Fault({ status: "throttled", code: "rate_limited" })),
    throttledByServer: () => Promise.reject(new RateLimitError("slow down", { execution: "executed" } as never)),
    timeout: (ctx) => Promise.reject(new AttemptTimeoutError(ctx.tool, 10)),
    unknown: (ctx) =>
      Promise.reject(
        new OutcomeUnknownError(`"${ctx.tool}" may have run`, {
          cause: new AttemptTimeoutError(ctx.tool, 10),
        } as never),
      ),
    caller: () => Promise.reject(reason),
    ownCode: () => Promise.reject(new Fault({ status: "cancelled", code: "cancelled" })),
    adopts: (ctx) => {
      ctx.call.adoptAttempt({ sentAtWall: 0 });
      return Promise.reject(new Error("after a crash"));
    },
    looped: () => {
      const error: { cause?: unknown } = new Error("looped");
      error.cause = error;
      return Promise.reject(error);
    },
  };

  for (const [name, end] of Object.entries(endings)) {
    for (const isInner of [true, false]) {
      for (const isAborted of [true, false]) {
        const where = `${isInner ? "a middleware" : "the tool"}${isAborted ? ", aborted meanwhile" : ""}`;
        test(`says the same as the call's own report: ${name} from ${where}`, async () => {
          const { start, reports, toolReport } = bench();
          const controller = new AbortController();
          const ending: Handler = async (ctx) => {
            if (isAborted) controller.abort(reason);
            return end(ctx);
          };
          await (isInner
            ? start(succeed, "search", [(ctx) => ending(ctx)], controller.signal)
            : start(ending, "search", [], controller.signal));
          const [report] = reports;
          const { outcomes, attempts, duplicates } = toolReport() ?? {};
          expect(outcomes).toEqual({ ...NO_OUTCOMES, [report?.status ?? ""]: 1 });
          expect(attempts?.total).toBe(report?.attempts);
          expect(duplicates === 1).toBe(report?.duplicate);
        });
      }
    }
  }
});

describe("an alert", () => {
  test("fires once and resolves once in an episode", async () => {
    const { time, times, alerts, toolReport } = bench({ cooldownMs: 0 });
    await times(19, fail);
    await settle();
    expect(alerts).toEqual([]);
    await time.advance(500);
    await times(3, fail);
    await settle();
    expect(alerts).toEqual([
      {
        state: "firing",
        tool: "search",
        episode: 1,
        reason: "below-threshold",
        successRate: 0,
        samples: 20,
        threshold: 0.95,
        recoverAt: 0.97,
        at: 500,
        atWall: time.runtime.wallNow(),
      },
    ]);
    expect(toolReport()?.alert).toEqual({ state: "firing", episode: 1, firingMs: 0 });
    await time.advance(250_000);
    await times(711, succeed);
    await settle();
    // 711 of 733 are below 0.97, 712 of 734 are above it.
    expect(alerts).toHaveLength(1);
    await times(40, succeed);
    await settle();
    expect(alerts).toHaveLength(2);
    expect(alerts[1]).toMatchObject({ state: "resolved", episode: 1, reason: "recovered", firingMs: 250_000 });
    expect(toolReport()?.alert).toEqual({ state: "ok" });
    await times(60, fail);
    await settle();
    expect(alerts.map(({ state, episode }) => [state, episode])).toEqual([
      ["firing", 1],
      ["resolved", 1],
      ["firing", 2],
    ]);
  });

  test("does not fire again within the cooldown", async () => {
    const { time, times, alerts, watched } = bench({ windowMs: 1000, minSamples: 2, cooldownMs: 5000 });
    await times(2, fail);
    await time.advance(1000);
    watched.report();
    await times(10, fail);
    await time.advance(4999);
    await times(10, fail);
    await time.advance(1);
    expect(alerts.map(({ state }) => state)).toEqual(["firing", "resolved"]);
    await times(1, fail);
    await settle();
    expect(alerts.map(({ state }) => state)).toEqual(["firing", "resolved", "firing"]);
  });

  test("of a tool that nobody calls any more resolves at the next report, without any timer", async () => {
    const { time, times, alerts, watched } = bench({ windowMs: 1000, minSamples: 1 });
    await times(1, fail);
    expect(time.timers).toBe(0);
    await time.advance(100_000);
    expect(alerts).toHaveLength(1);
    const { tools, alerts: counts } = watched.report();
    expect([tools, counts.resolved]).toEqual([[], 1]);
    await settle();
    expect(alerts[1]).toMatchObject({ state: "resolved", reason: "idle", samples: 0, firingMs: 100_000 });
    expect(alerts[1]).not.toHaveProperty("successRate");
  });

  test("of a tool that nobody calls any more resolves at the next call of another one", async () => {
    const { time, times, alerts } = bench({ windowMs: 1000, minSamples: 1 });
    await times(1, fail);
    await time.advance(999);
    await times(1, succeed, "other");
    await settle();
    expect(alerts).toHaveLength(1);
    await time.advance(1);
    await times(1, succeed, "other");
    await settle();
    expect(alerts.map(({ tool, state, reason }) => [tool, state, reason])).toEqual([
      ["search", "firing", "below-threshold"],
      ["search", "resolved", "idle"],
    ]);
  });

  test("resolves when its failures leave the window, though no call succeeds", async () => {
    const { time, times, alerts } = bench({ windowMs: 1000, minSamples: 4 });
    await times(4, fail);
    await time.advance(600);
    await times(1, succeed);
    await time.advance(400);
    await times(1, succeed, "other");
    await settle();
    expect(alerts.at(-1)).toMatchObject({ state: "resolved", reason: "recovered", successRate: 1, samples: 1 });
  });

  test("keeps to a tool's own rules", async () => {
    const tools = { flaky: { threshold: 0.5, recoverAt: 0.6, minSamples: 2 }, dead: { threshold: 0 } };
    const { times, alerts } = bench({ minSamples: 4, tools });
    for (const tool of ["flaky", "dead", "plain"]) {
      await times(1, succeed, tool);
      await times(1, fail, tool);
    }
    await settle();
    expect(alerts).toEqual([]);
    for (const tool of ["flaky", "dead", "plain"]) await times(2, fail, tool);
    await settle();
    expect(alerts.map(({ tool }) => tool)).toEqual(["flaky", "plain"]);
  });

  const callbacks: Readonly<Record<string, () => unknown>> = {
    throws: () => {
      throw new Error("pager is down");
    },
    rejects: () => Promise.reject(new Error("pager is down")),
    "gives a thenable that throws": () => ({
      // biome-ignore lint/suspicious/noThenProperty: a hostile thenable is the point
      get then(): never {
        throw new Error("looked at");
      },
    }),
  };
  for (const [name, onAlert] of Object.entries(callbacks)) {
    test(`whose callback ${name} breaks no call and is counted`, async () => {
      const { times, start, watched, reports } = bench({ minSamples: 1, onAlert });
      await times(1, fail);
      expect(await start(succeed)).toEqual(OK);
      await settle();
      expect(watched.report().alerts).toEqual({ fired: 1, resolved: 0, failed: 1, pending: 0 });
      expect(reports.map(({ status }) => status)).toEqual(["failed", "completed"]);
    });
  }

  test("whose callback hangs delays no call", async () => {
    const { times, start, watched } = bench({ minSamples: 1, onAlert: () => new Promise(() => undefined) });
    await times(1, fail);
    expect(await start(succeed)).toEqual(OK);
    expect(watched.report().alerts).toMatchObject({ fired: 1, failed: 0, pending: 1 });
  });

  test("reaches a callback that calls the tool and asks for the report itself", async () => {
    const seen: unknown[] = [];
    const { times, watched, start } = bench({
      minSamples: 1,
      cooldownMs: 0,
      onAlert: async ({ state, tool }) => {
        seen.push([state, watched.report().tools[0]?.alert.state]);
        if (state === "firing") for (let call = 0; call < 40; call += 1) await start(succeed, tool);
      },
    });
    await times(1, fail);
    for (let turn = 0; turn < 10; turn += 1) await settle();
    expect(seen).toEqual([
      ["firing", "firing"],
      ["resolved", "ok"],
    ]);
  });

  test("comes from nested calls through one monitor without mixing them up", async () => {
    const { start, watched } = bench();
    const outer: Handler = async () => {
      await start(fail, "inner");
      return { ...OK };
    };
    await Promise.all(Array.from({ length: 50 }, () => start(outer, "outer")));
    const rates = watched.report().tools.map(({ tool, calls, successRate }) => [tool, calls, successRate]);
    expect(rates).toEqual([
      ["inner", 50, 0],
      ["outer", 50, 1],
    ]);
  });

  /** The alerts of one tool: pairs of firing and resolved, each with its reason, the next one not within the cooldown. */
  function expectEpisodes(alerts: readonly Alert[], cooldownMs: number): void {
    let resolvedAt = Number.NEGATIVE_INFINITY;
    for (let index = 0; index < alerts.length; index += 2) {
      const [fired, resolved] = alerts.slice(index, index + 2);
      expect([fired?.state, resolved?.state, resolved?.episode]).toEqual(["firing", "resolved", fired?.episode]);
      expect(fired?.samples).toBeGreaterThanOrEqual(5);
      expect(fired?.successRate).toBeLessThan(0.95);
      expect(resolved?.successRate ?? 1).toBeGreaterThanOrEqual(0.97);
      expect((fired?.at ?? Number.NaN) - resolvedAt).toBeGreaterThanOrEqual(cooldownMs);
      resolvedAt = resolved?.at ?? Number.NaN;
    }
  }

  const step = fc.record({
    tool: fc.constantFrom("a", "b"),
    isGood: fc.boolean(),
    repeat: fc.integer({ min: 1, max: 6 }),
    passedMs: fc.integer({ min: 0, max: 400 }),
    asks: fc.boolean(),
  });

  test("of each tool comes as firing, resolved, firing, ... whatever happens", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: 0, max: 500 }),
        async (steps, cooldownMs) => {
          const { time, times, alerts, watched } = bench({ windowMs: 1000, minSamples: 5, cooldownMs });
          for (const { tool, isGood, repeat, passedMs, asks } of steps) {
            await times(repeat, isGood ? succeed : fail, tool);
            await time.advance(passedMs);
            if (asks) watched.report();
          }
          await time.advance(1000);
          watched.report();
          await settle();
          for (const name of ["a", "b"]) {
            expectEpisodes(
              alerts.filter(({ tool }) => tool === name),
              cooldownMs,
            );
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

test("neither reports nor alerts hold anything of what a call was about", async () => {
  const secret = fc.string({ minLength: 12, maxLength: 30 }).map((text) => `SECRET-${text}`);
  await fc.assert(
    fc.asyncProperty(secret, fc.boolean(), async (marked, throws) => {
      const alerts: Alert[] = [];
      const watched = monitor({ minSamples: 1, onAlert: (alert) => alerts.push(alert) });
      const error = Object.assign(new Error(marked, { cause: new Error(marked) }), { code: marked, data: { marked } });
      const result: ToolResult = {
        content: [{ type: "text", text: marked }],
        structuredContent: { marked },
        isError: true,
        _meta: { [marked]: marked },
      };
      const claiming = Object.assign(((ctx, next) => next(ctx)) as Middleware, { optionKeys: ["idempotencyKey"] });
      const handler = pipeline([watched, claiming], async () => {
        if (throws) throw error;
        return result;
      });
      const options = { idempotencyKey: marked, transactionId: marked };
      const request = { tool: "search", args: { marked }, meta: { marked }, options };
      const peer = { server: marked, sessionId: marked, authInfo: marked };
      const classifiers = [() => ({ code: marked as never })];
      await run(handler, request, { peer, classifiers }).catch(() => undefined);
      await settle();
      expect(alerts).toHaveLength(1);
      const said = JSON.stringify([watched.report(), alerts]) + formatReport(watched.report());
      expect(said).not.toContain("SECRET");
    }),
    { numRuns: 50 },
  );
});

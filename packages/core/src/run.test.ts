import fc from "fast-check";
import { expect, test } from "vitest";
import type {
  CallContext,
  CallOptions,
  CallReport,
  Handler,
  Middleware,
  Runtime,
  ToolResult,
  WrapOptions,
} from "./contract.js";
import { AttemptTimeoutError, DeadlineError } from "./errors.js";
import { compose, pipeline, when } from "./pipeline.js";
import { reportOf } from "./report.js";
import { run } from "./run.js";
import {
  countingSignal,
  keyClaiming,
  type ScriptedTool,
  scriptedTool,
  type VirtualTime,
  virtualTime,
} from "./testing/index.js";

const result: ToolResult = Object.freeze({ content: [] });
const passing: Middleware = (ctx, next) => next(ctx);

function fine(): ScriptedTool {
  return scriptedTool([{ result }], { repeatLast: true });
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error("expected a rejection");
}

// Bad input

const badWrapOptions: readonly (readonly [
  options: unknown,
  error: typeof TypeError | typeof RangeError,
  message: string,
])[] = [
  [null, TypeError, "run: options must be an object, got null"],
  ["fast", TypeError, 'run: options must be an object, got "fast"'],
  [[], TypeError, "run: options must be an object, got an array"],
  [{ timeout: 5 }, TypeError, 'run: unknown option "timeout"; it takes runtime, peer, classifiers'],
  [{ runtime: null }, TypeError, "run: runtime must be an object with a method now(), got null"],
  [
    { runtime: { now: () => 0, wallNow: () => 0, random: () => 0 } },
    TypeError,
    "run: runtime must be an object with a method sleep()",
  ],
  [{ peer: "server" }, TypeError, 'run: peer must be an object, got "server"'],
  [{ classifiers: () => undefined }, TypeError, "run: classifiers must be an array of functions"],
  [{ classifiers: [undefined] }, TypeError, "run: classifiers must be an array of functions"],
  [{ trustAnnotations: "yes" }, TypeError, "run: trustAnnotations must be true, false or a function"],
  [{ verify: true }, TypeError, "run: verify must be a function, got true"],
  [{ timeoutMs: 0 }, RangeError, "run: timeoutMs must be a number > 0 (Infinity allowed), got 0"],
  [{ timeoutMs: -1 }, RangeError, "run: timeoutMs must be a number > 0 (Infinity allowed), got -1"],
  [{ timeoutMs: Number.NaN }, RangeError, "run: timeoutMs must be a number > 0 (Infinity allowed), got NaN"],
  [{ timeoutMs: "5" }, TypeError, 'run: timeoutMs must be a number > 0 (Infinity allowed), got "5"'],
  [{ attemptTimeoutMs: 0 }, RangeError, "run: attemptTimeoutMs must be a number > 0"],
  [{ onReport: {} }, TypeError, "run: onReport must be a function, got an object"],
  [{ onEvent: [] }, TypeError, "run: onEvent must be a function, got an array"],
];

test.each(badWrapOptions)("refuses the wrap options %o before anything runs", async (options, type, message) => {
  const tool = fine();
  const error = await errorOf(run(pipeline([], tool), { tool: "t" }, options as WrapOptions));
  expect(error).toBeInstanceOf(type);
  expect((error as Error).message).toContain(message);
  expect(tool.executions).toBe(0);
});

const badCallOptions: readonly (readonly [options: unknown, message: string])[] = [
  [null, "run: options must be an object"],
  ["fast", "run: options must be an object"],
  [{ signal: {} }, "run: signal must be an AbortSignal"],
  [{ signal: null }, "run: signal must be an AbortSignal"],
  [{ signal: new AbortController() }, "run: signal must be an AbortSignal"],
  [{ transactionId: "" }, "run: transactionId must be a non-empty string"],
  [{ transactionId: 5 }, "run: transactionId must be a non-empty string"],
  [{ idempotencyKey: "" }, "run: idempotencyKey must be a non-empty string"],
  [{ idempotencyKey: "k" }, 'run: nothing honours idempotencyKey for tool "t"; add idempotency() to the pipeline'],
  [{ timeoutMs: 0 }, "run: timeoutMs must be a number > 0 (Infinity allowed), got 0"],
  [{ timeoutMs: Number.NaN }, "run: timeoutMs must be"],
  [{ timeoutMs: null }, "run: timeoutMs must be"],
  [{ attemptTimeoutMs: -5 }, "run: attemptTimeoutMs must be a number > 0 (Infinity allowed), got -5"],
  [{ retry: false }, 'run: nothing in the pipeline takes the call option "retry"'],
  [{ toString: 1 }, 'run: nothing in the pipeline takes the call option "toString"'],
];

test.each(badCallOptions)("refuses the call options %o before anything runs", async (options, message) => {
  const tool = fine();
  const error = await errorOf(run(pipeline([], tool), { tool: "t", options: options as CallOptions }));
  expect((error as Error).message).toContain(message);
  expect(tool.executions).toBe(0);
});

const badRequests: readonly (readonly [request: unknown, message: string])[] = [
  [undefined, "run: tool must be a non-empty string"],
  [null, "run: tool must be a non-empty string"],
  [{}, "run: tool must be a non-empty string"],
  [{ tool: "" }, "run: tool must be a non-empty string"],
  [{ tool: 5 }, "run: tool must be a non-empty string"],
  [{ tool: "t", args: null }, 'run: arguments of tool "t" must be an object'],
  [{ tool: "t", args: [] }, 'run: arguments of tool "t" must be an object'],
  [{ tool: "t", args: "x" }, 'run: arguments of tool "t" must be an object'],
];

test.each(badRequests)("refuses the request %o before anything runs", async (request, message) => {
  const tool = fine();
  const error = await errorOf(run(pipeline([], tool), request as never));
  expect(error).toBeInstanceOf(TypeError);
  expect((error as Error).message).toContain(message);
  expect(tool.executions).toBe(0);
});

test("refuses a handler that is no function", async () => {
  await expect(run(undefined as never, { tool: "t" })).rejects.toThrow(
    "run: handler must be a function, such as a pipeline()",
  );
});

test("passes over options that are undefined", async () => {
  const options = {
    idempotencyKey: undefined,
    signal: undefined,
    timeoutMs: undefined,
    retry: undefined,
  } as CallOptions;
  await run(pipeline([], fine()), { tool: "t", options });
});

test("takes an option that a middleware of the call claims, wherever it is", async () => {
  const options = { idempotencyKey: "k" };
  for (const layers of [
    [keyClaiming()],
    [passing, compose([passing, keyClaiming()])],
    [when(/./, [passing, keyClaiming()])],
  ]) {
    await run(pipeline(layers, fine()), { tool: "t", options });
  }
});

test("takes an option claimed through when() only for the tools that match", async () => {
  const tool = fine();
  const handler = pipeline(
    [
      when(
        ["pay", "refund"],
        when((ctx) => ctx.tool !== "refund", keyClaiming()),
      ),
    ],
    tool,
  );
  const options = { idempotencyKey: "k" };
  await run(handler, { tool: "pay", options });
  for (const name of ["refund", "read"]) {
    await expect(run(handler, { tool: name, options })).rejects.toThrow(
      `nothing honours idempotencyKey for tool "${name}"`,
    );
  }
  expect(tool.executions).toBe(1);
});

// What a pipeline may do wrong

const badTerminals: readonly (readonly [name: string, terminal: Handler, message: string])[] = [
  [
    "returns nothing",
    (async () => undefined) as never,
    'The terminal for tool "t" returned undefined; it must return a tool result object.',
  ],
  ["returns null", (async () => null) as never, 'The terminal for tool "t" returned null'],
  ["returns a text", (async () => "done") as never, 'The terminal for tool "t" returned string'],
  ["returns nothing, not even a promise", (() => undefined) as never, 'The terminal for tool "t" returned undefined'],
];

test.each(badTerminals)("says so when a terminal %s", async (_name, terminal, message) => {
  for (const options of [{}, { timeoutMs: 1000 }, { signal: new AbortController().signal }]) {
    const error = await errorOf(run(pipeline([passing], terminal), { tool: "t", options }));
    expect((error as Error).message).toContain(message);
    expect(reportOf(error)).toMatchObject({ status: "failed", execution: "executed", attempts: 1 });
  }
});

test("takes a result that a terminal returns without a promise", async () => {
  const own = { content: [] };
  expect(await run(pipeline([passing], (() => own) as never), { tool: "t" })).toBe(own);
});

test("says so when a middleware gives nothing back, and keeps that the tool ran", async () => {
  const forgetful: Middleware = async (ctx, next) => {
    await next(ctx);
    return undefined as never;
  };
  const error = await errorOf(run(pipeline([forgetful], fine()), { tool: "t" }));
  expect((error as Error).message).toBe(
    'The pipeline for tool "t" gave no result; does a middleware forget to return next(ctx)?',
  );
  expect(reportOf(error)).toMatchObject({ execution: "executed", attempts: 1 });
  const silent = (() => undefined) as never;
  await expect(run(pipeline([silent], fine()), { tool: "t" })).rejects.toThrow("gave no result");
});

test("rejects, and never throws, when a middleware or a terminal throws at once", async () => {
  const error = new Error("at once");
  const throwing = (): never => {
    throw error;
  };
  for (const handler of [
    pipeline([throwing], fine()),
    pipeline([passing], throwing),
    pipeline([passing, throwing], fine()),
  ]) {
    const running = run(handler, { tool: "t" });
    expect(await errorOf(running)).toBe(error);
    expect(reportOf(error)).toMatchObject({ tool: "t", status: "failed" });
  }
});

test("reads what a terminal throws as an executed failure, whatever it says of itself", async () => {
  const errors = [
    Object.assign(new Error("refused"), { code: "ECONNREFUSED" }),
    new DeadlineError("another call's", { execution: "not-executed" }),
    Object.assign(new Error("http"), { status: 429 }),
    "text",
    undefined,
  ];
  for (const error of errors) {
    let report: CallReport | undefined;
    const options: WrapOptions = {
      onReport: (given) => {
        report = given;
      },
    };
    expect(await errorOf(run(scriptedTool([{ error }]), { tool: "t" }, options))).toBe(error);
    expect(report).toMatchObject({ execution: "executed", status: "failed", attempts: 1, ack: true });
  }
});

// Time

function timed(
  time: VirtualTime,
  tool: Handler,
  options: CallOptions,
  layers: readonly Middleware[] = [],
): Promise<ToolResult> {
  return run(pipeline(layers, tool), { tool: "slow", options }, { runtime: time.runtime });
}

test("ends an attempt at its timeout, says that it may still be running, and aborts the tool", async () => {
  const time = virtualTime();
  const tool = scriptedTool([{ delayMs: 100, result }]);
  const error = await errorOf(time.run(timed(time, tool, { attemptTimeoutMs: 60 })));
  expect(AttemptTimeoutError.isInstance(error)).toBe(true);
  expect(time.now()).toBe(60);
  expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "unknown", attempts: 1, ack: false });
  expect(tool.contexts[0]?.signal?.aborted).toBe(true);
});

test("ends a call at its deadline", async () => {
  const time = virtualTime({ now: 500 });
  const error = await errorOf(
    time.run(timed(time, scriptedTool([{ hang: true }]), { timeoutMs: 60, attemptTimeoutMs: 80 })),
  );
  expect(DeadlineError.isInstance(error)).toBe(true);
  expect((error as Error).message).toMatch(/"slow" did not answer before the deadline.*may still be running/);
  expect(time.now()).toBe(560);
  expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "unknown" });
});

test("takes the end of both limits at one moment for the deadline: there is no time left to try again", async () => {
  const time = virtualTime();
  const error = await errorOf(
    time.run(timed(time, scriptedTool([{ hang: true }]), { timeoutMs: 60, attemptTimeoutMs: 60 })),
  );
  expect(DeadlineError.isInstance(error)).toBe(true);
});

test("does not start a tool once the deadline has passed", async () => {
  const time = virtualTime();
  const tool = fine();
  const waiting: Middleware = async (ctx, next) => {
    await ctx.call.runtime.sleep(60);
    return next(ctx);
  };
  const error = await errorOf(time.run(timed(time, tool, { timeoutMs: 60 }, [waiting])));
  expect((error as Error).message).toBe('Tool "slow" was not called: the deadline of the call had passed.');
  expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "not-executed", attempts: 0 });
  expect(tool.executions).toBe(0);
});

test("gives each attempt its own timeout and all of them one deadline", async () => {
  const time = virtualTime();
  const tool = scriptedTool([{ hang: true }], { repeatLast: true });
  const again: Middleware = async (ctx, next) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await next({ ...ctx, attempt });
      } catch (error) {
        if (DeadlineError.isInstance(error)) throw error;
      }
    }
  };
  const error = await errorOf(time.run(timed(time, tool, { timeoutMs: 100, attemptTimeoutMs: 30 }, [again])));
  expect([time.now(), tool.executions]).toEqual([100, 4]);
  expect(reportOf(error)).toMatchObject({ attempts: 4, status: "timeout", execution: "unknown" });
});

test("takes the timeouts of the wrap options unless the call has its own", async () => {
  const time = virtualTime();
  const call = (options: CallOptions): Promise<unknown> =>
    errorOf(
      run(
        scriptedTool([{ hang: true }]),
        { tool: "t", options },
        { runtime: time.runtime, timeoutMs: 50, attemptTimeoutMs: 20 },
      ),
    );
  expect(AttemptTimeoutError.isInstance(await time.run(call({})))).toBe(true);
  expect(time.now()).toBe(20);
  await time.run(call({ attemptTimeoutMs: 5 }));
  expect(time.now()).toBe(25);
  expect(DeadlineError.isInstance(await time.run(call({ attemptTimeoutMs: Infinity })))).toBe(true);
  expect(time.now()).toBe(75);
  expect(DeadlineError.isInstance(await time.run(call({ timeoutMs: 10 })))).toBe(true);
  expect(time.now()).toBe(85);
  expect(AttemptTimeoutError.isInstance(await time.run(call({ attemptTimeoutMs: 50, timeoutMs: 60 })))).toBe(true);
  expect(time.now()).toBe(135);
});

test("does not change the report when the tool settles after its timeout", async () => {
  for (const late of [{ result }, { error: new Error("late") }]) {
    const time = virtualTime();
    const reports: CallReport[] = [];
    const options: WrapOptions = { runtime: time.runtime, onReport: (report) => reports.push(report) };
    const tool = scriptedTool([{ delayMs: 100, ...late }]);
    const error = await errorOf(time.run(run(tool, { tool: "t", options: { attemptTimeoutMs: 60 } }, options)));
    const before = reportOf(error);
    await time.advance(1000);
    expect(reportOf(error)).toBe(before);
    expect(reports).toEqual([before]);
    expect(before).toMatchObject({ status: "timeout", execution: "unknown" });
  }
});

test("says when the work behind a timed-out attempt is over, for those who hold a slot for it", async () => {
  const time = virtualTime();
  let releasedAt = -1;
  const holding: Middleware = (ctx, next) => {
    const running = next(ctx);
    ctx.call.attempts.at(-1)?.onRelease(() => {
      releasedAt = time.now();
    });
    return running;
  };
  await errorOf(time.run(timed(time, scriptedTool([{ delayMs: 100, result }]), { attemptTimeoutMs: 60 }, [holding])));
  expect([time.now(), releasedAt]).toEqual([60, -1]);
  await time.advance(40);
  expect(releasedAt).toBe(100);
});

test("leaves no timer behind when a call ends before its limits", async () => {
  const time = virtualTime();
  await time.run(timed(time, scriptedTool([{ delayMs: 1, result }]), { timeoutMs: 1000, attemptTimeoutMs: 500 }));
  await errorOf(time.run(timed(time, scriptedTool([{ error: new Error("no") }]), { timeoutMs: 1000 })));
  expect(time.timers).toBe(0);
});

// Abort

/** Sleeps before and after the tool, which itself sleeps twice. */
function sleeper(time: VirtualTime): { readonly handler: Handler; runs(): number } {
  let runs = 0;
  const around: Middleware = async (ctx, next) => {
    await ctx.call.runtime.sleep(10, ctx.signal);
    const inner = await next(ctx);
    await ctx.call.runtime.sleep(10, ctx.signal);
    return inner;
  };
  const handler = pipeline([around], async (ctx) => {
    runs += 1;
    await ctx.call.runtime.sleep(10);
    await ctx.call.runtime.sleep(10);
    return { content: [] };
  });
  expect(time.timers).toBe(0);
  return { handler, runs: () => runs };
}

test("settles at once, with the caller's reason, wherever the abort finds the call", async () => {
  const finds = [
    { at: 0, execution: "not-executed" },
    { at: 5, execution: "not-executed" },
    { at: 10, execution: "unknown" },
    { at: 15, execution: "unknown" },
    { at: 20, execution: "unknown" },
    { at: 29, execution: "unknown" },
    { at: 35, execution: "executed" },
  ];
  for (const { at, execution } of finds) {
    const time = virtualTime();
    const { handler, runs } = sleeper(time);
    const controller = new AbortController();
    const reason = new Error(`aborted at ${at}`);
    const running = errorOf(
      run(handler, { tool: "t", options: { signal: controller.signal } }, { runtime: time.runtime }),
    );
    await time.advance(at);
    controller.abort(reason);
    expect(await time.run(running)).toBe(reason);
    expect(time.now()).toBe(at);
    const attempts = execution === "not-executed" ? 0 : 1;
    expect(reportOf(reason)).toMatchObject({ status: "cancelled", execution, attempts });
    expect(runs()).toBeLessThanOrEqual(1);
  }
});

test("does not run anything for a caller that is gone already", async () => {
  const tool = fine();
  const reason = new Error("gone");
  const error = await errorOf(
    run(pipeline([passing], tool), { tool: "t", options: { signal: AbortSignal.abort(reason) } }),
  );
  expect(error).toBe(reason);
  expect(reportOf(error)).toMatchObject({ status: "cancelled", execution: "not-executed", attempts: 0 });
  expect(tool.executions).toBe(0);
});

test("gives a result that arrived, although the signal is aborted by now", async () => {
  const controller = new AbortController();
  const late: Middleware = async (ctx, next) => {
    const inner = await next(ctx);
    controller.abort();
    return inner;
  };
  const value = await run(
    pipeline([late], async () => ({ content: [] })),
    { tool: "t", options: { signal: controller.signal } },
  );
  expect(reportOf(value)).toMatchObject({ status: "completed", execution: "executed" });
});

test("never reports an abort as a timeout, even where both come at once", async () => {
  const time = virtualTime();
  const controller = new AbortController();
  const running = errorOf(timed(time, scriptedTool([{ hang: true }]), { signal: controller.signal, timeoutMs: 50 }));
  await time.advance(49);
  controller.abort(new Error("gone"));
  await time.advance(1);
  expect(reportOf(await running)).toMatchObject({ status: "cancelled", execution: "unknown" });
});

test("copes with a tool that aborts its own caller while it starts", async () => {
  const controller = new AbortController();
  const reason = new Error("own");
  const handler: Handler = () => {
    controller.abort(reason);
    return Promise.resolve({ content: [] });
  };
  for (const options of [{ signal: controller.signal }, { signal: controller.signal, timeoutMs: 1000 }]) {
    expect(await errorOf(run(handler, { tool: "t", options }))).toBe(reason);
  }
});

test("leaves no listener on one signal over 10 000 calls, whatever their end", async () => {
  const counting = countingSignal();
  const time = virtualTime();
  const ends: readonly Handler[] = [
    async () => ({ content: [] }),
    () => Promise.reject(new Error("no")),
    async (ctx) => ctx.call.runtime.sleep(20).then(() => ({ content: [] })),
  ];
  for (let index = 0; index < 10_000; index += 1) {
    const options = { signal: counting.signal, ...(index % 2 === 0 && { attemptTimeoutMs: 10 }) };
    const handler = ends[index % ends.length] as Handler;
    await time.run(run(handler, { tool: "t", options }, { runtime: time.runtime }).catch(() => undefined));
  }
  expect(counting.listeners).toBe(0);
});

// Observers

const boom = (): never => {
  throw new Error("observer");
};

test("does not let an observer that throws change anything", async () => {
  const options: WrapOptions = { onReport: boom, onEvent: boom, classifiers: [boom] };
  const own = { content: [] };
  expect(await run(scriptedTool([{ result: own }]), { tool: "t" }, options)).toBe(own);
  expect(reportOf(own)).toMatchObject({ status: "completed" });
  const error = new Error("tool");
  expect(await errorOf(run(scriptedTool([{ error }]), { tool: "t" }, options))).toBe(error);
  expect(reportOf(error)).toMatchObject({ status: "failed" });
});

test("tells each event and each report once, in order", async () => {
  const seen: string[] = [];
  const time = virtualTime();
  const options: WrapOptions = {
    runtime: time.runtime,
    onEvent: (name) => seen.push(name),
    onReport: ({ status, durationMs }) => seen.push(`${status} in ${String(durationMs)}`),
  };
  await time.run(run(scriptedTool([{ delayMs: 7, result }]), { tool: "t" }, options));
  expect(seen).toEqual(["attempt.start", "attempt.end", "completed in 7"]);
});

test("does not report a call that was refused before it began", async () => {
  let reports = 0;
  const options: WrapOptions = {
    onReport: () => {
      reports += 1;
    },
  };
  await errorOf(run(fine(), { tool: "t", options: { retry: 1 } as object }, options));
  expect(reports).toBe(0);
});

test("asks the classifiers in order and takes the first opinion", async () => {
  const asked: string[] = [];
  const own = { content: [{ type: "text", text: "quota" }], isError: true };
  const options: WrapOptions = {
    classifiers: [
      ({ tool, result: seen, outcome }) => {
        asked.push(`${tool} ${seen === own} ${String(outcome.code)}`);
        return undefined;
      },
      boom,
      () => ({ status: "throttled", transient: true, code: "rate_limited", retryAfterMs: 9 }),
      () => ({ status: "success" }),
    ],
  };
  const value = await run(scriptedTool([{ result: own }]), { tool: "t" }, options);
  expect(asked).toEqual(["t true tool_error"]);
  expect(reportOf(value)).toMatchObject({
    status: "failed",
    execution: "executed",
    error: { code: "rate_limited", retryAfterMs: 9 },
  });
});

// Context

test("starts a call with the context that the request asks for", async () => {
  const time = virtualTime({ now: 40 });
  const tool = fine();
  const args = { a: 1 };
  const meta = { progressToken: 1 };
  const signal = new AbortController().signal;
  const peer = { server: "bank" };
  const request = {
    tool: "t",
    args,
    meta,
    side: "client" as const,
    options: { signal, timeoutMs: 60, transactionId: "tx" },
  };
  await run(pipeline([], tool), request, { runtime: time.runtime, peer });
  const ctx = tool.contexts[0] as CallContext;
  expect(ctx).toMatchObject({ tool: "t", attempt: 1, deadline: 100, side: "client" });
  expect([ctx.args, ctx.meta, ctx.call.signal, ctx.call.peer, ctx.call.transactionId]).toEqual([
    args,
    meta,
    signal,
    peer,
    "tx",
  ]);
});

test("asks the gates of a context right before it runs the tool, and passes their refusal on", async () => {
  const tool = fine();
  const refusal = new Error("slot taken");
  const gated: Middleware = (ctx, next) =>
    next({
      ...ctx,
      admit: () => {
        throw refusal;
      },
    });
  const error = await errorOf(run(pipeline([gated], tool), { tool: "t" }));
  expect(error).toBe(refusal);
  expect(reportOf(error)).toMatchObject({ attempts: 0, execution: "not-executed" });
  expect(tool.executions).toBe(0);
});

test("reads the clock that the wrap options give, whatever its origin", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.double({ min: -1e12, max: 1e12, noNaN: true }),
      fc.integer({ min: 1, max: 1e6 }),
      async (now, timeoutMs) => {
        const time = virtualTime({ now });
        const runtime: Runtime = time.runtime;
        const error = await errorOf(
          time.run(run(scriptedTool([{ hang: true }]), { tool: "t", options: { timeoutMs } }, { runtime })),
        );
        expect(DeadlineError.isInstance(error)).toBe(true);
        expect(time.now() - now).toBeCloseTo(timeoutMs, 2);
      },
    ),
    { numRuns: 50 },
  );
});

test.each([
  [{ tool: "t", arguments: {} }, 'run: unknown property "arguments"'],
  [{ tool: "t", side: "middle" }, "run: side must be one of"],
  [{ tool: "t", meta: null }, "run: meta must be an object"],
])("refuses %j before anything runs", async (request, message) => {
  const tool = scriptedTool([{ result: { content: [] } }]);
  const error = await run(pipeline([], tool), request as never).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(TypeError);
  expect(String(error)).toContain(message);
  expect(tool.executions).toBe(0);
});

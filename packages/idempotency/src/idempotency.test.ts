import {
  type CallContext,
  type CallOptions,
  type CallReport,
  DeadlineError,
  McpTxError,
  type Middleware,
  pipeline,
  ReplayedError,
  reportOf,
  run,
  type Side,
  type ToolResult,
  type WrapOptions,
  wrapTool,
} from "@mcp-tx/core";
import { countingSignal, middlewareContract, type ScriptedTool, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { IdempotencyConflictError, IdempotencyInProgressError } from "./errors.js";
import type { IdempotencyOutcome } from "./events.js";
import { idempotency } from "./idempotency.js";
import { memoryStore } from "./memory-store.js";
import type { IdempotencyOptions } from "./options.js";

const FAILED: ToolResult = { content: [{ type: "text", text: "no funds" }], isError: true };

interface Request {
  readonly key?: string | undefined;
  readonly args?: Readonly<Record<string, unknown>>;
  readonly tool?: string;
  readonly side?: Side;
  readonly options?: CallOptions;
  readonly wrap?: WrapOptions;
}

/** One middleware round a tool, on virtual time. */
function setUp(tool: ScriptedTool, options: IdempotencyOptions = {}, inner: readonly Middleware[] = []) {
  const time = virtualTime();
  const events: IdempotencyOutcome[] = [];
  const handler = pipeline([idempotency(options), ...inner], tool);
  function call({ key = "k", args = { amount: 1 }, tool: name = "pay", side, options: extra, wrap }: Request = {}) {
    const request = { tool: name, args, side, options: { idempotencyKey: key, ...extra } };
    return run(handler, request, {
      runtime: time.runtime,
      onEvent: (event, detail) => {
        if (event === "idempotency.outcome") events.push(detail as IdempotencyOutcome);
      },
      ...wrap,
    });
  }
  return { time, call, events, finish: (request?: Request) => time.run(call(request)) };
}

/** A tool that returns how often it has run. */
function counter(delayMs = 0): ScriptedTool {
  let runs = 0;
  return scriptedTool(
    [
      async ({ call }) => {
        runs += 1;
        const result = { structuredContent: { run: runs } };
        if (delayMs > 0) await call.runtime.sleep(delayMs);
        return result;
      },
    ],
    { repeatLast: true },
  );
}

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved with ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

let keys = 0;
const keyed = (): { idempotencyKey: string } => {
  keys += 1;
  return { idempotencyKey: `contract-${keys}` };
};
for (const { name, run: prove } of middlewareContract(() => idempotency(), { options: keyed }))
  test(`with a key: ${name}`, prove);
for (const { name, run: prove } of middlewareContract(() => idempotency())) test(`without a key: ${name}`, prove);

describe("a call with a key", () => {
  test("runs once and gives the very object that came out", async () => {
    const result: ToolResult = { structuredContent: { id: 7 } };
    const tool = scriptedTool([{ result }]);
    const { finish } = setUp(tool);
    expect(await finish()).toBe(result);
    expect(reportOf(result)).toMatchObject({ attempts: 1, duplicate: false, recorded: true, execution: "executed" });
  });

  test("is answered from its record the second time, with an object of its own", async () => {
    const tool = counter();
    const { finish } = setUp(tool);
    const first = await finish();
    const second = await finish();
    expect(second).toEqual(first);
    expect(second).not.toBe(first);
    expect(second.structuredContent).not.toBe(first.structuredContent);
    expect(tool.executions).toBe(1);
    expect(reportOf(second)).toMatchObject({
      attempts: 0,
      duplicate: true,
      recorded: true,
      execution: "executed",
      status: "completed",
      idempotencyKey: "k",
    });
  });

  test("is told apart by key, tool, server and scope", async () => {
    const tool = counter();
    const { finish } = setUp(tool, { scope: (ctx) => String(ctx.options.transactionId) });
    await finish();
    await finish({ key: "other" });
    await finish({ tool: "other" });
    await finish({ wrap: { peer: { server: "other" } } });
    await finish({ options: { transactionId: "other" } });
    expect(tool.executions).toBe(5);
    await finish({ options: { transactionId: "other" } });
    expect(tool.executions).toBe(5);
  });

  test("recognises its arguments whatever the order of their keys", async () => {
    const tool = counter();
    const { finish } = setUp(tool);
    await finish({ args: { a: 1, b: { c: [1], d: null } } });
    await finish({ args: { b: { d: null, c: [1] }, a: 1, e: undefined } });
    expect(tool.executions).toBe(1);
  });

  test("is refused with other arguments, running or done", async () => {
    const tool = counter(100);
    const { time, call, finish } = setUp(tool);
    const running = call();
    const during = await time.run(rejection(call({ args: { amount: 2 } })));
    await time.run(running);
    const after = await time.run(rejection(call({ args: { amount: 2 } })));
    for (const error of [during, after]) {
      expect(IdempotencyConflictError.isInstance(error)).toBe(true);
      expect(reportOf(error)).toMatchObject({ status: "rejected", execution: "not-executed", duplicate: false });
    }
    await finish();
    expect(tool.executions).toBe(1);
  });

  test("runs again when its record has expired", async () => {
    const tool = counter();
    const { time, finish } = setUp(tool, { ttlMs: 1000 });
    await finish();
    await time.advance(999);
    await finish();
    expect(tool.executions).toBe(1);
    await time.advance(1);
    await finish();
    expect(tool.executions).toBe(2);
  });

  test("keeps its record for good with an infinite ttlMs", async () => {
    const tool = counter();
    const { time, finish } = setUp(tool, { ttlMs: Infinity });
    await finish();
    await time.advance(1e12);
    await finish();
    expect(tool.executions).toBe(1);
  });

  test("gets a recorded isError again as the failure it was", async () => {
    const tool = scriptedTool([{ result: FAILED }]);
    const { finish } = setUp(tool);
    expect(await finish()).toEqual(FAILED);
    const again = await finish();
    expect(again).toEqual(FAILED);
    expect(reportOf(again)).toMatchObject({ duplicate: true, recorded: true, status: "failed", execution: "executed" });
  });

  test("gets a recorded throw again as a ReplayedError", async () => {
    const tool = scriptedTool([{ error: new Error("disk full") }]);
    const { time, call } = setUp(tool);
    expect((await time.run(rejection(call()))) as Error).toMatchObject({ message: "disk full" });
    const again = await time.run(rejection(call()));
    expect(ReplayedError.isInstance(again)).toBe(true);
    expect((again as Error).message).toContain("disk full");
    expect(reportOf(again)).toMatchObject({ duplicate: true, recorded: true, status: "failed", execution: "executed" });
  });

  test("runs again after a failure with toolErrors reclaim, and never after a success", async () => {
    const epochs: number[] = [];
    const watch: Middleware = (ctx, next) => {
      epochs.push(ctx.call.epoch);
      return next(ctx);
    };
    const tool = scriptedTool([{ result: FAILED }, { error: new Error("again") }, { result: {} }]);
    const { time, call, finish, events } = setUp(tool, { toolErrors: "reclaim" }, [watch]);
    await finish();
    await time.run(rejection(call()));
    await finish();
    await finish();
    expect(tool.executions).toBe(3);
    expect(epochs).toEqual([0, 1, 2]);
    expect(events.map(({ outcome }) => outcome)).toEqual(["miss", "takeover", "takeover", "replayed"]);
  });

  test("runs again after a failure when its caller has raised the epoch", async () => {
    const tool = scriptedTool([{ result: FAILED }, { result: {} }]);
    const time = virtualTime();
    const raise: Middleware = async (ctx, next) => {
      const first = await next(ctx);
      if (first.isError !== true) return first;
      ctx.call.raiseEpoch();
      return next(ctx);
    };
    const handler = pipeline([raise, idempotency()], tool);
    const result = await time.run(
      run(handler, { tool: "pay", options: { idempotencyKey: "k" } }, { runtime: time.runtime }),
    );
    expect(result.isError).toBeUndefined();
    expect(tool.executions).toBe(2);
  });

  test("leaves no record when it was refused before it ran", async () => {
    let isShut = true;
    const gate: Middleware = (ctx, next) =>
      isShut
        ? Promise.reject(
            new McpTxError("shut", "circuit_open", {
              outcome: { status: "rejected", execution: "not-executed", transient: true },
            }),
          )
        : next(ctx);
    const tool = counter();
    const { time, call, finish } = setUp(tool, {}, [gate]);
    const refusal = await time.run(rejection(call()));
    expect(reportOf(refusal)).toMatchObject({ status: "rejected", execution: "not-executed" });
    isShut = false;
    await finish();
    expect(tool.executions).toBe(1);
  });

  test("leaves no record of a round that asks for input, and one for each round that ends", async () => {
    const asking = { resultType: "input_required", inputRequests: {} } as unknown as ToolResult;
    const tool = scriptedTool([{ result: asking }, { result: asking }, { result: {} }]);
    const { finish } = setUp(tool);
    expect(await finish()).toBe(asking);
    expect(await finish()).toEqual(asking);
    expect(await finish()).toEqual({});
    await finish();
    expect(tool.executions).toBe(3);
  });

  test("tells what became of it, without the key", async () => {
    const tool = counter(10);
    const { time, call, finish, events } = setUp(tool);
    await time.run(Promise.all([call({ key: "secret" }), call({ key: "secret" })]));
    await finish({ key: "secret" });
    await time.run(rejection(call({ key: "secret", args: {} })));
    expect(events).toEqual([
      { tool: "pay", outcome: "joined", at: 0 },
      { tool: "pay", outcome: "miss", at: 0 },
      { tool: "pay", outcome: "replayed", at: 10 },
      { tool: "pay", outcome: "conflict", at: 10, code: "idempotency_conflict" },
    ]);
    expect(JSON.stringify(events)).not.toContain("secret");
  });

  test("gives a value of a local function again as the value it was", async () => {
    let runs = 0;
    const tool = wrapTool(
      "sum",
      ({ a }: { readonly a: number }) => {
        runs += 1;
        return a === 0 ? undefined : a + 1;
      },
      idempotency(),
    );
    for (const [a, expected] of [
      [1, 2],
      [0, undefined],
    ] as const) {
      expect(await tool({ a }, { idempotencyKey: `k${a}` })).toBe(expected);
      expect(await tool({ a }, { idempotencyKey: `k${a}` })).toBe(expected);
    }
    expect(runs).toBe(2);
  });

  test("runs once also when its result cannot be written down, and says so to duplicates", async () => {
    const results: readonly unknown[] = [10n, new Map([[1, 2]]), [Number.NaN], { at: () => 1 }];
    for (const value of results) {
      const tool = scriptedTool([{ result: { structuredContent: value } }]);
      const { time, call, finish } = setUp(tool);
      expect((await finish()).structuredContent).toBe(value);
      const error = await time.run(rejection(call()));
      expect(ReplayedError.isInstance(error)).toBe(true);
      expect((error as Error).message).toContain("ran already");
      expect(reportOf(error)).toMatchObject({ duplicate: true, execution: "executed", recorded: true });
    }
  });

  test("travels inwards with its key, made or given, and as the argument that the tool takes it in", async () => {
    const seen: [unknown, unknown][] = [];
    const watch: Middleware = (ctx, next) => {
      seen.push([ctx.options.idempotencyKey, ctx.args]);
      return next(ctx);
    };
    const time = virtualTime();
    const options: IdempotencyOptions = {
      key: ({ args }) => `order-${String(args.order)}`,
      keyArgument: (tool) => (tool === "pay" ? "requestKey" : undefined),
    };
    const tool = counter();
    const handler = pipeline([idempotency(options), watch], tool);
    const call = (name: string, args: Readonly<Record<string, unknown>>) =>
      time.run(run(handler, { tool: name, args }, { runtime: time.runtime }));
    const first = await call("pay", { order: 1 });
    await call("ship", { order: 1 });
    expect(seen).toEqual([
      ["order-1", { order: 1, requestKey: "order-1" }],
      ["order-1", { order: 1 }],
    ]);
    expect(reportOf(first)?.idempotencyKey).toBe("order-1");
    expect(reportOf(await call("pay", { order: 1 }))?.duplicate).toBe(true);
  });

  test.each([
    ["throws", () => JSON.parse("{")],
    ["gives a promise", () => Promise.reject(new Error("late"))],
    ["gives null", () => null],
  ])("is not sent when the function that names its argument %s", async (_, keyArgument) => {
    const tool = counter();
    // What a caller without types may pass.
    const { finish } = setUp(tool, { keyArgument: keyArgument as (name: string) => undefined });
    const error = await rejection(finish());
    expect(error).toMatchObject({
      name: "TypeError",
      message: expect.stringMatching(/^idempotency: keyArgument .*pay/),
    });
    expect(tool.executions).toBe(0);
  });

  test("travels under a key that holds its scope", async () => {
    const seen: unknown[] = [];
    const watch: Middleware = (ctx, next) => {
      seen.push(ctx.options.idempotencyKey);
      return next(ctx);
    };
    const { finish } = setUp(counter(), { scope: "tenant", keyArgument: "key" }, [watch]);
    await finish();
    expect(seen).toEqual(['["tenant","k"]']);
  });
});

describe("a call without a key", () => {
  test("passes with the very context it came with", async () => {
    let passed: CallContext | undefined;
    const watch: Middleware = (ctx, next) => {
      passed = ctx;
      return next(ctx);
    };
    let given: CallContext | undefined;
    const before: Middleware = (ctx, next) => {
      given = ctx;
      return next(ctx);
    };
    const handler = pipeline([before, idempotency({ key: () => undefined }), watch], counter());
    await run(handler, { tool: "pay" });
    expect(passed).toBe(given);
  });
});

describe("hostile keys and arguments", () => {
  const refusals: Readonly<Record<string, [Request, RegExp]>> = {
    "a key of 10 MB": [{ key: "x".repeat(10_000_000) }, /idempotencyKey must have from 1 to 1024 characters/],
    "a lone surrogate in the key": [{ key: "a\ud800" }, /idempotencyKey must be text/],
    "an empty key": [{ key: "" }, /idempotencyKey/],
    NaN: [{ args: { amount: Number.NaN } }, /arguments\.amount is NaN/],
    "a BigInt": [{ args: { list: [1, 2n] } }, /arguments\.list\[1\] is a BigInt/],
    "a lone surrogate": [{ args: { name: "\udc00" } }, /arguments\.name holds half/],
  };
  for (const [name, [request, message]] of Object.entries(refusals)) {
    test(`refuses ${name} before anything runs`, async () => {
      const tool = counter();
      const { time, call } = setUp(tool);
      const error = await time.run(rejection(call(request)));
      expect(error).toBeInstanceOf(Error);
      expect((error as Error).message).toMatch(message);
      expect(tool.executions).toBe(0);
    });
  }

  test("takes keys of any text, and tells them apart", async () => {
    const tool = counter();
    const { finish } = setUp(tool);
    const given = ["\u0000", "__proto__", "constructor", '"],["', "'; drop table", "😀".repeat(512), "x".repeat(1024)];
    for (const key of given) {
      await finish({ key });
      await finish({ key });
    }
    expect(tool.executions).toBe(given.length);
  });

  const generators: Readonly<Record<string, () => unknown>> = {
    throws: () => {
      throw new Error("no order id");
    },
    "gives a number": () => 7,
    "gives a promise that rejects": () => Promise.reject(new Error("later")),
    "gives an empty text": () => "",
  };
  for (const [name, generate] of Object.entries(generators)) {
    test(`does not run a call whose key function ${name}`, async () => {
      const tool = counter();
      const handler = pipeline(idempotency({ key: generate as () => string }), tool);
      const error = await rejection(run(handler, { tool: "pay" }));
      expect((error as Error).message).toMatch(/idempotency: (key threw|idempotencyKey)/);
      expect(tool.executions).toBe(0);
    });
  }

  test("does not run a call whose scope function throws or gives no text", async () => {
    for (const scope of [
      () => {
        throw new Error("no tenant");
      },
      () => undefined as unknown as string,
    ]) {
      const tool = counter();
      const { time, call } = setUp(tool, { scope });
      expect((await time.run(rejection(call()))) as Error).toMatchObject({ name: "TypeError" });
      expect(tool.executions).toBe(0);
    }
  });
});

describe("duplicates in one process", () => {
  test("100 of them run once, and each gets an equal result of its own", async () => {
    const tool = counter(50);
    const { time, call } = setUp(tool);
    const results = await time.run(Promise.all(Array.from({ length: 100 }, () => call())));
    expect(tool.executions).toBe(1);
    expect(new Set(results).size).toBe(100);
    expect(new Set(results.map((result) => result.structuredContent)).size).toBe(100);
    for (const result of results) expect(result).toEqual({ structuredContent: { run: 1 } });
    const reports = results.map((result) => reportOf(result) as CallReport);
    expect(reports.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(reports.filter(({ attempts }) => attempts === 1)).toHaveLength(1);
    for (const report of reports) expect(report).toMatchObject({ recorded: true, execution: "executed" });
  });

  test("share a failure that was thrown, each with an error and a report of its own", async () => {
    const thrown = new Error("disk full");
    const { time, call } = setUp(scriptedTool([{ error: thrown, delayMs: 5 }]));
    const [first, second, third] = await time.run(
      Promise.all([rejection(call()), rejection(call()), rejection(call())]),
    );
    expect(first).toBe(thrown);
    expect(reportOf(first)).toMatchObject({ attempts: 1, duplicate: false });
    expect(second).not.toBe(third);
    for (const error of [second, third]) {
      expect(ReplayedError.isInstance(error)).toBe(true);
      expect(reportOf(error)).toMatchObject({ attempts: 0, duplicate: true, execution: "executed", status: "failed" });
    }
  });

  test("share a refusal as a refusal, with errors of their own", async () => {
    const refusal = new McpTxError("shut", "circuit_open", {
      outcome: { status: "rejected", execution: "not-executed", transient: true, retryAfterMs: 5 },
    });
    const gate: Middleware = async (ctx) => {
      await ctx.call.runtime.sleep(5);
      throw refusal;
    };
    const { time, call } = setUp(counter(), {}, [gate]);
    const [first, second] = await time.run(Promise.all([rejection(call()), rejection(call())]));
    expect(first).toBe(refusal);
    expect(second).not.toBe(refusal);
    expect(second).toMatchObject({ code: "circuit_open", retryAfterMs: 5 });
    expect(reportOf(second)).toMatchObject({ duplicate: false, execution: "not-executed", status: "rejected" });
  });

  test("share what nobody knows as unknown, in their errors and in their reports", async () => {
    const { time, call } = setUp(scriptedTool([{ hang: true }]));
    const attemptTimeoutMs = 100;
    const [first, second] = await time.run(
      Promise.all([
        rejection(call({ options: { attemptTimeoutMs } })),
        rejection(call({ options: { attemptTimeoutMs } })),
      ]),
    );
    expect(first).toMatchObject({ code: "attempt_timeout" });
    expect(second).toMatchObject({ code: "outcome_unknown" });
    for (const error of [first, second]) expect(reportOf(error)).toMatchObject({ execution: "unknown" });
  });

  test("that repeat the call on purpose do not take the failure of the run they came upon for theirs", async () => {
    const time = virtualTime();
    const tool = scriptedTool([{ result: FAILED, delayMs: 10 }, { result: { structuredContent: 2 } }]);
    const raise: Middleware = (ctx, next) => {
      if (ctx.options.transactionId === "again") ctx.call.raiseEpoch();
      return next(ctx);
    };
    const handler = pipeline([raise, idempotency()], tool);
    const call = (transactionId: string) =>
      run(handler, { tool: "pay", options: { idempotencyKey: "k", transactionId } }, { runtime: time.runtime });
    const [first, joined, again] = await time.run(Promise.all([call("once"), call("once"), call("again")]));
    expect([first.isError, joined.isError]).toEqual([true, true]);
    expect(again.structuredContent).toBe(2);
    expect(tool.executions).toBe(2);
  });

  test("are refused at once with onConcurrent reject", async () => {
    const tool = counter(50);
    const { time, call } = setUp(tool, { onConcurrent: "reject" });
    const first = call();
    const error = await rejection(call());
    expect(IdempotencyInProgressError.isInstance(error)).toBe(true);
    expect(reportOf(error)).toMatchObject({ execution: "unknown", status: "rejected" });
    await time.run(first);
    expect(tool.executions).toBe(1);
  });
});

describe("participants that leave", () => {
  const sides: readonly Side[] = ["client", "local", "server"];
  for (const side of sides) {
    test(`first leaves: the others get the result (${side})`, async () => {
      const tool = counter(50);
      const { time, call } = setUp(tool);
      const controller = new AbortController();
      const reason = new Error("gone");
      const first = rejection(call({ side, options: { signal: controller.signal } }));
      const others = [call({ side }), call({ side, options: { timeoutMs: 1000 } })];
      await time.advance(10);
      controller.abort(reason);
      expect(await first).toBe(reason);
      expect(reportOf(reason)).toMatchObject({ status: "cancelled", execution: "unknown" });
      for (const result of await time.run(Promise.all(others))) expect(result.structuredContent).toEqual({ run: 1 });
      expect(tool.executions).toBe(1);
    });

    test(`another leaves by its deadline: only it is detached (${side})`, async () => {
      const tool = counter(50);
      const { time, call } = setUp(tool);
      const first = call({ side });
      const second = rejection(call({ side, options: { timeoutMs: 20 } }));
      const error = await time.run(second);
      expect(time.now()).toBe(20);
      expect(DeadlineError.isInstance(error)).toBe(true);
      expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "unknown", attempts: 0 });
      expect((await time.run(first)).structuredContent).toEqual({ run: 1 });
    });
  }

  for (const side of ["client", "local"] as const) {
    test(`last leaves: the run is aborted, and its outcome is unknown (${side})`, async () => {
      let seen: AbortSignal | undefined;
      const tool = scriptedTool([
        (ctx) => {
          seen = ctx.signal;
          return new Promise<never>(() => undefined);
        },
      ]);
      const { time, call } = setUp(tool);
      const [one, two] = [new AbortController(), new AbortController()];
      const calls = [one, two].map(({ signal }) => rejection(call({ side, options: { signal } })));
      await time.advance(10);
      one.abort(new Error("one"));
      await time.advance(1);
      expect(seen?.aborted).toBe(false);
      two.abort(new Error("two"));
      await time.run(Promise.all(calls));
      expect(seen?.aborted).toBe(true);
      for (const error of await Promise.all(calls)) {
        expect(reportOf(error)).toMatchObject({ status: "cancelled", execution: "unknown" });
      }
      const later = await time.run(rejection(call({ side })));
      expect(later).toMatchObject({ code: "outcome_unknown" });
      expect(reportOf(later)).toMatchObject({ execution: "unknown" });
      expect(tool.executions).toBe(1);
    });
  }

  test("last leaves on a server: the run has no signal, goes on and is recorded", async () => {
    let seen: CallContext | undefined;
    const tool = scriptedTool([
      async (ctx) => {
        seen = ctx;
        await ctx.call.runtime.sleep(50);
        return { structuredContent: { run: 1 } };
      },
    ]);
    const { time, call } = setUp(tool);
    const controller = new AbortController();
    const first = rejection(call({ side: "server", options: { signal: controller.signal, timeoutMs: 30 } }));
    await time.advance(10);
    controller.abort();
    expect(reportOf(await first)).toMatchObject({ execution: "unknown" });
    expect(seen?.signal).toBeUndefined();
    await time.advance(100);
    const again = await time.run(call({ side: "server" }));
    expect(again.structuredContent).toEqual({ run: 1 });
    expect(reportOf(again)).toMatchObject({ duplicate: true, recorded: true });
    expect(tool.executions).toBe(1);
  });

  test("who leaves while the call waits in a queue leaves nothing behind when it was alone", async () => {
    const queue: Middleware = async (ctx, next) => {
      await ctx.call.runtime.sleep(1000, ctx.signal);
      ctx.admit?.();
      return next(ctx);
    };
    const tool = counter();
    const { time, call, finish } = setUp(tool, {}, [queue]);
    const controller = new AbortController();
    const first = rejection(call({ options: { signal: controller.signal } }));
    await time.advance(10);
    controller.abort(new Error("gone"));
    expect(reportOf(await time.run(first))).toMatchObject({ status: "cancelled", execution: "not-executed" });
    await time.advance(0);
    await finish();
    expect(tool.executions).toBe(1);
  });

  test("who comes back while its aborted run ends does not share that end", async () => {
    const queue: Middleware = async (ctx, next) => {
      // Takes its time to notice.
      await ctx.call.runtime.sleep(100);
      ctx.signal?.throwIfAborted();
      return next(ctx);
    };
    const tool = counter();
    const { time, call } = setUp(tool, {}, [queue]);
    const controller = new AbortController();
    const first = rejection(call({ options: { signal: controller.signal } }));
    await time.advance(10);
    controller.abort(new Error("gone"));
    await first;
    const second = await time.run(call());
    expect(second.structuredContent).toEqual({ run: 1 });
    expect(reportOf(second)).toMatchObject({ attempts: 1, duplicate: false });
  });

  test("who leaves before the call is sent cannot know whether it will be, while others wait for it", async () => {
    const queue: Middleware = async (ctx, next) => {
      await ctx.call.runtime.sleep(100);
      return next(ctx);
    };
    const { time, call } = setUp(counter(), {}, [queue]);
    const options = { timeoutMs: 10 };
    const [first, second] = [rejection(call({ options })), rejection(call({ options }))];
    const third = call();
    for (const error of await time.run(Promise.all([first, second])))
      expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "unknown" });
    expect((await time.run(third)).structuredContent).toEqual({ run: 1 });
  });

  test("others carry on when the first leaves and its run ends in a refusal", async () => {
    let refusals = 1;
    const gate: Middleware = async (ctx, next) => {
      await ctx.call.runtime.sleep(50);
      refusals -= 1;
      if (refusals < 0) return next(ctx);
      throw new McpTxError("shut", "circuit_open", {
        outcome: { status: "rejected", execution: "not-executed", transient: true },
      });
    };
    const tool = counter();
    const { time, call } = setUp(tool, {}, [gate]);
    const controller = new AbortController();
    const first = rejection(call({ options: { signal: controller.signal } }));
    const others = Promise.all([call(), call()]);
    await time.advance(10);
    controller.abort(new Error("gone"));
    await first;
    for (const result of await time.run(others)) expect(result.structuredContent).toEqual({ run: 1 });
    expect(tool.executions).toBe(1);
  });

  test("gets the result when it leaves while that is being recorded", async () => {
    const time = virtualTime();
    const store = memoryStore({ runtime: time.runtime });
    const slow = Object.assign(Object.create(store) as typeof store, {
      storeId: store.storeId,
      durable: false,
      claim: store.claim.bind(store),
      settle: async (...given: Parameters<typeof store.settle>) => {
        await time.runtime.sleep(1000);
        return store.settle(...given);
      },
    });
    const tool = counter(10);
    const handler = pipeline(idempotency({ store: slow }), tool);
    const controller = new AbortController();
    const options = { idempotencyKey: "k", signal: controller.signal };
    const first = run(handler, { tool: "pay", options }, { runtime: time.runtime });
    const second = run(
      handler,
      { tool: "pay", options: { idempotencyKey: "k", timeoutMs: 500 } },
      { runtime: time.runtime },
    );
    await time.advance(20);
    controller.abort();
    expect((await first).structuredContent).toEqual({ run: 1 });
    expect((await time.run(second)).structuredContent).toEqual({ run: 1 });
    expect(time.now()).toBe(500);
  });

  test.each(["abort", "deadline"])(
    "leaves at its %s while the end of a run that it does not share is being recorded",
    async (reason) => {
      const time = virtualTime();
      const store = memoryStore({ runtime: time.runtime });
      const slow = Object.assign(Object.create(store) as typeof store, {
        storeId: store.storeId,
        durable: false,
        claim: store.claim.bind(store),
        release: async (...given: Parameters<typeof store.release>) => {
          await time.runtime.sleep(1000);
          return store.release(...given);
        },
      });
      const full: Middleware = async ({ call }) => {
        await call.runtime.sleep(50);
        throw new McpTxError("full", "queue_full", {
          outcome: { status: "rejected", execution: "not-executed", transient: true },
        });
      };
      let looks = 0;
      const now = (): number => {
        looks += 1;
        // Without it, a call that spins would hang the test instead of failing it.
        if (looks > 10_000) throw new Error("it spins");
        return time.now();
      };
      const runtime = { ...time.runtime, now };
      const handler = pipeline([idempotency({ store: slow }), full], counter());
      const call = (options: CallOptions) =>
        rejection(run(handler, { tool: "pay", options: { idempotencyKey: "k", ...options } }, { runtime }));
      const [leader, joiner] = [new AbortController(), new AbortController()];
      const first = call({ signal: leader.signal });
      const timeoutMs = reason === "deadline" ? 100 : 10_000;
      const second = call({ signal: joiner.signal, timeoutMs });
      await time.advance(10);
      leader.abort(new Error("gone"));
      await first;
      await time.advance(90);
      if (reason === "abort") joiner.abort(new Error("gone, too"));
      const error = await second;
      expect(error).toMatchObject(reason === "abort" ? { message: "gone, too" } : { code: "deadline" });
      expect(reportOf(error)).toMatchObject({ attempts: 0, execution: "not-executed" });
      expect(time.now()).toBe(100);
    },
  );

  test("leaves no abort listener behind, joined or not", async () => {
    const counting = countingSignal();
    const { time, call } = setUp(counter(5));
    for (let index = 0; index < 20; index += 1) {
      const options = { signal: counting.signal, timeoutMs: 1000 };
      const key = `k${index}`;
      await time.run(Promise.all([call({ key, options }), call({ key, options })]));
    }
    expect(counting.listeners).toBe(0);
    expect(time.timers).toBe(0);
  });

  test("does not start a call whose deadline has passed", async () => {
    const tool = counter();
    const late: Middleware = async (ctx, next) => {
      await ctx.call.runtime.sleep(100);
      return next(ctx);
    };
    const time = virtualTime();
    const handler = pipeline([late, idempotency()], tool);
    const request = { tool: "pay", options: { idempotencyKey: "k", timeoutMs: 50 } };
    const error = await time.run(rejection(run(handler, request, { runtime: time.runtime })));
    expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "not-executed" });
    expect(tool.executions).toBe(0);
  });
});

describe("configuration", () => {
  const wrong: readonly [unknown, RegExp][] = [
    [{ ttlMs: 0 }, /idempotency: ttlMs must be a number > 0/],
    [{ leaseMs: 0.5 }, /idempotency: leaseMs must be a number >= 1/],
    [{ leaseMs: Infinity }, /leaseMs/],
    [{ onConcurrent: "queue" }, /onConcurrent must be one of "wait", "reject"/],
    [{ storeErrors: "ignore" }, /storeErrors/],
    [{ toolErrors: "retry" }, /toolErrors/],
    [{ key: "k" }, /key must be a function/],
    [{ scope: 1 }, /scope must be a string or a function/],
    [{ keyArgument: 1 }, /keyArgument/],
    [{ store: {} }, /store must be an object with a method claim\(\)/],
    [{ store: { idempotency: {}, rateLimit: {} } }, /pass its member "idempotency"/],
    [{ ttl: 1 }, /unknown option "ttl"/],
  ];
  for (const [options, message] of wrong) {
    test(`refuses ${JSON.stringify(options)}`, () => {
      expect(() => idempotency(options as IdempotencyOptions)).toThrow(message);
    });
  }

  test("has a store in memory for each instance", async () => {
    const tool = counter();
    for (const handler of [pipeline(idempotency(), tool), pipeline(idempotency(), tool)]) {
      await run(handler, { tool: "pay", options: { idempotencyKey: "k" } });
    }
    expect(tool.executions).toBe(2);
  });

  test("refuses a second runtime", async () => {
    const handler = pipeline(idempotency(), counter());
    const call = (runtime: WrapOptions["runtime"]) =>
      run(handler, { tool: "pay", options: { idempotencyKey: "k" } }, { runtime });
    const time = virtualTime();
    await time.run(call(time.runtime));
    expect((await rejection(call(virtualTime().runtime))) as Error).toMatchObject({
      message: expect.stringContaining("idempotency: runtime must be the same"),
    });
  });
});

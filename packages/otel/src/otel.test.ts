import { type CallContext, type Middleware, pipeline, run, type ToolResult, when } from "@mcp-tx/core";
import { middlewareContract, virtualTime } from "@mcp-tx/core/testing";
import { context, metrics, propagation, ROOT_CONTEXT, SpanKind, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import type { CircuitChange, OtelOptions, OtelSourceOptions } from "./options.js";
import { otel } from "./otel.js";
import { otelAttempt } from "./otel-attempt.js";
import { Recorder } from "./telemetry.fixture.js";
import { contextOf } from "./telemetry.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const FAILED: ToolResult = { content: [{ type: "text", text: "no" }], isError: true };
const EXECUTE = { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search" };

/** Emits events as middlewares of other packages do, then goes on. */
function emitting(...events: readonly (readonly [name: string, detail: object])[]): Middleware {
  return (ctx, next) => {
    for (const [name, detail] of events) ctx.call.emit(name as never, { tool: ctx.tool, ...detail } as never);
    return next(ctx);
  };
}

function call(middleware: readonly Middleware[], tool: (ctx: CallContext) => Promise<ToolResult>, name = "search") {
  return run(pipeline(middleware, tool), { tool: name, side: "client" });
}

afterEach(() => {
  trace.disable();
  metrics.disable();
  propagation.disable();
  context.disable();
});

for (const [kind, options] of Object.entries({
  "without an SDK": () => ({}),
  "with an SDK": () => new Recorder().options,
  "with an active context": () => ({ ...new Recorder().options, activeContext: true }),
  "propagation only": () => ({ ...new Recorder().options, mode: "propagation-only" as const }),
  off: () => ({ ...new Recorder().options, mode: "off" as const }),
})) {
  for (const { name, run: prove } of middlewareContract(() => otel(options()))) test(`${name} (${kind})`, prove);
}

test("has the seat of the call's telemetry", () => expect(otel().seat).toBe("call-telemetry"));

describe("the call's span", () => {
  test("is one INTERNAL span, its status unset when the call succeeds", async () => {
    const recorder = new Recorder();
    await call([otel(recorder.options)], async () => OK);
    expect(recorder.trees()).toEqual([
      { name: "execute_tool search", kind: "INTERNAL", attributes: { ...EXECUTE, "mcp_tx.call.attempts": 1 } },
    ]);
  });

  test("is an error of type tool_error when the tool reports a failure", async () => {
    const recorder = new Recorder();
    const given: ToolResult = { ...FAILED };
    expect(await call([otel(recorder.options)], async () => given)).toBe(given);
    const [span] = recorder.trees();
    expect(span?.status).toBe("ERROR");
    expect(span?.attributes["error.type"]).toBe("tool_error");
    expect(recorder.spans()[0]?.status.message).toBeUndefined();
  });

  test("names a timeout of the call as one", async () => {
    const recorder = new Recorder();
    const time = virtualTime();
    const handler = pipeline([otel(recorder.options)], () => new Promise(() => undefined));
    const ended = run(handler, { tool: "search", options: { timeoutMs: 50 } }, { runtime: time.runtime });
    await expect(time.run(ended)).rejects.toThrow("deadline");
    expect(recorder.trees()[0]).toMatchObject({ status: "ERROR", attributes: { "error.type": "timeout" } });
  });

  test("names a cancellation as one, also when the signal's reason is an error of another call", async () => {
    const recorder = new Recorder();
    const controller = new AbortController();
    const ended = run(
      pipeline([otel(recorder.options)], () => new Promise(() => undefined)),
      { tool: "search", options: { signal: controller.signal } },
    );
    controller.abort(new Error("gone"));
    await expect(ended).rejects.toThrow("gone");
    expect(recorder.trees()[0]).toMatchObject({ status: "ERROR", attributes: { "error.type": "cancelled" } });
  });

  test("stands below the ambient span where there is one", async () => {
    const recorder = new Recorder();
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const around = recorder.options.tracerProvider.getTracer("test").startSpan("around");
    await context.with(trace.setSpan(ROOT_CONTEXT, around), () => call([otel(recorder.options)], async () => OK));
    around.end();
    expect(recorder.trees()).toMatchObject([{ name: "around", children: [{ name: "execute_tool search" }] }]);
  });

  test("stands below what the caller says in _meta", async () => {
    const recorder = new Recorder();
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const handler = pipeline([otel(recorder.options)], async () => OK);
    await run(handler, { tool: "search", meta: { traceparent }, side: "client" });
    expect(recorder.spans()[0]?.parentSpanContext).toMatchObject({
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "b7ad6b7169203331",
    });
  });

  test("is active inside only on request", async () => {
    const recorder = new Recorder();
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const seen: (string | undefined)[] = [];
    const look = async (): Promise<ToolResult> => {
      await Promise.resolve();
      seen.push(trace.getSpanContext(context.active())?.spanId);
      return OK;
    };
    await call([otel(recorder.options)], look);
    await call([otel({ ...recorder.options, activeContext: true })], look);
    expect(seen).toEqual([undefined, recorder.spans()[1]?.spanContext().spanId]);
  });

  test("is a parent for spans of others without an active context", async () => {
    const recorder = new Recorder();
    const tracer = recorder.options.tracerProvider.getTracer("test");
    await call([otel(recorder.options)], async (ctx) => {
      tracer.startSpan("query", { kind: SpanKind.CLIENT }, contextOf(ctx.call)).end();
      return OK;
    });
    expect(recorder.trees()).toMatchObject([{ name: "execute_tool search", children: [{ name: "query" }] }]);
  });

  test("shows events of the call, with seconds, words and names instead of text", async () => {
    const recorder = new Recorder();
    const outcome = { status: "failure", execution: "unknown", transient: true, code: "transport_error" };
    const events = emitting(
      ["retry.scheduled", { attempt: 2, delayMs: 1500, outcome }],
      ["hedge.started", { attempt: 3 }],
      ["breaker.state", { key: '[null,"search"]', from: "closed", to: "open", at: 0 }],
      ["breaker.rejected", { key: "tenant-7", state: "open", code: "circuit_open" }],
      ["limit.wait", { key: "tenant-7", waitMs: 200 }],
      ["limit.rejected", { key: "tenant-7", code: "queue_full" }],
      ["idempotency.outcome", { outcome: "takeover", at: 0 }],
      ["saga.step", { saga: "order", id: "order-42", step: "charge", phase: "action" }],
      ["third.party", { secret: "hidden" }],
    );
    await call([otel(recorder.options), events], async () => OK);
    expect(recorder.trees()).toEqual([
      {
        name: "execute_tool search",
        kind: "INTERNAL",
        attributes: {
          ...EXECUTE,
          "mcp_tx.call.attempts": 1,
          "mcp_tx.idempotency.outcome": "takeover",
          "mcp_tx.saga.name": "order",
          "mcp_tx.saga.step": "charge",
          "mcp_tx.saga.phase": "action",
        },
        events: [
          {
            name: "mcp_tx.retry.scheduled",
            attributes: {
              "mcp_tx.attempt.number": 2,
              "mcp_tx.retry.delay": 1.5,
              "error.type": "transport_error",
            },
          },
          { name: "mcp_tx.hedge.started", attributes: { "mcp_tx.attempt.number": 3 } },
          {
            name: "mcp_tx.circuit_breaker.changed",
            attributes: {
              "mcp_tx.circuit_breaker.name": '[null,"search"]',
              "mcp_tx.circuit_breaker.state": "open",
              "mcp_tx.circuit_breaker.previous_state": "closed",
            },
          },
          {
            name: "mcp_tx.circuit_breaker.rejected",
            attributes: { "mcp_tx.circuit_breaker.name": "_OTHER", "mcp_tx.circuit_breaker.state": "open" },
          },
          { name: "mcp_tx.rate_limit.waited", attributes: { "mcp_tx.rate_limit.wait_duration": 0.2 } },
          { name: "mcp_tx.rate_limit.rejected", attributes: { "error.type": "queue_full" } },
        ],
      },
    ]);
  });

  test("says nothing any more about a call that is over", async () => {
    const recorder = new Recorder();
    let over: CallContext | undefined;
    await call([otel(recorder.options)], async (ctx) => {
      over = ctx;
      return OK;
    });
    over?.call.emit("hedge.started" as never, { tool: "search", attempt: 2 } as never);
    expect(recorder.trees()[0]?.events).toBeUndefined();
    expect(over?.call.observed).toBe(false);
  });

  test("is named _OTHER beyond the cap, and keeps the tool's name as an attribute", async () => {
    const recorder = new Recorder();
    const middleware = [otel({ ...recorder.options, maxNames: 1 })];
    for (const name of ["one", "two", "one"]) await call(middleware, async () => OK, name);
    expect(recorder.trees().map(({ name }) => name)).toEqual([
      "execute_tool one",
      "execute_tool _OTHER",
      "execute_tool one",
    ]);
    expect(recorder.spans()[1]?.attributes["gen_ai.tool.name"]).toBe("two");
    const points = (await recorder.metrics())["mcp_tx.call.duration"] ?? [];
    expect(points.map(({ attributes }) => attributes["gen_ai.tool.name"])).toEqual(["one", "_OTHER"]);
  });
});

describe("captured values", () => {
  const captured = { "gen_ai.tool.call.arguments": '{"q":"tides"}', "gen_ai.tool.call.result": JSON.stringify(OK) };
  const asked = { capture: { arguments: true, results: true } };
  async function attributesWith(options: OtelOptions) {
    const recorder = new Recorder();
    const handler = pipeline([otel({ ...recorder.options, ...options })], async () => OK);
    expect(await run(handler, { tool: "search", args: { q: "tides" } })).toEqual(OK);
    return recorder.spans()[0]?.attributes;
  }

  test("are there on request only", async () => {
    expect(await attributesWith({})).not.toHaveProperty("gen_ai.tool.call.arguments");
    expect(await attributesWith(asked)).toMatchObject(captured);
    const one = await attributesWith({ capture: { arguments: true } });
    expect(one).toHaveProperty("gen_ai.tool.call.arguments");
    expect(one).not.toHaveProperty("gen_ai.tool.call.result");
  });

  test("are what redact leaves of them", async () => {
    const attributes = await attributesWith({ ...asked, redact: (_value, { tool, kind }) => ({ tool, kind }) });
    expect(attributes).toMatchObject({
      "gen_ai.tool.call.arguments": '{"tool":"search","kind":"arguments"}',
      "gen_ai.tool.call.result": '{"tool":"search","kind":"result"}',
    });
  });

  test.each([
    () => {
      throw new Error("cannot redact");
    },
    () => undefined,
    () => 1n,
  ])("are left out where redact fails or hides them", async (redact) => {
    const attributes = await attributesWith({ ...asked, redact });
    expect(attributes).not.toHaveProperty("gen_ai.tool.call.arguments");
    expect(attributes).not.toHaveProperty("gen_ai.tool.call.result");
  });
});

describe("metrics", () => {
  test("measure the call on its own clock", async () => {
    const recorder = new Recorder();
    const time = virtualTime();
    const handler = pipeline(
      [otel({ ...recorder.options, attributes: { "network.transport": "pipe" } })],
      async (ctx) => {
        await ctx.call.runtime.sleep(250);
        return FAILED;
      },
    );
    await time.run(run(handler, { tool: "search" }, { runtime: time.runtime }));
    const attributes = { ...EXECUTE, "network.transport": "pipe", "error.type": "tool_error" };
    const boundaries = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300];
    expect(await recorder.metrics()).toEqual({
      "mcp_tx.call.duration": [{ attributes, value: { sum: 0.25, count: 1, boundaries } }],
      "mcp_tx.call.attempts": [{ attributes, value: { sum: 1, count: 1, boundaries: [0, 1, 2, 3, 4, 5, 10, 20] } }],
    });
  });

  test("count what calls say of retries, limits and keys", async () => {
    const recorder = new Recorder();
    const outcome = { status: "failure", execution: "unknown", transient: true, code: "attempt_timeout" };
    const events = emitting(
      ["retry.scheduled", { attempt: 2, delayMs: 1500, outcome }],
      ["limit.wait", { key: "a", waitMs: 200 }],
      ["limit.rejected", { key: "a", code: "rate_limited" }],
      ["idempotency.outcome", { outcome: "replayed", at: 0 }],
    );
    await call([otel(recorder.options), events], async () => OK);
    const tool = { "gen_ai.tool.name": "search" };
    expect(await recorder.metrics()).toMatchObject({
      "mcp_tx.retry.delay": [{ attributes: { ...tool, "error.type": "timeout" }, value: { sum: 1.5, count: 1 } }],
      "mcp_tx.rate_limit.wait_duration": [{ attributes: tool, value: { sum: 0.2, count: 1 } }],
      "mcp_tx.rate_limit.rejections": [{ attributes: { ...tool, "error.type": "rate_limited" }, value: 1 }],
      "mcp_tx.idempotency.requests": [{ attributes: { ...tool, "mcp_tx.idempotency.outcome": "replayed" }, value: 1 }],
    });
  });

  const opened = [
    { attributes: { "mcp_tx.circuit_breaker.state": "closed" }, value: 0 },
    { attributes: { "mcp_tx.circuit_breaker.state": "open" }, value: 1 },
  ];

  test("show a circuit's state and count its transitions, from the events of calls", async () => {
    const recorder = new Recorder();
    const events = emitting(["breaker.state", { key: "search", from: "closed", to: "open", at: 0 }]);
    await call([otel(recorder.options), events], async () => OK);
    expect(await recorder.metrics()).toMatchObject({
      "mcp_tx.circuit_breaker.state": opened,
      "mcp_tx.circuit_breaker.transitions": [
        {
          attributes: { "mcp_tx.circuit_breaker.name": "search", "mcp_tx.circuit_breaker.state": "open" },
          value: 1,
        },
      ],
    });
  });

  test("count a breaker's changes once where it is given, those by controls included", async () => {
    const recorder = new Recorder();
    let change: ((change: CircuitChange) => void) | undefined;
    const breaker = Object.assign((ctx: CallContext, next: (ctx: CallContext) => Promise<ToolResult>) => next(ctx), {
      onStateChange: (listener: (change: CircuitChange) => void) => {
        change = listener;
      },
    });
    const state = { key: '["files","search"]', tool: "search", from: "closed", to: "open", at: 0 };
    const middleware = otel({ ...recorder.options, circuitBreakers: [breaker] });
    await call([middleware, emitting(["breaker.state", state])], async () => OK);
    change?.(state);
    change?.({ key: "tenant-7", from: "closed", to: "isolated" });
    const metricPoints = (await recorder.metrics())["mcp_tx.circuit_breaker.transitions"];
    expect(metricPoints?.map(({ attributes, value }) => [attributes["mcp_tx.circuit_breaker.name"], value])).toEqual([
      ['["files","search"]', 1],
      ["_OTHER", 1],
    ]);
  });

  test.each([
    [(key: string) => key.toUpperCase(), "TENANT-7"],
    [
      () => {
        throw new Error("no name");
      },
      "_OTHER",
    ],
    [() => 7 as unknown as string, "_OTHER"],
  ])("name circuits as circuitName says", async (circuitName, expected) => {
    const recorder = new Recorder();
    const events = emitting(["breaker.state", { key: "tenant-7", from: "closed", to: "open", at: 0 }]);
    await call([otel({ ...recorder.options, circuitName }), events], async () => OK);
    const [point] = (await recorder.metrics())["mcp_tx.circuit_breaker.transitions"] ?? [];
    expect(point?.attributes["mcp_tx.circuit_breaker.name"]).toBe(expected);
  });

  test("show what is left of a retry budget, on the clock of the calls", async () => {
    const recorder = new Recorder();
    const time = virtualTime({ now: 5000 });
    const retryBudget = { remaining: (now: number) => now / 1000 };
    const handler = pipeline([otel({ ...recorder.options, retryBudget })], async () => OK);
    await run(handler, { tool: "search" }, { runtime: time.runtime });
    expect((await recorder.metrics())["mcp_tx.retry_budget.remaining"]).toEqual([{ attributes: {}, value: 5 }]);
  });

  test("are counted once under two middlewares that listen", async () => {
    const recorder = new Recorder();
    const events = emitting(["idempotency.outcome", { outcome: "miss", at: 0 }]);
    await call([otel(recorder.options), otel(recorder.options), events], async () => OK);
    expect((await recorder.metrics())["mcp_tx.idempotency.requests"]).toMatchObject([{ value: 1 }]);
  });
});

describe("providers", () => {
  test("that are registered after the middleware was made and used are found", async () => {
    const recorder = new Recorder();
    const middleware = [otel(), otelAttempt()];
    await call(middleware, async () => OK);
    trace.setGlobalTracerProvider(recorder.options.tracerProvider);
    metrics.setGlobalMeterProvider(recorder.options.meterProvider);
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    let meta: CallContext["meta"] = {};
    await call(middleware, async (ctx) => {
      meta = ctx.meta;
      return OK;
    });
    expect(recorder.trees()).toMatchObject([
      { name: "execute_tool search", children: [{ name: "tools/call search" }] },
    ]);
    expect(Object.keys(await recorder.metrics())).toContain("mcp_tx.call.duration");
    expect(meta).toHaveProperty("traceparent");
  });

  test("that are registered anew take over from the old ones", async () => {
    const [first, second] = [new Recorder(), new Recorder()];
    const middleware = [otel()];
    for (const { options } of [first, second]) {
      trace.disable();
      metrics.disable();
      trace.setGlobalTracerProvider(options.tracerProvider);
      metrics.setGlobalMeterProvider(options.meterProvider);
      await call(middleware, async () => OK);
    }
    expect([first.started, second.started]).toEqual([1, 1]);
    expect((await second.metrics())["mcp_tx.call.duration"]).toMatchObject([{ value: { count: 1 } }]);
  });

  test("are left alone in the modes propagation-only and off", async () => {
    for (const mode of ["propagation-only", "off"] as const) {
      const recorder = new Recorder();
      await call([otel({ ...recorder.options, mode })], async () => OK);
      expect(recorder.started).toBe(0);
      expect(await recorder.metrics()).toEqual({});
    }
  });
});

describe("whatever telemetry throws", () => {
  /** Throws whatever is called, at every depth. */
  function hostile(depth: number): never {
    const throwing = (): never => {
      throw new Error("telemetry failed");
    };
    const give = depth === 0 ? throwing : () => hostile(depth - 1);
    return new Proxy(give, {
      get: (_target, name) => (name === "then" ? undefined : give),
      apply: () => give(),
    }) as never;
  }

  test.each([0, 1, 2, 3])("changes no call (depth %i)", async (depth) => {
    const options = {
      tracerProvider: { getTracer: hostile(depth) },
      meterProvider: { getMeter: hostile(depth) },
      propagator: { inject: hostile(0), extract: hostile(0), fields: hostile(0) },
      activeContext: true,
      capture: { arguments: true, results: true },
      redact: hostile(0),
      circuitName: hostile(0),
      retryBudget: { remaining: hostile(0) },
    };
    const { circuitName, retryBudget, ...shared } = options;
    const middleware = [
      otel(options),
      emitting(["breaker.state", { key: "a", from: "closed", to: "open" }], ["retry.scheduled", { delayMs: 1 }]),
      otelAttempt(shared),
    ];
    context.setGlobalContextManager({
      active: hostile(0),
      with: hostile(0),
      bind: hostile(0),
      enable: hostile(0),
      disable: () => context as never,
    });
    let runs = 0;
    const ended = await call(middleware, async () => {
      runs += 1;
      return OK;
    });
    expect([ended, runs]).toEqual([OK, 1]);
    const error = new Error("the tool failed");
    await expect(call(middleware, () => Promise.reject(error))).rejects.toBe(error);
  });

  test("in an exporter, a processor or a sampler changes no call", async () => {
    const { BasicTracerProvider } = await import("@opentelemetry/sdk-trace-base");
    const fail = (): never => {
      throw new Error("telemetry failed");
    };
    const processor = { onStart: fail, onEnd: fail, forceFlush: fail, shutdown: fail };
    for (const tracerProvider of [
      new BasicTracerProvider({ spanProcessors: [processor] }),
      new BasicTracerProvider({ sampler: { shouldSample: fail } }),
    ]) {
      const middleware = [otel({ tracerProvider }), otelAttempt({ tracerProvider })];
      expect(await call(middleware, async () => OK)).toEqual(OK);
      expect(await call(middleware, async () => FAILED)).toEqual(FAILED);
    }
  });

  test("in a context manager that runs the call and throws then does not run it twice", async () => {
    const recorder = new Recorder();
    let runs = 0;
    context.setGlobalContextManager({
      active: () => ROOT_CONTEXT,
      with: (_context, work, _this, ...rest) => {
        work(...rest);
        throw new Error("telemetry failed");
      },
      bind: (_context, target) => target,
      enable: () => context as never,
      disable: () => context as never,
    });
    await call([otel({ ...recorder.options, activeContext: true })], async () => {
      runs += 1;
      return OK;
    });
    expect(runs).toBe(1);
  });
});

test("no key, argument, result, error text, meta or circuit key is in any span, event or metric", async () => {
  const secret = fc.string({ minLength: 1, maxLength: 8, unit: "grapheme-ascii" }).map((text) => `SECRET${text}TERCES`);
  const bag = fc.dictionary(secret, fc.oneof(secret, fc.array(secret), fc.dictionary(secret, secret)));
  const ending = fc.oneof(
    fc.record({ content: fc.array(fc.record({ type: fc.constant("text"), text: secret })), structuredContent: bag }),
    fc.record({
      content: fc.array(fc.record({ type: fc.constant("text"), text: secret })),
      isError: fc.constant(true),
    }),
    secret.map((message) => Object.assign(new Error(message), { code: message, data: message })),
    secret,
  );
  const word = fc.oneof(secret, fc.constant(undefined), fc.integer());
  const detail = fc.record({
    key: secret,
    outcome: fc.oneof(word, fc.record({ code: secret, status: secret })),
    code: secret,
    state: word,
    from: secret,
    to: secret,
    attempt: fc.oneof(secret, fc.integer()),
    delayMs: word,
    waitMs: word,
    id: secret,
    phase: secret,
  });
  const name = fc.constantFrom(
    "retry.scheduled",
    "hedge.started",
    "breaker.state",
    "breaker.rejected",
    "limit.wait",
    "limit.rejected",
    "idempotency.outcome",
    "session.reconnect",
    "another.event",
  );
  const claiming: Middleware = Object.assign(((ctx, next) => next(ctx)) satisfies Middleware, {
    optionKeys: ["idempotencyKey"],
  });
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        args: bag,
        meta: bag,
        key: secret,
        transaction: secret,
        ending,
        events: fc.array(fc.tuple(name, detail)),
      }),
      async ({ args, meta, key, transaction, ending: end, events }) => {
        const recorder = new Recorder();
        const handler = pipeline(
          [otel(recorder.options), claiming, emitting(...events), otelAttempt(recorder.options)],
          async () => {
            if (typeof end === "string" || end instanceof Error) throw end;
            return end as ToolResult;
          },
        );
        const options = { idempotencyKey: key, transactionId: transaction };
        const classifiers = [() => ({ code: key as never })];
        await run(handler, { tool: "search", args, meta, options, side: "client" }, { classifiers }).catch(
          () => undefined,
        );
        expect(recorder.started).toBe(2);
        expect(await recorder.everything()).not.toContain("SECRET");
      },
    ),
    { numRuns: 150 },
  );
});

describe("options", () => {
  test.each([
    [{ mode: "on" }, "otel: mode"],
    [{ tracerProvider: {} }, "otel: tracerProvider"],
    [{ meterProvider: 7 }, "otel: meterProvider"],
    [{ propagator: { inject() {} } }, "otel: propagator"],
    [{ attributes: [] }, "otel: attributes"],
    [{ attributes: { a: {} } }, 'otel: attributes: "a"'],
    [{ capture: true }, "otel: capture"],
    [{ capture: { args: true } }, 'otel: capture: unknown option "args"'],
    [{ redact: "all" }, "otel: redact"],
    [{ maxNames: -1 }, "otel: maxNames"],
    [{ activeContext: 1 }, "otel: activeContext"],
    [{ circuitBreakers: {} }, "otel: circuitBreakers"],
    [{ circuitBreakers: [{}] }, "otel: circuitBreakers[0]"],
    [{ circuitName: "x" }, "otel: circuitName"],
    [{ retryBudget: {} }, "otel: retryBudget"],
    [{ tracer: {} }, 'otel: unknown option "tracer"'],
  ])("that are wrong throw at construction: %o", (options, message) => {
    expect(() => otel(options as OtelOptions & OtelSourceOptions)).toThrow(message);
  });
});

test("applies to some tools under when()", async () => {
  const recorder = new Recorder();
  const middleware = [when("search", otel(recorder.options))];
  await call(middleware, async () => OK);
  await call(middleware, async () => OK, "other");
  expect(recorder.started).toBe(1);
});

import {
  type CallContext,
  type Handler,
  type Middleware,
  pipeline,
  RateLimitError,
  run,
  type ToolResult,
  withGate,
  withInnermost,
} from "@mcp-tx/core";
import { middlewareContract, virtualTime } from "@mcp-tx/core/testing";
import { context, propagation, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { afterEach, describe, expect, test } from "vitest";
import type { OtelOptions } from "./options.js";
import { otel } from "./otel.js";
import { otelAttempt } from "./otel-attempt.js";
import { Recorder } from "./telemetry.fixture.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const REQUEST = {
  "mcp.method.name": "tools/call",
  "gen_ai.operation.name": "execute_tool",
  "gen_ai.tool.name": "search",
};
const CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** Repeats until it gets a result, without a wait. */
const repeating: Middleware = async (ctx, next) => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await next({ ...ctx, attempt });
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
};

function call(middleware: readonly Middleware[], tool: Handler, meta: CallContext["meta"] = {}) {
  return run(pipeline(middleware, tool), { tool: "search", side: "client", meta });
}

/** Fails as often as said, and keeps the metadata of every attempt. */
function failing(times: number): Handler & { readonly metas: CallContext["meta"][] } {
  const metas: CallContext["meta"][] = [];
  const tool: Handler = async ({ meta }) => {
    metas.push(meta);
    if (metas.length <= times) throw new Error("the tool failed");
    return OK;
  };
  return Object.assign(tool, { metas });
}

afterEach(() => {
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
  for (const { name, run: prove } of middlewareContract(() => otelAttempt(options()))) test(`${name} (${kind})`, prove);
}

test("has the seat of the attempt's telemetry", () => expect(otelAttempt().seat).toBe("attempt-telemetry"));

describe("an attempt's span", () => {
  test("is one CLIENT span each, below the call's, resends numbered, a recovered failure not marking the call", async () => {
    const recorder = new Recorder();
    await call([otel(recorder.options), repeating, otelAttempt(recorder.options)], failing(2));
    const failed = { name: "tools/call search", kind: "CLIENT", status: "ERROR" };
    const attributes = { ...REQUEST, "error.type": "tool_error" };
    expect(recorder.trees()).toEqual([
      {
        name: "execute_tool search",
        kind: "INTERNAL",
        attributes: {
          "gen_ai.operation.name": "execute_tool",
          "gen_ai.tool.name": "search",
          "mcp_tx.call.attempts": 3,
        },
        children: [
          { ...failed, attributes },
          { ...failed, attributes: { ...attributes, "mcp_tx.attempt.resend_count": 1 } },
          {
            name: "tools/call search",
            kind: "CLIENT",
            attributes: { ...REQUEST, "mcp_tx.attempt.resend_count": 2 },
          },
        ],
      },
    ]);
  });

  test("is the same wherever the middleware stands", async () => {
    const recorder = new Recorder();
    await call([otelAttempt(recorder.options), repeating], failing(1));
    expect(recorder.trees().map(({ kind, status }) => [kind, status])).toEqual([
      ["CLIENT", "ERROR"],
      ["CLIENT", undefined],
    ]);
  });

  test("is not there for a refusal, neither at once nor by a gate at the last moment", async () => {
    const recorder = new Recorder();
    const refuse = (): never => {
      throw new RateLimitError("search");
    };
    const refusing: Middleware = () => Promise.reject(new RateLimitError("search"));
    const gated: Middleware = (ctx, next) => next(withGate(ctx, refuse));
    for (const middleware of [refusing, gated]) {
      await expect(call([otelAttempt(recorder.options), middleware], failing(0))).rejects.toThrow(RateLimitError);
    }
    expect(recorder.started).toBe(0);
    expect((await recorder.metrics())["mcp.client.operation.duration"]).toBeUndefined();
  });

  test("is not there for an answer from a record", async () => {
    const recorder = new Recorder();
    await call([otelAttempt(recorder.options), async () => OK], failing(0));
    expect(recorder.started).toBe(0);
  });

  test("is not there for a call that was aborted or whose time was over before", async () => {
    const recorder = new Recorder();
    const time = virtualTime();
    const handler = pipeline(
      [
        otelAttempt(recorder.options),
        async (ctx, next) => {
          await ctx.call.runtime.sleep(100);
          return next(ctx);
        },
      ],
      failing(0),
    );
    const late = run(
      handler,
      { tool: "search", side: "client", options: { timeoutMs: 50 } },
      { runtime: time.runtime },
    );
    await expect(time.run(late)).rejects.toThrow("deadline");
    const aborted = run(handler, { tool: "search", options: { signal: AbortSignal.abort(new Error("gone")) } });
    await expect(aborted).rejects.toThrow("gone");
    expect(recorder.started).toBe(0);
  });

  test("begins after all waits, also those right before the dispatch, and asks a gate that closed meanwhile", async () => {
    const recorder = new Recorder();
    const time = virtualTime();
    const order: string[] = [];
    let isOpen = true;
    const waiting: Middleware = (ctx, next) =>
      next(
        withInnermost(ctx, async (inner, dispatch) => {
          await ctx.call.runtime.sleep(100);
          order.push(`waited, ${recorder.started} spans`);
          return dispatch(inner);
        }),
      );
    const gated: Middleware = (ctx, next) =>
      next(
        withGate(ctx, () => {
          if (!isOpen) throw new RateLimitError("search");
        }),
      );
    const handler = pipeline([waiting, otelAttempt(recorder.options), gated], async () => {
      order.push(`dispatched, ${recorder.started} spans`);
      return OK;
    });
    const start = () => run(handler, { tool: "search", side: "client" }, { runtime: time.runtime });
    await time.run(start());
    expect(order).toEqual(["waited, 0 spans", "dispatched, 1 spans"]);
    const refused = start();
    isOpen = false;
    await expect(time.run(refused)).rejects.toThrow(RateLimitError);
    expect(recorder.started).toBe(1);
  });

  test("is INTERNAL and no request for a function that runs here", async () => {
    const recorder = new Recorder();
    await run(pipeline(otelAttempt(recorder.options), failing(0)), { tool: "search", side: "local" });
    expect(recorder.trees()).toEqual([
      {
        name: "execute_tool search",
        kind: "INTERNAL",
        attributes: { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search" },
      },
    ]);
    expect(await recorder.metrics()).toEqual({});
  });

  test("says the session, and the code of an error answer but no other number", async () => {
    const recorder = new Recorder();
    const outcomes = [
      { code: -32_602, outcome: "protocol_error" },
      { code: 400, outcome: "protocol_error" },
      { code: -32_001, outcome: "attempt_timeout" },
    ] as const;
    for (const { code, outcome } of outcomes) {
      const handler = pipeline(otelAttempt(recorder.options), () =>
        Promise.reject(Object.assign(new Error("answer"), { code })),
      );
      const wrap = { peer: { sessionId: "session-1" }, classifiers: [() => ({ code: outcome })] };
      await run(handler, { tool: "search", side: "client" }, wrap).catch(() => undefined);
    }
    const spans = recorder.spans().map(({ attributes }) => attributes);
    expect(spans.map((attributes) => attributes["rpc.response.status_code"])).toEqual(["-32602", undefined, undefined]);
    expect(spans.map((attributes) => attributes["error.type"])).toEqual([
      "protocol_error",
      "protocol_error",
      "timeout",
    ]);
    expect(spans[0]?.["mcp.session.id"]).toBe("session-1");
    const points = (await recorder.metrics())["mcp.client.operation.duration"] ?? [];
    expect(points[0]?.attributes).toEqual({
      ...REQUEST,
      "error.type": "protocol_error",
      "rpc.response.status_code": "-32602",
    });
  });
});

describe("the context", () => {
  test("goes into _meta for each attempt anew, beside what is there", async () => {
    const recorder = new Recorder();
    const tool = failing(1);
    const meta = { progressToken: 7 };
    await call([otelAttempt(recorder.options), repeating], tool, meta);
    const expected = recorder.spans().map((span) => {
      const { traceId, spanId } = span.spanContext();
      return { progressToken: 7, traceparent: `00-${traceId}-${spanId}-01` };
    });
    expect(tool.metas).toEqual(expected);
    expect(meta).toEqual({ progressToken: 7 });
  });

  test("carries on what the caller put there: its trace, its state, its baggage", async () => {
    const recorder = new Recorder();
    const tool = failing(0);
    await call([otelAttempt(recorder.options)], tool, { traceparent: CALLER, tracestate: "a=b", baggage: "k=v" });
    expect(tool.metas[0]).toMatchObject({ tracestate: "a=b", baggage: "k=v" });
    expect(tool.metas[0]?.["traceparent"]).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)/);
    expect(recorder.spans()[0]?.parentSpanContext?.spanId).toBe("b7ad6b7169203331");
  });

  test("is the ambient one in the mode propagation-only, without spans", async () => {
    const recorder = new Recorder();
    const tool = failing(0);
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const around = trace.setSpanContext(ROOT_CONTEXT, {
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "b7ad6b7169203331",
      traceFlags: 1,
    });
    const middleware = otelAttempt({ ...recorder.options, mode: "propagation-only" });
    await context.with(around, () => call([middleware], tool));
    expect(tool.metas).toEqual([{ traceparent: CALLER }]);
    expect(recorder.started).toBe(0);
  });

  test.each([{ mode: "off" as const }, { propagator: undefined }])(
    "leaves _meta as it is in the mode off, or where no propagator is configured",
    async (options) => {
      const tool = failing(0);
      const meta = { progressToken: 7 };
      await call([otelAttempt({ ...new Recorder().options, ...options })], tool, meta);
      expect(tool.metas[0]).toBe(meta);
    },
  );

  test("is active while the attempt runs, on request", async () => {
    const recorder = new Recorder();
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    let seen: string | undefined;
    await call([otelAttempt({ ...recorder.options, activeContext: true })], async () => {
      await Promise.resolve();
      seen = trace.getSpanContext(context.active())?.spanId;
      return OK;
    });
    expect(seen).toBe(recorder.spans()[0]?.spanContext().spanId);
  });
});

describe("metrics", () => {
  test("measure each attempt without the waits before it", async () => {
    const recorder = new Recorder();
    const time = virtualTime();
    const waiting: Middleware = async (ctx, next) => {
      await ctx.call.runtime.sleep(5000);
      return next(ctx);
    };
    const handler = pipeline([otelAttempt(recorder.options), waiting], async (ctx) => {
      await ctx.call.runtime.sleep(40);
      return OK;
    });
    await time.run(run(handler, { tool: "search", side: "client" }, { runtime: time.runtime }));
    expect((await recorder.metrics())["mcp.client.operation.duration"]).toEqual([
      {
        attributes: REQUEST,
        value: {
          sum: 0.04,
          count: 1,
          boundaries: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300],
        },
      },
    ]);
  });

  test("count those that wait to be sent", async () => {
    const recorder = new Recorder();
    const time = virtualTime();
    const waiting: Middleware = async (ctx, next) => {
      await ctx.call.runtime.sleep(100);
      return next(ctx);
    };
    const handler = pipeline([otelAttempt(recorder.options), waiting], async (ctx) => {
      await ctx.call.runtime.sleep(100);
      return OK;
    });
    const queued = async () => (await recorder.metrics())["mcp_tx.rate_limit.queue"]?.[0]?.value;
    const calls = [1, 2].map(() => run(handler, { tool: "search", side: "client" }, { runtime: time.runtime }));
    expect(await queued()).toBe(2);
    await time.advance(150);
    expect(await queued()).toBe(0);
    await time.run(Promise.all(calls));
    expect(await queued()).toBe(0);
  });

  test("count one that is refused in the queue as gone", async () => {
    const recorder = new Recorder();
    const refusing: Middleware = async () => {
      throw new RateLimitError("search");
    };
    await call([otelAttempt(recorder.options), refusing], failing(0)).catch(() => undefined);
    expect((await recorder.metrics())["mcp_tx.rate_limit.queue"]).toMatchObject([{ value: 0 }]);
  });
});

test("takes a next that throws at once", async () => {
  const recorder = new Recorder();
  const error = new Error("at once");
  const throwing: Middleware = () => {
    throw error;
  };
  await expect(call([otelAttempt(recorder.options), throwing], failing(0))).rejects.toBe(error);
});

test("throws bad options at construction", () => {
  expect(() => otelAttempt({ retryBudget: {} } as OtelOptions)).toThrow('otelAttempt: unknown option "retryBudget"');
});

import { type CallContext, type Handler, type Middleware, pipeline, run, type ToolResult } from "@mcp-tx/core";
import { middlewareContract } from "@mcp-tx/core/testing";
import { context, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { afterEach, describe, expect, test } from "vitest";
import type { OtelOptions } from "./options.js";
import { otelServer } from "./otel-server.js";
import { Recorder } from "./telemetry.fixture.js";
import { contextOf } from "./telemetry.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const CLIENT = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
const AMBIENT = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7", traceFlags: 1 };
const TRACEPARENT = `00-${CLIENT.traceId}-${CLIENT.spanId}-01`;
const REQUEST = {
  "mcp.method.name": "tools/call",
  "gen_ai.operation.name": "execute_tool",
  "gen_ai.tool.name": "search",
};

function serve(middleware: readonly Middleware[], meta: CallContext["meta"] = {}, tool: Handler = async () => OK) {
  const peer = { sessionId: "session-1" };
  return run(pipeline(middleware, tool), { tool: "search", side: "server", meta }, { peer });
}

/** Runs with an ambient span, as one of an HTTP instrumentation is. */
function within<T>(work: () => T): T {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return context.with(trace.setSpanContext(ROOT_CONTEXT, AMBIENT), work);
}

afterEach(() => context.disable());

for (const [kind, options] of Object.entries({
  "without an SDK": () => ({}),
  "with an SDK": () => new Recorder().options,
  "propagation only": () => ({ ...new Recorder().options, mode: "propagation-only" as const, activeContext: true }),
  off: () => ({ ...new Recorder().options, mode: "off" as const }),
})) {
  for (const { name, run: prove } of middlewareContract(() => otelServer(options()))) test(`${name} (${kind})`, prove);
}

test("has the seat of the call's telemetry", () => expect(otelServer().seat).toBe("call-telemetry"));

describe("the request's span", () => {
  test("is one SERVER span below the client's", async () => {
    const recorder = new Recorder();
    await serve([otelServer(recorder.options)], { traceparent: TRACEPARENT });
    expect(recorder.trees()).toEqual([
      { name: "tools/call search", kind: "SERVER", attributes: { ...REQUEST, "mcp.session.id": "session-1" } },
    ]);
    expect(recorder.spans()[0]?.parentSpanContext).toMatchObject({ ...CLIENT, isRemote: true });
    expect(recorder.spans()[0]?.links).toEqual([]);
  });

  test("is linked to the ambient span when the client's is the parent", async () => {
    const recorder = new Recorder();
    await within(() => serve([otelServer(recorder.options)], { traceparent: TRACEPARENT }));
    const [span] = recorder.spans();
    expect(span?.parentSpanContext).toMatchObject(CLIENT);
    expect(span?.links).toMatchObject([{ context: AMBIENT }]);
  });

  test.each([
    {},
    { traceparent: "nonsense" },
    { traceparent: 7 },
    { traceparent: { toString: () => TRACEPARENT } },
    Object.create({ traceparent: TRACEPARENT }),
  ])("stands below the ambient span when _meta holds no context: %o", async (meta) => {
    const recorder = new Recorder();
    await within(() => serve([otelServer(recorder.options)], meta));
    const [span] = recorder.spans();
    expect(span?.parentSpanContext).toMatchObject({ traceId: AMBIENT.traceId, spanId: AMBIENT.spanId });
    expect(span?.links).toEqual([]);
  });

  test("says the protocol's version of the stateless era", async () => {
    const recorder = new Recorder();
    await serve([otelServer(recorder.options)], { "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    expect(recorder.spans()[0]?.attributes["mcp.protocol.version"]).toBe("2026-07-28");
  });

  test("says what an error answer's code was, and measures it", async () => {
    const recorder = new Recorder();
    const error = Object.assign(new Error("no such tool"), { code: -32_602 });
    await expect(serve([otelServer(recorder.options)], {}, () => Promise.reject(error))).rejects.toBe(error);
    const ending = { "error.type": "tool_error", "rpc.response.status_code": "-32602" };
    expect(recorder.trees()).toMatchObject([{ status: "ERROR", attributes: ending }]);
    const [point] = (await recorder.metrics())["mcp.server.operation.duration"] ?? [];
    expect(point?.attributes).toEqual({ ...REQUEST, ...ending });
  });

  test("shows what an idempotency store made of the request", async () => {
    const recorder = new Recorder();
    const replaying: Middleware = async (ctx) => {
      ctx.call.emit("idempotency.outcome" as never, { tool: ctx.tool, outcome: "replayed", at: 0 } as never);
      return OK;
    };
    await serve([otelServer(recorder.options), replaying]);
    expect(recorder.spans()[0]?.attributes["mcp_tx.idempotency.outcome"]).toBe("replayed");
    expect((await recorder.metrics())["mcp_tx.idempotency.requests"]).toMatchObject([{ value: 1 }]);
  });

  test("is the handler's parent, by the call or, on request, as the active one", async () => {
    const recorder = new Recorder();
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const seen: unknown[] = [];
    const tool: Handler = async (ctx) => {
      const own = contextOf(ctx.call);
      seen.push([own && trace.getSpanContext(own)?.spanId, trace.getSpanContext(context.active())?.spanId]);
      return OK;
    };
    await serve([otelServer(recorder.options)], {}, tool);
    await serve([otelServer({ ...recorder.options, activeContext: true })], {}, tool);
    const [first, second] = recorder.spans().map((span) => span.spanContext().spanId);
    expect(seen).toEqual([
      [first, undefined],
      [second, second],
    ]);
  });
});

test("in the mode propagation-only the handler runs in the client's context, without spans", async () => {
  const recorder = new Recorder();
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  let seen: string | undefined;
  const middleware = otelServer({ ...recorder.options, mode: "propagation-only", activeContext: true });
  await serve([middleware], { traceparent: TRACEPARENT }, async () => {
    seen = trace.getSpanContext(context.active())?.spanId;
    return OK;
  });
  expect(seen).toBe(CLIENT.spanId);
  expect(recorder.started).toBe(0);
});

test("throws bad options at construction", () => {
  expect(() => otelServer({ mode: "on" } as unknown as OtelOptions)).toThrow("otelServer: mode");
});

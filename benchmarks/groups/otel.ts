import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import { otel, otelAttempt } from "@mcp-tx/otel";
import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { BasicTracerProvider, type SpanProcessor } from "@opentelemetry/sdk-trace-base";
import { readyContext } from "../harness/context.js";
import type { Group, Task } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });

/** Takes the spans and keeps none, so that the cost of the spans themselves is compared. */
const discarding: SpanProcessor = {
  onStart: () => undefined,
  onEnd: () => undefined,
  forceFlush: async () => undefined,
  shutdown: async () => undefined,
};

/** Writes what the W3C propagator writes. */
const propagator: TextMapPropagator = {
  inject(active, carrier, setter) {
    const span = trace.getSpanContext(active);
    if (span !== undefined) setter.set(carrier, "traceparent", `00-${span.traceId}-${span.spanId}-01`);
  },
  extract: (active) => active,
  fields: () => ["traceparent"],
};

/** What wrapping a call costs at least. */
function wrapped(ctx: CallContext): Task {
  const next: Handler = async () => RESULT;
  const wrapper: Handler = async (inner) => await next(inner);
  return () => wrapper(ctx);
}

function withoutSdk(ctx: CallContext): Task {
  const handler = pipeline([otel(), otelAttempt()], async () => RESULT);
  return () => handler(ctx);
}

function fail(span: Span): void {
  span.setAttribute("error.type", "tool_error");
  span.setStatus({ code: SpanStatusCode.ERROR });
}

/** The two spans of a call, as one would write them by hand. */
function byHand(tracer: Tracer): Handler {
  const setter = {
    set(carrier: Record<string, unknown>, key: string, value: string) {
      carrier[key] = value;
    },
  };

  async function spanned(span: Span, work: () => Promise<ToolResult>): Promise<ToolResult> {
    try {
      const result = await work();
      if (result.isError === true) fail(span);
      return result;
    } catch (error) {
      fail(span);
      throw error;
    } finally {
      span.end();
    }
  }

  function attempt(ctx: CallContext, parent: Context): Promise<ToolResult> {
    const attributes = {
      "mcp.method.name": "tools/call",
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": ctx.tool,
    };
    const span = tracer.startSpan(`tools/call ${ctx.tool}`, { kind: SpanKind.CLIENT, attributes }, parent);
    const carrier: Record<string, unknown> = {};
    propagator.inject(trace.setSpan(parent, span), carrier, setter);
    const inner = { ...ctx, meta: { ...ctx.meta, ...carrier } };
    return spanned(span, () => tool(inner));
  }

  const tool: Handler = async () => RESULT;
  // The calls of the benchmark are one call made again and again: ours finds the span of the last time to stand below.
  const around = trace.setSpan(ROOT_CONTEXT, tracer.startSpan("around"));
  return (ctx) => {
    const attributes = { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": ctx.tool };
    const span = tracer.startSpan(`execute_tool ${ctx.tool}`, { kind: SpanKind.INTERNAL, attributes }, around);
    const within = trace.setSpan(around, span);
    return spanned(span, async () => {
      const result = await attempt(ctx, within);
      span.setAttribute("mcp_tx.call.attempts", 1);
      return result;
    });
  };
}

export default async (): Promise<readonly Group[]> => {
  const ctx = await readyContext();
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [discarding] });
  const request: CallContext = { ...ctx, side: "client" };
  const hand = byHand(tracerProvider.getTracer("by hand"));
  const ours = pipeline(
    [otel({ tracerProvider, propagator }), otelAttempt({ tracerProvider, propagator })],
    async () => RESULT,
  );
  return [
    {
      title: "otel without an SDK registered",
      measure: "time",
      contenders: { "async wrapper": wrapped(ctx), "otel() + otelAttempt()": withoutSdk(ctx) },
      reference: "async wrapper",
      targets: [{ ours: "otel() + otelAttempt()", peer: "async wrapper", atMost: 1.3 }],
    },
    {
      title: "otel with an SDK: a call's two spans",
      measure: "time",
      contenders: {
        "by hand": () => hand(request),
        "otel() + otelAttempt()": () => ours(request),
      },
      reference: "by hand",
      targets: [{ ours: "otel() + otelAttempt()", peer: "by hand", atMost: 1.15 }],
    },
  ];
};

// Runs in a folder with one line of the OpenTelemetry SDK installed; prints span trees and the points of metrics as JSON.
import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { pipeline, run } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { idempotency } from "@mcp-tx/idempotency";
import { otel, otelAttempt, otelServer } from "@mcp-tx/otel";
import { rateLimit } from "@mcp-tx/rate-limit";
import { retry } from "@mcp-tx/retry";
import { metrics, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";

const [line] = process.argv.slice(2);
const sdk = await import(line === "2" ? "@opentelemetry/sdk-trace-base" : "@opentelemetry/sdk-trace");
const Provider = line === "2" ? sdk.BasicTracerProvider : sdk.TracerProvider;

class Reader extends MetricReader {
  async onForceFlush() {}
  async onShutdown() {}
}

const spans = [];
const processor = {
  onStart: () => undefined,
  onEnd: (span) => spans.push(span),
  forceFlush: async () => undefined,
  shutdown: async () => undefined,
};
const reader = new Reader();

const middleware = [
  otel(),
  idempotency(),
  retry({ maxAttempts: 3, jitter: "none" }),
  otelAttempt(),
  circuitBreaker({ consecutiveFailures: 2 }),
  rateLimit({ rate: 5, burst: 1 }),
];
const lost = { execution: "not-executed", transient: true, code: "transport_error" };
const classifiers = [({ error }) => (error === undefined ? undefined : lost)];
const metas = [];
const time = virtualTime();

function caller(failures) {
  let left = failures;
  const handler = pipeline(middleware, async (ctx) => {
    metas.push(ctx.meta);
    left -= 1;
    if (left >= 0) throw new Error("refused");
    return { content: [] };
  });
  return (options) => {
    const call = run(handler, { tool: "search", side: "client", options }, { runtime: time.runtime, classifiers });
    return time.run(call.catch(() => undefined));
  };
}

// Made and used before anything is registered: both lines must be found later.
await caller(0)();
trace.setGlobalTracerProvider(new Provider({ spanProcessors: [processor] }));
metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
propagation.setGlobalPropagator(new W3CTraceContextPropagator());
metas.length = 0;

const recovering = caller(1);
await recovering({ idempotencyKey: "order-42" });
await recovering({ idempotencyKey: "order-42" });
await caller(4)();
const server = pipeline([otelServer()], async () => ({ content: [], isError: true }));
await run(server, { tool: "search", side: "server", meta: metas[0] });

function treeOf(span) {
  const { traceId, spanId } = span.spanContext();
  const below = spans.filter((other) => other.parentSpanContext?.spanId === spanId);
  return {
    name: span.name,
    kind: SpanKind[span.kind],
    status: SpanStatusCode[span.status.code],
    attributes: Object.entries(span.attributes).sort(),
    events: span.events.map(({ name, attributes }) => [name, Object.entries(attributes ?? {}).sort()]),
    isOneTrace: below.every((other) => other.spanContext().traceId === traceId),
    children: below.map(treeOf),
  };
}

const ids = spans.map((span) => span.spanContext().spanId);
const { resourceMetrics } = await reader.collect();
const points = resourceMetrics.scopeMetrics
  .flatMap((scope) => scope.metrics)
  .map(({ descriptor, dataPoints }) => [
    descriptor.name,
    descriptor.unit,
    dataPoints.map(({ attributes, value }) => [
      Object.entries(attributes).sort(),
      typeof value === "number" ? value : [value.count, value.buckets.boundaries],
    ]),
  ]);
const trees = spans.filter((span) => !ids.includes(span.parentSpanContext?.spanId)).map(treeOf);
process.stdout.write(`${JSON.stringify({ trees, points, injected: metas.every((meta) => "traceparent" in meta) })}\n`);

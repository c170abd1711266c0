import { fileURLToPath } from "node:url";
import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  type CallOptions,
  type Classifier,
  type Handler,
  type Middleware,
  type Outcome,
  pipeline,
  run,
  type ToolResult,
  wrapClient,
  wrapServer,
} from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { idempotency } from "@mcp-tx/idempotency";
import { otel, otelAttempt, otelServer } from "@mcp-tx/otel";
import { rateLimit } from "@mcp-tx/rate-limit";
import { retry } from "@mcp-tx/retry";
import { StdioClientTransport as StdioV2 } from "@modelcontextprotocol/client/stdio";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { describe, expect, onTestFinished, test } from "vitest";
import { attachInMemory, PLACES } from "./fixtures/attach.js";
import { LINES, type SdkTransport } from "./fixtures/lines.js";
import { collector } from "./fixtures/otel-collector.js";
import { prometheusText } from "./fixtures/otel-prometheus.js";
import { recorder } from "./fixtures/otel-recorder.js";
import { registerTools } from "./fixtures/tools.mjs";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const CALL = { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search" };
const REQUEST = { ...CALL, "mcp.method.name": "tools/call" };

/** What a client knows of a connection that was refused. */
class Refused extends Error {
  readonly outcome: Partial<Outcome> = { execution: "not-executed", transient: true, code: "transport_error" };
}
const classifiers: readonly Classifier[] = [({ error }) => (error instanceof Refused ? error.outcome : undefined)];

function failing(times: number): Handler {
  let left = times;
  return async () => {
    left -= 1;
    if (left >= 0) throw new Refused("refused");
    return OK;
  };
}

/** Calls through a pipeline in virtual time; gives what came out, errors too. */
function bench(middleware: readonly Middleware[], tool: Handler) {
  const time = virtualTime({ random: () => 1 });
  const handler = pipeline(middleware, tool);
  return (options: CallOptions = {}) => {
    const request = { tool: "search", options, side: "client" } as const;
    return time.run(run(handler, request, { runtime: time.runtime, classifiers }).catch((error: unknown) => error));
  };
}

describe("the spans and metrics of a call", () => {
  test("that fails twice and succeeds", async () => {
    const { options, trees, points } = recorder();
    const call = bench([otel(options), retry({ baseDelayMs: 1000 }), otelAttempt(options)], failing(2));
    expect(await call()).toEqual(OK);
    const failed = { name: "tools/call search", kind: "CLIENT", status: "ERROR" };
    const error = { "error.type": "transport_error" };
    expect(trees()).toEqual([
      {
        name: "execute_tool search",
        kind: "INTERNAL",
        attributes: { ...CALL, "mcp_tx.call.attempts": 3 },
        events: [
          ["mcp_tx.retry.scheduled", { ...error, "mcp_tx.attempt.number": 2, "mcp_tx.retry.delay": 1 }],
          ["mcp_tx.retry.scheduled", { ...error, "mcp_tx.attempt.number": 3, "mcp_tx.retry.delay": 2 }],
        ],
        children: [
          { ...failed, attributes: { ...REQUEST, ...error } },
          { ...failed, attributes: { ...REQUEST, ...error, "mcp_tx.attempt.resend_count": 1 } },
          {
            name: "tools/call search",
            kind: "CLIENT",
            attributes: { ...REQUEST, "mcp_tx.attempt.resend_count": 2 },
          },
        ],
      },
    ]);
    expect(await points("mcp_tx.call.attempts")).toEqual([[CALL, { sum: 3, count: 1 }]]);
    expect(await points("mcp_tx.call.duration")).toEqual([[CALL, { sum: 3, count: 1 }]]);
    expect(await points("mcp_tx.retry.delay")).toEqual([
      [
        { "gen_ai.tool.name": "search", ...error },
        { sum: 3, count: 2 },
      ],
    ]);
    expect(await points("mcp.client.operation.duration")).toEqual([
      [
        { ...REQUEST, ...error },
        { sum: 0, count: 2 },
      ],
      [REQUEST, { sum: 0, count: 1 }],
    ]);
  });

  test("that is answered from a stored result", async () => {
    const { options, trees, points } = recorder();
    const call = bench([otel(options), idempotency(), otelAttempt(options)], async () => OK);
    for (let time = 0; time < 2; time += 1) expect(await call({ idempotencyKey: "order-42" })).toEqual(OK);
    const [first, second] = trees();
    expect(first).toMatchObject({
      attributes: { "mcp_tx.idempotency.outcome": "miss" },
      children: [{ kind: "CLIENT" }],
    });
    expect(second).toEqual({
      name: "execute_tool search",
      kind: "INTERNAL",
      attributes: { ...CALL, "mcp_tx.idempotency.outcome": "replayed", "mcp_tx.call.attempts": 0 },
    });
    const request = (outcome: string) => ({ "gen_ai.tool.name": "search", "mcp_tx.idempotency.outcome": outcome });
    expect(await points("mcp_tx.idempotency.requests")).toEqual([
      [request("miss"), 1],
      [request("replayed"), 1],
    ]);
    expect(JSON.stringify(trees())).not.toContain("order-42");
  });

  test("that is stopped by an open breaker", async () => {
    const { options, trees, points } = recorder();
    const breaker = circuitBreaker({ consecutiveFailures: 1 });
    const call = bench([otel(options), otelAttempt(options), breaker], failing(1));
    expect(await call()).toBeInstanceOf(Refused);
    expect(await call()).toMatchObject({ code: "circuit_open" });
    const name = { "mcp_tx.circuit_breaker.name": '[null,"search"]' };
    const open = { ...name, "mcp_tx.circuit_breaker.state": "open" };
    const [first, second] = trees();
    expect(first).toMatchObject({
      events: [["mcp_tx.circuit_breaker.changed", { ...open, "mcp_tx.circuit_breaker.previous_state": "closed" }]],
      children: [{ kind: "CLIENT", status: "ERROR" }],
    });
    expect(second).toEqual({
      name: "execute_tool search",
      kind: "INTERNAL",
      status: "ERROR",
      attributes: { ...CALL, "mcp_tx.call.attempts": 0, "error.type": "circuit_open" },
      events: [["mcp_tx.circuit_breaker.rejected", open]],
    });
    expect(await points("mcp_tx.circuit_breaker.transitions")).toEqual([[open, 1]]);
    expect(await points("mcp_tx.circuit_breaker.state")).toEqual([
      [{ ...name, "mcp_tx.circuit_breaker.state": "closed" }, 0],
      [open, 1],
    ]);
  });

  test("that waits 200 ms in a limiter", async () => {
    const { options, trees, points } = recorder();
    const limit = rateLimit({ rate: 5, burst: 1 });
    const call = bench([otel(options), otelAttempt(options), limit], async () => OK);
    await call();
    await call();
    expect(trees()[1]).toEqual({
      name: "execute_tool search",
      kind: "INTERNAL",
      attributes: { ...CALL, "mcp_tx.call.attempts": 1 },
      events: [["mcp_tx.rate_limit.waited", { "mcp_tx.rate_limit.wait_duration": 0.2 }]],
      children: [{ name: "tools/call search", kind: "CLIENT", attributes: REQUEST }],
    });
    expect(await points("mcp_tx.rate_limit.wait_duration")).toEqual([
      [{ "gen_ai.tool.name": "search" }, { sum: 0.2, count: 1 }],
    ]);
    expect(await points("mcp_tx.rate_limit.queue")).toEqual([[{ "gen_ai.tool.name": "search" }, 0]]);
    expect(await points("mcp.client.operation.duration")).toEqual([[REQUEST, { sum: 0, count: 2 }]]);
  });

  test("that a limiter refuses", async () => {
    const { options, trees, points } = recorder();
    const call = bench(
      [otel(options), otelAttempt(options), rateLimit({ rate: 5, burst: 1, onLimit: "reject" })],
      async () => OK,
    );
    await call();
    await call();
    const error = { "error.type": "rate_limited" };
    expect(trees()[1]).toEqual({
      name: "execute_tool search",
      kind: "INTERNAL",
      status: "ERROR",
      attributes: { ...CALL, ...error, "mcp_tx.call.attempts": 0 },
      events: [["mcp_tx.rate_limit.rejected", error]],
    });
    expect(await points("mcp_tx.rate_limit.rejections")).toEqual([[{ "gen_ai.tool.name": "search", ...error }, 1]]);
  });
});

describe.each(LINES)("SDK $name over stdio", (line) => {
  test("client, attempts and server are one trace across the process boundary, exported over OTLP", async () => {
    const received = await collector();
    onTestFinished(() => received.close());
    const tracerProvider = new BasicTracerProvider({
      resource: resourceFromAttributes({ "service.name": "client" }),
      spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter({ url: `${received.url}/v1/traces` }))],
    });
    const reader = new PeriodicExportingMetricReader({
      exporter: new OTLPMetricExporter({ url: `${received.url}/v1/metrics` }),
    });
    const meterProvider = new MeterProvider({ readers: [reader] });
    onTestFinished(async () => {
      await tracerProvider.shutdown();
      await meterProvider.shutdown();
    });
    const options = { tracerProvider, meterProvider, propagator: new W3CTraceContextPropagator() };

    const script = fileURLToPath(new URL("fixtures/otel-stdio.mjs", import.meta.url));
    const parameters = { command: process.execPath, args: [script, line.name, received.url] };
    const transport: unknown = line.name === "v1" ? new StdioV1(parameters) : new StdioV2(parameters);
    const bare = line.client();
    await bare.connect(transport as SdkTransport);
    onTestFinished(() => bare.close());
    const policy = retry({ baseDelayMs: 0, retryOn: () => true });
    const client = wrapClient(bare, [otel(options), policy, otelAttempt(options)]);

    await line.call(client, "echo", { text: "hello" });
    // Throws each time: an executed failure that is repeated on purpose.
    await line.call(client, "throws");
    await meterProvider.forceFlush();
    await received.received(3 + 7);

    const named = (service: string, name: string) =>
      received.spans.filter((span) => span.service === service && span.name === name);
    const [call] = named("client", "execute_tool throws");
    const attempts = named("client", "tools/call throws");
    const served = named(`server-${line.name}`, "tools/call throws");
    expect(call).toMatchObject({ kind: 1, status: 2, parentSpanId: "", scope: "@mcp-tx/otel" });
    expect(call?.attributes).toMatchObject({ "error.type": "tool_error", "mcp_tx.call.attempts": 3 });
    expect(call?.events).toEqual(["mcp_tx.retry.scheduled", "mcp_tx.retry.scheduled"]);
    expect(attempts.map(({ kind, parentSpanId }) => [kind, parentSpanId])).toEqual(
      Array.from({ length: 3 }, () => [3, call?.spanId]),
    );
    const resends = attempts.map(({ attributes }) => attributes["mcp_tx.attempt.resend_count"] ?? 0);
    expect(resends.sort()).toEqual([0, 1, 2]);
    const byId = (ids: readonly string[]) => [...ids].sort();
    expect(byId(served.map(({ parentSpanId }) => parentSpanId))).toEqual(byId(attempts.map(({ spanId }) => spanId)));
    for (const span of served) {
      expect(span).toMatchObject({ kind: 2, status: 2, traceId: call?.traceId });
      expect(span.attributes).toMatchObject({
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "throws",
        "error.type": "tool_error",
        "network.transport": "pipe",
      });
    }
    expect(named("client", "execute_tool echo")).toMatchObject([{ status: 0 }]);
    expect(received.metrics).toContainEqual({ name: "mcp.client.operation.duration", unit: "s" });
    expect(received.metrics).toContainEqual({ name: "mcp_tx.call.attempts", unit: "{attempt}" });
  });
});

describe.each(PLACES)("$on", ({ line, via }) => {
  test("client and server are one trace in one process", async () => {
    const { options, trees } = recorder();
    const server = line.mcpServer();
    const metas: unknown[] = [];
    const seeing: Middleware = (ctx, next) => {
      metas.push(ctx.meta);
      return next(ctx);
    };
    registerTools(server, () => undefined);
    wrapServer(server, [otelServer(options), seeing]);
    const middleware = [otel(options), otelAttempt(options)];
    const { call } = await attachInMemory(line, via, server, { middleware });
    await call("echo", { text: "hello" });
    expect(trees()).toMatchObject([
      {
        name: "execute_tool echo",
        children: [
          { name: "tools/call echo", kind: "CLIENT", children: [{ name: "tools/call echo", kind: "SERVER" }] },
        ],
      },
    ]);
    expect(metas).toMatchObject([{ traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/) }]);
  });
});

test("Prometheus reads every metric, the durations in their buckets", async () => {
  const text = await prometheusText();
  expect(text).toContain("# TYPE mcp_client_operation_duration histogram");
  expect(text).toMatch(/mcp_client_operation_duration_bucket\{[^}]*gen_ai_tool_name="search"[^}]*le="0\.01"\} \d/);
  const bounds = [...text.matchAll(/mcp_tx_call_duration_bucket\{[^}]*le="([^"]+)"/g)].map(([, le]) => le);
  expect([...new Set(bounds)]).toEqual([
    "0.01",
    "0.02",
    "0.05",
    "0.1",
    "0.2",
    "0.5",
    "1",
    "2",
    "5",
    "10",
    "30",
    "60",
    "120",
    "300",
    "+Inf",
  ]);
  const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name).filter((name) => name?.startsWith("mcp"));
  expect(names.sort()).toEqual([
    "mcp_client_operation_duration",
    "mcp_server_operation_duration",
    "mcp_tx_call_attempts",
    "mcp_tx_call_duration",
    "mcp_tx_circuit_breaker_state",
    "mcp_tx_circuit_breaker_transitions_total",
    "mcp_tx_idempotency_requests_total",
    "mcp_tx_rate_limit_queue",
    "mcp_tx_rate_limit_rejections_total",
    "mcp_tx_rate_limit_wait_duration",
    "mcp_tx_retry_budget_remaining",
    "mcp_tx_retry_delay",
  ]);
});

/**
 * The order service behind `distributed-tracing.ts`: an MCP server over stdio that is overloaded once. Its spans go, one line each,
 * to the file that it is given; elsewhere an OTLP exporter would send them to a collector.
 */

import { appendFileSync } from "node:fs";
import { wrapServer } from "@mcp-tx/core";
import { otelServer } from "@mcp-tx/otel";
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { propagation, SpanStatusCode, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { BasicTracerProvider, type ReadableSpan, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { z } from "zod";

const [log = "server-spans"] = process.argv.slice(2);

function write(span: ReadableSpan): void {
  const { traceId, spanId } = span.spanContext();
  const parent = span.parentSpanContext?.spanId;
  const failed = span.status.code === SpanStatusCode.ERROR;
  appendFileSync(log, `${JSON.stringify({ name: span.name, trace: traceId, id: spanId, parent, failed })}\n`);
}

const exporter = {
  export(spans: readonly ReadableSpan[], done: (result: { code: number }) => void): void {
    for (const span of spans) write(span);
    done({ code: 0 });
  },
  shutdown: async () => undefined,
};
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
propagation.setGlobalPropagator(new W3CTraceContextPropagator());

// #region server
function orderService(): McpServer {
  const server = new McpServer({ name: "orders", version: "1.0.0" });
  let calls = 0;
  server.registerTool("process_order", { inputSchema: z.object({ order_id: z.string() }) }, ({ order_id }) => {
    calls += 1;
    if (calls > 1) return { content: [{ type: "text", text: `order ${order_id} is processed` }] };
    return { content: [{ type: "text", text: "overloaded" }], isError: true, _meta: { retryAfterMs: 20 } };
  });
  return wrapServer(server, otelServer());
}
// #endregion server

serveStdio(orderService);
process.stdin.once("close", () => process.exit(0));

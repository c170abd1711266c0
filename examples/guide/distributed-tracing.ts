/**
 * The guide's distributed tracing: the call, its attempts and what the server did are one trace, across the process boundary.
 * The order service is overloaded at first, so that there are two attempts.
 */

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { reportOf, wrapClient } from "@mcp-tx/core";
import { otel, otelAttempt } from "@mcp-tx/otel";
import { retry } from "@mcp-tx/retry";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { propagation, SpanStatusCode, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

/** A span, from this process or the server's. */
interface Row {
  readonly name: string;
  readonly trace: string;
  readonly id: string;
  readonly parent?: string;
  readonly failed: boolean;
}

// #region setup
const exporter = new InMemorySpanExporter();
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
propagation.setGlobalPropagator(new W3CTraceContextPropagator());
// #endregion setup

const folder = await mkdtemp(join(tmpdir(), "guide-tracing-"));
const log = join(folder, "server-spans");
const server = fileURLToPath(new URL("distributed-tracing-server.ts", import.meta.url));
const client = new Client({ name: "guide", version: "1.0.0" });
await client.connect(
  new StdioClientTransport({ command: process.execPath, args: ["--import", import.meta.resolve("tsx"), server, log] }),
);

try {
  // #region call
  const traced = wrapClient(client, [otel(), retry({ baseDelayMs: 10 }), otelAttempt()]);
  const result = await traced.call("process_order", { order_id: "12345" });
  assert.equal(reportOf(result)?.attempts, 2);
  // #endregion call

  const ours = exporter.getFinishedSpans().map((span): Row => {
    const { traceId, spanId } = span.spanContext();
    const parent = span.parentSpanContext?.spanId;
    const failed = span.status.code === SpanStatusCode.ERROR;
    return { name: span.name, trace: traceId, id: spanId, failed, ...(parent !== undefined && { parent }) };
  });
  const lines = (await readFile(log, "utf8")).trim().split("\n");
  const theirs = lines.map((line): Row => JSON.parse(line));

  // #region tree
  const call = ours.find(({ name }) => name === "execute_tool process_order");
  assert(call !== undefined && call.parent === undefined && !call.failed, "a recovered failure does not mark the call");
  const attempts = ours.filter(({ parent }) => parent === call.id);
  assert.deepEqual(
    attempts.map(({ name, failed }) => [name, failed]),
    [
      ["tools/call process_order", true],
      ["tools/call process_order", false],
    ],
  );
  const served = attempts.map(({ id }) => theirs.find(({ parent }) => parent === id));
  assert.deepEqual(
    served.map((span) => [span?.name, span?.trace, span?.failed]),
    [
      ["tools/call process_order", call.trace, true],
      ["tools/call process_order", call.trace, false],
    ],
  );
  // #endregion tree

  console.log(call.name);
  for (const [index, attempt] of attempts.entries()) {
    console.log(`  ${attempt.name} (client${attempt.failed ? ", failed" : ""})`);
    console.log(`    ${served[index]?.name} (server${served[index]?.failed === true ? ", failed" : ""})`);
  }
} finally {
  await client.close();
  await rm(folder, { recursive: true });
}

import { createMCPClient, type MCPClient } from "@ai-sdk/mcp";
import { type CallReport, wrapTransport } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { InMemoryTransport } from "@modelcontextprotocol/sdk/inMemory.js";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { CallToolRequestSchema, type CallToolResult, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { expect, onTestFinished, test } from "vitest";

type Run = (signal: AbortSignal) => Promise<CallToolResult>;

interface Host {
  readonly client: MCPClient;
  /** The report of the one call that is made. */
  readonly report: Promise<CallReport>;
}

/** The Vercel AI SDK's own client, over a wrapped transport, to a server with one tool. */
async function aiSdkHost(run: Run): Promise<Host> {
  const server = new Server({ name: "one-tool", version: "1.0.0" }, { capabilities: { tools: {} } });
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: [{ name: "work", inputSchema: { type: "object" as const } }],
  }));
  server.setRequestHandler(CallToolRequestSchema, (_, { signal }) => run(signal));
  const [near, far] = InMemoryTransport.createLinkedPair();
  await server.connect(far);
  const { promise: report, resolve: onReport } = deferred<CallReport>();
  const transport = wrapTransport(near, [retry({ maxAttempts: 3 })], { onReport });
  const client = await createMCPClient({ transport });
  onTestFinished(() => client.close());
  return { client, report };
}

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

async function callWork({ client }: Host, abortSignal: AbortSignal): Promise<unknown> {
  const { work } = await client.tools();
  return work?.execute({}, { toolCallId: "1", messages: [], abortSignal });
}

test("an abort by the Vercel AI SDK during backoff ends the call without another attempt", async () => {
  const controller = new AbortController();
  let executions = 0;
  const host = await aiSdkHost(async () => {
    executions += 1;
    setImmediate(() => controller.abort());
    return { content: [], isError: true, _meta: { retryAfterMs: 200 } };
  });

  await expect(callWork(host, controller.signal)).rejects.toThrow("aborted");

  expect(await host.report).toMatchObject({ status: "cancelled", attempts: 1, execution: "executed" });
  expect(executions).toBe(1);
});

test("an abort by the Vercel AI SDK in flight is told to the server", async () => {
  const controller = new AbortController();
  const stopped = deferred<void>();
  const host = await aiSdkHost((signal) => {
    signal.addEventListener("abort", () => stopped.resolve());
    setImmediate(() => controller.abort());
    return new Promise(() => undefined);
  });

  await expect(callWork(host, controller.signal)).rejects.toThrow("aborted");

  await stopped.promise;
  expect(await host.report).toMatchObject({ status: "cancelled", attempts: 1, execution: "unknown" });
});

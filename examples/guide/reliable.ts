/**
 * The guide's configuration, `MCPTxConfig` and `RetryPolicy`, in one object: time limits, retries, keys, limits and logging for all
 * tools, and what differs for some of them.
 */

import assert from "node:assert/strict";
import { virtualTime } from "@mcp-tx/core/testing";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { InMemoryTransport } from "@modelcontextprotocol/sdk/inMemory.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { type Logger, type ReliableConfig, reliable, reportOf } from "mcp-tx";
import { z } from "zod";

const time = virtualTime();
const text = (value: string) => ({ content: [{ type: "text" as const, text: value }] });

/** A server whose processing fails three times before it works, and that counts what it charges. */
const server = new McpServer({ name: "data", version: "1.0.0" });
let failures = 3;
let charges = 0;
server.registerTool("process_data", { inputSchema: { path: z.string() } }, ({ path }) => {
  failures -= 1;
  if (failures >= 0) throw new Error("a worker was lost");
  return text(`processed ${path}`);
});
server.registerTool("payment.charge", { inputSchema: { orderId: z.string(), amount: z.number() } }, ({ amount }) => {
  charges += 1;
  return text(`charged ${amount}`);
});

/** Stands for `pino()`, which fits as it is: four methods that take fields and a message. */
const lines: string[] = [];
const write =
  (level: keyof Logger) =>
  (fields: object, message: string): void => {
    lines.push(`${level}: ${message}`);
    console.log(level.padEnd(5), message, JSON.stringify(fields));
  };
const logger: Logger = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };

// #region config
const config: ReliableConfig = {
  timeoutMs: 30_000,
  retry: { maxAttempts: 3, baseDelayMs: 1000 },
  idempotency: { ttlMs: 300_000 },
  concurrency: 10,
  logger,
  tools: {
    // retry_policy=RetryPolicy(max_attempts=5, base_delay_ms=2000): this tool may run again when it failed.
    process_data: { timeoutMs: 120_000, retry: { maxAttempts: 5, baseDelayMs: 2000, retryOn: ["tool_error"] } },
    // One payment for each order, whoever asks for it how often, and only once in a while.
    "payment.*": { idempotency: { key: { fields: ["orderId"] }, ttlMs: 86_400_000 }, rateLimit: { rate: 5 } },
  },
  runtime: time.runtime,
};
// #endregion config

const client = new Client({ name: "guide", version: "1.0.0" });
const [near, far] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(far), client.connect(near)]);
// #region calls
const tx = reliable(client, config);

const processed = await time.run(tx.call("process_data", { path: "a.csv" }));
assert.deepEqual(processed.content, text("processed a.csv").content);
assert.equal(reportOf(processed)?.attempts, 4);

const first = await time.run(tx.call("payment.charge", { orderId: "order-42", amount: 100 }));
const again = await time.run(tx.call("payment.charge", { orderId: "order-42", amount: 100 }));
assert.deepEqual([reportOf(first)?.duplicate, reportOf(again)?.duplicate, charges], [false, true, 1]);
// The same order with another amount is no duplicate but a mistake.
await assert.rejects(() => time.run(tx.call("payment.charge", { orderId: "order-42", amount: 999 })), {
  code: "idempotency_conflict",
});
assert.equal(charges, 1);
// #endregion calls

assert.deepEqual(
  (await tx.tools()).map(({ name }) => name),
  ["process_data", "payment.charge"],
);
assert.equal(tx.health().status, "pass");
assert.deepEqual(lines.filter((line) => line.startsWith("info: tool call completed")).length, 3);
assert.equal(lines.filter((line) => line === "info: tool call is repeated").length, 3);
// No line has an argument, a result or a key unless `logging` asks for it.
await tx.close();
await assert.rejects(() => tx.call("process_data", { path: "b.csv" }), /was not called/);
console.log("reliable: one configuration, 1 charge for 3 requests, and 4 attempts where 5 were allowed");

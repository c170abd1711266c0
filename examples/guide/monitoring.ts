/** The guide's monitoring and alerting: success rates, attempts and duplicates of each tool, one alert for each bad episode. */

import assert from "node:assert/strict";
import { wrapClient } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { type Alert, formatReport, monitor } from "@mcp-tx/monitor";
import { retry } from "@mcp-tx/retry";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { InMemoryTransport } from "@modelcontextprotocol/sdk/inMemory.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { z } from "zod";

const time = virtualTime();
let failures = 0;
const server = new McpServer({ name: "mail", version: "1.0.0" });
server.registerTool("send_mail", { inputSchema: { to: z.string() } }, ({ to }) => {
  failures -= 1;
  if (failures >= 0) throw new Error("the mail server is down");
  return { content: [{ type: "text", text: `sent to ${to}` }] };
});
const client = new Client({ name: "guide", version: "1.0.0" });
const [near, far] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(far), client.connect(near)]);

// #region monitor
const alerts: Alert[] = [];
const health = monitor({
  threshold: 0.95,
  onAlert: async (alert) => {
    // In production this goes to a pager; no call waits for it.
    alerts.push(alert);
    console.log(`${alert.state}: "${alert.tool}" succeeds ${((alert.successRate ?? 1) * 100).toFixed(2)} %`);
  },
});
// #endregion monitor
// #region pipeline
const repeat = retry({
  maxAttempts: 3,
  baseDelayMs: 200,
  jitter: "none",
  retryOn: ({ code }) => code === "tool_error",
});
const once = idempotency({ store: memoryStore({ runtime: time.runtime }) });
const monitored = wrapClient(client, [health, once, repeat], { runtime: time.runtime });
// #endregion pipeline

async function send(count: number, idempotencyKey?: string): Promise<void> {
  const options = idempotencyKey === undefined ? {} : { idempotencyKey };
  for (let call = 0; call < count; call += 1) {
    await time.run(monitored.call("send_mail", { to: "ada@example.com" }, options));
  }
}

// #region calls
await send(38);
// One call that needs a second attempt, and a duplicate of it: answered from its record, not sent again.
failures = 1;
await send(2, "order-7");
const [healthy] = health.report().tools;
assert.equal(healthy?.successRate, 1);
assert.deepEqual([healthy?.calls, healthy?.duplicates, healthy?.attempts.total], [40, 1, 40]);
assert.deepEqual(healthy?.waits, { calls: 1, totalMs: 200 });

// Three calls fail, each after three attempts: 40 of 43 is below 95 %. However long it stays there, one alert is enough.
failures = 9;
await send(3);
await send(5);
assert.deepEqual([alerts.length, alerts[0]?.state, alerts[0]?.samples], [1, "firing", 43]);
console.log(formatReport(health.report()));

// Five minutes later the failures have left the window.
await time.advance(300_000);
await send(1);
assert.deepEqual([alerts.length, alerts[1]?.state, alerts[1]?.reason], [2, "resolved", "recovered"]);
assert.deepEqual(health.report().alerts, { fired: 1, resolved: 1, failed: 0, pending: 0 });
// #endregion calls
await client.close();

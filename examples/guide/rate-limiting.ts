/** The guide's throttling: 50 calls a second, 100 at once. Its 100 calls pass at once; of 300 calls, 200 wait their turn. */

import assert from "node:assert/strict";
import { reportOf, wrapClient } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { rateLimit } from "@mcp-tx/rate-limit";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { InMemoryTransport } from "@modelcontextprotocol/sdk/inMemory.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { z } from "zod";

const time = virtualTime();
const arrivals: number[] = [];
const server = new McpServer({ name: "api", version: "1.0.0" });
server.registerTool("api_call", { inputSchema: { id: z.number() } }, ({ id }) => {
  arrivals.push(time.now());
  return { content: [{ type: "text", text: `answer ${id}` }], structuredContent: { id } };
});
const client = new Client({ name: "guide", version: "1.0.0" });
const [near, far] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(far), client.connect(near)]);

// #region limit
/** The guide's burst of requests, through a limit of its own. */
function callAtOnce(count: number) {
  arrivals.length = 0;
  const throttled = wrapClient(client, rateLimit({ rate: 50, burst: 100 }), { runtime: time.runtime });
  const calls = Array.from({ length: count }, (_, id) => throttled.call("api_call", { id }));
  return time.run(Promise.all(calls));
}
// #endregion limit

// #region calls
const burst = await callAtOnce(100);
assert.equal(burst.length, 100);
assert.deepEqual([Math.min(...arrivals), Math.max(...arrivals)], [0, 0]);
console.log(`100 calls: the last one arrives after ${time.now()} ms`);

const throttled = await callAtOnce(300);
// First come, first served: the first 100 at once, then one every 20 ms.
const expected = Array.from({ length: 300 }, (_, id) => Math.max(0, id - 99) * 20);
assert.deepEqual(arrivals, expected);
assert.deepEqual(
  throttled.map((result) => reportOf(result)?.waitedMs),
  expected,
);
assert.equal(time.now(), 4_000);
console.log(`300 calls: the last one arrives after ${time.now()} ms`);
// #endregion calls
await client.close();

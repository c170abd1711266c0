/**
 * The guide's Django integration, as Fastify: a plugin puts the client on the instance and its requests. Below `/mcp` whoever calls
 * says who they are, and the idempotency keys they use are theirs alone.
 */

import assert from "node:assert/strict";
import { type ToolInfo, wrapClient } from "@mcp-tx/core";
import { createHttpHandler, type ExecuteToolResponse, type HealthCheck, type Problem } from "@mcp-tx/http";
import { mcpTx } from "@mcp-tx/http/fastify";
import { idempotency } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import Fastify from "fastify";
import { z } from "zod";
import { connectShop, executions, post, request } from "./http-shop.js";

// #region app
const Order = z.object({ id: z.string(), product: z.string(), quantity: z.number() });
const USERS = new Map([
  ["Bearer token-of-ada", "ada"],
  ["Bearer token-of-bob", "bob"],
]);

const client = await connectShop();
const handler = createHttpHandler(wrapClient(client, [idempotency(), retry()]), {
  tools: ["create_order"],
  authorize: ({ headers }) => USERS.get(headers.get("authorization") ?? ""),
});

const app = Fastify();
await app.register(mcpTx(handler), { prefix: "/mcp" });

// The guide's view, with an answer that is checked and typed.
app.post<{ Params: { product: string } }>("/orders/:product", async ({ mcpTx, params }) => {
  const order = await mcpTx.invoke("create_order", { ...params, quantity: 1 }, { output: Order });
  return { ordered: order.id };
});

// At the end new calls are refused and those under way end; once the last request is answered, nobody needs the shop.
app.addHook("preClose", () => handler.close());
app.addHook("onClose", () => client.close());
// #endregion app

const url = await app.listen({ port: 0, host: "127.0.0.1" });
const viewed = await request(`${url}/orders/ABC123`, { method: "POST" });
console.log("POST /orders/ABC123", viewed);
assert.deepEqual(viewed, { status: 200, body: { ordered: "order-1" } });

const stranger = await request<Problem>(`${url}/mcp/tools`);
console.log("GET /mcp/tools:", stranger.status, stranger.body.title);
assert.equal(stranger.status, 401);
const ada = { authorization: "Bearer token-of-ada" };
const listed = await request<{ tools: ToolInfo[] }>(`${url}/mcp/tools`, { headers: ada });
assert.equal(listed.body.tools[0]?.name, "create_order");

// #region keys
// Ada and Bob use the same key, each of them twice: two orders.
const call = { tool: "create_order", arguments: { product: "XYZ789", quantity: 2 }, idempotencyKey: "cart-7" };
for (const [user, id, duplicate] of [
  ["ada", "order-2", false],
  ["bob", "order-3", false],
  ["ada", "order-2", true],
  ["bob", "order-3", true],
] as const) {
  const init = post(call, { authorization: `Bearer token-of-${user}` });
  const { body } = await request<ExecuteToolResponse>(`${url}/mcp/execute-tool`, init);
  console.log(`${user}:`, body.result["structuredContent"], { duplicate: body.metadata.duplicate });
  assert.deepEqual(body.result["structuredContent"], { id, ...call.arguments });
  assert.equal(body.metadata.duplicate, duplicate);
}
// #endregion keys

const wrong = post({ tool: "create_order", arguments: { product: "XYZ789" } }, ada);
const invalid = await request<Problem>(`${url}/mcp/execute-tool`, wrong);
console.log("create_order:", invalid.status, invalid.body.errors);
assert.deepEqual([invalid.status, invalid.body.code], [422, "invalid_arguments"]);
assert.deepEqual(executions(), ["create_order ABC123", "create_order XYZ789", "create_order XYZ789"]);
assert.equal((await request<HealthCheck>(`${url}/mcp/health`)).body.status, "pass");
await app.close();

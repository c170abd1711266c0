/**
 * The guide's Django integration, as Express: one client for all requests, on each of them as `req.mcpTx`. Below `/mcp` the tools
 * can be called over REST as well.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { reportOf, type ToolInfo, wrapClient } from "@mcp-tx/core";
import { createHttpHandler, type ExecuteToolResponse, type HealthCheck, type Problem } from "@mcp-tx/http";
import { mcpTx } from "@mcp-tx/http/express";
import { idempotency } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import express from "express";
import { connectShop, executions, post, request } from "./http-shop.js";

// #region app
const client = await connectShop();
const caller = wrapClient(client, [idempotency(), retry()]);
const handler = createHttpHandler(caller, { basePath: "/mcp", tools: ["create_order"] });

// The guide's middleware. It answers below /mcp, and whatever comes after it finds the client on the request. It stands before the
// body parser, which would answer malformed JSON with a page of its own.
const app = express().use(mcpTx(handler), express.json());

// The guide's view.
app.post("/orders", async (req, res) => {
  const result = await req.mcpTx.call("create_order", req.body);
  const { structuredContent, isError = false } = result;
  res.json({ success: !isError, result: structuredContent, attempts: reportOf(result)?.attempts });
});
// #endregion app

const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const order = { product: "ABC123", quantity: 2 };
const viewed = await request(`${url}/orders`, post(order));
console.log("POST /orders", viewed);
assert.deepEqual(viewed.body, { success: true, result: { id: "order-1", ...order }, attempts: 1 });

// #region calls
// Only what is offered is listed, and can be called.
const { tools } = (await request<{ tools: ToolInfo[] }>(`${url}/mcp/tools`)).body;
const names = tools.map(({ name }) => name);
assert.deepEqual(names, ["create_order"]);
const refused = await request<Problem>(`${url}/mcp/execute-tool`, post({ tool: "delete_all_orders" }));
console.log("delete_all_orders:", refused.status, refused.body.title);
assert.deepEqual([refused.status, refused.body.code], [403, "tool_not_allowed"]);

// Sent twice with one key, as a client does that never got the answer: executed once.
const again = post({ tool: "create_order", arguments: order }, { "idempotency-key": '"cart-7"' });
for (const duplicate of [false, true]) {
  const { body } = await request<ExecuteToolResponse>(`${url}/mcp/execute-tool`, again);
  console.log("create_order:", body.result["structuredContent"], { duplicate: body.metadata.duplicate });
  assert.deepEqual(body.result["structuredContent"], { id: "order-2", ...order });
  assert.equal(body.metadata.duplicate, duplicate);
}

const wrong = post({ tool: "create_order", arguments: { ...order, quantity: 0 } });
const invalid = await request<Problem>(`${url}/mcp/execute-tool`, wrong);
console.log("create_order:", invalid.status, invalid.body.errors);
assert.deepEqual([invalid.status, invalid.body.errors?.[0]?.pointer], [422, "#/arguments/quantity"]);
// #endregion calls
assert.deepEqual(executions(), ["create_order ABC123", "create_order ABC123"]);
assert.equal((await request<HealthCheck>(`${url}/mcp/health`)).body.status, "pass");

// #region close
// No new connections; the calls under way end; then nobody needs the shop.
const closed = once(server.close(), "close");
await handler.close();
await closed;
await client.close();
// #endregion close

/**
 * The guide's FastAPI integration, as Hono: tools as a REST API, their arguments checked by zod, with an OpenAPI document made from
 * the same schemas. The shop is started by the first request that needs it.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { type ToolInfo, wrapClient } from "@mcp-tx/core";
import { createHttpHandler, type ExecuteToolResponse, type HealthCheck, type Problem } from "@mcp-tx/http";
import { mcpTx } from "@mcp-tx/http/hono";
import { idempotency } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import type { Client } from "@modelcontextprotocol/client";
import { Hono } from "hono";
import { z } from "zod";
import { connectShop, executions, post, request } from "./http-shop.js";

// #region app
const CreateOrder = z.object({
  product: z.string().regex(/^[A-Z]{3}\d{3}$/, "must be like ABC123"),
  quantity: z.int().min(1).max(100).default(1),
});

let client: Client | undefined;
async function connect() {
  client = await connectShop();
  return wrapClient(client, [idempotency(), retry()]);
}
const tools = { create_order: { input: CreateOrder, maxTimeoutMs: 30_000 } };
const handler = createHttpHandler(connect, { tools, info: { title: "Shop", version: "2.0.0" } });

const app = new Hono().use(mcpTx(handler));
// A route of your own, with the client in the context.
app.get("/sample", async ({ json, var: { mcpTx } }) =>
  json(await mcpTx.invoke("create_order", { product: "ABC123", quantity: 1 })),
);
// #endregion app

const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" });
await once(server, "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

// #region calls
// Executed once, however often it is sent. The shop gets what the schema makes of the arguments, with its default.
const call = post({ tool: "create_order", arguments: { product: "XYZ789" }, idempotencyKey: "cart-7" });
for (const duplicate of [false, true]) {
  const { body } = await request<ExecuteToolResponse>(`${url}/execute-tool`, call);
  console.log("create_order:", body.result["structuredContent"], { duplicate: body.metadata.duplicate });
  assert.deepEqual(body.result["structuredContent"], { id: "order-1", product: "XYZ789", quantity: 1 });
  assert.deepEqual([body.success, body.metadata.duplicate], [true, duplicate]);
}
assert.deepEqual(executions(), ["create_order XYZ789"]);

const wrong = post({ tool: "create_order", arguments: { product: "abc", quantity: 101 } });
const invalid = await request<Problem>(`${url}/execute-tool`, wrong);
console.log("create_order:", invalid.status, invalid.body.errors);
assert.deepEqual([invalid.status, invalid.body.errors?.length], [422, 2]);

const sample = await request(`${url}/sample`);
console.log("GET /sample:", sample);
assert.deepEqual(sample.body, { id: "order-2", product: "ABC123", quantity: 1 });

const document = await request<{ openapi: string; info: object }>(`${url}/openapi.json`);
console.log("GET /openapi.json:", document.body.openapi, document.body.info);
assert.match(document.body.openapi, /^3\.1/);
const listed = await request<{ tools: ToolInfo[] }>(`${url}/tools`);
assert.equal(listed.body.tools[0]?.name, "create_order");
assert.equal((await request<HealthCheck>(`${url}/health`)).body.status, "pass");
// #endregion calls

// No new connections; the calls under way end; then nobody needs the shop.
const closed = once(server.close(), "close");
await handler.close();
await closed;
await client?.close();

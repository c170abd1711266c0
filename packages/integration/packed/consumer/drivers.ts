// What takes other people's types: database drivers, web frameworks, both SDK lines, DBOS.
import { DBOS } from "@dbos-inc/dbos-sdk";
import { wrapClient, wrapServer, wrapTransport } from "@mcp-tx/core";
import { applicationVersion, createDbosSagas } from "@mcp-tx/dbos";
import { createHttpHandler } from "@mcp-tx/http";
import { mcpTx as forExpress } from "@mcp-tx/http/express";
import { mcpTx as forFastify } from "@mcp-tx/http/fastify";
import { mcpTx as forHono } from "@mcp-tx/http/hono";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { postgresStore } from "@mcp-tx/postgres";
import { redisStore } from "@mcp-tx/redis";
import { retry } from "@mcp-tx/retry";
import { Client as ClientV2 } from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import express from "express";
import Fastify from "fastify";
import { Hono } from "hono";
import { Redis } from "ioredis";
import pg from "pg";
import { createClient } from "redis";

const client = new Client({ name: "consumer", version: "1.0.0" });
export const v1: Client = wrapClient(client, [retry()]);
export const v2: ClientV2 = wrapClient(new ClientV2({ name: "consumer", version: "1.0.0" }), [retry()]);
export const transport = wrapTransport(new StdioClientTransport({ command: "node" }), [retry()]);
export const server: McpServer = wrapServer(
  new McpServer({ name: "consumer", version: "1.0.0" }),
  idempotency({ store: memoryStore() }),
);

const caller = wrapClient(client, [retry()]);
const handler = createHttpHandler(caller, { tools: ["search"] });
export const apps = [
  express().use(forExpress(handler)),
  Fastify().register(forFastify(handler)),
  new Hono().use(forHono(handler)),
];

export const postgres = postgresStore({ pool: new pg.Pool() });
export const redis = [redisStore({ client: new Redis() }), redisStore({ client: createClient() })];
DBOS.setConfig({ name: "consumer", applicationVersion: applicationVersion() });
export const sagas = createDbosSagas({ caller, sagas: [] });

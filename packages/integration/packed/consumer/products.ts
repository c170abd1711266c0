// The preset, sagas, stores, HTTP, the command from code: as a program would compose them.
import { createServer } from "node:http";
import { runCli } from "@mcp-tx/cli";
import type { Caller } from "@mcp-tx/core";
import { createHttpHandler, type HttpHandler } from "@mcp-tx/http";
import { toRouteHandlers } from "@mcp-tx/http/next";
import { createNodeHandler } from "@mcp-tx/http/node";
import { postgresStore } from "@mcp-tx/postgres";
import { redisStore } from "@mcp-tx/redis";
import { createSagaRunner, defineSaga, type SagaOutcome, unchecked } from "@mcp-tx/saga";
import { INTERPRETER_VERSION } from "@mcp-tx/saga/engine";
import { sqliteStore } from "@mcp-tx/sqlite";
import { type ReliableConfig, reliable } from "mcp-tx";
import { loadConfig } from "mcp-tx/config";

declare const caller: Caller;

export const config: ReliableConfig = {
  timeoutMs: 30_000,
  tools: { "search*": { retry: { maxAttempts: 5 }, concurrency: 4 } },
};
export async function preset(): Promise<string> {
  await using tx = reliable({ connect: async () => ({ callTool: async () => ({ content: [] }) }) }, config);
  await tx.call("search", { query: "x" });
  return tx.health().status;
}
// @ts-expect-error maxAttempts, not attempts
export const misconfigured: ReliableConfig = { retry: { attempts: 5 } };

const order = defineSaga<{ sku: string }>("order")
  .step({
    name: "reserve",
    tool: "reserve",
    args: (s) => ({ sku: s.input.sku }),
    output: unchecked<{ id: string }>(),
    compensate: { tool: "release" },
  })
  .step({
    name: "charge",
    tool: "charge",
    args: (s) => ({ reservation: s.reserve.id }),
    compensate: { tool: "refund" },
  });
// @ts-expect-error no step of that name came before
defineSaga<{ sku: string }>("order").step({ name: "charge", tool: "charge", args: (s) => ({ id: s.reserve.id }) });

export async function run(): Promise<SagaOutcome<unknown>> {
  const store = sqliteStore({ path: ":memory:" });
  const sagas = createSagaRunner({ caller, store: store.saga, sagas: [order] });
  // @ts-expect-error the input has a sku
  void sagas.run(order, { id: 5 });
  return await sagas.run(order, { sku: "ABC" }, { id: `order-${INTERPRETER_VERSION}` });
}

export const handler: HttpHandler = createHttpHandler(caller, { tools: ["search"] });
export const server = createServer(createNodeHandler(handler));
export const { GET, POST } = toRouteHandlers(handler);
// @ts-expect-error tools is a list of names
createHttpHandler(caller, { tools: "search" });

export const databases = {
  // @ts-expect-error a pool has query
  postgres: () => postgresStore({ pool: {} }),
  // @ts-expect-error a client is required
  redis: () => redisStore({ prefix: "x:" }),
};
export const code: Promise<number> = runCli(["--help"], {} as Parameters<typeof runCli>[1], { out() {}, err() {} });
export const loaded = loadConfig({ cwd: "." });

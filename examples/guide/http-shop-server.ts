/**
 * The shop behind `express-integration.ts`, `fastify-integration.ts` and `hono-integration.ts`: an MCP server over stdio. Each execution
 * is a line in the file that it is given.
 *
 * Usage: tsx http-shop-server.ts <log>
 */

import { appendFileSync } from "node:fs";
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

const [log = "executions.log"] = process.argv.slice(2);

function shop(): McpServer {
  const server = new McpServer({ name: "shop", version: "1.0.0" });
  let orders = 0;

  server.registerTool(
    "create_order",
    {
      description: "Orders a product.",
      inputSchema: z.object({ product: z.string(), quantity: z.int().min(1) }),
      outputSchema: z.object({ id: z.string(), product: z.string(), quantity: z.int() }),
    },
    ({ product, quantity }) => {
      appendFileSync(log, `create_order ${product}\n`);
      orders += 1;
      const structuredContent = { id: `order-${orders}`, product, quantity };
      return { content: [{ type: "text", text: JSON.stringify(structuredContent) }], structuredContent };
    },
  );

  server.registerTool("delete_all_orders", { inputSchema: z.object({}) }, () => {
    appendFileSync(log, "delete_all_orders\n");
    return { content: [{ type: "text", text: "deleted" }] };
  });

  return server;
}

serveStdio(shop);
process.stdin.once("close", () => process.exit(0));

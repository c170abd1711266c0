/**
 * Inventory, payment and shipping behind `saga.ts`: one MCP server over stdio that recognises duplicates. What its tools do is a line
 * in `ledger.jsonl`; tools that are named in `broken.json` fail before they do anything.
 *
 * Usage: tsx saga-server.ts <folder> [tool after whose effect the caller is killed]
 */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { wrapServer } from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import { sqliteStore } from "@mcp-tx/sqlite";
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

const [folder = ".", killsAfter] = process.argv.slice(2);
const store = sqliteStore({ path: join(folder, "services.db") }).idempotency;

function isBroken(tool: string): boolean {
  const file = join(folder, "broken.json");
  return existsSync(file) && (JSON.parse(readFileSync(file, "utf8")) as string[]).includes(tool);
}

/** Does what the tool does: writes it down. */
function execute(tool: string, fact: object): void {
  appendFileSync(join(folder, "ledger.jsonl"), `${JSON.stringify({ tool, ...fact })}\n`);
  // The worst moment: it is done, and the caller never hears of it.
  if (tool === killsAfter) process.kill(process.ppid, "SIGKILL");
}

function json(value: object): { content: { type: "text"; text: string }[] } {
  return { content: [{ type: "text", text: JSON.stringify(value) }] };
}

function services(): McpServer {
  const server = new McpServer({ name: "services", version: "1.0.0" });

  function action(tool: string, prefix: string, inputSchema: z.ZodObject): void {
    server.registerTool(tool, { inputSchema }, (args) => {
      if (isBroken(tool)) throw new Error(`${tool} is down`);
      const id = `${prefix}-${crypto.randomUUID().slice(0, 8)}`;
      execute(tool, { id, args });
      return json({ id });
    });
  }

  function compensation(tool: string): void {
    const inputSchema = z.object({ originalArgs: z.object(), originalResult: z.object({ id: z.string() }).nullable() });
    server.registerTool(tool, { inputSchema }, ({ originalResult }) => {
      if (isBroken(tool)) throw new Error(`${tool} is down`);
      if (originalResult !== null) execute(tool, originalResult);
      return json({ undone: originalResult?.id ?? "nothing" });
    });
  }

  action("inventory_service.reserve", "RES", z.object({ product_id: z.string(), quantity: z.number() }));
  compensation("inventory_service.release");
  action("payment_service.charge", "PAY", z.object({ amount: z.number(), customer_id: z.string() }));
  compensation("payment_service.refund");
  action("shipping_service.create", "SHIP", z.object({ address: z.string(), items: z.array(z.string()) }));
  compensation("shipping_service.cancel");

  // #region server
  return wrapServer(server, [idempotency({ store })]);
  // #endregion server
}

serveStdio(services);

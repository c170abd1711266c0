import type { Logger } from "./config-types.js";

/** What was said already: a pipeline made for each request must not say it each time. */
const said = new Set<string>();

/** Warns of a mistake that works but does harm. Once for each text and process; in production never. */
export function warnOnce(message: string, logger: Logger | undefined): void {
  if (process.env["NODE_ENV"] === "production" || said.has(message)) return;
  said.add(message);
  if (logger === undefined) process.emitWarning(message, { type: "McpTxWarning", code: "MCP_TX_ORDER" });
  else logger.warn({ code: "MCP_TX_ORDER" }, message);
}

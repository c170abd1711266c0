/**
 * The data service behind `workflow.ts`: an MCP server over stdio with the four tools of the guide. Processing is overloaded
 * at first: it answers three times with a hint when to come back. Each execution is a line in the file that it is given.
 */

import { appendFileSync } from "node:fs";
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

const OVERLOADED_TIMES = 3;
const COME_BACK_MS = 40;
const [log = "executions.log"] = process.argv.slice(2);

/** Writes down that a tool runs. */
function executes(tool: string): void {
  appendFileSync(log, `${tool}\n`);
}

function json(value: object): { content: { type: "text"; text: string }[] } {
  return { content: [{ type: "text", text: JSON.stringify(value) }] };
}

function dataService(): McpServer {
  const server = new McpServer({ name: "data-service", version: "1.0.0" });
  let processCalls = 0;

  server.registerTool("download_data", { inputSchema: z.object({ url: z.string() }) }, ({ url }) => {
    executes("download_data");
    return json({ path: `/data/${new URL(url).pathname.slice(1)}` });
  });

  server.registerTool("validate_data", { inputSchema: z.object({ file_path: z.string() }) }, ({ file_path }) => {
    executes("validate_data");
    return json({ valid: file_path.endsWith(".csv") });
  });

  // #region overloaded
  server.registerTool("process_data", { inputSchema: z.object({ file_path: z.string() }) }, ({ file_path }) => {
    executes("process_data");
    processCalls += 1;
    if (processCalls > OVERLOADED_TIMES) return json({ rows: 1200, source: file_path });
    return { ...json({ error: "overloaded" }), isError: true, _meta: { retryAfterMs: COME_BACK_MS } };
  });
  // #endregion overloaded

  server.registerTool(
    "upload_results",
    { inputSchema: z.object({ data: z.object({ rows: z.number() }) }) },
    ({ data }) => {
      executes("upload_results");
      return json({ url: `https://results.example/${data.rows}` });
    },
  );

  return server;
}

serveStdio(dataService);
process.stdin.once("close", () => process.exit(0));

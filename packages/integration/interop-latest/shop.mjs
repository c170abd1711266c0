// A shop with one tool, on SDK v1: over HTTP behind a front that plays a script, or, started as a process, over standard streams.
import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { wrapServer } from "@mcp-tx/core";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

/** @param {(order: string) => void} log is told of each payment before anything else happens */
function build(log, middleware) {
  const server = new McpServer({ name: "shop", version: "1.0.0" });
  server.registerTool("pay", { inputSchema: z.object({ order: z.string() }) }, async ({ order }) => {
    log(order);
    return { content: [{ type: "text", text: `paid ${order}` }] };
  });
  return middleware === undefined ? server : wrapServer(server, middleware);
}

/** What the front does with a `tools/call`. `cut`: the tool runs, and the connection breaks. A number: that status, and no run. */
export const RUN_AND_CUT = "cut";
/** The tool runs, and something between the two answers for it. */
export const RUN_AND_502 = "502 instead of the answer";

function lose(request, response, step) {
  response.write = () => true;
  response.writeHead = () => response;
  response.flushHeaders = () => undefined;
  const end = response.end.bind(response);
  response.end = () => {
    if (step === RUN_AND_CUT) request.socket.destroy();
    else {
      delete response.writeHead;
      response.writeHead(502);
      end();
    }
    return response;
  };
}

/** Serves over HTTP without sessions. Steps for the next calls go into `script`; `payments` and `posts` say what happened. */
export async function serveShop(middleware) {
  const payments = [];
  const script = [];
  let posts = 0;
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.method !== "POST") return response.writeHead(405).end();
    const message = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    const isCall = message.method === "tools/call";
    if (isCall) posts += 1;
    const step = isCall ? script.shift() : undefined;
    if (typeof step === "number") return response.writeHead(step, { "retry-after": "0" }).end();
    if (step !== undefined) lose(request, response, step);
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    await build((order) => payments.push(order), middleware).connect(transport);
    await transport.handleRequest(request, response, message);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: new URL(`http://127.0.0.1:${server.address().port}/mcp`),
    payments,
    script,
    posts: () => posts,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Payments that processes noted in a file. */
export function paymentsIn(file) {
  return readFileSync(file, "utf8").split("\n").filter(Boolean);
}

const [, , way, file, victim] = process.argv;
if (way === "stdio") {
  const log = (order) => {
    const isFirst = paymentsIn(file).length === 0;
    appendFileSync(file, `${order}\n`);
    // The money is gone, and so is the process, or the one that started it.
    if (isFirst) process.kill(victim === "parent" ? process.ppid : process.pid, "SIGKILL");
  };
  await build(log).connect(new StdioServerTransport());
}

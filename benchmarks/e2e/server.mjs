// A server with one tool, in a process of its own as real ones are. Usage: node server.mjs stdio|http v1|v2
// Over HTTP it listens on a port of its own and sends it to its parent.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { McpServer as ServerV1 } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { createMcpHandler, McpServer as ServerV2 } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { registerEcho } from "./tool.mjs";

const [transport, line] = process.argv.slice(2);
const info = { name: "bench", version: "1.0.0" };
const build = () => registerEcho(line === "v1" ? new ServerV1(info) : new ServerV2(info));

/** SDK v1: a session for each client, answers as event streams, both as its documentation shows. */
function sessions() {
  const open = new Map();
  return async (request, response, body) => {
    const known = open.get(request.headers["mcp-session-id"]);
    if (known !== undefined) return known.handleRequest(request, response, body);
    const fresh = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => void open.set(id, fresh),
    });
    await build().connect(fresh);
    return fresh.handleRequest(request, response, body);
  };
}

/** SDK v2: its handler is for web requests; a server for each request. */
function stateless() {
  const handler = createMcpHandler(build);
  return async (request, response, body) => {
    const { method, headers } = request;
    const web = new Request(`http://${headers.host}${request.url}`, {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const answer = await handler.fetch(web, body === undefined ? {} : { parsedBody: body });
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body !== null) for await (const chunk of answer.body) response.write(chunk);
    response.end();
  };
}

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

function serveHttp() {
  const handle = line === "v1" ? sessions() : stateless();
  const server = createServer(async (request, response) => {
    try {
      await handle(request, response, await bodyOf(request));
    } catch {
      response.destroy();
    }
  });
  server.listen(0, "127.0.0.1", () => process.send?.({ port: server.address().port }));
  // Nobody is served any more once the parent is gone.
  process.on("disconnect", () => process.exit());
}

if (transport === "http") serveHttp();
else if (line === "v1") await build().connect(new StdioServerTransport());
else serveStdio(build);

import { createServer } from "node:http";
import type { HttpHandler } from "@mcp-tx/http";
import { type McpTxContext, toRouteHandlers, withMcpTx } from "@mcp-tx/http/next";
import { createNodeHandler } from "@mcp-tx/http/node";
import { NextRequest, NextResponse } from "next/server.js";
import { describe, expect, test } from "vitest";
import { startApp } from "./fixtures/http-app.js";
import { type Host, listening } from "./fixtures/http-app-hosts.js";
import { callsThatMeet } from "./fixtures/http-suite-calls.js";
import { endlessBodies, hostileRequests } from "./fixtures/http-suite-hostile.js";
import { statusTable } from "./fixtures/http-suite-statuses.js";

/**
 * Route handlers as Next calls them: by the method's name, with its own request. Next itself is not started, which takes longer
 * than a test should; a Node server stands for its router.
 */

function nextRequest(request: Request): NextRequest {
  const { url, method, headers, body, signal } = request;
  return new NextRequest(url, { method, headers, body, signal, ...(body !== null && { duplex: "half" }) });
}

type Routes = Readonly<Record<string, (request: NextRequest) => Promise<Response>>>;

/** Serves what a route file exports. */
function routerOf(routes: Routes): HttpHandler["fetch"] {
  return async (request) => {
    const route = routes[request.method];
    return route === undefined ? new Response(null, { status: 405 }) : route(nextRequest(request));
  };
}

const NEXT: Host = {
  on: "Next",
  start: (handler) =>
    listening(createServer(createNodeHandler({ ...handler, fetch: routerOf(toRouteHandlers(handler)) }))),
};

describe("Next", () => {
  describe("answers", () => statusTable(NEXT));
  describe("calls that meet", () => callsThatMeet(NEXT));
  describe("hostile requests", () => {
    hostileRequests(NEXT);
    endlessBodies(NEXT);
  });

  test("a route of one's own gets the caller beside what Next gives it", async () => {
    const { handler, tools } = await startApp(NEXT);
    const route = withMcpTx(handler, async (request: NextRequest, { mcpTx, params }: OrderContext) => {
      const { id } = await params;
      const text = await mcpTx.invoke<string>("echo", { text: `${request.nextUrl.pathname} ${id}` });
      return NextResponse.json({ text });
    });
    const answer = await route(new NextRequest("http://127.0.0.1/orders/7"), { params: Promise.resolve({ id: "7" }) });
    expect(await answer.json()).toEqual({ text: "/orders/7 7" });
    expect(tools.log.entries).toEqual(["echo ran"]);
  });
});

interface OrderContext extends McpTxContext {
  readonly params: Promise<{ readonly id: string }>;
}

import { expect, test } from "vitest";
import type { HttpHandler } from "./index.js";
import { type McpTxContext, toRouteHandlers, withMcpTx } from "./next.js";

function handlerWith(parts: Partial<HttpHandler>): HttpHandler {
  return parts as HttpHandler;
}

test("every method that Next asks for goes to the handler, as it is", async () => {
  const seen: Request[] = [];
  const routes = toRouteHandlers(
    handlerWith({
      fetch: async (request) => {
        seen.push(request);
        return new Response(request.method);
      },
    }),
  );
  expect(Object.keys(routes).sort()).toEqual(["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]);
  for (const [method, route] of Object.entries(routes)) {
    const request = new Request("http://127.0.0.1/api/mcp/tools", { method });
    expect(await (await route(request)).text()).toBe(method);
    expect(seen.at(-1)).toBe(request);
  }
});

test("a route of one's own gets its request, its context and the caller", async () => {
  const inner = { call: async () => ({ content: [] }), invoke: async () => "done" } as never;
  const route = withMcpTx(
    handlerWith({ caller: async () => inner }),
    async (request, { params, mcpTx }: { readonly params: { readonly id: string } } & McpTxContext) =>
      new Response(`${new URL(request.url).pathname} ${params.id} ${await mcpTx.invoke("order")}`),
  );
  const answer = await route(new Request("http://127.0.0.1/orders"), { params: { id: "7" } });
  expect(await answer.text()).toBe("/orders 7 done");
});

test("an error of a route of one's own is left to Next", async () => {
  const route = withMcpTx(handlerWith({}), () => {
    throw new Error("mine");
  });
  await expect(route(new Request("http://127.0.0.1/"), {})).rejects.toThrow("mine");
});

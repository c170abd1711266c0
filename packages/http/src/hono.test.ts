import { Hono } from "hono";
import { expect, test } from "vitest";
import { mcpTx } from "./hono.js";
import type { HttpHandler, RequestDetails } from "./index.js";

/** Hono without a server, as it runs on runtimes that are not Node. */

const JSON_TYPE = { "content-type": "application/json" };

/** A handler for `/mcp/execute-tool` that says what it was given. */
function echoing(): HttpHandler & { readonly given: (RequestDetails | undefined)[] } {
  const given: (RequestDetails | undefined)[] = [];
  return {
    given,
    handles: (target: Request, method?: string) => target.url.endsWith("/mcp/execute-tool") && method !== "TRACE",
    fetch: async (request: Request, details?: RequestDetails) => {
      given.push(details);
      return new Response(details?.body === undefined ? await request.text() : "given", { status: 201 });
    },
    caller: async () => ({ invoke: async () => "from the tool" }) as never,
  } as never;
}

test("serves the handler's routes and leaves the others to the app", async () => {
  const app = new Hono().use(mcpTx(echoing())).get("/other", (c) => c.text("mine"));
  const answer = await app.request("/mcp/execute-tool", { method: "POST", headers: JSON_TYPE, body: "{}" });
  expect([answer.status, await answer.text()]).toEqual([201, "{}"]);
  expect(await (await app.request("/other")).text()).toBe("mine");
  expect((await app.request("/nowhere")).status).toBe(404);
});

test("gives routes the caller", async () => {
  const app = new Hono()
    .use(mcpTx(echoing()))
    .get("/orders", async (c) => c.text(await c.var.mcpTx.invoke<string>("order")));
  expect(await (await app.request("/orders")).text()).toBe("from the tool");
});

test("hands over a body that was read before", async () => {
  const handler = echoing();
  const app = new Hono();
  app.use(async (c, next) => {
    await c.req.json();
    await next();
  });
  app.use(mcpTx(handler));
  const body = JSON.stringify({ tool: "echo" });
  const answer = await app.request("/mcp/execute-tool", { method: "POST", headers: JSON_TYPE, body });
  expect(await answer.text()).toBe("given");
  expect(handler.given).toEqual([{ principal: undefined, body }]);
});

test("says who asks where the app knows it", async () => {
  const handler = echoing();
  const app = new Hono<{ Variables: { user: string } }>();
  app.use(async (c, next) => {
    c.set("user", "ann");
    await next();
  });
  app.use(mcpTx(handler, { principal: (c) => c.get("user") }));
  await app.request("/mcp/execute-tool", { method: "POST", headers: JSON_TYPE, body: "{}" });
  expect(handler.given).toEqual([{ principal: "ann" }]);
});

test("middlewares before it change its answers", async () => {
  const app = new Hono();
  app.use(async (c, next) => {
    await next();
    c.header("x-after", "yes");
  });
  app.use(mcpTx(echoing()));
  const answer = await app.request("/mcp/execute-tool", { method: "POST", headers: JSON_TYPE, body: "{}" });
  expect(answer.headers.get("x-after")).toBe("yes");
});

/** What Hono's Node server gives for a request that is still arriving. */
const ARRIVING = { incoming: { socket: {}, complete: false }, outgoing: { socket: {} } };

test("on Hono's Node server a body that is given up is left to it, and the connection open until it has come", async () => {
  let cancels = 0;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("a")),
    cancel: () => {
      cancels += 1;
    },
  });
  const app = new Hono().use(
    mcpTx({
      ...echoing(),
      fetch: async (request) => {
        const reader = request.body?.getReader();
        const first = await reader?.read();
        await reader?.cancel();
        return new Response(new TextDecoder().decode(first?.value), { headers: { connection: "close" } });
      },
    }),
  );
  const init = { method: "POST", headers: JSON_TYPE, body, duplex: "half" } as const;
  const answer = await app.request("/mcp/execute-tool", init, ARRIVING);
  expect(await answer.text()).toBe("a");
  expect(answer.headers.get("connection")).toBeNull();
  expect(cancels).toBe(0);
});

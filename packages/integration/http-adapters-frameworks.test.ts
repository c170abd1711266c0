import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { createHttpHandler, type HttpHandler, type RequestDetails } from "@mcp-tx/http";
import { mcpTx as forExpress } from "@mcp-tx/http/express";
import { mcpTx as forFastify } from "@mcp-tx/http/fastify";
import { createNodeHandler } from "@mcp-tx/http/node";
import express from "express";
import fastify, { type FastifyInstance } from "fastify";
import { describe, expect, onTestFinished, test } from "vitest";
import { listening } from "./fixtures/http-app-hosts.js";
import { scripted } from "./fixtures/http-app-scripted.js";
import { requestText, Wire } from "./fixtures/http-app-wire.js";

/** What only one framework has: mount points, prefixes, hooks, parsers, decorators. */

const JSON_TYPE = { "content-type": "application/json" };

/** A caller whose tool says what it was called with. */
const caller = {
  call: async (tool: string, args: unknown) => ({
    content: [{ type: "text", text: `${tool} ${JSON.stringify(args)}` }],
  }),
  invoke: async (tool: string) => `${tool} done`,
};

/** A real handler with a caller that needs no server. */
function realHandler(basePath = ""): HttpHandler {
  return createHttpHandler(caller as never, { basePath, tools: ["echo"], listTools: async () => [{ name: "echo" }] });
}

/** Says path and body of what it is asked. */
const echoing = (): HttpHandler =>
  scripted(async (request, given) => {
    const { pathname, search } = new URL(request.url);
    const body = given?.body === undefined ? await request.text() : given.body;
    return Response.json({ path: pathname + search, body });
  });

async function listen(listener: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const app = await listening(createServer(listener));
  onTestFinished(() => app.stop());
  return `http://127.0.0.1:${app.port}`;
}

async function listenFastify(app: FastifyInstance): Promise<string> {
  onTestFinished(async () => app.close());
  return app.listen({ port: 0, host: "127.0.0.1" });
}

async function post(url: string, body: string, headers: Readonly<Record<string, string>> = JSON_TYPE) {
  const answer = await fetch(url, { method: "POST", headers, body });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text };
}

describe("node", () => {
  test("a handler that rejects after all ends its request alone, without a text", async () => {
    let calls = 0;
    const url = await listen(
      createNodeHandler({
        ...echoing(),
        fetch: async () => {
          calls += 1;
          if (calls === 1) throw new Error("hunter2");
          return new Response("fine");
        },
      }),
    );
    const failed = await fetch(`${url}/tools`);
    expect([failed.status, await failed.text()]).toEqual([500, ""]);
    expect(await (await fetch(`${url}/tools`)).text()).toBe("fine");
  });

  test("an answer that Node refuses to send ends its request alone", async () => {
    const bad = new Response("x");
    Object.defineProperty(bad, "headers", { value: new Map([["x-broken", "a\r\nb"]]) });
    const answers = [bad, new Response("fine")];
    const url = await listen(createNodeHandler(scripted(() => answers.shift() ?? Response.error())));
    expect((await fetch(`${url}/tools`)).status).toBe(500);
    expect(await (await fetch(`${url}/tools`)).text()).toBe("fine");
  });

  test("a request that something else has answered is left alone, and so is its connection", async () => {
    let cancel: () => void = () => undefined;
    const cancelled = new Promise<void>((resolve) => {
      cancel = resolve;
    });
    const late = new ReadableStream<Uint8Array>({ cancel: () => cancel() });
    const answers = [new Response("late"), new Response(late)];
    const sent: Promise<void>[] = [];
    const serve = createNodeHandler(scripted(() => answers.shift() ?? Response.error()));
    const app = await listening(
      createServer((request, response) => {
        response.writeHead(503).end("too late");
        sent.push(serve(request, response));
      }),
    );
    const wire = await Wire.open(app.port);
    onTestFinished(async () => {
      wire.close();
      await app.stop();
    });
    for (let request = 0; request < 2; request += 1) {
      wire.write(requestText("GET", "/tools"));
      expect(await wire.answer()).toMatchObject({ status: 503, body: "too late" });
      await Promise.all(sent);
    }
    await cancelled;
  });

  test("hands a given body and principal on", async () => {
    const given: (RequestDetails | undefined)[] = [];
    const serve = createNodeHandler(
      scripted((_request, details) => {
        given.push(details);
        return new Response("ok");
      }),
    );
    const details = { body: { tool: "echo" }, principal: "ann" };
    const url = await listen((request, response) => void serve(request, response, details));
    await post(`${url}/execute-tool`, "{}");
    expect(given).toEqual([details]);
  });
});

describe("HTTP/2", () => {
  test("an answer that would close its connection is sent without saying so, which HTTP/2 cannot", async () => {
    const close = { headers: { connection: "close" } };
    const serve = createNodeHandler(scripted(async (request) => new Response(await request.text(), close)));
    const server = http2.createServer((request, response) => void serve(request as never, response as never));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    onTestFinished(async () => {
      await new Promise<void>((resolve) => session.close(resolve));
      await new Promise((resolve) => server.close(resolve));
    });
    const stream = session.request({ ":path": "/execute-tool", ":method": "POST" });
    const status = once(stream, "response").then(([headers]) => headers[":status"]);
    stream.end('{"tool":"echo"}');
    expect(await text(stream)).toBe('{"tool":"echo"}');
    expect(await status).toBe(200);
  });
});

describe("Express", () => {
  test("below a path the handler sees what follows it", async () => {
    const app = express();
    const router = express.Router();
    router.use("/mcp", forExpress(echoing()));
    app.use("/api", router);
    app.use((_request, response) => void response.status(404).send("mine"));
    const url = await listen(app);
    const { text } = await post(`${url}/api/mcp/execute-tool?a=b`, "{}");
    expect(JSON.parse(text)).toEqual({ path: "/execute-tool?a=b", body: "{}" });
    expect((await post(`${url}/api/mcp/other`, "{}")).text).toBe("mine");
    expect((await post(`${url}/execute-tool`, "{}")).text).toBe("mine");
  });

  test("below the path that is the handler's basePath it sees all of it", async () => {
    const app = express();
    app.use("/mcp", forExpress(realHandler("/mcp")));
    const url = await listen(app);
    const { status, text } = await post(`${url}/mcp/execute-tool`, '{"tool":"echo","arguments":{"a":1}}');
    expect(status).toBe(200);
    expect(text).toContain('echo {\\"a\\":1}');
    expect((await post(`${url}/execute-tool`, "{}")).status).toBe(404);
  });

  test("routes after it have the caller, and its own headers stay on the handler's answers", async () => {
    const app = express();
    app.use((_request, response, next) => {
      response.setHeader("x-before", "yes");
      next();
    });
    app.use(forExpress(realHandler()));
    app.get("/orders", async (request, response) => void response.send(await request.mcpTx.invoke("order")));
    const url = await listen(app);
    expect(await (await fetch(`${url}/orders`)).text()).toBe("order done");
    expect((await fetch(`${url}/livez`)).headers.get("x-before")).toBe("yes");
  });

  test.each([
    ["express.json()", express.json(), JSON_TYPE, 200],
    ["express.text()", express.text({ type: "*/*" }), JSON_TYPE, 200],
    ["express.raw()", express.raw({ type: "*/*" }), JSON_TYPE, 200],
    ["a parser for other types", express.urlencoded({ extended: true }), JSON_TYPE, 200],
    ["a form", express.urlencoded({ extended: true }), { "content-type": "application/x-www-form-urlencoded" }, 415],
  ])("behind %s", async (_name, parser, headers, status) => {
    const app = express();
    app.use(parser);
    app.use(forExpress(realHandler()));
    const url = await listen(app);
    const body = status === 200 ? '{"tool":"echo","arguments":{"a":1}}' : "tool=echo&arguments[a]=1";
    const answer = await post(`${url}/execute-tool`, body, headers);
    expect(answer.status).toBe(status);
    if (status === 200) expect(answer.text).toContain('echo {\\"a\\":1}');
  });

  test("says who asks where the app knows it, and asks the handler otherwise", async () => {
    const asked: (string | undefined)[] = [];
    const app = express();
    const principal = (request: express.Request) => request.get("x-user");
    app.use(
      forExpress(
        scripted((_request, given) => {
          asked.push(given?.principal);
          return new Response("ok");
        }),
        { principal },
      ),
    );
    const url = await listen(app);
    await fetch(`${url}/tools`, { headers: { "x-user": "ann" } });
    await fetch(`${url}/tools`);
    expect(asked).toEqual(["ann", undefined]);
  });

  test("a request whose target is a whole URL, below a path that is the handler's basePath", async () => {
    const app = express();
    app.use("/mcp", forExpress(realHandler("/mcp")));
    const url = new URL(await listen(app));
    const wire = await Wire.open(Number(url.port));
    onTestFinished(() => wire.close());
    wire.write(requestText("GET", `http://127.0.0.1:${url.port}/mcp/livez`, { host: url.host }));
    expect((await wire.answer()).status).toBe(200);
  });

  test("a body that something has read and thrown away is a refusal, not a hang", async () => {
    const app = express();
    app.use((request, _response, next) => void request.resume().once("end", () => next()));
    app.use(forExpress(realHandler()));
    const { status } = await post(`${await listen(app)}/execute-tool`, '{"tool":"echo"}');
    expect([400, 500]).toContain(status);
  });
});

describe("Fastify", () => {
  test("a prefix goes before the routes, and the handler does not see it", async () => {
    const app = fastify();
    await app.register(async (scope) => void scope.register(forFastify(echoing()), { prefix: "/mcp" }), {
      prefix: "/:shop",
    });
    const url = await listenFastify(app);
    const { text } = await post(`${url}/tea/mcp/execute-tool?a=b`, "{}");
    expect(JSON.parse(text)).toEqual({ path: "/execute-tool?a=b", body: "{}" });
    expect((await post(`${url}/execute-tool`, "{}")).status).toBe(404);
  });

  test.each([
    ["is the prefix", "/mcp", "/mcp/execute-tool"],
    ["begins with the prefix", "/mcp/v1", "/mcp/v1/execute-tool"],
    ["is another one", "/v1", "/mcp/v1/execute-tool"],
  ])("a basePath that %s", async (_name, basePath, path) => {
    const app = fastify();
    await app.register(forFastify(realHandler(basePath)), { prefix: "/mcp" });
    const url = await listenFastify(app);
    const { status, text } = await post(url + path, '{"tool":"echo","arguments":{"a":1}}');
    expect(status).toBe(200);
    expect(text).toContain('echo {\\"a\\":1}');
  });

  test("the instance and its requests have the caller, in the scope that registers it and below", async () => {
    const app = fastify();
    await app.register(forFastify(realHandler()));
    app.get("/orders", async ({ mcpTx }) => mcpTx.invoke("order"));
    await app.register(async (below) => void below.get("/below", async () => below.mcpTx.invoke("below")));
    const url = await listenFastify(app);
    expect(await (await fetch(`${url}/orders`)).text()).toBe("order done");
    expect(await (await fetch(`${url}/below`)).text()).toBe("below done");
  });

  test("two handlers live in two scopes", async () => {
    const app = fastify();
    for (const name of ["one", "two"]) {
      await app.register(async (scope) => {
        await scope.register(forFastify(scripted(() => new Response(name))), { prefix: `/${name}` });
      });
    }
    const url = await listenFastify(app);
    expect((await post(`${url}/one/execute-tool`, "{}")).text).toBe("one");
    expect((await post(`${url}/two/execute-tool`, "{}")).text).toBe("two");
  });

  test("says who asks where a hook knows it", async () => {
    const asked: (string | undefined)[] = [];
    const app = fastify();
    const handler = scripted((_request, given) => {
      asked.push(given?.principal);
      return new Response("ok");
    });
    await app.register(forFastify(handler, { principal: ({ headers }) => headers["x-user"]?.toString() }));
    const url = await listenFastify(app);
    await fetch(`${url}/tools`, { headers: { "x-user": "ann" } });
    await fetch(`${url}/tools`);
    expect(asked).toEqual(["ann", undefined]);
  });

  test("hooks of the instance apply, and parsers of its own routes stay", async () => {
    const app = fastify();
    app.addHook("onRequest", async (_request, reply) => void reply.header("x-before", "yes"));
    app.addHook("onSend", async (_request, reply) => void reply.header("x-after", "yes"));
    await app.register(forFastify(realHandler()));
    app.post("/orders", async ({ body }) => body);
    const url = await listenFastify(app);
    const { headers, text } = await post(`${url}/execute-tool`, '{"tool":"echo","arguments":{"a":1}}');
    expect(text).toContain('echo {\\"a\\":1}');
    expect([headers.get("x-before"), headers.get("x-after")]).toEqual(["yes", "yes"]);
    expect((await post(`${url}/orders`, '{"own":true}')).text).toBe('{"own":true}');
  });

  test("a hook that refuses keeps the handler from being asked", async () => {
    let asked = 0;
    const app = fastify();
    app.addHook("onRequest", async (_request, reply) => reply.code(401).send("no"));
    await app.register(
      forFastify(
        scripted(() => {
          asked += 1;
          return new Response("asked");
        }),
      ),
    );
    expect(await post(`${await listenFastify(app)}/execute-tool`, "{}")).toMatchObject({ status: 401, text: "no" });
    expect(asked).toBe(0);
  });

  test("a hook that unpacks bodies is not bypassed", async () => {
    const app = fastify();
    app.addHook("preParsing", async (_request, _reply, payload) => {
      const upper = new PassThrough();
      payload.on("data", (chunk: Buffer) => upper.write(chunk.toString().toUpperCase()));
      payload.on("end", () => upper.end());
      return upper;
    });
    await app.register(forFastify(echoing()));
    const { text } = await post(`${await listenFastify(app)}/execute-tool`, '{"tool":"echo"}');
    expect(JSON.parse(text)).toMatchObject({ body: '{"TOOL":"ECHO"}' });
  });
});

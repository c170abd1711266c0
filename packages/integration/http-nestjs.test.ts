import { NestFactory } from "@nestjs/core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startApp } from "./fixtures/http-app.js";
import type { Host } from "./fixtures/http-app-hosts.js";
import { type DocumentedApp, documentedApp, type NestListening, startNest } from "./fixtures/http-app-nest.js";
import { callsThatMeet } from "./fixtures/http-suite-calls.js";
import { hostileRequests } from "./fixtures/http-suite-hostile.js";
import { statusTable } from "./fixtures/http-suite-statuses.js";

/** The app of `docs/nestjs.md`: what the document says is what runs here. */

const COMPILE_MS = 120_000;

let parts: DocumentedApp;
let latest: NestListening;

beforeAll(async () => {
  parts = await documentedApp();
}, COMPILE_MS);

afterAll(() => parts.remove());

const NEST: Host = {
  on: "NestJS",
  parses: true,
  start: async (handler) => {
    latest = await startNest(parts, handler);
    return latest;
  },
};

describe("NestJS", () => {
  describe("answers", () => statusTable(NEST));
  describe("calls that meet", () => callsThatMeet(NEST));
  describe("hostile requests", () => hostileRequests(NEST));

  test("controllers call tools through their request", async () => {
    const app = await startApp(NEST);
    const answer = await app.request("POST", "/orders", {
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ sku: "tea" }),
    });
    expect(answer).toMatchObject({ status: 201, text: "ordered tea" });
    expect(app.tools.log.entries).toEqual(["create_order ran"]);
  });

  test("services call tools with keys of their own", async () => {
    const app = await startApp(NEST);
    const stock = latest.get(parts.StockService);
    expect(await stock.reserve("tea", "order-1")).toBe("reserved tea");
    expect(await stock.reserve("tea", "order-1")).toBe("reserved tea");
    expect(app.tools.log.entries).toEqual(["reserve_stock ran"]);
  });

  test("stopping the app drains the handler", async () => {
    const app = await startApp(NEST);
    const call = app.execute({ tool: "held", arguments: { id: "a" } });
    await app.tools.log.has("held ran");
    const stopped = app.close();
    app.tools.release("a");
    expect((await call).status).toBe(200);
    await stopped;
    expect((await app.handler.fetch(new Request("http://127.0.0.1/readyz"))).status).toBe(503);
  });

  test("below a global prefix the handler answers where its basePath is", async () => {
    const prefixed: Host = { ...NEST, start: (handler) => startNest(parts, handler, { prefix: "api" }) };
    const app = await startApp(prefixed, { options: { basePath: "/api" } });
    const headers = { "content-type": "application/json" };
    const init = { headers, body: JSON.stringify({ tool: "echo", arguments: { text: "x" } }) };
    expect((await app.request("POST", "/api/execute-tool", init)).status).toBe(200);
    expect((await app.request("POST", "/execute-tool", init)).status).toBe(404);
    expect((await app.request("POST", "/api/orders", { headers, body: '{"sku":"tea"}' })).text).toBe("ordered tea");
  });

  test("without Nest's body parser, malformed JSON gets the handler's problem", async () => {
    const app = await startApp({ ...NEST, start: (handler) => startNest(parts, handler, { bodyParser: false }) });
    const headers = { "content-type": "application/json" };
    const answer = await app.request("POST", "/execute-tool", { headers, body: "{" });
    expect(answer).toMatchObject({ status: 400, json: { code: "malformed_json" } });
  });

  test("the documented app starts without its server, which it connects when it is asked for", async () => {
    const app = await NestFactory.create(parts.AppModule, { logger: false });
    onTestFinished(() => app.close());
    await app.listen(0, "127.0.0.1");
    const answer = await fetch(`${await app.getUrl()}/livez`);
    expect(answer.status).toBe(200);
  });
});

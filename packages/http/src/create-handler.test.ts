import { describe, expect, test } from "vitest";
import { OK, post, read, scene } from "./front.fixture.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };
const PATHS = ["/tools", "/health", "/livez", "/readyz", "/openapi.json"];

describe("routes", () => {
  test.each(["/", "/execute-tool/", "/Execute-tool", "/tools/search", "//tools", "/openapi.yaml", "/.env"])(
    "%s: 404",
    async (path) => {
      expect(await scene().get(path)).toMatchObject({ status: 404, json: { code: "not_found" } });
    },
  );

  test.each(["GET", "HEAD", "PUT", "PATCH", "DELETE"])("%s /execute-tool: 405, and what is allowed", async (method) => {
    const { handler, tool } = scene();
    const response = await handler.fetch(new Request("http://localhost/execute-tool", { method }));
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("POST, OPTIONS");
    expect(tool.executions).toBe(0);
  });

  test.each(PATHS)("POST %s: 405, and what is allowed", async (path) => {
    const response = await scene().handler.fetch(
      new Request(`http://localhost${path}`, { method: "POST", body: "{}" }),
    );
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
  });

  test.each(PATHS)("HEAD %s has the headers of GET, and no body", async (path) => {
    const { handler, get } = scene();
    const head = await handler.fetch(new Request(`http://localhost${path}`, { method: "HEAD" }));
    const { status, headers } = await get(path);
    expect(head.status).toBe(status);
    expect(head.headers.get("content-type")).toBe(headers.get("content-type"));
    expect(await head.text()).toBe("");
  });

  test.each(["/execute-tool", ...PATHS])("OPTIONS %s says what is allowed", async (path) => {
    const response = await scene().handler.fetch(new Request(`http://localhost${path}`, { method: "OPTIONS" }));
    expect(response.status).toBe(204);
    expect(response.headers.get("allow")).toContain("OPTIONS");
    expect(await response.text()).toBe("");
  });

  test("are below basePath, and nowhere else", async () => {
    const { handler } = scene({ basePath: "/api/mcp" });
    const status = async (path: string) => (await handler.fetch(new Request(`http://localhost${path}`))).status;
    expect(await status("/api/mcp/tools")).toBe(200);
    for (const path of ["/tools", "/api/tools", "/api/mcp", "/api/mcptools"]) expect(await status(path)).toBe(404);
  });
});

describe("what adapters ask", () => {
  test("whether a path is the handler's", () => {
    const { handler } = scene({ basePath: "/mcp" });
    const mine = [
      "/mcp/tools",
      "/mcp/tools?limit=5",
      "/mcp/execute-tool#x",
      "http://localhost/mcp/health",
      new URL("http://x/mcp/livez"),
      new Request("http://x/mcp/openapi.json"),
    ];
    for (const target of mine) expect(handler.handles(target)).toBe(true);
    for (const target of ["/tools", "/mcp", "/mcp/", "mcp/tools", "", "*"]) expect(handler.handles(target)).toBe(false);
  });

  test("a method that is routed, also to be answered with 405, is the handler's, another one is not", () => {
    const { handler } = scene();
    for (const method of ["GET", "POST", "DELETE"]) expect(handler.handles("/tools", method)).toBe(true);
    expect(handler.handles("/tools", "PROPFIND")).toBe(false);
  });

  test("which paths and methods to route: each is answered, none with 404", async () => {
    const { handler } = scene({ basePath: "/mcp" });
    expect(new Set(handler.routes.map(({ path }) => path)).size).toBe(6);
    for (const { method, path } of handler.routes) {
      expect(handler.handles(path, method)).toBe(true);
      const { status } = await handler.fetch(new Request(`http://localhost${path}`, { method }));
      expect([200, 204, 405, 415]).toContain(status);
    }
  });
});

test("fetch never rejects, whatever it is given", async () => {
  const { handler } = scene();
  const broken = (what: string) =>
    new Proxy(post(SEARCH), {
      get(target, name) {
        if (name === what) throw new Error("s3cr3t");
        return Reflect.get(target, name, target);
      },
    });
  const answer = await read(await handler.fetch(broken("headers")));
  expect(answer).toMatchObject({ status: 500, json: { code: "internal_error" } });
  expect(answer.text).not.toContain("s3cr3t");
  const nowhere = await read(await handler.fetch(broken("url")));
  expect(nowhere).toMatchObject({ status: 404, json: { code: "not_found" } });
  expect(nowhere.text).not.toContain("s3cr3t");
});

test("two handlers know nothing of each other", async () => {
  const [one, other] = [scene(), scene()];
  await one.handler.close();
  expect((await one.execute(SEARCH)).status).toBe(503);
  expect((await other.execute(SEARCH)).json.result).toEqual(OK);
});

import { describe, expect, test } from "vitest";
import { type Answer, post, read, type SceneOptions, scene } from "./front.fixture.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };
const OPEN = { tools: "all", authorize: "anyone" } as const;

function withHost(host: string, options: SceneOptions = {}, headers = {}): Promise<Answer> {
  return scene(options).execute(SEARCH, { host, ...headers });
}

function withOrigin(origin: string, options: SceneOptions = {}, host = "localhost:3000"): Promise<Answer> {
  return withHost(host, options, { origin });
}

describe("Host", () => {
  test.each(["localhost", "localhost:3000", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "127.1", "[::1]", "[::1]:9"])(
    "%s is loopback",
    async (host) => {
      expect((await withHost(host)).status).toBe(200);
    },
  );

  test.each([
    "example.com",
    "localhost.example.com",
    "127.0.0.1.example.com",
    "example.com:localhost",
    "localhost@example.com",
    "localhost/x",
    "localhost#",
    "128.0.0.1",
    "[::2]",
    "0.0.0.0",
    "local host",
    "",
  ])("%j is not: 403, nothing runs", async (host) => {
    const { execute, tool } = scene();
    expect(await execute(SEARCH, { host })).toMatchObject({ status: 403, json: { code: "host_not_allowed" } });
    expect(tool.executions).toBe(0);
  });

  test("without the header the URL counts", async () => {
    const { handler } = scene();
    expect((await handler.fetch(new Request("http://example.com/tools"))).status).toBe(403);
    expect((await handler.fetch(new Request("http://127.0.0.1/tools"))).status).toBe(200);
  });

  test("hosts names others, with any port or with one", async () => {
    const options = { ...OPEN, hosts: ["API.example.com", "10.0.0.1:8080"] };
    for (const host of ["api.example.com", "api.example.com:444", "10.0.0.1:8080"]) {
      expect((await withHost(host, options)).status).toBe(200);
    }
    for (const host of ["10.0.0.1", "10.0.0.1:80", "localhost", "example.com"]) {
      expect((await withHost(host, options)).status).toBe(403);
    }
    expect((await withHost("anything.example", { ...OPEN, hosts: ["*"] })).status).toBe(200);
  });

  test("probes may name the address of a pod", async () => {
    const { get } = scene();
    for (const path of ["/livez", "/readyz"]) expect((await get(path, { host: "10.1.2.3" })).status).toBe(200);
    for (const path of ["/health", "/tools", "/openapi.json", "/nothing"]) {
      expect((await get(path, { host: "10.1.2.3" })).status).toBe(403);
    }
  });
});

describe("Origin", () => {
  test("pages of loopback may call by default, and may read the answer", async () => {
    const answer = await withOrigin("http://localhost:5173");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("access-control-allow-origin")).toBe("http://localhost:5173");
    expect(answer.headers.get("vary")).toBe("Origin");
  });

  test.each(["https://evil.example", "null", "http://localhost.evil.example", "localhost", "http://localhost:1/path"])(
    "%s: 403, nothing runs",
    async (origin) => {
      const { execute, tool } = scene();
      const answer = await execute(SEARCH, { origin });
      expect(answer).toMatchObject({ status: 403, json: { code: "origin_not_allowed" } });
      expect(answer.headers.get("access-control-allow-origin")).toBeNull();
      expect(tool.executions).toBe(0);
    },
  );

  test("the own one may always, loopback no longer where hosts names others", async () => {
    const options = { ...OPEN, hosts: ["api.example.com"] };
    expect((await withOrigin("https://api.example.com", options, "api.example.com")).status).toBe(200);
    expect((await withOrigin("http://localhost", options, "api.example.com")).status).toBe(403);
    expect((await withOrigin("https://api.example.com:8443", options, "api.example.com")).status).toBe(403);
  });

  test("origins names others", async () => {
    const options = { origins: ["https://app.example.com"] };
    const answer = await withOrigin("https://app.example.com", options);
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example.com");
    expect((await withOrigin("http://app.example.com", options)).status).toBe(403);
    expect((await withOrigin("http://localhost", options)).status).toBe(403);
    expect((await withOrigin("https://any.example", { origins: ["*"] })).status).toBe(200);
  });

  test("problems may be read by pages that may call", async () => {
    const { execute } = scene();
    const answer = await execute({}, { origin: "http://localhost" });
    expect(answer.status).toBe(400);
    expect(answer.headers.get("access-control-allow-origin")).toBe("http://localhost");
  });

  test("a browser that asks first is told what it may send", async () => {
    const { handler, tool } = scene();
    const ask = (headers: Record<string, string>) =>
      handler.fetch(new Request("http://localhost/execute-tool", { method: "OPTIONS", headers }));
    const asked = "content-type, idempotency-key";
    const answer = await ask({
      origin: "http://localhost:5173",
      "access-control-request-method": "POST",
      "access-control-request-headers": asked,
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("access-control-allow-methods")).toBe("POST, OPTIONS");
    expect(answer.headers.get("access-control-allow-headers")).toBe(asked);
    const odd = await ask({
      origin: "http://localhost:5173",
      "access-control-request-method": "POST",
      "access-control-request-headers": "a b",
    });
    expect(odd.headers.get("access-control-allow-headers")).toBeNull();
    const evil = await ask({ origin: "https://evil.example", "access-control-request-method": "POST" });
    expect(evil.status).toBe(403);
    expect(tool.executions).toBe(0);
  });

  test("requests of no page need none", async () => {
    const { handler } = scene();
    const { status, headers } = await read(await handler.fetch(post(SEARCH)));
    expect(status).toBe(200);
    expect(headers.get("access-control-allow-origin")).toBeNull();
  });
});

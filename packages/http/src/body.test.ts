import { virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JSON_HEADERS, post, read, scene } from "./front.fixture.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };

/** A request whose body comes from a stream. */
function streaming(body: ReadableStream<Uint8Array>, headers = {}, signal?: AbortSignal): Request {
  const init = {
    method: "POST",
    headers: { ...JSON_HEADERS, ...headers },
    body,
    duplex: "half",
    signal: signal ?? null,
  };
  return new Request("http://localhost/execute-tool", init as RequestInit);
}

describe("a body that is not taken", () => {
  test.each([
    ["nothing", ""],
    ["no JSON", "{'tool': 1}"],
    ["half of it", '{"tool":'],
    ["two values", "{} {}"],
  ])("%s: 400 malformed_json", async (_name, text) => {
    const { execute, tool } = scene();
    expect(await execute(text)).toMatchObject({ status: 400, json: { code: "malformed_json" } });
    expect(tool.executions).toBe(0);
  });

  test.each([
    ["__proto__", '{"tool":"search","arguments":{"query":"x","__proto__":{"isAdmin":true}}}'],
    ["a nested __proto__", '{"tool":"search","arguments":{"query":"x","a":[{"__proto__":null}]}}'],
    ["constructor.prototype", '{"tool":"search","arguments":{"query":"x","constructor":{"prototype":{"isAdmin":1}}}}'],
    ["an escaped __proto__", '{"tool":"search","arguments":{"query":"x","\\u005f_proto__":{}}}'],
    ["__proto__ in the envelope", '{"tool":"search","__proto__":{"arguments":{"query":"x"}}}'],
  ])("%s: 400, nothing runs and no prototype changes", async (_name, text) => {
    const { execute, tool } = scene();
    expect(await execute(text)).toMatchObject({ status: 400, json: { code: "malformed_json" } });
    expect(tool.executions).toBe(0);
    expect(({} as { isAdmin?: unknown }).isAdmin).toBeUndefined();
  });

  test("a member called constructor that is none is an argument as any other", async () => {
    const { execute, tool } = scene();
    const args = { query: "x", constructor: "Gaudí" };
    expect((await execute({ tool: "search", arguments: args })).status).toBe(200);
    expect(tool.contexts[0]?.args).toEqual(args);
  });

  test("nesting beyond maxDepth, however deep: 400", async () => {
    const { execute, tool } = scene({ maxDepth: 4 });
    const nested = (depth: number) => `{"tool":"pay","arguments":{"a":${"[".repeat(depth)}${"]".repeat(depth)}}}`;
    expect((await execute(nested(2))).status).toBe(200);
    expect(await execute(nested(3))).toMatchObject({ status: 400, json: { code: "malformed_json" } });
    expect((await execute(nested(200_000))).status).toBe(400);
    expect(tool.executions).toBe(1);
  });

  test("bytes that are no UTF-8: 400", async () => {
    const { handler, tool } = scene();
    const bytes = new Uint8Array([...new TextEncoder().encode('{"tool":"search","arguments":{"query":"'), 0xff, 0xc0]);
    const request = streaming(new Blob([bytes]).stream());
    expect(await read(await handler.fetch(request))).toMatchObject({ status: 400, json: { code: "malformed_json" } });
    expect(tool.executions).toBe(0);
  });

  test.each([
    [{ "content-type": "text/plain" }],
    [{ "content-type": "application/jsonp" }],
    [{ "content-type": "application/x-www-form-urlencoded" }],
    [{ "content-type": "application/json; charset=utf-16" }],
    [{ "content-encoding": "gzip" }],
  ])("%o: 415", async (headers) => {
    const { execute, tool } = scene();
    const answer = await execute(SEARCH, headers);
    expect(answer).toMatchObject({ status: 415, json: { code: "unsupported_media_type" } });
    expect(answer.headers.get("accept-post")).toBe("application/json");
    expect(tool.executions).toBe(0);
  });

  test.each(["application/json; charset=utf-8", 'Application/JSON ; charset="UTF-8"'])("%s is JSON", async (type) => {
    expect((await scene().execute(SEARCH, { "content-type": type })).status).toBe(200);
  });
});

describe("size", () => {
  test("a body of maxBodyBytes is taken, one byte more is 413", async () => {
    const text = JSON.stringify(SEARCH);
    const size = new TextEncoder().encode(text).byteLength;
    expect((await scene({ maxBodyBytes: size }).execute(text)).status).toBe(200);
    const { execute, tool } = scene({ maxBodyBytes: size - 1 });
    const answer = await execute(text);
    expect(answer).toMatchObject({ status: 413, json: { code: "body_too_large" } });
    expect(answer.headers.get("connection")).toBe("close");
    expect(tool.executions).toBe(0);
  });

  test("a length that is announced is refused before a byte is read", async () => {
    const { handler } = scene({ maxBodyBytes: 100 });
    let pulled = 0;
    const pull = (): void => {
      pulled += 1;
    };
    const body = new ReadableStream<Uint8Array>({ pull }, { highWaterMark: 0 });
    expect((await handler.fetch(streaming(body, { "content-length": "101" }))).status).toBe(413);
    expect(pulled).toBe(0);
  });

  test("a stream without end is read no further than the limit, and cancelled", async () => {
    const { handler, tool } = scene({ maxBodyBytes: 1000 });
    let sent = 0;
    let isCancelled = false;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          sent += 100;
          controller.enqueue(new Uint8Array(100).fill(0x20));
        },
        cancel: () => {
          isCancelled = true;
        },
      },
      { highWaterMark: 0 },
    );
    expect((await handler.fetch(streaming(body))).status).toBe(413);
    expect(sent).toBeLessThanOrEqual(1200);
    expect(isCancelled).toBe(true);
    expect(tool.executions).toBe(0);
  });
});

describe("time", () => {
  test("a body that drips in is refused after bodyTimeoutMs, though something always comes", async () => {
    const time = virtualTime();
    const { handler, tool } = scene({ runtime: time.runtime, bodyTimeoutMs: 3000 });
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await time.runtime.sleep(900);
        controller.enqueue(new Uint8Array([0x20]));
      },
    });
    const answer = await time.run(handler.fetch(streaming(body)).then(read));
    expect(answer).toMatchObject({ status: 408, json: { code: "body_timeout" } });
    expect(answer.headers.get("connection")).toBe("close");
    expect(time.now()).toBe(3000);
    expect(tool.executions).toBe(0);
  });

  test("a client that leaves under way executes nothing, and is not waited for", async () => {
    const { handler, tool } = scene();
    const gone = new AbortController();
    const pending = handler.fetch(streaming(new ReadableStream(), {}, gone.signal));
    gone.abort();
    expect((await pending).status).toBe(499);
    expect(tool.executions).toBe(0);
  });

  test("a body that breaks off is a bad request, and why is nobody's business", async () => {
    const { handler, errors } = scene();
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.error(new Error("socket /var/run/x")),
    });
    const answer = await read(await handler.fetch(streaming(body)));
    expect(answer).toMatchObject({ status: 400, json: { code: "bad_request" } });
    expect(answer.text).not.toContain("/var/run");
    expect(errors).toHaveLength(1);
  });

  test("leaves no timer and no listener behind", async () => {
    const time = virtualTime();
    const { handler } = scene({ runtime: time.runtime });
    await handler.fetch(post(SEARCH));
    expect(time.timers).toBe(0);
  });
});

describe("a body that a framework has read", () => {
  test.each([
    ["parsed", SEARCH],
    ["as text", JSON.stringify(SEARCH)],
    ["as bytes", new TextEncoder().encode(JSON.stringify(SEARCH))],
  ])("%s is taken instead of the stream", async (_name, body) => {
    const { handler, tool } = scene();
    const request = post("spent");
    await request.text();
    expect((await handler.fetch(request, { body })).status).toBe(200);
    expect(tool.executions).toBe(1);
  });

  test("is checked as any other", async () => {
    const { execute, tool } = scene({ maxBodyBytes: 50, maxDepth: 3 });
    const polluted = JSON.parse('{"tool":"search","arguments":{"__proto__":{}}}') as unknown;
    const deep = { tool: "search", arguments: { query: [[[]]] } };
    for (const body of [polluted, deep]) expect((await execute("", {}, { body })).status).toBe(400);
    for (const body of [" ".repeat(51), new Uint8Array(51)]) expect((await execute("", {}, { body })).status).toBe(413);
    const circle: Record<string, unknown> = { tool: "search" };
    circle["arguments"] = circle;
    expect((await execute("", {}, { body: circle })).status).toBe(400);
    expect(tool.executions).toBe(0);
  });

  test("that nobody kept is a mistake of the server's", async () => {
    const { handler } = scene();
    const request = post(SEARCH);
    await request.text();
    expect((await handler.fetch(request)).status).toBeGreaterThanOrEqual(400);
  });
});

test("any JSON as a body is answered with 4xx or runs once, and nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(fc.json({ maxDepth: 6 }), async (text) => {
      const { execute, tool } = scene();
      const { status, json } = await execute(text);
      expect([200, 400, 403, 404, 422]).toContain(status);
      expect(tool.executions).toBe(status === 200 ? 1 : 0);
      if (status !== 200) expect(json.code).toBeTypeOf("string");
    }),
    { numRuns: 100 },
  );
});

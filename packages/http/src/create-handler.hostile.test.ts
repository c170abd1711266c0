import { keyClaiming } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { OK, read, scene } from "./front.fixture.js";

/** Requests of strangers, put together from what each part of the front reads. */

const MARK = "Zq7";
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("", '"', "%00", "a\tb", "\u202e", "=?utf-8?", `${MARK}`),
);
const path = fc.oneof(
  { weight: 6, arbitrary: fc.constant("/execute-tool") },
  fc.constantFrom("/tools", "/health", "/readyz", "/livez", "/openapi.json", "/", "/..%2ftools"),
  fc.webPath(),
  fc.string({ unit: "grapheme" }).map((part) => `/${encodeURIComponent(part)}`),
);
const query = fc.oneof(
  fc.constant(""),
  fc.webQueryParameters().map((part) => `?${part}`),
  fc.constantFrom("?limit=-1", "?cursor=%ff"),
);
const headerValue = fc.oneof(
  fc.constantFrom(
    "application/json",
    "application/json; charset=utf-16",
    "text/event-stream;q=0",
    '"key"',
    '"key";a=1, "two"',
    '"unfinished',
    "key",
    "a,b",
    "http://evil.example",
    "null",
    "gzip",
    "99999999999999999999",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  ),
  // What a header may hold at all; the rest no server lets through.
  fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)) }),
);
const strangeHeaders = fc.dictionary(
  fc.constantFrom(
    "content-type",
    "accept",
    "idempotency-key",
    "origin",
    "host",
    "content-encoding",
    "content-length",
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "authorization",
    "prefer",
  ),
  headerValue,
);
const headers = fc.oneof(
  strangeHeaders,
  strangeHeaders.map((given): Record<string, string> => ({ ...given, "content-type": "application/json" })),
);
const value = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>("search", "pay", "secret", "__proto__", null, -1, 1e308),
);
const body = fc.oneof(
  text,
  fc.json(),
  fc
    .array(
      fc.tuple(
        fc.constantFrom(
          "tool",
          "arguments",
          "idempotencyKey",
          "transactionId",
          "timeoutMs",
          "__proto__",
          "_meta",
          "tool",
        ),
        value,
      ),
      { maxLength: 6 },
    )
    // By text, so that names may come twice and `__proto__` is one of them.
    .map((pairs) => `{${pairs.map(([name, part]) => `${JSON.stringify(name)}:${JSON.stringify(part)}`).join(",")}}`),
  fc.record({ query: fc.string() }).map((given) => JSON.stringify({ tool: "search", arguments: given })),
);
const method = fc.constantFrom("GET", "POST", "POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PROPFIND");

function requestOf(given: {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}): Request {
  const carriesBody = given.method !== "GET" && given.method !== "HEAD";
  return new Request(`http://localhost${given.path}${given.query}`, {
    method: given.method,
    headers: given.headers,
    ...(carriesBody && { body: given.body }),
  });
}

test("every request gets an answer that blames the right side, and runs a tool at most once", async () => {
  let ran = 0;
  await fc.assert(
    fc.asyncProperty(fc.record({ method, path, query, headers, body }), async (given) => {
      const { handler, tool, errors } = scene({ middleware: [keyClaiming()] });
      const answer = await read(await handler.fetch(requestOf(given)));
      expect(errors).toEqual([]);
      expect(answer.status).toBeLessThan(500);
      expect(tool.executions).toBeLessThanOrEqual(1);
      ran += tool.executions;
      if (tool.executions === 1) expect([answer.status, given.method]).toEqual([200, "POST"]);
      if (answer.status >= 400 && answer.text !== "") {
        expect(answer.json).toMatchObject({
          status: answer.status,
          type: expect.any(String),
          title: expect.any(String),
        });
        expect(answer.text).not.toMatch(/\n\s+at |node_modules|file:\/\//);
      }
      for (const [name, content] of answer.headers) expect(`${name}: ${content}`).not.toMatch(/[\r\n]/);
      expect(Object.keys(Object.prototype)).toEqual([]);
    }),
    { numRuns: 500 },
  );
  // Of what is sent, some is right.
  expect(ran).toBeGreaterThan(0);
});

test("a tool gets the arguments as they were sent, or is not called", async () => {
  const search = fc.record({ query: fc.string({ unit: "binary" }), more: fc.jsonValue() });
  await fc.assert(
    fc.asyncProperty(search, async (given) => {
      const { handler, tool } = scene({ steps: [{ result: OK }] });
      const sent = JSON.stringify({ tool: "search", arguments: given });
      const request = new Request("http://localhost/execute-tool", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: sent,
      });
      const { status } = await read(await handler.fetch(request));
      if (status === 200) expect(tool.contexts[0]?.args).toEqual(JSON.parse(sent).arguments);
      else expect(tool.executions).toBe(0);
    }),
    { numRuns: 200 },
  );
});

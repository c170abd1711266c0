import fc from "fast-check";
import { expect, test } from "vitest";
import type { HttpEvidence } from "./classify.js";
import { type Fetch, wrapFetch } from "./fetch.js";
import { expectResponse } from "./http-registry.js";
import { asBag, readReceipt } from "./wire.js";

const ID = 7;
const CALL = { jsonrpc: "2.0", id: ID, method: "tools/call", params: { name: "t" } };
const ANSWER = JSON.stringify({ jsonrpc: "2.0", id: ID, result: { content: [{ type: "text", text: "größe ✓" }] } });
const PROGRESS = JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params: { progress: 1 } });
const encoder = new TextEncoder();

function event(data: string, lineEnd = "\n", fields: readonly string[] = []): string {
  return [...fields, ...data.split("\n").map((line) => `data: ${line}`), "", ""].join(lineEnd);
}

/** A response whose body comes in these pieces and then ends or breaks. */
function streamed(
  pieces: readonly Uint8Array[],
  options: { readonly broken?: unknown; readonly type?: string; readonly status?: number } = {},
): Response {
  const rest = [...pieces];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = rest.shift();
      if (piece !== undefined) controller.enqueue(piece);
      else if ("broken" in options) controller.error(options.broken);
      else controller.close();
    },
  });
  const { type = "text/event-stream", status = 200 } = options;
  return new Response(body, { status, headers: { "content-type": type } });
}

function post(response: Response | Fetch, message: unknown = CALL): Promise<Response> {
  const inner: Fetch = typeof response === "function" ? response : async () => response;
  return wrapFetch(inner)("http://server/mcp", { method: "POST", body: JSON.stringify(message) });
}

/** Cuts bytes at the given places, wherever they fall. */
function cut(text: string, places: readonly number[]): readonly Uint8Array[] {
  const bytes = encoder.encode(text);
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...ends].map((start, index) => bytes.slice(start, ends[index] ?? bytes.length));
}

function isLost(body: string): boolean {
  const last = body.trimEnd().split("\n").at(-1) ?? "";
  if (!last.startsWith("data: ")) return false;
  try {
    const message = asBag(JSON.parse(last.slice("data: ".length)));
    const receipt = readReceipt(asBag(message?.error)?.data);
    return message?.id === ID && receipt?.execution === "unknown" && !receipt.ack && receipt.code === "transport_error";
  } catch {
    return false;
  }
}

const anyCut = fc.array(fc.nat(10_000), { maxLength: 12 });
const lineEnd = fc.constantFrom("\n", "\r\n");
const noise = fc.array(
  fc.constantFrom(": keep-alive", "event: message", "retry: 10", "id", "id: ", "data:", "nonsense", "", "idx: 5"),
  { maxLength: 3 },
);

test("passes an answered stream on byte for byte, wherever the chunks are cut", async () => {
  await fc.assert(
    fc.asyncProperty(anyCut, lineEnd, noise, fc.boolean(), async (places, end, fields, pretty) => {
      const data = pretty ? JSON.stringify(JSON.parse(ANSWER), null, 2) : ANSWER;
      const body =
        event(
          PROGRESS,
          end,
          fields.filter((field) => field !== "data:" && field !== ""),
        ) + event(data, end);
      const response = await post(streamed(cut(body, places)));
      expect(await response.text()).toBe(body);
    }),
  );
});

test("settles a stream that ends unanswered, wherever the chunks are cut, and keeps all that came before", async () => {
  await fc.assert(
    fc.asyncProperty(anyCut, lineEnd, noise, async (places, end, fields) => {
      const body = event(PROGRESS, end, fields) + (places.length % 2 === 0 ? "" : ANSWER.slice(0, 20));
      const text = await (await post(streamed(cut(body, places)))).text();
      expect(text.startsWith(body)).toBe(true);
      expect(isLost(text)).toBe(true);
    }),
  );
});

test("settles a stream that breaks unanswered, instead of breaking itself", async () => {
  const response = await post(streamed([encoder.encode(event(PROGRESS))], { broken: new Error("reset") }));
  expect(isLost(await response.text())).toBe(true);
});

test("recognises the answer to an id that is cut in the midst of a character", async () => {
  const id = "größe-✓";
  const message = { ...CALL, id };
  const body = event(JSON.stringify({ jsonrpc: "2.0", id, result: {} }));
  const bytes = encoder.encode(body);
  for (let place = 0; place <= bytes.length; place += 1) {
    const response = await post(streamed([bytes.slice(0, place), bytes.slice(place)]), message);
    expect(await response.text()).toBe(body);
  }
});

test("takes for lost an answer that was cut off before its event was over", async () => {
  const text = await (await post(streamed([encoder.encode(`data: ${ANSWER}`)]))).text();
  expect(isLost(text)).toBe(true);
});

test("leaves a stream alone that can be resumed by event id", async () => {
  const body = event(PROGRESS, "\n", ["id: 5"]);
  expect(await (await post(streamed([encoder.encode(body)]))).text()).toBe(body);
  const error = new Error("reset");
  await expect((await post(streamed([encoder.encode(body)], { broken: error }))).text()).rejects.toBe(error);
});

test("passes the break of a stream on that was answered before", async () => {
  const error = new Error("reset");
  await expect((await post(streamed([encoder.encode(event(ANSWER))], { broken: error }))).text()).rejects.toBe(error);
});

const answers: readonly (readonly [name: string, data: unknown, answered: boolean])[] = [
  ["a result", { jsonrpc: "2.0", id: ID, result: {} }, true],
  ["an error", { jsonrpc: "2.0", id: ID, error: { code: 1, message: "" } }, true],
  ["an id that became a string", { jsonrpc: "2.0", id: String(ID), result: {} }, true],
  [
    "a batch with the answer in it",
    [
      { jsonrpc: "2.0", method: "x" },
      { jsonrpc: "2.0", id: ID, result: {} },
    ],
    true,
  ],
  ["the answer to another request", { jsonrpc: "2.0", id: ID + 1, result: {} }, false],
  ["a request of the server with the same id", { jsonrpc: "2.0", id: ID, method: "sampling/createMessage" }, false],
  ["an empty batch", [], false],
  ["null", null, false],
  ["a number", 7, false],
];

test.each(answers)("takes %s for an answer or not", async (_name, data, answered) => {
  const text = await (await post(streamed([encoder.encode(event(JSON.stringify(data)))]))).text();
  expect(isLost(text)).toBe(!answered);
});

test("takes data that is no JSON for no answer", async () => {
  const text = await (await post(streamed([encoder.encode("data: {broken\n\n")]))).text();
  expect(isLost(text)).toBe(true);
});

test("answers a 202 without a body in its place: nothing else will", async () => {
  const response = await post(
    new Response(null, { status: 202, headers: { "mcp-session-id": "s", "content-length": "0" } }),
  );
  expect([response.status, response.headers.get("content-type"), response.headers.get("mcp-session-id")]).toEqual([
    200,
    "application/json",
    "s",
  ]);
  expect(response.headers.get("content-length")).toBeNull();
  expect(isLost(`data: ${await response.text()}`)).toBe(true);
});

test("keeps status and headers of a stream", async () => {
  const inner = streamed([encoder.encode(event(ANSWER))], { type: "Text/Event-Stream; charset=utf-8" });
  inner.headers.set("mcp-session-id", "s");
  const response = await post(inner);
  expect([response.status, response.headers.get("mcp-session-id")]).toEqual([200, "s"]);
  expect(await response.text()).toBe(event(ANSWER));
});

const untouched: readonly (readonly [name: string, response: () => Response, message?: unknown])[] = [
  ["a JSON response", () => Response.json({ jsonrpc: "2.0", id: ID, result: {} })],
  ["a refusal", () => new Response("too many", { status: 429 })],
  ["a refusal that is a stream", () => streamed([], { status: 503 })],
  ["a stream of another type", () => streamed([], { type: "application/x-ndjson" })],
  [
    "a response to a notification",
    () => new Response(null, { status: 202 }),
    { jsonrpc: "2.0", method: "notifications/initialized" },
  ],
  ["a response to another method", () => streamed([]), { jsonrpc: "2.0", id: ID, method: "tools/list" }],
  [
    "a response to a call without an id",
    () => new Response(null, { status: 202 }),
    { jsonrpc: "2.0", method: "tools/call" },
  ],
  ["a response to a batch", () => new Response(null, { status: 202 }), [CALL]],
];

for (const [name, make, message] of untouched) {
  test(`hands ${name} on as it is`, async () => {
    const response = make();
    expect(await post(response, message)).toBe(response);
  });
}

test("hands requests on as they are: a GET, a body that is no text or no JSON", async () => {
  const seen: unknown[] = [];
  const inner: Fetch = async (url, init) => {
    seen.push([url, init]);
    return new Response(null, { status: 202 });
  };
  const fetch = wrapFetch(inner);
  const inits: readonly (RequestInit | undefined)[] = [
    undefined,
    { method: "GET" },
    { method: "DELETE", body: JSON.stringify(CALL) },
    { method: "POST", body: encoder.encode(JSON.stringify(CALL)) },
    { method: "POST", body: "{broken" },
    { method: "POST", body: "null" },
  ];
  for (const init of inits) expect((await fetch("http://server/", init)).status).toBe(202);
  expect(seen).toEqual(inits.map((init) => ["http://server/", init]));
});

test("passes a failed fetch on", async () => {
  const error = new TypeError("fetch failed");
  await expect(post(() => Promise.reject(error))).rejects.toBe(error);
});

test("stops reading when nobody wants the stream any more", async () => {
  let cancelled: unknown;
  const body = new ReadableStream<Uint8Array>({
    cancel: (reason) => {
      cancelled = reason;
    },
  });
  const response = await post(new Response(body, { headers: { "content-type": "text/event-stream" } }));
  await response.body?.cancel("enough");
  expect(cancelled).toBe("enough");
});

test("tells the waiting request the status and when to come back", async () => {
  const wire: { http: HttpEvidence | undefined } = { http: undefined };
  const done = expectResponse(ID, CALL, wire);
  await post(new Response(null, { status: 429, headers: { "retry-after": "3" } }));
  expect(wire.http).toEqual({ status: 429, retryAfterMs: 3000 });
  done();
});

test("tells two waiting requests of one id apart by their body", async () => {
  const other = { ...CALL, params: { name: "other" } };
  const first: { http: HttpEvidence | undefined } = { http: undefined };
  const second: { http: HttpEvidence | undefined } = { http: undefined };
  const done = [expectResponse(ID, CALL, first), expectResponse(ID, other, second)];
  await post(new Response(null, { status: 503 }), other);
  expect([first.http, second.http?.status]).toEqual([undefined, 503]);
  for (const end of done) end();
});

test("does not take the response to another client's request of the same id for its own", async () => {
  const wire: { http: HttpEvidence | undefined } = { http: undefined };
  const done = expectResponse(ID, CALL, wire);
  await post(new Response(null, { status: 429, headers: { "retry-after": "3600" } }), {
    ...CALL,
    params: { name: "other" },
  });
  expect(wire.http).toBeUndefined();
  done();
});

test("refuses what is no fetch", () => {
  expect(() => wrapFetch("fetch" as never)).toThrow(
    "wrapFetch: fetch must be a function (url, init) => Promise<Response>",
  );
});

test("reads a long line in time that grows with its length, not with its square", async () => {
  const answer = { jsonrpc: "2.0", id: ID, result: { content: [{ type: "text", text: "x".repeat(8_000_000) }] } };
  const bytes = encoder.encode(event(JSON.stringify(answer)));
  const pieces: Uint8Array[] = [];
  for (let start = 0; start < bytes.length; start += 2048) pieces.push(bytes.subarray(start, start + 2048));
  const fetch = wrapFetch(async () => streamed(pieces));
  const response = await fetch("http://localhost/", { method: "POST", body: JSON.stringify(CALL) });
  expect((await response.arrayBuffer()).byteLength).toBe(bytes.length);
}, 10_000);

import { expect, test } from "vitest";
import { answeringFetch } from "./upstream-stream.js";

const URL_ = "http://127.0.0.1/mcp";
const EVENT_STREAM = { "content-type": "text/event-stream" };

/** Posts a request and gives what its sender reads of the response. */
async function post(method: string, response: Response, onExpired: () => void = () => undefined): Promise<string> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 5, method });
  const fetch = answeringFetch(async () => response, onExpired);
  return (await fetch(URL_, { method: "POST", body })).text();
}

/** A stream that comes in these pieces and then ends, or breaks. */
function streamOf(pieces: readonly string[], breaks = false): Response {
  const rest = pieces.map((piece) => new TextEncoder().encode(piece));
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = rest.shift();
      if (piece !== undefined) controller.enqueue(piece);
      else if (breaks) controller.error(new Error("reset"));
      else controller.close();
    },
  });
  return new Response(stream, { headers: EVENT_STREAM });
}

const NOTE = 'data: {"jsonrpc":"2.0","method":"a"}\n\n';

test.each([false, true])("ends a stream with an error for whoever still waits (broken: %s)", async (breaks) => {
  const text = await post("resources/read", streamOf([NOTE], breaks));
  const last = text.trim().split("\n").at(-1) ?? "";
  expect(text.startsWith(NOTE)).toBe(true);
  expect(JSON.parse(last.replace("data: ", ""))).toMatchObject({ id: 5, error: { code: -32_000 } });
});

test("leaves a stream alone that the transport can resume, wherever it is cut", async () => {
  const text = `id: 17\n${NOTE}`;
  for (let cut = 0; cut <= text.length; cut += 1) {
    expect(await post("resources/read", streamOf([text.slice(0, cut), text.slice(cut)]))).toBe(text);
  }
  await expect(post("resources/read", streamOf([text], true))).rejects.toThrow("reset");
});

test("takes no other field for an event id", async () => {
  expect(await post("resources/read", streamOf([`identity: 1\nidx: 2\nid:\n${NOTE}`]))).toContain('"error"');
});

test("answers a request that the server only accepts", async () => {
  expect(JSON.parse(await post("ping", new Response(null, { status: 202 })))).toMatchObject({
    id: 5,
    error: { code: -32_000 },
  });
});

test("leaves tool calls to the core, and notifications and refusals as they are", async () => {
  expect(await post("tools/call", streamOf([NOTE]))).toBe(NOTE);
  expect(await post("ping", new Response("no", { status: 500, headers: EVENT_STREAM }))).toBe("no");
  expect(await post("ping", Response.json({ a: 1 }))).toBe('{"a":1}');
  const body = JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" });
  const accepted = await answeringFetch(
    async () => new Response(null, { status: 202 }),
    () => undefined,
  )(URL_, { method: "POST", body });
  expect(accepted.status).toBe(202);
});

test("tells of a session that has expired when it is the listening stream that hears of it", async () => {
  let expired = 0;
  const fetch = answeringFetch(
    async () => new Response(null, { status: 404 }),
    () => {
      expired += 1;
    },
  );
  await fetch(URL_, { method: "GET" });
  expect(expired).toBe(0);
  await fetch(URL_, { method: "GET", headers: { "mcp-session-id": "s" } });
  expect(expired).toBe(1);
});

/** A `fetch` that hangs until it is aborted. */
const hanging = (_url: unknown, init?: RequestInit): Promise<Response> =>
  new Promise((_resolve, reject) => {
    init?.signal?.addEventListener("abort", () => reject(init.signal?.reason), { once: true });
  });

test("does not wait for ever for the answer that opens a session, nor after its sender gave up", async () => {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize" });
  const fetch = answeringFetch(hanging as typeof globalThis.fetch, () => undefined, 10);
  await expect(fetch(URL_, { method: "POST", body })).rejects.toMatchObject({ cause: { code: "ETIMEDOUT" } });
  const patient = answeringFetch(hanging as typeof globalThis.fetch, () => undefined, 2 ** 30);
  const sender = new AbortController();
  const asked = patient(URL_, { method: "POST", body, signal: sender.signal });
  sender.abort(new Error("gone"));
  await expect(asked).rejects.toThrow("gone");
});

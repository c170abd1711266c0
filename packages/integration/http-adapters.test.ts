import { createHash } from "node:crypto";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { HOSTS } from "./fixtures/http-app-hosts.js";
import { scripted, started } from "./fixtures/http-app-scripted.js";
import { requestText } from "./fixtures/http-app-wire.js";

/** What lies between a socket and a handler: requests in, answers out, and whatever goes wrong on the way. */

const JSON_TYPE = { "content-type": "application/json" };
const EVENTS = { "content-type": "text/event-stream" };
const MEBIBYTE = 1024 * 1024;

/** Something that happens once. */
function signal<T = void>() {
  let happen: (value: T) => void = () => undefined;
  const happened = new Promise<T>((resolve) => {
    happen = resolve;
  });
  return { happen, happened };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Resolves when the client has gone. */
const gone = (request: Request): Promise<void> =>
  new Promise((resolve) => {
    if (request.signal.aborted) resolve();
    else request.signal.addEventListener("abort", () => resolve(), { once: true });
  });

/** The body of a request, as text. */
async function textOf(request: Request, body: unknown): Promise<string> {
  if (body !== undefined) return JSON.stringify(body);
  const chunks: Uint8Array[] = [];
  if (request.body !== null) for await (const chunk of request.body) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe.each(HOSTS)("$on", (host) => {
  test("hands over method, path, query, headers and body, and sends status, headers and body back", async () => {
    const handler = scripted(async (request, given) => {
      const { pathname, search } = new URL(request.url);
      const seen = [
        request.method,
        pathname + search,
        request.headers.get("x-asks"),
        await textOf(request, given?.body),
      ];
      return new Response(JSON.stringify(seen), { status: 422, headers: { "x-answers": "yes", ...JSON_TYPE } });
    });
    const wire = await (await started(host, handler)).wire();
    wire.write(requestText("POST", "/execute-tool?a=b%20c", { "x-asks": "caf\xe9", ...JSON_TYPE }, '{"tool":"echo"}'));
    const answer = await wire.answer();
    expect(answer).toMatchObject({ status: 422, headers: { "x-answers": "yes", "content-type": "application/json" } });
    expect(JSON.parse(Buffer.from(answer.body, "latin1").toString())).toEqual([
      "POST",
      "/execute-tool?a=b%20c",
      "caf\xe9",
      '{"tool":"echo"}',
    ]);
  });

  test("answers one request after another on a connection", async () => {
    const handler = scripted(async (request, given) => new Response(await textOf(request, given?.body)));
    const wire = await (await started(host, handler)).wire();
    for (const body of ['{"call":1}', '{"call":2}', '{"call":3}']) {
      wire.write(requestText("POST", "/execute-tool", JSON_TYPE, body));
      expect((await wire.answer()).body).toBe(body);
    }
  });

  test("answers HEAD with the headers alone", async () => {
    const handler = scripted(() => new Response("never seen", { headers: { "x-answers": "yes" } }));
    const wire = await (await started(host, handler)).wire();
    wire.write(requestText("HEAD", "/tools"));
    expect(await wire.answer({ bodiless: true })).toMatchObject({ status: 200, headers: { "x-answers": "yes" } });
    wire.write(requestText("GET", "/tools"));
    expect(await wire.answer()).toMatchObject({ status: 200, body: "never seen" });
  });

  test("tells a client that waits for it to send its body", async () => {
    const handler = scripted(async (request, given) => new Response(await textOf(request, given?.body)));
    const wire = await (await started(host, handler)).wire();
    const text = requestText("POST", "/execute-tool", { expect: "100-continue", ...JSON_TYPE }, '{"a":1}');
    wire.write(text.slice(0, -7));
    expect(await wire.answer()).toMatchObject({ status: 100 });
    wire.write(text.slice(-7));
    expect(await wire.answer()).toMatchObject({ status: 200, body: '{"a":1}' });
  });

  test("aborts the signal of a request whose client goes away", async () => {
    const arrived = signal();
    const aborted = signal();
    const handler = scripted(async (request) => {
      arrived.happen();
      await gone(request);
      aborted.happen();
      return new Response("for nobody");
    });
    const wire = await (await started(host, handler)).wire();
    wire.write(requestText("POST", "/execute-tool", JSON_TYPE, "{}"));
    await arrived.happened;
    wire.close();
    await aborted.happened;
  });

  test("leaves the signal alone when the answer was sent", async () => {
    const requests: Request[] = [];
    const handler = scripted((request) => {
      requests.push(request);
      // Whoever looks at it late must not be told that the client has gone either.
      if (requests.length === 1) request.signal.throwIfAborted();
      return new Response("done");
    });
    const app = await started(host, handler);
    const wire = await app.wire();
    for (let call = 0; call < 2; call += 1) {
      wire.write(requestText("GET", "/tools"));
      await wire.answer();
    }
    wire.close();
    for (let turns = 0; turns < 20; turns += 1) await turn();
    expect(requests.map(({ signal }) => signal.aborted)).toEqual([false, false]);
  });

  test("sends each event of a stream as it comes", async () => {
    const second = signal<string>();
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(encoder.encode("data: 1\n\n"));
        controller.enqueue(encoder.encode(await second.happened));
        controller.close();
      },
    });
    const wire = await (
      await started(
        host,
        scripted(() => new Response(body, { headers: EVENTS })),
      )
    ).wire();
    wire.write(requestText("GET", "/tools"));
    const early = await wire.until("data: 1");
    expect(early).toContain("text/event-stream");
    expect(early).not.toContain("data: 2");
    second.happen("data: 2\n\n");
    expect((await wire.answer()).body).toBe("data: 1\n\ndata: 2\n\n");
  });

  test("aborts requests that wait for their turn on a connection that is lost", async () => {
    const arrived = signal();
    const aborted = signal();
    let requests = 0;
    let aborts = 0;
    const handler = scripted(async (request) => {
      requests += 1;
      if (requests === 3) arrived.happen();
      await gone(request);
      aborts += 1;
      if (aborts === 3) aborted.happen();
      return new Response("for nobody");
    });
    const wire = await (await started(host, handler)).wire();
    for (let call = 0; call < 3; call += 1) wire.write(requestText("POST", "/execute-tool", JSON_TYPE, '{"a":1}'));
    await arrived.happened;
    wire.close();
    await aborted.happened;
  });

  test("cancels an event stream whose client goes away", async () => {
    const cancelled = signal();
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\n")),
      cancel: () => cancelled.happen(),
    });
    const wire = await (
      await started(
        host,
        scripted(() => new Response(body, { headers: EVENTS })),
      )
    ).wire();
    wire.write(requestText("GET", "/tools"));
    await wire.until("data: 1");
    wire.close();
    await cancelled.happened;
  });

  test("takes no more of an answer than the client reads", async () => {
    const chunk = new Uint8Array(MEBIBYTE);
    const total = 512;
    let made = 0;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await turn();
        made += 1;
        if (made > total) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const wire = await (
      await started(
        host,
        scripted(() => new Response(body)),
      )
    ).wire();
    wire.pause();
    wire.write(requestText("GET", "/tools"));
    for (let turns = 0; turns < 10 * total; turns += 1) await turn();
    expect(made).toBeGreaterThan(0);
    expect(made).toBeLessThan(total / 2);
  });

  test("sends the whole answer to a client whose body it does not want", async () => {
    const size = 4 * MEBIBYTE;
    const handler = scripted(async (request) => {
      const reader = request.body?.getReader();
      await reader?.read();
      await reader?.cancel();
      return new Response("too large", { status: 413, headers: { connection: "close" } });
    });
    const wire = await (await started(host, handler)).wire();
    const unparsed = { "content-type": "application/octet-stream", "content-length": String(size) };
    wire.write(requestText("POST", "/execute-tool", unparsed));
    wire.write("a".repeat(MEBIBYTE));
    expect(await wire.answer()).toMatchObject(host.unread ?? { status: 413, body: "too large" });
    if (host.lingers === false) return;
    wire.write("a".repeat(size - MEBIBYTE));
    wire.write(requestText("GET", "/tools"));
    expect(await wire.answer()).toMatchObject({ status: 413, body: "too large" });
  });

  test("survives an answer that breaks off, and ends its connection", async () => {
    // Hono's server prints it.
    const print = vi.spyOn(console, "error").mockImplementation(() => undefined);
    onTestFinished(() => print.mockRestore());
    const encoder = new TextEncoder();
    let pulls = 0;
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulls += 1;
        if (pulls === 1) controller.enqueue(encoder.encode("part"));
        else controller.error(new Error("hunter2"));
      },
    });
    const answers = [new Response(broken), new Response("fine")];
    const app = await started(
      host,
      scripted(() => answers.shift() ?? Response.error()),
    );
    const wire = await app.wire();
    wire.write(requestText("GET", "/tools"));
    await wire.ended();
    expect(wire.received).not.toContain("hunter2");
    expect(wire.received).not.toContain("\r\n0\r\n\r\n");
    const next = await app.wire();
    next.write(requestText("GET", "/tools"));
    expect((await next.answer()).body).toBe("fine");
  });

  test("keeps bodies of any bytes as they are", async () => {
    const bytes = Uint8Array.from({ length: 3 * MEBIBYTE }, (_, index) => (index * 31) % 256);
    const app = await started(
      host,
      scripted(() => new Response(bytes)),
    );
    const answer = await fetch(`http://127.0.0.1:${app.port}/tools`);
    const hash = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
    expect(hash(new Uint8Array(await answer.arrayBuffer()))).toBe(hash(bytes));
  });
});

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Fetch, type Middleware, wrapFetch } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { describe, expect, onTestFinished, test } from "vitest";
import { ATTACHMENTS, type Attachment, type AttachSpec, attach, type Harness } from "./fixtures/attach.js";
import {
  cut,
  cutBody,
  cutStream,
  endStream,
  type HttpFixture,
  hang,
  httpV1,
  httpV2,
  refuse,
  refuseWithAnswer,
  runAndCut,
  type Step,
  truncateBody,
} from "./fixtures/http-servers.js";
import { type Line, v1, v2 } from "./fixtures/lines.js";
import { untrustedServer } from "./fixtures/self-signed.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

/** A client of one line against a real server of one kind. */
interface Setup {
  readonly on: string;
  readonly line: Line;
  readonly via: Attachment;
  readonly hasSession: boolean;
  readonly serve: (executions: Execution[]) => Promise<HttpFixture>;
  readonly client?: Readonly<Record<string, unknown>>;
}

function building(line: Line, executions: Execution[]) {
  return () => {
    const server = line.mcpServer();
    registerTools(server, (entry) => executions.push(entry));
    return server;
  };
}

const kinds: readonly Omit<Setup, "via">[] = [
  { on: "v1, sessions", line: v1, hasSession: true, serve: (log) => httpV1(building(v1, log)) },
  { on: "v1, sessions, JSON", line: v1, hasSession: true, serve: (log) => httpV1(building(v1, log), { json: true }) },
  { on: "v1, stateless", line: v1, hasSession: false, serve: (log) => httpV2(building(v2, log)) },
  { on: "v2, sessions", line: v2, hasSession: true, serve: (log) => httpV1(building(v1, log)) },
  { on: "v2, stateless", line: v2, hasSession: false, serve: (log) => httpV2(building(v2, log)) },
  {
    on: "v2, 2026-07-28",
    line: v2,
    hasSession: false,
    serve: (log) => httpV2(building(v2, log)),
    client: { versionNegotiation: { mode: "auto" } },
  },
];
const SETUPS: readonly Setup[] = kinds.flatMap((kind) =>
  ATTACHMENTS.map((via) => ({ ...kind, via, on: `${kind.on}, ${via}` })),
);

interface HttpHarness extends Harness {
  readonly http: HttpFixture;
  readonly executions: Execution[];
}

interface ConnectSpec extends AttachSpec {
  /** What the front does with the first calls. */
  readonly steps?: readonly Step[];
  /** Without one the transport uses the global fetch. */
  readonly fetch?: Fetch | undefined;
  readonly transport?: Readonly<Record<string, unknown>>;
}

async function connect({ line, via, serve, client }: Setup, spec: ConnectSpec = {}): Promise<HttpHarness> {
  const executions: Execution[] = [];
  const http = await serve(executions);
  onTestFinished(() => http.close());
  const transport = line.http(http.url, { ...spec.transport, ...(spec.fetch !== undefined && { fetch: spec.fetch }) });
  const harness = await attach(line, via, transport, { ...spec, client });
  http.script.push(...(spec.steps ?? []));
  return { ...harness, http, executions };
}

/** A fetch that sends tool calls somewhere else. */
function callsGoTo(url: string): Fetch {
  return (target, init) =>
    fetch(typeof init?.body === "string" && init.body.includes('"tools/call"') ? url : target, init);
}

const NOT_EXECUTED = { execution: "not-executed", ack: false, attempts: 1, duplicate: false } as const;
const UNKNOWN = { execution: "unknown", ack: false, attempts: 1, duplicate: false, status: "unknown" } as const;
const LOST = { status: "failure", execution: "unknown", transient: true, code: "transport_error" } as const;
const THROTTLED = { status: "throttled", execution: "not-executed", transient: true, code: "rate_limited" } as const;

describe.each(SETUPS)("over HTTP, $on", (setup) => {
  const { hasSession } = setup;

  test("completes", async () => {
    const { call, executions } = await connect(setup, { fetch: wrapFetch() });
    const seen = await call("echo", { text: "hello" });
    expect(seen.result).toMatchObject({ content: [{ type: "text", text: "hello" }] });
    expect(seen.report).toMatchObject({ execution: "executed", ack: true, attempts: 1, status: "completed" });
    expect(executions).toEqual([{ tool: "echo", args: { text: "hello" } }]);
  });

  test("tells a 429 from everything else, also without wrapFetch", async () => {
    const { call } = await connect(setup, { steps: [refuse(429, { "retry-after": "2" })] });
    const seen = await call("echo", { text: "x" });
    expect(seen.error).toBeInstanceOf(Error);
    expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "rejected", error: { code: "rate_limited" } });
    expect(seen.outcome).toEqual({ ...THROTTLED, retryAfterMs: undefined });
  });

  test("reads Retry-After in seconds through wrapFetch", async () => {
    const { call } = await connect(setup, { fetch: wrapFetch(), steps: [refuse(429, { "retry-after": "2" })] });
    const seen = await call("echo", { text: "x" });
    expect(seen.outcome).toEqual({ ...THROTTLED, retryAfterMs: 2000 });
    expect(seen.report.error?.retryAfterMs).toBe(2000);
  });

  test("reads Retry-After as an HTTP date through wrapFetch", async () => {
    const date = new Date(Date.now() + 60_000).toUTCString();
    const { call } = await connect(setup, { fetch: wrapFetch(), steps: [refuse(429, { "retry-after": date })] });
    const { outcome } = await call("echo", { text: "x" });
    expect(outcome).toMatchObject(THROTTLED);
    expect(outcome?.retryAfterMs).toBeGreaterThan(55_000);
    expect(outcome?.retryAfterMs).toBeLessThanOrEqual(60_000);
  });

  test("makes do with a 429 whose Retry-After is missing or nonsense", async () => {
    const steps = [refuse(429), refuse(429, { "retry-after": "whenever" }), refuse(429, { "retry-after": "-3" })];
    const { call } = await connect(setup, { fetch: wrapFetch(), steps });
    for (const _step of steps)
      expect((await call("echo", { text: "x" })).outcome).toEqual({ ...THROTTLED, retryAfterMs: undefined });
  });

  test("counts a 429 whose body answers our own id as answered", async () => {
    const step = refuseWithAnswer(429, { code: -32_050, message: "quota" });
    const { call } = await connect(setup, { fetch: wrapFetch(), steps: [step] });
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ execution: "executed", ack: true, attempts: 1, status: "failed" });
    expect(seen.outcome).toMatchObject({
      status: "failure",
      execution: "executed",
      transient: false,
      code: "protocol_error",
    });
  });

  test("does not take a 429 whose body answers somebody else's id for an answer", async () => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: "other", error: { code: -32_050, message: "quota" } });
    const { call } = await connect(setup, { steps: [refuse(429, { "content-type": "application/json" }, body)] });
    expect((await call("echo", { text: "x" })).report).toMatchObject({ ...NOT_EXECUTED, status: "rejected" });
  });

  test("reads a 404 as an expired session only where a session was sent", async () => {
    const body = JSON.stringify({ jsonrpc: "2.0", error: { code: -32_001, message: "Session not found" }, id: null });
    const steps = [refuse(404), refuse(404, { "content-type": "application/json" }, body)];
    const { call } = await connect(setup, { steps });
    await call("echo", { text: "x" });
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "failed" });
    const expected = hasSession
      ? { transient: true, code: "session_expired" }
      : { transient: false, code: "transport_error" };
    expect(seen.outcome).toMatchObject({ status: "failure", execution: "not-executed", ...expected });
  });

  test.each([400, 401, 403])(
    "knows that nothing ran after a %i, and that trying again does not help",
    async (status) => {
      const { call } = await connect(setup, { steps: [refuse(status)] });
      const seen = await call("echo", { text: "x" });
      expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "failed", error: { code: "transport_error" } });
      expect(seen.outcome).toMatchObject({
        status: "failure",
        execution: "not-executed",
        transient: false,
        code: "transport_error",
      });
    },
  );

  test.each([500, 502, 503])(
    "takes a %i for unknown: the application may go on behind the router that answered",
    async (status) => {
      const { call } = await connect(setup, { steps: [refuse(status)] });
      const seen = await call("echo", { text: "x" });
      expect(seen.report).toMatchObject(UNKNOWN);
      expect(seen.outcome).toMatchObject(LOST);
    },
  );

  test("takes a 503 with Retry-After for unknown too, and keeps the hint", async () => {
    const { call } = await connect(setup, { fetch: wrapFetch(), steps: [refuse(503, { "retry-after": "3" })] });
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ ...UNKNOWN, error: { retryAfterMs: 3000 } });
    expect(seen.outcome).toMatchObject({ ...LOST, retryAfterMs: 3000 });
  });

  test("knows that nothing ran when the connection was refused", async () => {
    const { call, http } = await connect(setup);
    await http.close();
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({
      status: "failure",
      execution: "not-executed",
      transient: true,
      code: "transport_error",
    });
  });

  test("knows that nothing ran when the name does not resolve", async () => {
    const { call } = await connect(setup, { fetch: wrapFetch(callsGoTo("http://nowhere.invalid/mcp")) });
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "not-executed", transient: true, code: "transport_error" });
  });

  test("knows that nothing ran when the certificate is not trusted", async () => {
    const server = await untrustedServer();
    onTestFinished(async () => void (await server.close()));
    const { call } = await connect(setup, { fetch: callsGoTo(server.url) });
    const seen = await call("echo", { text: "x" });
    expect(server.requests()).toBe(0);
    expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "not-executed", transient: false, code: "transport_error" });
  });

  test("knows that nothing ran when the other side speaks no TLS", async () => {
    let requests = 0;
    const plain = createServer(() => (requests += 1));
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => new Promise((resolve) => void plain.close(() => resolve())));
    const { call } = await connect(setup, {
      fetch: callsGoTo(`https://127.0.0.1:${(plain.address() as AddressInfo).port}/`),
    });
    const seen = await call("echo", { text: "x" });
    expect(requests).toBe(0);
    expect(seen.report).toMatchObject(NOT_EXECUTED);
  });

  test.each([
    { what: "a connection cut before the response", step: cut },
    { what: "a connection cut within a JSON body", step: cutBody },
    { what: "a JSON body that is only half there", step: truncateBody },
    {
      what: "a response of another content type",
      step: refuse(200, { "content-type": "text/html" }, "<p>Welcome</p>"),
    },
    { what: "a redirect to somewhere else", step: refuse(307, { location: "http://127.0.0.1:9/" }) },
  ])("takes $what for unknown and settles at once", async ({ step }) => {
    const { call } = await connect(setup, { fetch: wrapFetch(), steps: [step] });
    const seen = await call("echo", { text: "x" });
    expect(seen.elapsedMs).toBeLessThan(1000);
    expect(seen.error).toBeInstanceOf(Error);
    expect(seen.report).toMatchObject(UNKNOWN);
    expect(seen.outcome).toMatchObject({ status: "failure", execution: "unknown", code: "transport_error" });
  });

  test("takes a call for unknown when the answer of a tool that ran is lost", async () => {
    const { call, executions } = await connect(setup, { fetch: wrapFetch(), steps: [runAndCut] });
    const seen = await call("echo", { text: "x" });
    expect(executions).toHaveLength(1);
    expect(seen.report).toMatchObject(UNKNOWN);
    expect(seen.outcome).toMatchObject(LOST);
  });

  test("settles at once when the event stream ends or breaks unanswered, through wrapFetch", async () => {
    const steps = [endStream(), cutStream, endStream('data: {"jsonrpc":"2.0","id":1')];
    const { call } = await connect(setup, { fetch: wrapFetch(), steps });
    for (const _step of steps) {
      const seen = await call("echo", { text: "x" });
      expect(seen.elapsedMs).toBeLessThan(1000);
      expect(seen.report).toMatchObject(UNKNOWN);
      expect(seen.outcome).toMatchObject(LOST);
    }
  });

  test("settles at once when the server takes the call with 202 and no stream, through wrapFetch", async () => {
    const { call } = await connect(setup, { fetch: wrapFetch(), steps: [refuse(202)] });
    const seen = await call("echo", { text: "x" });
    expect(seen.elapsedMs).toBeLessThan(1000);
    expect(seen.report).toMatchObject(UNKNOWN);
    expect(seen.outcome).toMatchObject(LOST);
  });

  test("is bounded by the attempt timeout when an event stream stays open unanswered", async () => {
    const { call } = await connect(setup, { steps: [hang], wrap: { attemptTimeoutMs: 60 } });
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ ...UNKNOWN, status: "timeout" });
    expect(seen.outcome).toMatchObject({ execution: "unknown", transient: true, code: "attempt_timeout" });
  });

  test("reports the caller's abort of a running tool as cancelled and unknown", async () => {
    const controller = new AbortController();
    const { call } = await connect(setup, { steps: [() => controller.abort()] });
    const seen = await call("echo", { text: "x" }, { signal: controller.signal });
    expect(seen.report).toMatchObject({ ...UNKNOWN, status: "cancelled" });
    expect(seen.outcome).toMatchObject({ status: "cancelled", execution: "unknown", transient: false });
  });

  test("settles when the client closes mid-call", async () => {
    const harness = await connect(setup, { steps: [() => void harness.close()] });
    const seen = await harness.call("echo", { text: "x" });
    expect(seen.elapsedMs).toBeLessThan(1000);
    expect(seen.report).toMatchObject({ execution: "unknown", ack: false, attempts: 1 });
  });

  test("leaves a stream alone that can be resumed, and takes the answer that comes after", async () => {
    const { call, http } = await connect(setup, { fetch: wrapFetch(), steps: [resumable] });
    const answered = resumedWith(http);
    const seen = await call("echo", { text: "x" });
    expect(answered()).toBe(1);
    expect(seen.result).toMatchObject({ content: [{ type: "text", text: "resumed" }] });
    expect(seen.report).toMatchObject({ execution: "executed", ack: true, attempts: 1, status: "completed" });
  });

  test("stays unknown when a later attempt of the same call is refused", async () => {
    const { call, http } = await connect(setup, {
      fetch: wrapFetch(),
      steps: [cut, refuse(429), refuse(429)],
      middleware: [retry({ baseDelayMs: 0, replay: "always" })],
    });
    const seen = await call("echo", { text: "x" });
    expect(http.received.filter(({ method }) => method === "tools/call")).toHaveLength(3);
    expect(seen.outcome).toMatchObject({ status: "throttled", execution: "not-executed" });
    expect(seen.report).toMatchObject({ execution: "unknown", attempts: 3, ack: false });
  });

  test("reports a tool that throws as executed", async () => {
    const { call } = await connect(setup, { fetch: wrapFetch() });
    const seen = await call("throws");
    expect(seen.result?.isError).toBe(true);
    expect(seen.report).toMatchObject({ execution: "executed", ack: true, attempts: 1, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "executed", transient: false, code: "tool_error" });
  });

  test("does not mix up the hints of calls that run at the same time", async () => {
    const waits = ["3", "1", "2"];
    const seen: unknown[] = [];
    const note: Middleware = async (ctx, next) => {
      try {
        return await next(ctx);
      } catch (error) {
        seen.push([ctx.args["text"], ctx.call.outcomeOf(error, true).retryAfterMs]);
        throw error;
      }
    };
    const step: Step = ({ response, message }) => {
      const args = message.params?.["arguments"] as { readonly text: string } | undefined;
      response.writeHead(429, { "retry-after": args?.text }).end();
    };
    const { client } = await connect(setup, { fetch: wrapFetch(), steps: waits.map(() => step), middleware: [note] });
    await Promise.allSettled(waits.map((text) => setup.line.call(client, "echo", { text })));
    expect(seen.sort()).toEqual(waits.sort().map((text) => [text, Number(text) * 1000]));
  });
});

describe.each(SETUPS)("over HTTP without wrapFetch, $on", (setup) => {
  test("an event stream that ends unanswered settles at once in v2, at the attempt timeout in v1", async () => {
    const { call } = await connect(setup, { steps: [endStream()], wrap: { attemptTimeoutMs: 300 } });
    const seen = await call("echo", { text: "x" });
    const isV1 = setup.line.name === "v1";
    expect(seen.report).toMatchObject({ ...UNKNOWN, status: isV1 ? "timeout" : "unknown" });
    expect(seen.outcome).toMatchObject({ execution: "unknown", transient: true });
  });

  test("a refused authorization proves that nothing ran", async () => {
    const authProvider = setup.line.name === "v1" ? redirectingProvider : { token: async () => "expired" };
    const { call } = await connect(setup, { steps: [refuse(401)], transport: { authProvider } });
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "not-executed", transient: false, code: "transport_error" });
  });

  test("a scope that is missing proves that nothing ran", async () => {
    const challenge = { "www-authenticate": 'Bearer error="insufficient_scope", scope="tools:write"' };
    const { call } = await connect(setup, { steps: [refuse(403, challenge)] });
    const seen = await call("echo", { text: "x" });
    expect(seen.report).toMatchObject({ ...NOT_EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "not-executed", transient: false });
  });
});

/** An OAuth client of SDK v1 whose user has yet to log in. */
const redirectingProvider = {
  redirectUrl: "http://127.0.0.1:9/callback",
  clientMetadata: { redirect_uris: ["http://127.0.0.1:9/callback"] },
  clientInformation: () => ({ client_id: "client" }),
  tokens: () => undefined,
  codeVerifier: () => "verifier",
  saveCodeVerifier: () => undefined,
  redirectToAuthorization: () => undefined,
};

/** An event stream with an id, which ends without the answer and asks to be resumed soon. */
const resumable: Step = ({ response }) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.end("id: event-1\nretry: 10\ndata:\n\n");
};

/** Answers the resumption of the stream above; tells how often it did. */
function resumedWith(http: HttpFixture): () => number {
  let resumptions = 0;
  http.onGet = (request, response) => {
    if (request.headers["last-event-id"] !== "event-1") return false;
    resumptions += 1;
    const id = http.received.find(({ method }) => method === "tools/call")?.id;
    const result = { resultType: "complete", content: [{ type: "text", text: "resumed" }] };
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(`data: ${JSON.stringify({ jsonrpc: "2.0", id, result })}\n\n`);
    return true;
  };
  return () => resumptions;
}

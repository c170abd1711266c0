import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CallReport, readReceipt, type WrapOptions, wrapClient, wrapTransport } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { retry } from "@mcp-tx/retry";
import { describe, expect, onTestFinished, test } from "vitest";
import { delayed, type HttpFixture, httpV1, httpV2, refuse } from "./fixtures/http-servers.js";
import { LINES, type SdkServer, type SdkTransport, v1, v2, type WireMessage } from "./fixtures/lines.js";
import { type RawAnswer, rawPeer } from "./fixtures/raw-peer.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

const OK = { content: [{ type: "text", text: "ok" }] };
const soon = (ms = 10): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** Waits for something that is about to happen; the test's own timeout bounds it. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await soon(1);
}
const again = retry({ maxAttempts: 3, baseDelayMs: 0, replay: "always" });
const throttled = { error: { code: -32_029, message: "later", data: { retryAfterMs: 0 } } };

/** A host without an SDK: it sees exactly what a transport gives it. */
interface RawHost {
  readonly transport: SdkTransport;
  readonly received: WireMessage[];
  readonly errors: unknown[];
  readonly closes: () => number;
  send(message: WireMessage, options?: Readonly<Record<string, unknown>>): Promise<void>;
}

function rawHost(transport: SdkTransport): RawHost {
  const received: WireMessage[] = [];
  const errors: unknown[] = [];
  let closes = 0;
  transport.onmessage = (message) => received.push(message);
  transport.onerror = (error) => errors.push(error);
  transport.onclose = () => {
    closes += 1;
  };
  const send = (message: WireMessage, options?: Readonly<Record<string, unknown>>) =>
    transport.send({ jsonrpc: "2.0", ...message }, options);
  return { transport, received, errors, closes: () => closes, send };
}

const toolCall = (id: string | number, meta?: object): WireMessage => ({
  id,
  method: "tools/call",
  params: { name: "any", arguments: {}, ...(meta !== undefined && { _meta: meta }) },
});

/** A raw host and a raw server with a wrapped transport between them. */
async function between(answer: RawAnswer, middleware = [again], wrap?: WrapOptions) {
  const [near, far] = v1.pair();
  const peer = await rawPeer(far, answer);
  const reports: CallReport[] = [];
  const host = rawHost(wrapTransport(near, middleware, { onReport: (report) => reports.push(report), ...wrap }));
  await host.transport.start();
  return { host, peer, near, far, reports };
}

describe("wrapTransport", () => {
  test("gives each attempt an id of its own and the host the answer under the host's", async () => {
    let runs = 0;
    const { host, peer, reports } = await between((_message, send) => {
      runs += 1;
      send(runs < 3 ? throttled : { result: OK });
    });
    await host.send(toolCall(7));
    const ids = peer.received.map(({ id }) => id);
    expect(ids[0]).toBe(7);
    expect(new Set(ids).size).toBe(3);
    expect(host.received).toEqual([{ jsonrpc: "2.0", id: 7, result: OK }]);
    expect(reports).toMatchObject([{ attempts: 3, status: "completed" }]);
  });

  test("hands on the last error as it came", async () => {
    const error = { code: -32_029, message: "later", data: { retryAfterMs: 0, extra: [1] } };
    const { host, peer } = await between((_message, send) => send({ error }));
    await host.send(toolCall("a"));
    expect(peer.received).toHaveLength(3);
    expect(host.received).toEqual([{ jsonrpc: "2.0", id: "a", error }]);
  });

  test("keeps calls that run at the same time apart", async () => {
    const runs = new Map<unknown, number>();
    const { host } = await between(({ params }, send) => {
      const n = (params?.["arguments"] as { readonly n: number } | undefined)?.n;
      runs.set(n, (runs.get(n) ?? 0) + 1);
      setImmediate(() =>
        send(runs.get(n) === 2 ? { result: { content: [{ type: "text", text: String(n) }] } } : throttled),
      );
    });
    await Promise.all(
      [0, 1, 2].map((n) => host.send({ id: n, method: "tools/call", params: { name: "any", arguments: { n } } })),
    );
    const texts = host.received.map(({ id, result }) => [id, (result as typeof OK).content[0]?.text]);
    expect(texts.sort()).toEqual([
      [0, "0"],
      [1, "1"],
      [2, "2"],
    ]);
  });

  test("drops the late answer of an attempt that was given up", async () => {
    const answers: (() => void)[] = [];
    const { host, peer } = await between((_message, send) => answers.push(() => send({ result: OK })), [again], {
      attemptTimeoutMs: 50,
    });
    const sending = host.send(toolCall(1));
    await until(() => answers.length === 2);
    answers[0]?.();
    await soon();
    expect(host.received).toEqual([]);
    answers[1]?.();
    await sending;
    answers[0]?.();
    await soon();
    expect(host.received).toEqual([{ jsonrpc: "2.0", id: 1, result: OK }]);
    const cancelled = peer.received.filter(({ method }) => method === "notifications/cancelled");
    expect(cancelled.map(({ params }) => params?.["requestId"])).toEqual([1]);
  });

  test.each([{ token: 1 }, { token: "of-the-host" }, { token: 0 }])(
    "maps progress to the live attempt alone, for token $token",
    async ({ token }) => {
      const tokens: unknown[] = [];
      const finish: (() => void)[] = [];
      const { host, peer } = await between(
        ({ params }, send) => {
          tokens.push((params?.["_meta"] as { readonly progressToken?: unknown } | undefined)?.progressToken);
          finish.push(() => send({ result: OK }));
        },
        [again],
        { attemptTimeoutMs: 40 },
      );
      const progress = (progressToken: unknown, done: number): void =>
        peer.send({ method: "notifications/progress", params: { progressToken, progress: done } });
      const sending = host.send(toolCall(1, { progressToken: token }));
      await until(() => tokens.length === 1);
      progress(tokens[0], 1);
      await until(() => tokens.length === 2);
      progress(tokens[0], 2);
      progress(tokens[1], 3);
      finish[1]?.();
      await sending;
      const seen = host.received
        .filter(({ method }) => method === "notifications/progress")
        .map(({ params }) => params);
      expect(seen).toEqual([
        { progressToken: token, progress: 1 },
        { progressToken: token, progress: 3 },
      ]);
    },
  );

  test("does not take one call's token for another call's id", async () => {
    const finish: (() => void)[] = [];
    const { host, peer } = await between((_message, send) => finish.push(() => send({ result: OK })), [], {
      attemptTimeoutMs: 30,
    });
    // Call 5 is given up; call 6, which happens to use the token 5, and request 9, whose id is call 5's token, are not.
    await host.send(toolCall(5, { progressToken: 9 }));
    const sending = host.send(toolCall(6, { progressToken: 5 }));
    peer.send({ method: "notifications/progress", params: { progressToken: 5, progress: 1 } });
    await soon(1);
    await host.send({ id: 9, method: "tools/list" });
    for (const answer of finish.slice(1)) answer();
    await sending;
    expect(host.received.map(({ id, method }) => method ?? id)).toEqual([5, "notifications/progress", 9, 6]);
  });

  test("cancels the live attempt when the host cancels", async () => {
    let runs = 0;
    const { host, peer, reports } = await between((_message, send) => {
      runs += 1;
      if (runs === 1) send(throttled);
    });
    const sending = host.send(toolCall(1));
    await until(() => runs === 2);
    await host.send({ method: "notifications/cancelled", params: { requestId: 1, reason: "no longer wanted" } });
    await sending;
    expect(peer.received.at(-1)).toEqual({
      jsonrpc: "2.0",
      method: "notifications/cancelled",
      params: { requestId: peer.received[1]?.id, reason: "no longer wanted" },
    });
    expect(host.received).toEqual([]);
    expect(reports).toMatchObject([{ status: "cancelled", execution: "unknown", attempts: 2 }]);
  });

  test("makes no further attempt when the host cancels during a wait", async () => {
    const { host, peer, reports } = await between((_message, send) =>
      send({ error: { code: -32_029, message: "later", data: { retryAfterMs: 20_000 } } }),
    );
    const sending = host.send(toolCall(1));
    await soon();
    await host.send({ method: "notifications/cancelled", params: { requestId: 1 } });
    await sending;
    expect(peer.received.map(({ method }) => method)).toEqual(["tools/call"]);
    expect(host.received).toEqual([]);
    expect(reports).toMatchObject([{ status: "cancelled", attempts: 1 }]);
  });

  test("passes a cancellation of anything else, and of a call that is over, as it is", async () => {
    const { host, peer } = await between((_message, send) => send({ result: OK }));
    await host.send(toolCall(1));
    const messages = [1, 2].map((requestId) => ({
      method: "notifications/cancelled",
      params: { requestId, _meta: { a: 1 } },
    }));
    for (const message of messages) await host.send(message);
    expect(peer.received.slice(1)).toEqual(messages.map((message) => ({ jsonrpc: "2.0", ...message })));
  });

  test("lets the host use an id again after it gave the first call up", async () => {
    const { host } = await between(({ method }, send) => method === "tools/list" && send({ result: OK }), [], {
      attemptTimeoutMs: 20,
    });
    await host.send(toolCall(1, { progressToken: 1 }));
    await host.send({ id: 1, method: "tools/list" });
    await until(() => host.received.length === 2);
    expect(host.received).toMatchObject([
      { id: 1, error: { code: -31_001 } },
      { id: 1, result: OK },
    ]);
  });

  test("hands the host's own cancellation on whole, but for the id", async () => {
    const { host, peer } = await between(() => undefined);
    const sending = host.send(toolCall(1));
    const params = {
      requestId: 1,
      reason: "enough",
      _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" },
    };
    await host.send({ method: "notifications/cancelled", params });
    await sending;
    expect(peer.received.at(-1)).toEqual({ jsonrpc: "2.0", method: "notifications/cancelled", params });
  });

  test("gives its own cancellation the envelope that the stateless era wants in every message", async () => {
    const envelope = { "io.modelcontextprotocol/protocolVersion": "2026-07-28" };
    const { host, peer } = await between(() => undefined, [], { attemptTimeoutMs: 20 });
    await host.send(toolCall(1, { ...envelope, progressToken: 1, "acme/private": true }));
    expect(peer.received.at(-1)).toEqual({
      jsonrpc: "2.0",
      method: "notifications/cancelled",
      params: { requestId: 1, reason: "Request timed out", _meta: envelope },
    });
  });

  test("lets the host use a progress token again after it gave the first call up", async () => {
    let answer = (): void => undefined;
    const { host, peer } = await between(
      ({ id }, send) => {
        answer = () => send({ result: OK });
        if (id === 2) peer.send({ method: "notifications/progress", params: { progressToken: "t", progress: 1 } });
      },
      [],
      { attemptTimeoutMs: 50 },
    );
    await host.send(toolCall(1, { progressToken: "t" }));
    const sending = host.send(toolCall(2, { progressToken: "t" }));
    await soon(1);
    answer();
    await sending;
    expect(host.received.map(({ id, method }) => method ?? id)).toEqual([1, "notifications/progress", 2]);
  });

  test("forwards the send options of the host", async () => {
    const sent: { readonly method: string | undefined; readonly options: unknown }[] = [];
    const [near, far] = v1.pair();
    await rawPeer(far, (_message, send) => send({ result: OK }));
    const send = near.send.bind(near);
    near.send = (message, options) => {
      sent.push({ method: message.method, options });
      return send(message);
    };
    const host = rawHost(wrapTransport(near, []));
    await host.transport.start();
    const options = {
      resumptionToken: "token",
      onresumptiontoken: () => undefined,
      relatedRequestId: 3,
      headers: { a: "b" },
    };
    await host.send(toolCall(1), options);
    await host.send({ method: "notifications/initialized" }, options);
    expect(sent).toEqual([
      { method: "tools/call", options },
      { method: "notifications/initialized", options },
    ]);
  });

  test("leaves a malformed call to the server", async () => {
    const error = { code: -32_602, message: "Invalid params" };
    const { host, peer } = await between((_message, send) => send({ error }));
    const malformed = [
      {},
      { params: {} },
      { params: { name: 5 } },
      { params: { name: "any", arguments: [1] } },
      { params: { name: "any", _meta: 5 } },
    ];
    for (const [id, message] of malformed.entries())
      await host.send({ id, method: "tools/call", ...message } as WireMessage);
    expect(peer.received).toEqual(
      malformed.map((message, id) => ({ jsonrpc: "2.0", id, method: "tools/call", ...message })),
    );
    expect(host.received).toEqual(malformed.map((_message, id) => ({ jsonrpc: "2.0", id, error })));
  });

  test("settles calls when the transport closes, and sends nothing after", async () => {
    const { host, peer, far, reports } = await between((_message, send) => {
      if (peer.received.length === 1) send({ error: { code: -32_029, message: "later", data: { retryAfterMs: 30 } } });
    });
    const waiting = host.send(toolCall(1)).catch((error: unknown) => error);
    await soon(5);
    const pending = host.send(toolCall(2)).catch((error: unknown) => error);
    await soon(5);
    await far.close();
    await expect(pending).resolves.toBeInstanceOf(Error);
    await expect(waiting).resolves.toBeInstanceOf(Error);
    expect(host.closes()).toBe(1);
    expect(peer.received.map(({ id }) => id)).toEqual([1, 2]);
    expect(reports.map(({ execution, attempts }) => `${execution} ${attempts}`).sort()).toEqual([
      "executed 1",
      "unknown 1",
    ]);
  });

  test("knows that a call on a closed transport did not run", async () => {
    const { host, far, reports } = await between(() => undefined, []);
    await far.close();
    await expect(host.send(toolCall(1))).rejects.toThrow();
    expect(reports).toMatchObject([{ execution: "not-executed", attempts: 0 }]);
  });

  test("gives a call 55 s in all unless told otherwise", async () => {
    const time = virtualTime();
    const { host, reports } = await between(() => undefined, [retry({ replay: "always" })], {
      runtime: time.runtime,
      attemptTimeoutMs: 20_000,
    });
    const sending = host.send(toolCall(1));
    await time.advance(54_999);
    expect(host.received).toEqual([]);
    await time.advance(1);
    await sending;
    expect(host.received).toMatchObject([{ id: 1, error: { code: -31_001 } }]);
    expect(readReceipt(host.received[0]?.error?.data)).toMatchObject({
      ack: false,
      execution: "unknown",
      code: "deadline",
    });
    expect(reports).toMatchObject([{ status: "timeout", execution: "unknown", attempts: 3 }]);
  });

  test("keeps its 55 s when timeoutMs is given as undefined", async () => {
    const time = virtualTime();
    const { host } = await between(() => undefined, [], { runtime: time.runtime, timeoutMs: undefined });
    const sending = host.send(toolCall(1));
    await time.advance(55_000);
    await sending;
    expect(host.received).toMatchObject([{ id: 1, error: { code: -31_001 } }]);
  });

  test("waits for ever when told so", async () => {
    const time = virtualTime();
    let answer = (): void => undefined;
    const { host } = await between(
      (_message, send) => {
        answer = () => send({ result: OK });
      },
      [],
      { runtime: time.runtime, timeoutMs: Number.POSITIVE_INFINITY },
    );
    const sending = host.send(toolCall(1));
    await time.advance(10_000_000);
    answer();
    await sending;
    expect(host.received).toEqual([{ jsonrpc: "2.0", id: 1, result: OK }]);
  });

  test("tells a model what to do when the outcome is unknown", async () => {
    const { host } = await between(() => undefined, [retry({ baseDelayMs: 0 })], { attemptTimeoutMs: 20 });
    await host.send(toolCall(1));
    expect(host.received).toMatchObject([
      { id: 1, error: { code: -31_001, message: expect.stringContaining("Do not call it again") } },
    ]);
    expect(readReceipt(host.received[0]?.error?.data)).toMatchObject({
      ack: false,
      execution: "unknown",
      code: "outcome_unknown",
    });
  });

  test("keeps the transport's own members, private fields included", async () => {
    class Private {
      #session = "s-1";
      onmessage: ((message: WireMessage) => void) | undefined;
      onclose: (() => void) | undefined;
      readonly hasPerRequestStream = true;
      version: string | undefined;
      get sessionId() {
        return this.#session;
      }
      setProtocolVersion(version: string) {
        this.version = `${this.#session}/${version}`;
      }
      async send() {}
    }
    const inner = new Private();
    const wrapped = wrapTransport(inner, []);
    wrapped.setProtocolVersion("2025-06-18");
    expect(wrapped.sessionId).toBe("s-1");
    expect(inner.version).toBe("s-1/2025-06-18");
    expect(wrapped.hasPerRequestStream).toBe(true);
    expect(wrapped).toBeInstanceOf(Private);
    expect(wrapped.setProtocolVersion).toBe(wrapped.setProtocolVersion);
  });

  test("refuses what is no transport", () => {
    expect(() => wrapTransport({} as never, [])).toThrow(/wrapTransport: transport/);
    expect(() => wrapTransport(undefined as never, [])).toThrow(/wrapTransport: transport/);
    expect(() => wrapTransport(v1.pair()[0], [1 as never])).toThrow(/wrapTransport: middleware\[0\]/);
  });

  test("nests: an outer pipeline sees one attempt, an inner one several", async () => {
    const [near, far] = v1.pair();
    let runs = 0;
    await rawPeer(far, (_message, send) => {
      runs += 1;
      send(runs < 3 ? throttled : { result: OK });
    });
    const inner: CallReport[] = [];
    const outer: CallReport[] = [];
    const wrapped = wrapTransport(near, [again], { onReport: (report) => inner.push(report) });
    const host = rawHost(wrapTransport(wrapped, [], { onReport: (report) => outer.push(report) }));
    await host.transport.start();
    await host.send(toolCall(1));
    expect(host.received).toEqual([{ jsonrpc: "2.0", id: 1, result: OK }]);
    expect(inner).toMatchObject([{ attempts: 3, status: "completed" }]);
    expect(outer).toMatchObject([{ attempts: 1, status: "completed" }]);
  });
});

describe.each(LINES)("$name client", (line) => {
  test("works with wrapClient round it and wrapTransport below it", async () => {
    let runs = 0;
    const [near, far] = line.pair();
    await line
      .lowLevelServer({
        call: () => {
          runs += 1;
          if (runs < 3) throw Object.assign(new Error("later"), { code: -32_029, data: { retryAfterMs: 0 } });
          return OK;
        },
      })
      .connect(far);
    const reports: CallReport[] = [];
    const client = wrapClient(line.client(), [], { onReport: (report) => reports.push(report) });
    await client.connect(wrapTransport(near, [again], { onReport: (report) => reports.push(report) }));
    expect(await line.call(client, "any")).toMatchObject(OK);
    expect(reports).toMatchObject([
      { attempts: 3, status: "completed" },
      { attempts: 1, status: "completed" },
    ]);
  });

  test("hears nothing of a late answer", async () => {
    const errors: unknown[] = [];
    const [near, far] = line.pair();
    const answers: (() => void)[] = [];
    await rawPeer(far, (_message, send) => answers.push(() => send({ result: OK })));
    const client = line.client();
    await client.connect(wrapTransport(near, [again], { attemptTimeoutMs: 50 }));
    (client as { onerror?: (error: unknown) => void }).onerror = (error) => errors.push(error);
    const calling = line.call(client, "any");
    await until(() => answers.length === 2);
    for (const answer of answers) answer();
    expect(await calling).toMatchObject(OK);
    await soon();
    expect(errors).toEqual([]);
  });
});

test.each([
  { on: "v1", line: v1, client: {} },
  { on: "v2", line: v2, client: {} },
  { on: "v2, 2026-07-28", line: v2, client: { versionNegotiation: { mode: "auto" } } },
])("tells a stdio server that an attempt was given up for its own timeout: $on", async ({ line, client: options }) => {
  const folder = mkdtempSync(join(tmpdir(), "mcp-tx-"));
  const log = join(folder, "executions");
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const client = line.client(options);
  await client.connect(wrapTransport(line.stdio({ EXECUTION_LOG: log }), [], { attemptTimeoutMs: 500 }));
  onTestFinished(() => client.close());
  await expect(line.call(client, "watchful")).rejects.toThrow("did not answer within 500 ms");
  // The file may be there before its line is.
  await until(() => existsSync(log) && readFileSync(log, "utf8").endsWith("\n"));
  expect(JSON.parse(readFileSync(log, "utf8"))).toEqual({ tool: "watchful", args: { aborted: true } });
});

/** Real servers over each transport, with the number of runs counted by them. */
interface Wire {
  readonly on: string;
  readonly line: (typeof LINES)[number];
  readonly client?: Readonly<Record<string, unknown>>;
  readonly open: (
    executions: Execution[],
  ) => Promise<{ readonly transport: SdkTransport; readonly http?: HttpFixture }>;
}

function build(line: (typeof LINES)[number], executions: Execution[]): SdkServer {
  const server = line.mcpServer();
  registerTools(server, (entry) => executions.push(entry));
  return server;
}

const MODERN = { versionNegotiation: { mode: "auto" } };
const WIRES: readonly Wire[] = [
  { on: "v1 over HTTP", line: v1, open: async (log) => overHttp(v1, await httpV1(() => build(v1, log))) },
  {
    on: "v1 over HTTP with JSON",
    line: v1,
    open: async (log) => overHttp(v1, await httpV1(() => build(v1, log), { json: true })),
  },
  { on: "v2 over HTTP", line: v2, open: async (log) => overHttp(v2, await httpV2(() => build(v2, log))) },
  {
    on: "v2 over HTTP, 2026-07-28",
    line: v2,
    client: MODERN,
    open: async (log) => overHttp(v2, await httpV2(() => build(v2, log))),
  },
];

function overHttp(line: (typeof LINES)[number], http: HttpFixture) {
  onTestFinished(() => http.close());
  return { transport: line.http(http.url), http };
}

describe.each(WIRES)("$on", ({ line, client: clientOptions, open }) => {
  test("a call that was refused with 429 is made again", async () => {
    const executions: Execution[] = [];
    const { transport, http } = await open(executions);
    const reports: CallReport[] = [];
    const client = line.client(clientOptions);
    await client.connect(
      wrapTransport(transport, [retry({ baseDelayMs: 0 })], { onReport: (report) => reports.push(report) }),
    );
    onTestFinished(() => client.close());
    http?.script.push(refuse(429), refuse(429));
    expect(await line.call(client, "echo", { text: "hello" })).toMatchObject({ content: [{ text: "hello" }] });
    expect(executions).toHaveLength(1);
    expect(reports).toMatchObject([{ attempts: 3, status: "completed", execution: "executed" }]);
    const ids = http?.received.filter(({ method }) => method === "tools/call").map(({ id }) => id);
    expect(new Set(ids).size).toBe(3);
  });

  test("the late answer of a slow attempt does not reach the host", async () => {
    const executions: Execution[] = [];
    const { transport, http } = await open(executions);
    const client = line.client(clientOptions);
    await client.connect(wrapTransport(transport, [again], { attemptTimeoutMs: 150 }));
    onTestFinished(() => client.close());
    const errors: unknown[] = [];
    (client as { onerror?: (error: unknown) => void }).onerror = (error) => errors.push(error);
    http?.script.push(delayed(250));
    expect(await line.call(client, "echo", { text: "hello" })).toMatchObject({ content: [{ text: "hello" }] });
    await soon(200);
    expect(errors).toEqual([]);
    expect(executions.length).toBeGreaterThanOrEqual(1);
  });

  test("a host that cancels stops the live attempt", async () => {
    const executions: Execution[] = [];
    const { transport, http } = await open(executions);
    const reports: CallReport[] = [];
    const client = line.client(clientOptions);
    await client.connect(wrapTransport(transport, [again], { onReport: (report) => reports.push(report) }));
    onTestFinished(() => client.close());
    const controller = new AbortController();
    let closed = false;
    http?.script.push(refuse(429), ({ response }) => {
      response.on("close", () => {
        closed = true;
      });
      controller.abort();
    });
    await expect(line.call(client, "echo", { text: "x" }, { signal: controller.signal })).rejects.toThrow();
    await expect.poll(() => reports).toMatchObject([{ attempts: 2, status: "cancelled", execution: "unknown" }]);
    const calls = http?.received.filter(({ method }) => method === "tools/call") ?? [];
    if (clientOptions === MODERN) await expect.poll(() => closed).toBe(true);
    else {
      await expect
        .poll(() => http?.received.at(-1))
        .toMatchObject({
          method: "notifications/cancelled",
          params: { requestId: calls[1]?.id },
        });
    }
  });
});

import {
  ANNOUNCEMENT_KEY,
  RECEIPT_KEY,
  readCallMeta,
  readReceipt,
  reportOf,
  type ToolResult,
  wrapClient,
} from "@mcp-tx/core";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { describe, expect, onTestFinished, test } from "vitest";
import { runAndCut } from "./fixtures/http-servers.js";
import { HTTP_WAYS, type Running, STATELESS_WAYS, WAYS, type Way } from "./fixtures/idempotent-servers.js";
import type { SdkClient, SdkTransport, WireMessage } from "./fixtures/lines.js";

/** Client and server of both SDK lines over every transport: what runs twice, and what the other side sees. */

interface Peer {
  readonly client: SdkClient;
  readonly transport: SdkTransport;
}

async function connect(way: Way, server: Running, transport = server.open()): Promise<Peer> {
  const client = way.line.client(way.client);
  await client.connect(transport);
  onTestFinished(() => client.close().catch(() => undefined));
  return { client, transport };
}

/** Connects to a server that is up: one over stdio may still be starting when a client has connected. */
async function connectWarm(way: Way, server: Running): Promise<Peer> {
  const peer = await connect(way, server);
  await way.line.call(peer.client, "read");
  return peer;
}

/** Connects, and notes what the client sends, and what it gets after the greeting. */
async function connectRecording(way: Way, server: Running) {
  const transport = server.open();
  const requests: WireMessage[] = [];
  const answers: WireMessage[] = [];
  const send = transport.send.bind(transport);
  transport.send = (message, options) => {
    requests.push(JSON.parse(JSON.stringify(message)));
    return send(message, options);
  };
  const peer = await connect(way, server, transport);
  const { onmessage } = transport;
  transport.onmessage = (message, extra) => {
    answers.push(message);
    onmessage?.(message, extra);
  };
  return { ...peer, requests, answers };
}

/** What the server says of its records. */
function announced(client: SdkClient): unknown {
  const { experimental, extensions } = (client.getServerCapabilities() ?? {}) as Readonly<
    Record<string, Readonly<Record<string, { readonly idempotency?: unknown }>> | undefined>
  >;
  return (experimental?.[ANNOUNCEMENT_KEY] ?? extensions?.[ANNOUNCEMENT_KEY])?.idempotency;
}

const outcome = (call: Promise<unknown>): Promise<unknown> => call.catch((error: unknown) => error);
const executed = (server: Running, tool: string): number =>
  server.executions().filter((entry) => entry.tool === tool).length;

/** Calls a tool that answers, one that fails, and the first one again. */
async function dialogue(way: Way, server: Running, isClientAware: boolean) {
  const { client: bare, requests, answers } = await connectRecording(way, server);
  const client = isClientAware ? wrapClient(bare, idempotency()) : bare;
  const results: ToolResult[] = [];
  for (const [tool, args, key] of [
    ["echo", { text: "hello" }, "a"],
    ["throws", {}, "b"],
    ["echo", { text: "bye" }, "c"],
  ] as const) {
    const options = isClientAware ? { idempotencyKey: key } : undefined;
    results.push((await way.line.call(client, tool, args, options)) as ToolResult);
  }
  const calls = requests.filter(({ method }) => method === "tools/call");
  return { calls, results, requests: requests.map(toText), answers: answers.map(toText) };
}

const toText = (message: WireMessage): string => JSON.stringify(message);

describe.each(WAYS)("$on", (way) => {
  test("a plain side sees plain MCP, to the byte", async () => {
    const plain = await dialogue(way, await way.start("none"), false);
    const awareClient = await dialogue(way, await way.start("none"), true);
    const awareServer = await dialogue(way, await way.start("memory"), false);
    expect(plain.calls).toHaveLength(3);
    expect(plain.answers.join("")).toContain("hello");
    expect(awareClient.requests).toEqual(plain.requests);
    expect(awareServer.requests).toEqual(plain.requests);
    expect(awareServer.answers).toEqual(plain.answers);
    expect(awareClient.results).toEqual(plain.results);
    expect(awareServer.results).toEqual(plain.results);
  });

  test("two aware sides exchange keys and receipts", async () => {
    const { calls, results } = await dialogue(way, await way.start("memory"), true);
    const metas = calls.map(({ params }) => readCallMeta(params?.["_meta"]));
    expect(metas.map((meta) => meta?.idempotencyKey)).toEqual(["a", "b", "c"]);
    expect(results.map(({ _meta }) => readReceipt(_meta))).toMatchObject([
      { execution: "executed", duplicate: false },
      { execution: "executed", duplicate: false, code: "tool_error" },
      { execution: "executed", duplicate: false },
    ]);
  });

  test("the client recognises a duplicate of its own, whatever the server", async () => {
    for (const records of ["none", "memory"] as const) {
      const server = await way.start(records);
      const { client: bare } = await connect(way, server);
      const client = wrapClient(bare, idempotency());
      const call = () => client.call("echo", { text: "once" }, { idempotencyKey: "order-1" });
      const [first, again] = [await call(), await call()];
      expect(executed(server, "echo")).toBe(1);
      expect(reportOf(first)).toMatchObject({ duplicate: false, recorded: true, attempts: 1 });
      expect(reportOf(again)).toMatchObject({ duplicate: true, recorded: true, attempts: 0, execution: "executed" });
      expect(again["content"]).toEqual(first["content"]);
      expect(again["content"]).not.toBe(first["content"]);
    }
  });

  test("the server announces its store, and recognises a duplicate by the key on the wire", async () => {
    const server = await way.start("memory");
    const { client: bare } = await connect(way, server);
    expect(announced(bare)).toEqual({ storeId: expect.stringMatching(/./), windowMs: 300_000, durable: false });
    const client = wrapClient(bare, []);
    const call = (tool: string, args: object) =>
      client.call(tool, { ...args }, { idempotencyKey: "order-1" }) as Promise<ToolResult>;
    const results = [await call("echo", { text: "once" }), await call("echo", { text: "once" })];
    const failures = [await call("throws", {}), await call("throws", {})];
    expect(executed(server, "echo")).toBe(1);
    expect(executed(server, "throws")).toBe(1);
    for (const pair of [results, failures]) {
      expect(pair.map(({ _meta }) => readReceipt(_meta))).toMatchObject([
        { ack: true, execution: "executed", duplicate: false },
        { ack: true, execution: "executed", duplicate: true },
      ]);
      expect(pair[1]?.content).toEqual(pair[0]?.content);
      expect(pair.map((result) => reportOf(result)?.duplicate)).toEqual([false, true]);
    }
  });

  test.each([false, true])(
    "a retry after a timeout joins the run or gets its record: client keeps records %s",
    async (isRecording) => {
      const server = await way.start(way.greetsAnother === true ? "sqlite" : "memory");
      const { client: bare } = await connectWarm(way, server);
      const layers = [...(isRecording ? [idempotency()] : []), retry({ maxAttempts: 50, baseDelayMs: 0 })];
      const client = wrapClient(bare, layers, { attemptTimeoutMs: 120 });
      const options = isRecording ? { idempotencyKey: "order-1" } : {};
      const result = await client.call("slow", { ms: 400 }, options);
      expect(result).toMatchObject({ content: [{ text: "slow" }] });
      expect(executed(server, "slow")).toBe(1);
      const report = reportOf(result);
      expect(report).toMatchObject({ status: "completed", execution: "executed", duplicate: true });
      expect(report?.attempts).toBeGreaterThan(1);
    },
  );

  test("what a client gave up goes on, and is there for whoever asks again", async () => {
    const server = await way.start("memory");
    const { client: bare } = await connectWarm(way, server);
    const client = wrapClient(bare, []);
    const options = { idempotencyKey: "order-1" };
    const lost = await outcome(client.call("slow", { ms: 300 }, { ...options, attemptTimeoutMs: 100 }));
    expect(reportOf(lost)).toMatchObject({ status: "timeout", execution: "unknown" });
    const result = (await client.call("slow", { ms: 300 }, options)) as ToolResult;
    expect(result.content).toMatchObject([{ text: "slow" }]);
    expect(readReceipt(result._meta)).toMatchObject({ execution: "executed", duplicate: true });
    expect(executed(server, "slow")).toBe(1);
  });

  test.each([
    { records: "sqlite", ends: "replays the call" },
    { records: "memory", ends: "refuses the call for good" },
  ] as const)("a server that restarts with its $records store $ends", async ({ records }) => {
    const server = await way.start(records);
    const store = memoryStore();
    const lose = async () => {
      const { client: bare } = await connectWarm(way, server);
      const client = wrapClient(bare, idempotency({ store }), { attemptTimeoutMs: 100 });
      const lost = await outcome(client.call("slow", { ms: 200 }, { idempotencyKey: "order-1" }));
      expect(reportOf(lost)).toMatchObject({ status: "timeout", execution: "unknown", recorded: false });
      // Until it has run, and is recorded.
      await new Promise((resolve) => setTimeout(resolve, 300));
      await bare.close();
    };
    await lose();
    await server.restart();
    const { client: bare } = await connect(way, server);
    const client = wrapClient(bare, idempotency({ store }));
    const ended = await outcome(client.call("slow", { ms: 200 }, { idempotencyKey: "order-1" }));
    if (records === "sqlite") {
      expect(ended).toMatchObject({ content: [{ text: "slow" }] });
      expect(reportOf(ended)).toMatchObject({ status: "completed", duplicate: true, recorded: true, attempts: 1 });
    } else {
      expect(ended).toMatchObject({ name: "OutcomeUnknownError" });
      expect(reportOf(ended)).toMatchObject({ status: "unknown", execution: "unknown", attempts: 0 });
    }
    expect(executed(server, "slow")).toBe(1);
  });
});

describe.each(HTTP_WAYS)("$on", (way) => {
  test("runs a call once whose answer is lost", async () => {
    const server = await way.start("memory");
    const { client: bare } = await connect(way, server);
    const client = wrapClient(bare, retry({ baseDelayMs: 0 }), { attemptTimeoutMs: 500 });
    server.script.push(runAndCut, runAndCut);
    const result = await client.call("echo", { text: "once" });
    expect(reportOf(result)).toMatchObject({ status: "completed", attempts: 3, duplicate: true });
    expect(executed(server, "echo")).toBe(1);
  });

  test("runs once for 100 duplicates at once, each with a result of its own", async () => {
    for (const isRecording of [true, false]) {
      const server = await way.start("memory");
      const { client: bare } = await connect(way, server);
      const client = wrapClient(bare, isRecording ? idempotency() : []);
      const call = () => client.call("slow", { ms: 50 }, { idempotencyKey: "order-1" }) as Promise<ToolResult>;
      const results = await Promise.all(Array.from({ length: 100 }, call));
      expect(executed(server, "slow")).toBe(1);
      expect(new Set(results).size).toBe(100);
      expect(new Set(results.map(({ content }) => content)).size).toBe(100);
      for (const { content } of results) expect(content).toEqual([{ type: "text", text: "slow" }]);
      expect(results.filter((result) => reportOf(result)?.duplicate === true)).toHaveLength(99);
      await bare.close();
    }
  });
});

describe.each(STATELESS_WAYS)("$on", (way) => {
  test("refuses a resend when the store is lost under it, and the call ends unknown", async () => {
    const server = await way.start("memory");
    const { client: bare, requests, answers } = await connectRecording(way, server);
    const store = announced(bare) as { readonly storeId: string };
    const client = wrapClient(bare, [idempotency(), retry({ baseDelayMs: 0 })], { attemptTimeoutMs: 500 });
    server.script.push(async (exchange) => {
      await runAndCut(exchange);
      await server.replaceStore();
    });
    const ended = await outcome(client.call("echo", { text: "once" }, { idempotencyKey: "order-1" }));
    expect(executed(server, "echo")).toBe(1);
    expect(ended).toMatchObject({ name: "OutcomeUnknownError" });
    expect(reportOf(ended)).toMatchObject({ status: "unknown", execution: "unknown", attempts: 2 });
    const resend = requests.findLast(({ method }) => method === "tools/call");
    const meta = readCallMeta(resend?.params?.["_meta"]);
    expect(meta).toMatchObject({ idempotencyKey: "order-1", expectStore: store.storeId });
    expect(answers.at(-1)).toMatchObject({ error: { data: { [RECEIPT_KEY]: { code: "store_mismatch" } } } });
    // For good: nothing that is known by now would let it run.
    const again = await outcome(client.call("echo", { text: "once" }, { idempotencyKey: "order-1" }));
    expect(again).toMatchObject({ name: "OutcomeUnknownError" });
    expect(executed(server, "echo")).toBe(1);
  });

  test("replays a resend when its store is opened again under it", async () => {
    const server = await way.start("sqlite");
    const { client: bare } = await connect(way, server);
    const client = wrapClient(bare, retry({ baseDelayMs: 0 }), { attemptTimeoutMs: 500 });
    server.script.push(async (exchange) => {
      await runAndCut(exchange);
      await server.replaceStore();
    });
    const result = await client.call("echo", { text: "once" });
    expect(reportOf(result)).toMatchObject({ status: "completed", attempts: 2, duplicate: true });
    expect(executed(server, "echo")).toBe(1);
  });
});

test.each(WAYS.filter(({ greetsAnother }) => greetsAnother))(
  "$on: a store in memory is not the one that was announced, so that a resend is refused and never runs twice",
  async (way) => {
    const server = await way.start("memory");
    const { client: bare } = await connectWarm(way, server);
    const client = wrapClient(bare, retry({ baseDelayMs: 0 }), { attemptTimeoutMs: 100 });
    const ended = await outcome(client.call("slow", { ms: 200 }));
    expect(ended).toMatchObject({ name: "OutcomeUnknownError" });
    expect(reportOf(ended)).toMatchObject({ status: "unknown", execution: "unknown" });
    expect(executed(server, "slow")).toBe(1);
  },
);

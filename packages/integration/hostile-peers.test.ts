import {
  ANNOUNCEMENT_KEY,
  CALL_META_KEY,
  type CallReport,
  type Middleware,
  RECEIPT_KEY,
  readCallMeta,
  reportOf,
  wrapClient,
  wrapServer,
} from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { hostile, hostileText, under } from "./fixtures/hostile.js";
import { LINES, type WireMessage } from "./fixtures/lines.js";
import { type RawAnswer, rawPeer } from "./fixtures/raw-peer.js";

/** Peers that send whatever JSON can carry, where the packages read what peers send. */

const RUNS = { numRuns: 150 };
const EXECUTIONS: readonly unknown[] = ["executed", "not-executed", "unknown"];

afterEach(() => {
  expect(Object.keys(Object.prototype)).toEqual([]);
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});

const execution = fc.constantFrom<unknown>("executed", "not-executed", "unknown", "maybe", null);
const receipt = fc
  .record(
    { execution, ack: fc.boolean(), duplicate: hostile, requestId: hostile, code: hostileText, retryAfterMs: hostile },
    { requiredKeys: [] },
  )
  .map((value) => under(RECEIPT_KEY, value));
const hint = fc.record({ retryAfterMs: fc.oneof(hostile, fc.double()), retryAfter: hostileText }, { requiredKeys: [] });
const carrier = fc.oneof(hostile, receipt, hint);

const content = fc.oneof(hostile, fc.constant([{ type: "text", text: "fine" }]));
const answer = fc.oneof(
  fc.record({
    result: fc.oneof(
      hostile,
      fc.record({ content, isError: fc.oneof(fc.boolean(), hostile), _meta: carrier }, { requiredKeys: [] }),
    ),
  }),
  fc.record({ error: fc.record({ code: fc.integer(), message: hostileText, data: carrier }) }),
);

async function connected(line: (typeof LINES)[number], respond: RawAnswer, capabilities: object) {
  const [near, far] = line.pair();
  const peer = await rawPeer(far, respond, capabilities as never);
  const client = line.client();
  await client.connect(near);
  return { client, peer };
}

const settled = (call: Promise<unknown>): Promise<unknown> => call.catch((error: unknown) => error);

describe.each(LINES)("$name: a server that answers anything", (line) => {
  test("gets each attempt once, and every call ends with a report", async () => {
    await fc.assert(
      fc.asyncProperty(answer, async (given) => {
        const { client, peer } = await connected(line, (_, send) => send(given as Partial<WireMessage>), {});
        const time = virtualTime();
        const reports: CallReport[] = [];
        const onReport = (report: CallReport): void => void reports.push(report);
        const options = { runtime: time.runtime, timeoutMs: 30_000, onReport };
        const wrapped = wrapClient(client, [retry({ maxAttempts: 3 })], options);
        await time.run(settled(wrapped.callTool({ name: "pay", arguments: {} })));
        const sent = peer.received.filter(({ method }) => method === "tools/call").length;
        expect(reports).toHaveLength(1);
        const [report] = reports;
        expect(report?.attempts).toBe(sent);
        expect(EXECUTIONS).toContain(report?.execution);
        expect(report?.waitedMs).toBeGreaterThanOrEqual(0);
        expect(Number.isFinite(report?.waitedMs)).toBe(true);
        await client.close();
      }),
      RUNS,
    );
  });

  test("is sent nothing again after it answered with a result that reports no failure", async () => {
    const success = fc.record({ content, structuredContent: hostile, _meta: carrier }, { requiredKeys: ["content"] });
    await fc.assert(
      fc.asyncProperty(success, async (result) => {
        const { client, peer } = await connected(line, (_, send) => send({ result }), {});
        const time = virtualTime();
        const options = { runtime: time.runtime, timeoutMs: 30_000 };
        const wrapped = wrapClient(client, [retry({ maxAttempts: 3 })], options);
        const value = await time.run(settled(wrapped.callTool({ name: "pay", arguments: {} })));
        expect(peer.received.filter(({ method }) => method === "tools/call")).toHaveLength(1);
        // An SDK may drop what it cannot read, and the call waits in vain.
        expect(reportOf(value)?.execution).not.toBe("not-executed");
        await client.close();
      }),
      RUNS,
    );
  });

  test("is relied on for nothing that it does not announce in full", async () => {
    const store = fc.record({ storeId: hostile, windowMs: hostile, durable: hostile }, { requiredKeys: [] });
    const entry = fc.record({ version: fc.oneof(hostile, fc.constant(1)), idempotency: fc.oneof(hostile, store) });
    const capabilities = fc.oneof(
      entry.map((value) => ({ experimental: under(ANNOUNCEMENT_KEY, value) })),
      fc.dictionary(fc.constantFrom("experimental", "extensions"), fc.object()),
    );
    await fc.assert(
      fc.asyncProperty(capabilities, async (announced) => {
        const [near, far] = line.pair();
        const peer = await rawPeer(far, (_, send) => send({ result: { content: [] } }), announced as never);
        const client = line.client();
        try {
          // An SDK may refuse the handshake: that is an answer too.
          await client.connect(near);
        } catch {
          return;
        }
        await settled(wrapClient(client, [retry()]).callTool({ name: "pay", arguments: {} }));
        const [call] = peer.received.filter(({ method }) => method === "tools/call");
        const read = (announced as { experimental?: Record<string, { version?: unknown; idempotency?: unknown }> })
          .experimental?.[ANNOUNCEMENT_KEY];
        const meta = (call?.params?.["_meta"] ?? {}) as Record<string, unknown>;
        if (read?.version !== 1) expect(meta).not.toHaveProperty([CALL_META_KEY]);
        await client.close();
      }),
      RUNS,
    );
  });
});

describe.each(LINES)("$name: a client that sends anything", (line) => {
  const meta = fc.oneof(
    hostile,
    fc
      .record(
        {
          requestId: fc.oneof(hostile, fc.constant("r")),
          idempotencyKey: fc.oneof(hostile, fc.constantFrom("k", "__proto__")),
          transactionId: hostile,
          attempt: hostile,
          epoch: hostile,
          expectStore: hostile,
        },
        { requiredKeys: [] },
      )
      .map((value) => under(CALL_META_KEY, value)),
  );
  const params = fc.record(
    { name: fc.constantFrom<unknown>("pay", "", "__proto__", 1), arguments: hostile, _meta: meta },
    { requiredKeys: ["name"] },
  );

  interface Scene {
    readonly runs: number;
    readonly answers: readonly WireMessage[];
  }

  /** Sends the same call twice, and waits until the server has answered as many requests as `expected`. */
  async function scene(given: unknown, middleware: readonly Middleware[], expected?: number): Promise<Scene> {
    let runs = 0;
    const server = line.lowLevelServer({
      call: () => {
        runs += 1;
        return { content: [{ type: "text", text: "paid" }] };
      },
    });
    const [near, far] = line.pair();
    if (middleware.length > 0) wrapServer(server, middleware);
    await server.connect(far);
    const answers: WireMessage[] = [];
    near.onmessage = (message) => void answers.push(message);
    await near.start();
    const hello = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } };
    await near.send({ jsonrpc: "2.0", id: "hello", method: "initialize", params: hello });
    for (const id of [1, 2]) await near.send({ jsonrpc: "2.0", id, method: "tools/call", params: given as never });
    await near.send({ jsonrpc: "2.0", id: "end", method: "ping" });
    if (expected !== undefined)
      await expect.poll(() => answers.length, { interval: 1 }).toBeGreaterThanOrEqual(expected);
    // Nothing here waits for anything but the event loop.
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
    await server.close();
    return { runs, answers };
  }

  test("gets the answers that it gets without us, without a stack, and runs nothing twice under one key", async () => {
    await fc.assert(
      fc.asyncProperty(params, async (given) => {
        const bare = await scene(given, []);
        const { runs, answers } = await scene(given, [idempotency({ store: memoryStore() })], bare.answers.length);
        const idsOf = (messages: readonly WireMessage[]): readonly unknown[] =>
          messages.map(({ id }) => String(id)).sort();
        expect(idsOf(answers)).toEqual(idsOf(bare.answers));
        expect(JSON.stringify(answers)).not.toMatch(/\n\s+at |node_modules|file:\/\//);
        expect(runs).toBeLessThanOrEqual(bare.runs);
        // A call of no tool goes past the pipeline: the server has the right answer to it.
        const isRead = readCallMeta(given._meta) !== undefined && given.name !== "";
        if (isRead) expect(runs).toBeLessThanOrEqual(1);
      }),
      RUNS,
    );
  });
});

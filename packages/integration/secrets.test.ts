import { inspect } from "node:util";
import { type ClientLike, McpTxError, wrapServer } from "@mcp-tx/core";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { idempotency } from "@mcp-tx/idempotency";
import { monitor } from "@mcp-tx/monitor";
import { otel, otelAttempt } from "@mcp-tx/otel";
import { postgresStore } from "@mcp-tx/postgres";
import { redisStore } from "@mcp-tx/redis";
import { Redis } from "ioredis";
import { reliable } from "mcp-tx";
import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { LINES, type WireMessage } from "./fixtures/lines.js";
import { recorder } from "./fixtures/otel-recorder.js";
import { rawPeer } from "./fixtures/raw-peer.js";

/** What users and servers say to each other, and what opens databases, stays out of logs, spans, metrics, alerts and our own messages. */

const SECRET = "s3cr3t-Kx9";
/** Where nothing listens. */
const NOWHERE = "127.0.0.1:1";

const shown = (value: unknown): string => inspect(value, { depth: 20, showHidden: true, getters: true });
const settled = (call: Promise<unknown>): Promise<unknown> => call.catch((error: unknown) => error);

const ENDINGS: Readonly<Record<string, Partial<WireMessage>>> = {
  "a result": { result: { content: [{ type: "text", text: SECRET }], structuredContent: { card: SECRET } } },
  "a failure of the tool": {
    result: { isError: true, content: [{ type: "text", text: SECRET }], _meta: { at: SECRET } },
  },
  "an error": { error: { code: -32_000, message: `no card ${SECRET}`, data: { card: SECRET } } },
  "an error with a hint": { error: { code: -32_000, message: SECRET, data: { retryAfterMs: 1, card: SECRET } } },
};

test.each(LINES.flatMap((line) => Object.keys(ENDINGS).map((ending) => [line.name, ending, line] as const)))(
  "%s: %s of a call with secrets leaves none behind",
  async (_, ending, line) => {
    const [near, far] = line.pair();
    await rawPeer(far, (_, send) => send(ENDINGS[ending] ?? {}));
    const client = line.client();
    await client.connect(near);
    onTestFinished(() => client.close());
    const lines: unknown[] = [];
    const keep = (...line: unknown[]): void => void lines.push(line);
    const { options, trees, points } = recorder();
    const watched = monitor();
    const calls = reliable(client as unknown as ClientLike, {
      middleware: [otel(options), otelAttempt(options), watched],
      logger: { debug: keep, info: keep, warn: keep, error: keep },
      retry: { maxAttempts: 2, baseDelayMs: 0 },
    });
    const end = await settled(
      calls.call("pay", { card: SECRET, [SECRET]: 1 }, { idempotencyKey: SECRET, transactionId: SECRET }),
    );
    const metrics = await Promise.all(
      ["mcp.client.operation.duration", "mcp_tx.call.attempts", "mcp_tx.idempotency.outcomes"].map(points),
    );
    expect(lines.length).toBeGreaterThan(0);
    expect(trees().length).toBeGreaterThan(0);
    expect(metrics.flat().length).toBeGreaterThan(0);
    expect(shown({ lines, spans: trees(), metrics, report: watched.report(), health: calls.health() })).not.toContain(
      SECRET,
    );
    // A server's own words go to the caller as they are; ours hold none of them.
    if (McpTxError.isInstance(end)) expect(end.message).not.toContain(SECRET);
  },
);

/** The store as it is once it was reached, for which it gets no chance here. */
function known(store: IdempotencyStore): IdempotencyStore {
  const members = (key: string | symbol): unknown => {
    if (key === "storeId") return "store-1";
    const member: unknown = Reflect.get(store, key, store);
    return typeof member === "function" ? member.bind(store) : member;
  };
  return new Proxy(store, { get: (_, key) => members(key) });
}

const STORES = {
  postgres: () => {
    const pool = new pg.Pool({ connectionString: `postgres://user:${SECRET}@${NOWHERE}/${SECRET}` });
    onTestFinished(() => pool.end());
    return postgresStore({ pool }).idempotency;
  },
  redis: () => {
    const client = new Redis(`redis://user:${SECRET}@${NOWHERE}`, { lazyConnect: true, retryStrategy: () => null });
    client.on("error", () => undefined);
    onTestFinished(() => client.disconnect());
    return redisStore({ client }).idempotency;
  },
};

test.each(
  LINES.flatMap((line) => Object.entries(STORES).map(([name, open]) => [line.name, name, line, open] as const)),
)("%s: a client hears that the %s store is down, and nothing of how it is reached", async (_, __, line, open) => {
  const server = line.mcpServer();
  let runs = 0;
  server.registerTool("pay", {}, () => {
    runs += 1;
    return { content: [] };
  });
  const [near, far] = line.pair();
  wrapServer(server, [idempotency({ store: known(open()) })]);
  await server.connect(far);
  onTestFinished(() => server.close());
  const wire: WireMessage[] = [];
  const client = line.client();
  await client.connect(near);
  onTestFinished(() => client.close());
  const { onmessage } = near;
  near.onmessage = (message, extra) => {
    wire.push(message);
    onmessage?.call(near, message, extra);
  };
  const lines: unknown[] = [];
  const keep = (...line: unknown[]): void => void lines.push(line);
  const calls = reliable(client as unknown as ClientLike, {
    logger: { debug: keep, info: keep, warn: keep, error: keep },
    logging: { messages: true },
    retry: false,
  });
  const end = await settled(calls.call("pay", {}, { idempotencyKey: "k-1" }));
  expect(runs).toBe(0);
  expect(wire).toHaveLength(1);
  expect(lines.length).toBeGreaterThan(0);
  expect(shown({ wire, lines })).not.toContain(SECRET);
  expect(shown({ wire, lines })).not.toContain(NOWHERE.split(":")[0]);
  expect(String((end as Error).message ?? "")).not.toContain(SECRET);
});

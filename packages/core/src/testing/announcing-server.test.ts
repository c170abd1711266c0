import { expect, test } from "vitest";
import type { ToolResult } from "../contract.js";
import { CALL_META_KEY, type CallMeta, RECEIPT_ERROR_CODE, readAnnouncement, readReceipt } from "../wire.js";
import {
  type AnnouncingServer,
  type AnnouncingServerOptions,
  announcingServer,
  type ServedRun,
} from "./announcing-server.js";

interface Answer {
  readonly result?: ToolResult;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

let lastId = 0;

async function call(
  server: AnnouncingServer,
  tool: string,
  meta?: Partial<CallMeta>,
  args: object = {},
): Promise<Answer> {
  lastId += 1;
  const callMeta = meta && { requestId: "r", idempotencyKey: "k", attempt: 1, epoch: 0, ...meta };
  const params = { name: tool, arguments: args, ...(callMeta && { _meta: { [CALL_META_KEY]: callMeta } }) };
  return (await server.handle({ jsonrpc: "2.0", id: lastId, method: "tools/call", params })) as Answer;
}

/** A server with a counter, a tool that fails, and one that waits until it is let go. */
function served(options: Partial<AnnouncingServerOptions> = {}): {
  readonly server: AnnouncingServer;
  letGo(): void;
  readonly runs: ServedRun[];
} {
  let letGo: (() => void) | undefined;
  let count = 0;
  const runs: ServedRun[] = [];
  const gate = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const server = announcingServer({
    tools: {
      count: {
        annotations: { idempotentHint: false },
        run: (_args, run) => {
          runs.push(run);
          count += 1;
          return { structuredContent: { count } };
        },
      },
      fail: {
        run: () => {
          throw new Error("no luck");
        },
      },
      wait: {
        run: async (_args, run) => {
          runs.push(run);
          await gate;
          return { structuredContent: { waited: true } };
        },
      },
    },
    ...options,
  });
  return { server, runs, letGo: () => letGo?.() };
}

test("announces its store in the handshake, and nothing when it is plain", async () => {
  const hello = { jsonrpc: "2.0", id: 0, method: "initialize", params: { protocolVersion: "2025-11-25" } };
  const aware = served({ storeId: "s", windowMs: 5000, durable: true }).server;
  const { result } = (await aware.handle(hello)) as {
    readonly result: { readonly capabilities: unknown; readonly protocolVersion: string };
  };
  expect(result.protocolVersion).toBe("2025-11-25");
  expect(readAnnouncement(result.capabilities)).toEqual({
    version: 1,
    idempotency: { storeId: "s", windowMs: 5000, durable: true },
  });
  const plain = (await served({ announce: false }).server.handle(hello)) as {
    readonly result: { readonly capabilities: object };
  };
  expect(plain.result.capabilities).toEqual({ tools: {} });
});

test("lists its tools with their annotations", async () => {
  const answer = (await served().server.handle({ jsonrpc: "2.0", id: 1, method: "tools/list" })) as {
    readonly result: { readonly tools: readonly object[] };
  };
  expect(answer.result.tools[0]).toEqual({
    name: "count",
    inputSchema: { type: "object" },
    annotations: { idempotentHint: false },
  });
});

test("runs a plain call each time, without a receipt", async () => {
  const { server } = served();
  expect(await call(server, "count")).toMatchObject({ result: { structuredContent: { count: 1 } } });
  const { result } = await call(server, "count");
  expect([result?.structuredContent, result?._meta]).toEqual([{ count: 2 }, undefined]);
});

test("repeats the recorded result to a duplicate, and says so", async () => {
  const { server } = served();
  const first = await call(server, "count", { requestId: "r1" });
  const second = await call(server, "count", { requestId: "r2", attempt: 2 });
  expect(second.result?.structuredContent).toEqual(first.result?.structuredContent);
  expect(readReceipt(first.result?._meta)).toMatchObject({
    requestId: "r1",
    ack: true,
    execution: "executed",
    duplicate: false,
  });
  expect(readReceipt(second.result?._meta)).toMatchObject({ requestId: "r2", duplicate: true });
  expect(server.executions("count")).toBe(1);
});

test("joins a duplicate to the run in flight", async () => {
  const { server, letGo } = served();
  const both = [call(server, "wait", {}), call(server, "wait", { attempt: 2 })];
  letGo();
  const duplicates = (await Promise.all(both)).map(({ result }) => readReceipt(result?._meta)?.duplicate);
  expect(duplicates).toEqual([false, true]);
  expect(server.executions("wait")).toBe(1);
});

test("repeats a failure to the same epoch and runs again for a higher one", async () => {
  const { server } = served();
  const first = await call(server, "fail", {});
  expect(first.result).toMatchObject({ isError: true, content: [{ type: "text", text: "no luck" }] });
  expect(readReceipt(first.result?._meta)).toMatchObject({
    execution: "executed",
    code: "tool_error",
    duplicate: false,
  });
  expect(readReceipt((await call(server, "fail", {})).result?._meta)?.duplicate).toBe(true);
  expect(server.executions("fail")).toBe(1);
  expect(readReceipt((await call(server, "fail", { epoch: 1 })).result?._meta)?.duplicate).toBe(false);
  expect(server.executions("fail")).toBe(2);
});

test("does not run a success again for a higher epoch", async () => {
  const { server } = served();
  await call(server, "count", {});
  await call(server, "count", { epoch: 5 });
  expect(server.executions("count")).toBe(1);
});

test("keeps the keys of different tools apart", async () => {
  const { server } = served();
  await call(server, "count", {});
  await call(server, "fail", {});
  expect([server.executions("count"), server.executions("fail")]).toEqual([1, 1]);
});

test("refuses a key with other arguments", async () => {
  const { server } = served();
  await call(server, "count", {}, { a: 1 });
  const { error } = await call(server, "count", {}, { a: 2 });
  expect(readReceipt(error?.data)).toMatchObject({ code: "idempotency_conflict", execution: "not-executed" });
  expect(server.executions("count")).toBe(1);
});

test("refuses without running when the caller expects another store", async () => {
  const { server } = served({ storeId: "s" });
  await call(server, "count", { expectStore: "s" });
  server.loseStore();
  expect(server.storeId).not.toBe("s");
  const { error } = await call(server, "count", { attempt: 2, expectStore: "s" });
  expect(error?.code).toBe(RECEIPT_ERROR_CODE);
  expect(readReceipt(error?.data)).toMatchObject({ code: "store_mismatch", execution: "not-executed", ack: true });
  expect(server.executions("count")).toBe(1);
});

test("forgets what it ran when its store is lost", async () => {
  const { server } = served();
  await call(server, "count", {});
  server.loseStore();
  await call(server, "count", {});
  expect(server.executions("count")).toBe(2);
});

test("reads neither key nor store when it is plain", async () => {
  const { server } = served({ announce: false });
  await call(server, "count", {});
  const { result } = await call(server, "count", { expectStore: "another" });
  expect(result?._meta).toBeUndefined();
  expect(server.executions("count")).toBe(2);
});

test("tells the tool the attempt, and aborts a plain call but not one with a key when the client cancels", async () => {
  const { server, runs, letGo } = served();
  const plain = call(server, "wait");
  const cancelled = (requestId: number): Promise<unknown> =>
    server.handle({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId } });
  await cancelled(lastId);
  const keyed = call(server, "wait", { attempt: 3 });
  await cancelled(lastId);
  expect(await Promise.all([plain, keyed])).toEqual([undefined, undefined]);
  expect(runs.map((run) => [run.attempt, run.signal.aborted])).toEqual([
    [1, true],
    [3, false],
  ]);
  letGo();
  expect((await call(server, "wait", { attempt: 4 })).result?.structuredContent).toEqual({ waited: true });
});

test("answers as JSON-RPC wants it to what it does not know", async () => {
  const { server } = served();
  expect((await call(server, "nope")).error?.code).toBe(-32_602);
  expect(await server.handle({ jsonrpc: "2.0", id: 1, method: "prompts/list" })).toMatchObject({
    error: { code: -32_601 },
  });
  expect(await server.handle({ jsonrpc: "2.0", id: 1, method: "ping" })).toEqual({ jsonrpc: "2.0", id: 1, result: {} });
  expect(await server.handle({ jsonrpc: "2.0", method: "notifications/initialized" })).toBeUndefined();
  expect(await server.handle({ jsonrpc: "2.0", id: 1, result: {} })).toBeUndefined();
  expect(await server.handle("nonsense")).toBeUndefined();
});

test("carries over a connection only what survives the wire", async () => {
  const seen: unknown[] = [];
  const server = announcingServer({ tools: { see: { run: (args) => ({ structuredContent: seen.push(args) }) } } });
  const connection = server.connect();
  await connection.start();
  const answered = new Promise((resolve) => {
    connection.onmessage = resolve;
  });
  const args = { [Symbol("hidden")]: 1, gone: undefined, kept: 1 };
  await connection.send({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "see", arguments: args } });
  expect(await answered).toEqual({ jsonrpc: "2.0", id: 1, result: { structuredContent: 1 } });
  expect(seen).toEqual([{ kept: 1 }]);
  expect(Object.getOwnPropertySymbols(seen[0])).toEqual([]);
});

test("gives no answer over a connection that closed, and tells so once", async () => {
  const { server, runs, letGo } = served();
  const connection = server.connect();
  let closes = 0;
  let answers = 0;
  connection.onclose = () => {
    closes += 1;
  };
  connection.onmessage = () => {
    answers += 1;
  };
  await connection.send({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "wait" } });
  await connection.close();
  await connection.close();
  letGo();
  await new Promise((resolve) => setImmediate(resolve));
  expect([closes, answers, runs[0]?.signal.aborted]).toEqual([1, 0, true]);
  await expect(connection.send({})).rejects.toThrow("Not connected");
});

test("says which tool is wrong, or not there", () => {
  expect(() => announcingServer({ tools: { broken: {} as never } })).toThrow('tools["broken"] must have a method run');
  expect(() => served().server.executions("nope")).toThrow('there is no tool "nope"');
});

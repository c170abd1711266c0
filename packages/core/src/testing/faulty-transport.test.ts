import { expect, test } from "vitest";
import type { TransportLike } from "../tap.js";
import type { Message } from "../wire.js";
import { type AnnouncingServer, announcingServer } from "./announcing-server.js";
import { type Fault, type FaultPlan, faultyTransport } from "./faulty-transport.js";
import { type VirtualTime, virtualTime } from "./virtual-time.js";

interface Line {
  readonly server: AnnouncingServer;
  readonly time: VirtualTime;
  readonly answers: string[];
  readonly events: string[];
  send(id: number): Promise<void>;
  close(): Promise<void>;
}

function line(plan: FaultPlan): Line {
  const time = virtualTime();
  const server = announcingServer({ tools: { echo: { run: (args) => ({ structuredContent: args }) } } });
  const transport = faultyTransport(server.connect(), plan, { runtime: time.runtime });
  const answers: string[] = [];
  const events: string[] = [];
  transport.onmessage = (message) => answers.push(`${String((message as { id?: unknown }).id)}@${time.now()}`);
  transport.onclose = () => events.push("closed");
  transport.onerror = (error) => events.push(error.message);
  const send = (id: number): Promise<void> =>
    transport.send({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "echo", arguments: { id } } });
  return { server, time, answers, events, send, close: () => transport.close() };
}

function first(direction: "out" | "in", fault: Fault): FaultPlan {
  return (_message, passage) => (passage.direction === direction && passage.count === 1 ? fault : undefined);
}

test("passes everything on when the plan has no fault", async () => {
  const { server, time, answers, send } = line(() => undefined);
  await send(1);
  await send(2);
  await time.advance(0);
  expect(answers).toEqual(["1@0", "2@0"]);
  expect(server.executions("echo")).toBe(2);
});

test("tells the plan the direction and the number of each message", async () => {
  const seen: string[] = [];
  const { time, send } = line((message, { direction, count }) => {
    seen.push(`${direction} ${count} ${String(message.id)}`);
    return undefined;
  });
  await send(7);
  await time.advance(0);
  await send(8);
  await time.advance(0);
  expect(seen).toEqual(["out 1 7", "in 1 7", "out 2 8", "in 2 8"]);
});

test("loses a request before the server sees it, and only that one", async () => {
  const { server, time, answers, send } = line(first("out", "drop"));
  await send(1);
  await send(2);
  await time.advance(0);
  expect(answers).toEqual(["2@0"]);
  expect(server.executions("echo")).toBe(1);
});

test("loses an answer after the server has run", async () => {
  const { server, time, answers, send } = line(first("in", "drop"));
  await send(1);
  await time.advance(1000);
  expect([answers, server.executions("echo")]).toEqual([[], 1]);
});

test("duplicates a request and an answer", async () => {
  const out = line(first("out", "duplicate"));
  await out.send(1);
  await out.time.advance(0);
  expect([out.answers, out.server.executions("echo")]).toEqual([["1@0", "1@0"], 2]);
  const back = line(first("in", "duplicate"));
  await back.send(1);
  await back.time.advance(0);
  expect([back.answers, back.server.executions("echo")]).toEqual([["1@0", "1@0"], 1]);
});

test("delays a message so that others overtake it", async () => {
  const { time, answers, send } = line(first("in", { delayMs: 50 }));
  await send(1);
  await send(2);
  await time.advance(49);
  expect(answers).toEqual(["2@0"]);
  await time.advance(1);
  expect(answers).toEqual(["2@0", "1@50"]);
});

test("delays a request before the server sees it", async () => {
  const { server, time, send } = line(first("out", { delayMs: 50 }));
  const sent = send(1);
  await time.advance(49);
  expect(server.executions("echo")).toBe(0);
  await time.advance(1);
  await sent;
  expect(server.executions("echo")).toBe(1);
});

test("answers a request late that the server ran in time", async () => {
  const { server, time, answers, send } = line(first("out", { answerLate: 80 }));
  await send(1);
  await time.advance(10);
  expect([server.executions("echo"), answers]).toEqual([1, []]);
  await time.advance(70);
  expect(answers).toEqual(["1@80"]);
});

test("holds back the late answer alone, not a request of the server that has the same id", async () => {
  const time = virtualTime();
  const inner: TransportLike = { send: async () => undefined };
  const transport = faultyTransport(inner, first("out", { answerLate: 80 }), { runtime: time.runtime });
  const seen: string[] = [];
  transport.onmessage = (message: Message) => seen.push(`${message.method ?? "answer"}@${time.now()}`);
  await transport.send({ jsonrpc: "2.0", id: 1, method: "tools/call" } as never);
  inner.onmessage?.({ jsonrpc: "2.0", id: 1, method: "ping" } as never);
  inner.onmessage?.({ jsonrpc: "2.0", id: 1, result: {} } as never);
  await time.advance(100);
  expect(seen).toEqual(["ping@0", "answer@80"]);
});

test("closes mid-call: the request got out and its answer never comes", async () => {
  const { server, time, answers, events, send } = line(first("out", "close"));
  await send(1);
  await time.advance(1000);
  expect([server.executions("echo"), answers, events]).toEqual([1, [], ["closed"]]);
  await expect(send(2)).rejects.toThrow("Not connected");
});

test("closes in place of an answer", async () => {
  const { time, answers, events, send } = line(first("in", "close"));
  await send(1);
  await time.advance(0);
  expect([answers, events]).toEqual([[], ["closed"]]);
});

test("loses what was delayed when the connection closes meanwhile", async () => {
  const { time, answers, send, close } = line(first("in", { delayMs: 50 }));
  await send(1);
  await time.advance(10);
  await close();
  await time.advance(1000);
  expect(answers).toEqual([]);
  expect(time.timers).toBe(0);
});

test("fails a send, and reports a receive, with the error of the plan", async () => {
  const error = new Error("reset");
  const out = line(first("out", { error }));
  await expect(out.send(1)).rejects.toBe(error);
  expect(out.server.executions("echo")).toBe(0);
  const back = line(first("in", { error }));
  await back.send(1);
  await back.time.advance(0);
  expect([back.answers, back.events]).toEqual([[], ["reset"]]);
});

test("lets a wrapper patch send and the callbacks as on the transport itself", async () => {
  const server = announcingServer({ tools: { echo: { run: () => ({}) } } });
  const inner = server.connect();
  const transport = faultyTransport(inner, () => undefined);
  const innerSend = inner.send;
  const patched: unknown[] = [];
  const { send } = transport;
  transport.send = (message) => {
    patched.push(message);
    return send(message);
  };
  await transport.send({ jsonrpc: "2.0", id: 1, method: "ping" });
  expect(patched).toHaveLength(1);
  expect(inner.send).toBe(innerSend);
});

test("refuses a plan that answers with something else", async () => {
  const { send } = line(() => "lose" as never);
  await expect(send(1)).rejects.toThrow('plan returned "lose", which is no fault');
  expect(() => faultyTransport({} as never, () => undefined)).toThrow("inner must be an MCP transport");
  expect(() => faultyTransport(announcingServer({ tools: {} }).connect(), undefined as never)).toThrow(
    "plan must be a function",
  );
});

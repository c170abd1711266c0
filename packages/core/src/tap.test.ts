import { expect, test } from "vitest";
import type { CallReport, WrapOptions } from "./contract.js";
import { watch } from "./tap.js";
import { context } from "./testing/index.js";
import { type Message, RECEIPT_KEY } from "./wire.js";
import { Wire, WireKey } from "./wire-attempt.js";
import { wrapClient } from "./wrap-client.js";
import { wrapTransport } from "./wrap-transport.js";

interface BareTransport {
  onmessage?: ((message: Message) => void) | undefined;
  onclose?: (() => void) | undefined;
  send(message: Message): Promise<void>;
}

const CLASH: Message["error"] = { code: -5, message: "no" };

/** A transport whose server gives every request the same answer. */
function answering(answer: Partial<Message> | undefined): BareTransport {
  const transport: BareTransport = {
    async send({ id }) {
      if (id !== undefined && answer !== undefined)
        queueMicrotask(() => transport.onmessage?.({ jsonrpc: "2.0", id, ...answer }));
    },
  };
  return transport;
}

const toolCall: Message = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "any", arguments: {} } };

/** Sends one call through a wrapped transport. */
async function callThrough(transport: BareTransport, options: WrapOptions = {}) {
  const received: Message[] = [];
  const reports: CallReport[] = [];
  const onReport = (report: CallReport): number => reports.push(report);
  const host = wrapTransport(transport, [], { timeoutMs: 100, onReport, ...options });
  host.onmessage = (message) => received.push(message);
  await host.send(toolCall);
  return { received, report: reports[0] };
}

test.each([
  { error: null },
  { error: "text" },
  { result: null },
  { result: "text" },
  {},
  { error: null, result: { content: [] } },
])("hands a malformed answer on as it came: %j", async (answer) => {
  const { received, report } = await callThrough(answering(answer as never));
  expect(received).toEqual([{ jsonrpc: "2.0", id: 1, ...answer }]);
  expect(report).toMatchObject({ status: "failed", execution: "executed", ack: true });
});

test("does not take for a replay what the server does not know to have run", async () => {
  const receipt = { requestId: "r", ack: true, execution: "unknown", duplicate: true };
  const { report } = await callThrough(answering({ error: { ...CLASH, data: { [RECEIPT_KEY]: receipt } } }));
  expect(report).toMatchObject({ execution: "unknown", duplicate: false });
});

test("sees the answers of a transport that was wrapped once more", async () => {
  const transport = answering({ error: CLASH });
  wrapTransport(transport, []);
  const { report } = await callThrough(transport);
  expect(report).toMatchObject({ execution: "executed", ack: true });
});

test("settles a call whose cancellation the transport throws on", async () => {
  const transport: BareTransport = {
    send: ({ method }) => {
      if (method === "notifications/cancelled") throw new Error("closed");
      return Promise.resolve();
    },
  };
  const { received, report } = await callThrough(transport, { timeoutMs: 5 });
  expect(received).toHaveLength(1);
  expect(report).toMatchObject({ status: "timeout", execution: "unknown" });
});

test("answers the host once, also when the host throws on the answer", async () => {
  const transport = answering({ result: { content: [] } });
  const host = wrapTransport(transport, []);
  let answers = 0;
  host.onmessage = () => {
    answers += 1;
    throw new Error("host");
  };
  await expect(host.send(toolCall)).rejects.toThrow("host");
  expect(answers).toBe(1);
});

test("keeps no state of a wrapped client on its transport", async () => {
  const transport = answering(undefined);
  const client = { transport, callTool: async () => ({ content: [] }) };
  for (let count = 0; count < 10; count += 1) await wrapClient(client, []).call("t");
  expect(watch(transport)).toEqual({ toolChanges: 0, listen: expect.any(Function) });
  transport.onmessage?.({ jsonrpc: "2.0", method: "notifications/tools/list_changed" });
  expect(watch(transport).toolChanges).toBe(1);
});

/** Sends a request by hand, and tells whether its work is known to be over. */
async function sendOne(transport: BareTransport, id: string | number) {
  const { call } = context();
  const attempt = call.beginAttempt(context());
  await transport.send({ id, method: "tools/call", params: { [WireKey]: new Wire(attempt, {}) } });
  let isOver = false;
  attempt.onRelease(() => {
    isOver = true;
  });
  const giveUp = (): void => attempt.end({ status: "failure", execution: "unknown", transient: true }, new Error());
  return { giveUp, isOver: () => isOver };
}

test("follows the latest given-up requests only, and every one that somebody waits for", async () => {
  const transport = answering(undefined);
  watch(transport);
  const first = await sendOne(transport, 0);
  first.giveUp();
  const live = await sendOne(transport, 1);
  for (let id = 2; id <= 1500; id += 1) (await sendOne(transport, id)).giveUp();
  const last = await sendOne(transport, 1501);
  for (const id of [0, 1, 1501]) transport.onmessage?.({ id, result: {} });
  expect([first.isOver(), live.isOver(), last.isOver()]).toEqual([false, true, true]);
});

test.each([
  [1, "1", true],
  ["1", 1, true],
  ["a", "a", true],
  ["", "", true],
  [0, "", false],
  [1, "01", false],
  ["1.0", 1, false],
  [1, "1 ", false],
])("for the request %j, an answer to %j is its own: %j", async (id, answered, expected) => {
  const transport = answering(undefined);
  watch(transport);
  const sent = await sendOne(transport, id);
  transport.onmessage?.({ id: answered, result: {} });
  expect(sent.isOver()).toBe(expected);
});

test.each<[string, () => unknown, Error | undefined]>([
  ["rejects", () => Promise.reject(new Error("no pipe")), new Error("no pipe")],
  [
    "throws",
    () => {
      throw new Error("no pipe");
    },
    new Error("no pipe"),
  ],
  ["gives no promise", () => undefined, undefined],
])("keeps the evidence of a transport that %s", async (_what, send, failure) => {
  const transport: BareTransport = { send: send as BareTransport["send"] };
  watch(transport);
  const wire = new Wire(context().call.beginAttempt(context()), {});
  const sending = transport.send({ id: 1, method: "tools/call", params: { [WireKey]: wire } });
  if (failure === undefined) await sending;
  else await expect(sending).rejects.toThrow(failure);
  expect(wire).toMatchObject({ sent: true, sendError: failure });
});

test("sends no message of an attempt that has ended", async () => {
  const transport = answering(undefined);
  watch(transport);
  const attempt = context().call.beginAttempt(context());
  attempt.end({ status: "failure", execution: "unknown", transient: true }, new Error());
  const message = { id: 1, method: "tools/call", params: { [WireKey]: new Wire(attempt, {}) } };
  await expect(transport.send(message)).rejects.toThrow("ended");
  expect(attempt.handedOver).toBe(false);
});

test("keeps the book of a client that throws instead of rejecting", async () => {
  const reports: CallReport[] = [];
  const onReport = (report: CallReport): number => reports.push(report);
  const client = {
    callTool: (): Promise<never> => {
      throw new Error("at once");
    },
  };
  await expect(wrapClient(client, [], { onReport }).call("t")).rejects.toThrow("at once");
  expect(reports).toMatchObject([{ status: "unknown", execution: "unknown", error: { code: "transport_error" } }]);
});

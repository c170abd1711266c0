import {
  ANNOUNCEMENT_KEY,
  CALL_META_KEY,
  type CallReport,
  type IdempotencyAnnouncement,
  type Middleware,
  RECEIPT_KEY,
  replayGate,
} from "@mcp-tx/core";
import { expect, test } from "vitest";
import { ERROR_POLICY_KEY } from "./announce-policy.js";
import { asBag, type Bag, type Message } from "./proxy-messages.js";
import { begun, CAPABILITIES, FakeServer, HELLO, scene } from "./proxy-session.fixture.js";

const CALL = { name: "pay", arguments: { amount: 1 } };
const STORE: IdempotencyAnnouncement = { storeId: "store-1", windowMs: 60_000, durable: true };

/** Repeats a call once, where the gate lets it. */
const again: Middleware = async (ctx, next) => {
  try {
    return await next(ctx);
  } catch (error) {
    const decision = await replayGate(ctx, { outcome: ctx.call.outcomeOf(error, true) });
    if (!decision.replay) throw error;
    return next({ ...ctx, attempt: 2 });
  }
};

function announcing(store: IdempotencyAnnouncement): FakeServer {
  const server = new FakeServer();
  const experimental = { [ANNOUNCEMENT_KEY]: { version: 1, idempotency: store } };
  server.answers["initialize"] = {
    ...asBag(server.answers["initialize"]),
    capabilities: { ...CAPABILITIES, experimental },
  };
  return server;
}

function callMetaOf(message: Message): Bag | undefined {
  return asBag(asBag(message.params?._meta)?.[CALL_META_KEY]);
}

function receiptIn(carrier: unknown): Bag | undefined {
  return asBag(asBag(carrier)?.[RECEIPT_KEY]);
}

/** The text of a failed tool call, as a plain host gets it. */
function failureOf({ result }: Message): string {
  const { isError, content } = result as { isError: boolean; content: { text: string }[] };
  expect(isError).toBe(true);
  return content.map(({ text }) => text).join();
}

// What passes

test("passes what is no tool call as it is, in both directions", async () => {
  const { host, server } = await begun();
  const asked = host.ask("resources/read", { uri: "a:b", vendor: [1] }, "id-1");
  const request = await server.got("resources/read");
  expect(request).toEqual({
    jsonrpc: "2.0",
    id: "id-1",
    method: "resources/read",
    params: { uri: "a:b", vendor: [1] },
  });
  const answer = { id: "id-1", result: { contents: [], vendor: null } };
  server.link.say(answer);
  expect(await asked).toEqual({ jsonrpc: "2.0", ...answer });
  server.link.say({ id: 0, method: "sampling/createMessage", params: { maxTokens: 1 } });
  await host.heard(({ method, id }) => method === "sampling/createMessage" && id === 0);
  host.say({ id: 0, result: { model: "m" } });
  expect(server.link.received.at(-1)).toEqual({ jsonrpc: "2.0", id: 0, result: { model: "m" } });
  host.say({ method: "vendor/notice", params: { a: 1 } });
  expect(server.link.received.at(-1)).toEqual({ jsonrpc: "2.0", method: "vendor/notice", params: { a: 1 } });
});

test("announces itself in the place of the server", async () => {
  const { host } = scene({ announcement: STORE }, announcing({ storeId: "theirs", windowMs: 1, durable: false }));
  const { result } = await host.ask("initialize", HELLO);
  expect(asBag(result)?.capabilities).toEqual({
    ...CAPABILITIES,
    experimental: { [ANNOUNCEMENT_KEY]: { version: 1, idempotency: STORE } },
  });
});

test("passes a tool call and its answer as they are when nothing happens", async () => {
  const { host, server } = await begun();
  const asked = host.ask("tools/call", { ...CALL, _meta: { progressToken: 5 } }, 9);
  const sent = await server.got("tools/call");
  expect(sent).toEqual({
    jsonrpc: "2.0",
    id: 9,
    method: "tools/call",
    params: { ...CALL, _meta: { progressToken: 5 } },
  });
  server.link.say({ id: 9, error: { code: -32_602, message: "no such tool", data: { a: 1 } } });
  expect(await asked).toEqual({
    jsonrpc: "2.0",
    id: 9,
    error: { code: -32_602, message: "no such tool", data: { a: 1 } },
  });
});

// When the server ends

test("answers requests that the server takes with it, and no call twice", async () => {
  const reports: CallReport[] = [];
  const { host, server } = await begun({ wrapOptions: { onReport: (report) => reports.push(report) } });
  const reading = host.ask("resources/read", { uri: "a:b" });
  const paying = host.ask("tools/call", CALL);
  await server.got("tools/call");
  server.link.die();
  expect((await reading).error).toMatchObject({ code: -32_000, message: expect.stringContaining("resources/read") });
  const paid = await paying;
  expect(failureOf(paid)).toContain("unknown whether the tool ran");
  expect(asBag(asBag(paid.result)?._meta)?.[ERROR_POLICY_KEY]).toMatchObject({
    version: "1",
    category: "unknown",
    retryable: false,
  });
  expect(reports).toMatchObject([{ execution: "unknown", attempts: 1, ack: false }]);
  expect(await server.got("initialize", 2)).toMatchObject({ params: HELLO });
  expect(server.links.flatMap(({ received }) => received).filter(({ method }) => method === "tools/call")).toHaveLength(
    1,
  );
});

test("brings a new server to where the one before was, and tells the host what may have changed", async () => {
  const { host, server } = await begun();
  await host.ask("logging/setLevel", { level: "debug" });
  await host.ask("resources/subscribe", { uri: "a:1" });
  await host.ask("resources/subscribe", { uri: "a:2" });
  await host.ask("resources/unsubscribe", { uri: "a:1" });
  host.received.length = 0;
  server.link.die();
  await host.heard(({ method }) => method === "notifications/resources/updated");
  expect(server.link.received.map(({ method, params }) => [method, params])).toEqual([
    ["initialize", HELLO],
    ["notifications/initialized", undefined],
    ["logging/setLevel", { level: "debug" }],
    ["resources/subscribe", { uri: "a:2" }],
  ]);
  expect(server.link.protocolVersion).toBe("2025-06-18");
  // Nothing of the greeting itself; lists only where the host was told that they may change.
  expect(host.received.map(({ method, params }) => [method, params])).toEqual([
    ["notifications/tools/list_changed", undefined],
    ["notifications/resources/updated", { uri: "a:2" }],
  ]);
});

test("gives the next server what the host began its session with, when the first one ends before it answers", async () => {
  const server = new FakeServer();
  const answer = server.answers["initialize"];
  delete server.answers["initialize"];
  const { host } = scene({}, server);
  const asked = host.ask("initialize", HELLO, "first");
  await server.got("initialize", 1);
  server.answers["initialize"] = answer;
  server.link.die();
  expect(await asked).toMatchObject({ id: "first", result: { serverInfo: { name: "s" } } });
  expect(server.links).toHaveLength(2);
});

test("sends a call that comes while there is no server to the next one", async () => {
  const reports: CallReport[] = [];
  const { host, server } = await begun({ wrapOptions: { onReport: (report) => reports.push(report) } });
  server.answers["tools/call"] = { content: [] };
  server.link.die();
  expect((await host.ask("tools/call", CALL)).result).toEqual({ content: [] });
  expect(server.links).toHaveLength(2);
  expect(reports).toMatchObject([{ execution: "executed", attempts: 1 }]);
});

test("refuses calls, as not executed, while the server cannot be started", async () => {
  const { host, server, gaveUp, diagnostics } = await begun();
  await Promise.all([
    host.ask("resources/list"),
    server.got("resources/list").then(({ id }) => server.link.say({ id, result: {} })),
  ]);
  server.launchLoss = { reason: "the command is gone", exitCode: 127, isPermanent: true };
  server.link.die();
  const refused = await host.ask("tools/call", CALL);
  expect(failureOf(refused)).toBe(
    'Tool "pay" was not called. The server is not connected: the command is gone. Try again later.',
  );
  expect(asBag(asBag(refused.result)?._meta)?.[ERROR_POLICY_KEY]).toMatchObject({
    category: "transient",
    retryable: true,
  });
  // It was there once: it may come back.
  expect(gaveUp).toEqual([]);
  server.launchLoss = undefined;
  server.answers["tools/call"] = { content: [] };
  expect((await host.ask("tools/call", CALL)).result).toEqual({ content: [] });
  expect(diagnostics.join()).toContain("the command is gone");
});

test("gives up on a server that was never there, and tells the host", async () => {
  const server = new FakeServer();
  server.launchLoss = { reason: 'the command "x" was not found', exitCode: 127, isPermanent: true };
  const { host, gaveUp } = scene({}, server);
  const { error } = await host.ask("initialize", HELLO);
  expect(error?.message).toContain('the command "x" was not found');
  expect(gaveUp).toEqual([server.launchLoss]);
});

test("keeps apart what two servers ask under one id", async () => {
  const { host, server } = await begun();
  server.link.say({ id: 0, method: "elicitation/create", params: { message: "first" } });
  await host.heard(({ method }) => method === "elicitation/create");
  server.link.die();
  expect(await host.heard(({ method }) => method === "notifications/cancelled")).toMatchObject({
    params: { requestId: 0 },
  });
  await server.got("notifications/initialized", 2);
  server.link.say({ id: 0, method: "elicitation/create", params: { message: "second", _meta: { progressToken: 0 } } });
  const second = await host.heard(({ params }) => params?.message === "second");
  expect(second.id).not.toBe(0);
  host.say({ id: 0, result: { action: "accept" } });
  host.say({
    method: "notifications/progress",
    params: { progressToken: asBag(second.params?._meta)?.progressToken, progress: 1 },
  });
  host.say({ id: second.id, result: { action: "decline" } });
  const answers = server.link.received.slice(2);
  expect(answers).toMatchObject([
    { method: "notifications/progress", params: { progressToken: 0 } },
    { id: 0, result: { action: "decline" } },
  ]);
});

// Sessions and replays

test("does not repeat a call that did not run in a session that is lost", async () => {
  const { host, server } = await begun({ middleware: [again] });
  server.refuses.add("tools/call");
  expect(failureOf(await host.ask("tools/call", CALL))).toContain("the session with its server was lost");
  expect(server.link.received.some(({ method }) => method === "tools/call")).toBe(false);
});

test("repeats it where that is allowed", async () => {
  const { host, server } = await begun({ middleware: [again], replayAcrossSessions: true });
  server.refuses.add("tools/call");
  server.answers["tools/call"] = { content: [] };
  expect((await host.ask("tools/call", CALL)).result).toEqual({ content: [] });
  expect(server.links).toHaveLength(2);
});

test("says that a tool ran whose next attempt could not be sent", async () => {
  const twice: Middleware = async (ctx, next) => {
    await next(ctx);
    server.refuses.add("tools/call");
    return next({ ...ctx, attempt: 2 });
  };
  const { host, server } = await begun({ middleware: [twice] });
  server.answers["tools/call"] = { content: [], isError: true };
  expect(failureOf(await host.ask("tools/call", CALL))).toMatch(/^Tool "pay" ran and failed, and was called again/);
});

test("asks a trusted server's annotations whether it may", async () => {
  const wrapOptions = { trustAnnotations: true };
  const { host, server } = await begun({ middleware: [again], wrapOptions });
  server.refuses.add("tools/call");
  server.answers["tools/call"] = { content: [] };
  server.answers["tools/list"] = { tools: [{ name: "pay", annotations: { readOnlyHint: true } }] };
  expect((await host.ask("tools/call", CALL)).result).toEqual({ content: [] });
});

test("repeats any other request that an expired session refused", async () => {
  const { host, server } = await begun();
  server.refuses.add("resources/read");
  server.answers["resources/read"] = { contents: [] };
  expect((await host.ask("resources/read", { uri: "a:b" })).result).toEqual({ contents: [] });
  expect(server.links).toHaveLength(2);
});

test("repeats a lost call under its key where the server's store covers it", async () => {
  const { host, server } = await begun({ middleware: [again] }, announcing(STORE));
  const asked = host.ask("tools/call", CALL);
  const first = await server.got("tools/call");
  server.link.die();
  const second = await server.got("tools/call", 2);
  expect(callMetaOf(second)).toMatchObject({
    idempotencyKey: callMetaOf(first)?.idempotencyKey,
    expectStore: STORE.storeId,
  });
  const receipt = { requestId: "x", ack: true, execution: "executed", duplicate: true };
  server.link.say({ id: second.id, result: { content: [], _meta: { [RECEIPT_KEY]: receipt } } });
  expect((await asked).result).toEqual({ content: [] });
});

test("repeats nothing where the store has gone with the server", async () => {
  const server = announcing(STORE);
  const { host } = await begun({ middleware: [again] }, server);
  const asked = host.ask("tools/call", CALL);
  await server.got("tools/call");
  server.answers["initialize"] = announcing({ ...STORE, storeId: "store-2" }).answers["initialize"];
  server.link.die();
  // Whether it is sent before the new store is known or refused by that store: it relies on the one that it was sent to.
  const sent = server.got("tools/call", 2).then((message) => callMetaOf(message)?.expectStore);
  const ended = asked.then((answer) => failureOf(answer));
  expect(await Promise.race([sent, ended])).toEqual(expect.stringMatching(/store-1|unknown/));
});

// Aware hosts

const SAID = { requestId: "r-1", idempotencyKey: "k-1", transactionId: "t-1", attempt: 1, epoch: 2 };

test("makes options of what an aware host says, and gives it a receipt; a plain server hears nothing of it", async () => {
  let seen: unknown;
  const spy: Middleware = (ctx, next) => {
    seen = { ...ctx.options, meta: ctx.meta[CALL_META_KEY] };
    return next(ctx);
  };
  const { host, server } = await begun({ announcement: STORE, middleware: [spy] });
  const meta = { [CALL_META_KEY]: { ...SAID, expectStore: STORE.storeId }, vendor: 1 };
  const asked = host.ask("tools/call", { ...CALL, _meta: meta }, 4);
  const sent = await server.got("tools/call");
  expect(sent.params).toEqual({ ...CALL, _meta: { vendor: 1 } });
  server.link.say({ id: 4, result: { content: [] } });
  const { result } = await asked;
  expect(receiptIn(asBag(result)?._meta)).toEqual({
    requestId: "r-1",
    ack: true,
    execution: "executed",
    duplicate: false,
  });
  expect(seen).toMatchObject({ idempotencyKey: "k-1", transactionId: "t-1", meta: { epoch: 2 } });
  expect(seen).not.toHaveProperty("meta.expectStore");
});

test("hands an aware host's key on to a server that announces, and speaks to it for itself", async () => {
  const { host, server } = await begun({ announcement: STORE }, announcing({ ...STORE, storeId: "theirs" }));
  void host.ask("tools/call", { ...CALL, _meta: { [CALL_META_KEY]: { ...SAID, expectStore: STORE.storeId } } });
  const said = callMetaOf(await server.got("tools/call"));
  expect(said).toMatchObject({ idempotencyKey: "k-1", transactionId: "t-1", epoch: 2 });
  expect(said).not.toHaveProperty("expectStore");
  expect(said?.requestId).not.toBe("r-1");
});

test("refuses an aware host that relies on a store that is not here", async () => {
  const { host, server } = await begun({ announcement: STORE });
  const meta = { [CALL_META_KEY]: { ...SAID, expectStore: "lost" } };
  const { error } = await host.ask("tools/call", { ...CALL, _meta: meta });
  const receipt = { requestId: "r-1", ack: true, execution: "not-executed", duplicate: false, code: "store_mismatch" };
  expect(receiptIn(error?.data)).toEqual(receipt);
  expect(server.link.received.some(({ method }) => method === "tools/call")).toBe(false);
});

test("tells an aware host in a receipt what became of a lost call, with the published policy", async () => {
  const { host, server } = await begun();
  const asked = host.ask("tools/call", { ...CALL, _meta: { [CALL_META_KEY]: SAID } });
  await server.got("tools/call");
  server.link.die();
  const { error } = await asked;
  expect(receiptIn(error?.data)).toMatchObject({ requestId: "r-1", execution: "unknown", code: "transport_error" });
  expect(asBag(error?.data)?.[ERROR_POLICY_KEY]).toMatchObject({ version: "1", retryable: false });
});

test("shows a plain host nothing of what an announcing server says to the proxy", async () => {
  const { host, server } = await begun({}, announcing(STORE));
  const receipt = {
    requestId: "x",
    ack: true,
    execution: "not-executed",
    duplicate: false,
    code: "rate_limited",
    retryAfterMs: 500,
  };
  const refused = host.ask("tools/call", CALL, 1001);
  await server.got("tools/call");
  server.link.say({ id: 1001, error: { code: -31_001, message: "Too many calls.", data: { [RECEIPT_KEY]: receipt } } });
  const { result } = await refused;
  expect(result).toEqual({
    content: [{ type: "text", text: "Too many calls." }],
    isError: true,
    _meta: {
      [ERROR_POLICY_KEY]: {
        version: "1",
        category: "rate_limit",
        retryable: true,
        retry: { afterMs: 500 },
        agentGuidance: "Too many calls.",
      },
    },
  });
});

// Ending

test("cancels a call for a host that no longer wants it", async () => {
  const { host, server } = await begun();
  void host.ask("tools/call", CALL, 77);
  await server.got("tools/call");
  host.say({ method: "notifications/cancelled", params: { requestId: 77, reason: "enough" } });
  expect(await server.got("notifications/cancelled")).toMatchObject({ params: { requestId: 77, reason: "enough" } });
  expect(host.received.some(({ id, method }) => id === 77 && method === undefined)).toBe(false);
});

test("lets calls end before it closes, and then closes both sides", async () => {
  const { host, server, session } = await begun();
  const asked = host.ask("tools/call", CALL, 8);
  await server.got("tools/call");
  const closing = session.close(60_000, 0);
  expect(server.link.isClosed).toBe(false);
  server.link.say({ id: 8, result: { content: [] } });
  expect((await asked).result).toEqual({ content: [] });
  await closing;
  expect([server.link.isClosed, host.isClosed]).toEqual([true, true]);
});

test("answers calls, as unknown, that do not end in the time there is", async () => {
  const { host, server, session } = await begun();
  const asked = host.ask("tools/call", CALL);
  await server.got("tools/call");
  await session.close(0, 0);
  expect(failureOf(await asked)).toContain("unknown whether the tool ran");
});

test("marks a failure of its own as complete in the era that asks for it", async () => {
  const { host, server } = await begun();
  const asked = host.ask("tools/call", { ...CALL, _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } });
  await server.got("tools/call");
  server.link.die();
  expect((await asked).result).toMatchObject({ isError: true, resultType: "complete" });
});

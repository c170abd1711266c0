import {
  CALL_META_KEY,
  type CallMeta,
  type CallReport,
  McpTxError,
  type Middleware,
  pipeline,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  type Receipt,
  run,
  type ToolResult,
  type WrapOptions,
  wrapServer,
  wrapTransport,
} from "@mcp-tx/core";
import type { IdempotencyClaim, IdempotencyStore } from "@mcp-tx/core/stores";
import {
  type AnnouncingServerOptions,
  announcingServer,
  type Fault,
  faultyTransport,
  scriptedTool,
  type VirtualTime,
  virtualTime,
} from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { idempotency } from "./idempotency.js";
import { memoryStore } from "./memory-store.js";
import type { IdempotencyOptions } from "./options.js";

interface Message {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: { readonly name?: string; readonly _meta?: Readonly<Record<string, unknown>> };
  readonly result?: ToolResult;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

/** Ends of a connection as a host sees it. */
interface Wire {
  start(): Promise<void>;
  send(message: unknown, options?: unknown): Promise<void>;
  onmessage?: (message: unknown, extra?: unknown) => void;
}

/** A host with a wrapped transport to some server. */
async function host(
  time: VirtualTime,
  connection: Wire,
  middleware: Middleware | readonly Middleware[],
  options: WrapOptions & { readonly fault?: ((tools: number, message: Message) => Fault | undefined) | undefined } = {},
) {
  const { fault, ...wrap } = options;
  let tools = 0;
  const sent: Message[] = [];
  const broken = faultyTransport(
    connection,
    (message, { direction }) => {
      const plain = message as Message;
      if (direction === "out" && plain.method === "tools/call") {
        tools += 1;
        sent.push(plain);
      }
      return fault?.(tools, plain);
    },
    { runtime: time.runtime },
  );
  const reports: CallReport[] = [];
  const transport = wrapTransport(broken, middleware, {
    runtime: time.runtime,
    onReport: (report) => reports.push(report),
    ...wrap,
  }) as Wire;
  const waiting = new Map<unknown, (message: Message) => void>();
  let lastId = 0;
  transport.onmessage = (message) => waiting.get((message as Message).id)?.(message as Message);
  function request(method: string, params: object): Promise<Message> {
    lastId += 1;
    const id = lastId;
    return new Promise((resolve) => {
      waiting.set(id, resolve);
      void transport.send({ jsonrpc: "2.0", id, method, params });
    });
  }
  await transport.start();
  await request("initialize", { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: {} });
  return {
    sent,
    reports,
    call: (tool = "pay", args: object = { amount: 1 }) => request("tools/call", { name: tool, arguments: args }),
  };
}

const callMetaOf = (message: Message | undefined): CallMeta | undefined =>
  message?.params?._meta?.[CALL_META_KEY] as CallMeta | undefined;

const key = (): string => "order-1";

describe("a client over a server that announces, or does not", () => {
  function world(options: Partial<AnnouncingServerOptions> = {}, own: IdempotencyOptions = {}) {
    const time = virtualTime();
    let runs = 0;
    const server = announcingServer({
      tools: {
        pay: {
          run: () => {
            runs += 1;
            return { structuredContent: { run: runs } };
          },
        },
        fail: { run: () => ({ content: [{ type: "text", text: "no funds" }], isError: true }) },
      },
      ...options,
    });
    const store = memoryStore({ runtime: time.runtime });
    const client = (wrap: Parameters<typeof host>[3] = {}) =>
      host(time, server.connect() as Wire, idempotency({ store, key, ...own }), wrap);
    /** A client that dies when its request is on its way: no answer arrives, no timer rings. */
    async function lose(tool = "pay"): Promise<void> {
      const dead = virtualTime({ now: time.now(), wallNow: time.runtime.wallNow() });
      const doomed = await host(dead, server.connect() as Wire, idempotency({ store, key, ...own }), {
        fault: (tools, message) => (tools > 0 && message.method === undefined ? "drop" : undefined),
      });
      void doomed.call(tool);
      await time.advance(0);
      await time.advance(60_000);
    }
    return { time, server, store, client, lose };
  }

  for (const announce of [true, false]) {
    test(`runs once and is replayed from the client's record (${announce ? "aware" : "plain"} server)`, async () => {
      const { time, server, client } = world({ announce });
      const { call, sent, reports } = await client();
      const first = await time.run(call());
      const second = await time.run(call());
      expect(second.result).toEqual({ structuredContent: { run: 1 } });
      expect(first.result?.structuredContent).toEqual({ run: 1 });
      expect(sent).toHaveLength(1);
      expect(callMetaOf(sent[0])?.idempotencyKey).toBe(announce ? "order-1" : undefined);
      expect(reports.map(({ duplicate, recorded }) => [duplicate, recorded])).toEqual([
        [false, true],
        [true, true],
      ]);
      expect(server.executions("pay")).toBe(1);
    });
  }

  test("sends a lost call again under its key when the server's store covers it", async () => {
    const { time, server, client, lose } = world({ windowMs: 300_000 });
    await lose();
    const { call, sent, reports } = await client();
    const answer = await time.run(call());
    expect(answer.result?.structuredContent).toEqual({ run: 1 });
    expect(callMetaOf(sent[0])).toMatchObject({ idempotencyKey: "order-1", expectStore: "store-1" });
    expect(reports[0]).toMatchObject({ duplicate: true, execution: "executed", recorded: true, attempts: 1 });
    expect(server.executions("pay")).toBe(1);
    expect((await time.run(call())).result?.structuredContent).toEqual({ run: 1 });
    expect(sent).toHaveLength(1);
  });

  test("takes the server's answer for final also when the lost call had failed", async () => {
    const { time, server, client, lose } = world({ windowMs: 300_000 });
    await lose("fail");
    const { call, sent, reports } = await client();
    const answers = [await time.run(call("fail")), await time.run(call("fail"))];
    for (const { result } of answers) expect(result).toMatchObject({ isError: true });
    expect(sent).toHaveLength(1);
    expect(reports[1]).toMatchObject({ duplicate: true, recorded: true, execution: "executed" });
    expect(server.executions("fail")).toBe(1);
  });

  const uncovered: Readonly<Record<string, Partial<AnnouncingServerOptions>>> = {
    "the server is plain": { announce: false },
    "its window is over": { windowMs: 59_000 },
  };
  for (const [name, options] of Object.entries(uncovered)) {
    test(`does not send a lost call again when ${name}`, async () => {
      const { time, server, client, lose } = world(options);
      await lose();
      const { call, sent, reports } = await client();
      const { error } = await time.run(call());
      expect(error?.message).toContain("Do not call it again before checking");
      expect(reports[0]).toMatchObject({ execution: "unknown", error: { code: "outcome_unknown" } });
      expect(sent).toHaveLength(0);
      expect(server.executions("pay")).toBe(1);
    });
  }

  test("does not send a lost call again to a server whose store is another one", async () => {
    const { time, server, client, lose } = world({ windowMs: 300_000 });
    await lose();
    server.loseStore();
    const { call, sent } = await client();
    expect((await time.run(call())).error).toBeDefined();
    expect(sent).toHaveLength(0);
    expect(server.executions("pay")).toBe(1);
  });

  test("ends unknown when the server loses its store in the same session", async () => {
    const { time, server, store, client, lose } = world({ windowMs: 300_000 });
    await lose();
    const { call, sent, reports } = await client();
    server.loseStore();
    const { error } = await time.run(call());
    expect(error).toBeDefined();
    expect(sent).toHaveLength(1);
    expect(reports[0]).toMatchObject({ execution: "unknown", error: { code: "store_mismatch" } });
    expect(await store.get(JSON.stringify([1, "client", "", "announcing-server", "pay", "order-1"]))).toMatchObject({
      state: "unknown",
    });
    expect(server.executions("pay")).toBe(1);
  });

  test("remembers where an attempt really went when the store changed after the claim", async () => {
    const { time, server, store, client } = world();
    const waits: Middleware = async (ctx, next) => {
      Object.defineProperty(ctx.call, "endpoint", {
        value: { announcement: () => undefined, annotations: async () => undefined },
      });
      return next(ctx);
    };
    const { call } = await host(time, server.connect() as Wire, [waits, idempotency({ store, key })], {
      attemptTimeoutMs: 100,
      fault: (tools, message) => (tools > 0 && message.method === undefined ? "drop" : undefined),
    });
    await time.run(call());
    const recordKey = JSON.stringify([1, "client", "", "announcing-server", "pay", "order-1"]);
    expect(await store.get(recordKey)).toMatchObject({ state: "unknown", sentTo: "store-1" });
    const second = await client();
    expect((await time.run(second.call())).result?.structuredContent).toEqual({ run: 1 });
    expect(server.executions("pay")).toBe(1);
  });

  test("lets a repetition on purpose through to the server", async () => {
    let fails = true;
    const run = (): ToolResult => (fails ? { content: [], isError: true } : { structuredContent: "ok" });
    const { time, server, client } = world({ tools: { pay: { run } } }, { toolErrors: "reclaim" });
    const { call, sent } = await client();
    await time.run(call());
    fails = false;
    expect((await time.run(call())).result?.structuredContent).toBe("ok");
    expect(sent.map((message) => callMetaOf(message)?.epoch)).toEqual([0, 1]);
    expect(server.executions("pay")).toBe(2);
  });

  test("gives a recorded JSON-RPC error to its host again as it came", async () => {
    const { time, client } = world();
    const { call, sent } = await client();
    const first = await time.run(call("nothing"));
    const second = await time.run(call("nothing"));
    expect(first.error).toMatchObject({ code: -32_602 });
    expect(second.error).toEqual(first.error);
    expect(sent).toHaveLength(1);
  });
});

type Extra = { readonly signal?: AbortSignal; readonly authInfo?: unknown };
type ServerHandler = (request: object, extra: Extra) => Promise<ToolResult>;

/** A low-level server of the SDK's shape. */
function lowServer(run: (args: Record<string, unknown>, extra: Extra) => ToolResult | Promise<ToolResult>) {
  const handlers = new Map<string, ServerHandler>();
  const capabilities: Record<string, unknown> = { tools: {} };
  const low = {
    _requestHandlers: handlers,
    _capabilities: capabilities,
    _serverInfo: { name: "shop" },
    registerCapabilities: (given: object) => Object.assign(capabilities, given),
    connect: () => Promise.resolve(),
  };
  handlers.set("initialize", () => Promise.resolve({ capabilities } as ToolResult));
  let executions = 0;
  handlers.set("tools/call", async (request, extra) => {
    executions += 1;
    return run((request as { params: { arguments: Record<string, unknown> } }).params.arguments, extra);
  });
  let requests = 0;
  return {
    low,
    get executions() {
      return executions;
    },
    greet: async (extra: Extra = {}) => {
      const greeting: unknown = await handlers.get("initialize")?.({ method: "initialize" }, extra);
      const { capabilities: sent } = greeting as {
        readonly capabilities: { readonly experimental?: Readonly<Record<string, { readonly idempotency?: unknown }>> };
      };
      return sent.experimental?.["dev.mcp-tx/reliability"]?.idempotency;
    },
    call: (
      meta: Partial<CallMeta> | undefined,
      { extra = {}, args = { amount: 1 } }: { readonly extra?: Extra; readonly args?: object } = {},
    ): Promise<ToolResult> => {
      requests += 1;
      const callMeta = { requestId: `r${requests}`, idempotencyKey: "k", attempt: 1, epoch: 0, ...meta };
      const params = { name: "pay", arguments: args, ...(meta && { _meta: { [CALL_META_KEY]: callMeta } }) };
      return handlers.get("tools/call")?.({ method: "tools/call", params }, extra) as Promise<ToolResult>;
    },
  };
}

const receiptOf = (carrier: unknown): Receipt | undefined => {
  const { _meta, data } = carrier as { readonly _meta?: object; readonly data?: object };
  return ((_meta ?? data) as Record<string, Receipt> | undefined)?.[RECEIPT_KEY];
};

const rejection = (promise: Promise<unknown>): Promise<{ readonly code?: number; readonly message: string }> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved with ${JSON.stringify(value)}`)),
    (error) => error,
  );

describe("a server", () => {
  function world(
    options: IdempotencyOptions = {},
    act: (runs: number, time: VirtualTime, extra: Extra) => ToolResult | Promise<ToolResult> = (runs) => ({
      structuredContent: { run: runs },
    }),
    wrap: WrapOptions = {},
  ) {
    const time = virtualTime();
    const store = memoryStore({ runtime: time.runtime });
    let runs = 0;
    const server = lowServer((_args, extra) => {
      runs += 1;
      return act(runs, time, extra);
    });
    wrapServer(server.low, idempotency({ store, ...options }), { runtime: time.runtime, ...wrap });
    return { time, store, server };
  }

  test("must be given a store", () => {
    expect(() => wrapServer(lowServer(() => ({})).low, idempotency())).toThrow(/idempotency: store is required/);
  });

  test("announces its store and for how long it keeps records", async () => {
    const { server, store } = world({ ttlMs: 1234 });
    expect(await server.greet()).toEqual({ storeId: store.storeId, windowMs: 1234, durable: false });
    const pinned = world({ ttlMs: Infinity });
    expect(JSON.parse(JSON.stringify(await pinned.server.greet()))).toMatchObject({
      windowMs: Number.MAX_SAFE_INTEGER,
    });
  });

  test("says what to await when its store does not know itself yet", () => {
    const { store } = world();
    const unready = Object.defineProperty({ ...methodsOf(store) }, "storeId", {
      get: () => {
        throw new Error("await store.ready() first");
      },
    });
    expect(() => wrapServer(lowServer(() => ({})).low, idempotency({ store: unready }))).toThrow("await store.ready()");
  });

  test("announces nothing, and honours no key, with storeErrors bypass", async () => {
    const { server } = world({ storeErrors: "bypass" });
    expect(await server.greet()).toBeUndefined();
    await server.call({});
    await server.call({});
    expect(server.executions).toBe(2);
  });

  test("recognises duplicates by the key on the wire, and says so in receipts", async () => {
    const { time, server } = world();
    const results = await time.run(Promise.all([server.call({}), server.call({}), server.call({ attempt: 2 })]));
    const later = await time.run(server.call({}));
    expect(server.executions).toBe(1);
    for (const result of [...results, later]) expect(result.structuredContent).toEqual({ run: 1 });
    expect([...results, later].map((result) => receiptOf(result)?.duplicate)).toEqual([false, true, true, true]);
    expect([...results, later].map((result) => receiptOf(result)?.requestId)).toEqual(["r1", "r2", "r3", "r4"]);
  });

  test("leaves plain clients alone", async () => {
    const { time, server } = world();
    expect(await time.run(server.call(undefined))).toEqual({ structuredContent: { run: 1 } });
    expect(await time.run(server.call(undefined))).toEqual({ structuredContent: { run: 2 } });
  });

  test("goes on when its client cancels, without the handler noticing, and records the result", async () => {
    const signals: unknown[] = [];
    const { time, server } = world({}, async (runs, { runtime }, extra) => {
      signals.push(extra.signal?.aborted);
      await runtime.sleep(100);
      signals.push(extra.signal?.aborted);
      return { structuredContent: { run: runs } };
    });
    const controller = new AbortController();
    const first = rejection(server.call({}, { extra: { signal: controller.signal } }));
    await time.advance(10);
    controller.abort(new Error("cancelled"));
    expect((await first).message).toBe("cancelled");
    await time.advance(10);
    const joined = await time.run(server.call({ attempt: 2 }));
    expect(joined.structuredContent).toEqual({ run: 1 });
    expect(signals).toEqual([false, false]);
    expect(server.executions).toBe(1);
  });

  test("refuses other arguments with a receipt for the aware, and runs nothing", async () => {
    const { time, server } = world();
    await time.run(server.call({}));
    const error = await time.run(rejection(server.call({}, { args: { amount: 2 } })));
    expect(error.code).toBe(RECEIPT_ERROR_CODE);
    expect(receiptOf(error)).toMatchObject({ execution: "not-executed", code: "idempotency_conflict" });
    expect(server.executions).toBe(1);
  });

  test("refuses a resend that expects another store, and takes one that expects its own", async () => {
    const { time, server, store } = world();
    const error = await time.run(rejection(server.call({ expectStore: "lost" })));
    expect(receiptOf(error)).toMatchObject({ execution: "not-executed", code: "store_mismatch" });
    expect(server.executions).toBe(0);
    await time.run(server.call({ expectStore: store.storeId }));
    expect(server.executions).toBe(1);
  });

  test("refuses a resend when the store turns out to be another one while it claims, and leaves no record", async () => {
    const memory = memoryStore();
    let storeId = "before";
    const store: IdempotencyStore = {
      get storeId() {
        return storeId;
      },
      durable: false,
      claim: (key: string, claim: IdempotencyClaim) => {
        storeId = "after";
        return memory.claim(key, claim);
      },
      extend: (key, token, leaseMs) => memory.extend(key, token, leaseMs),
      settle: (key, token, settlement) => memory.settle(key, token, settlement),
      release: (key, token) => memory.release(key, token),
      expire: (key, token, ttlMs) => memory.expire(key, token, ttlMs),
      get: (key) => memory.get(key),
      sweep: (limit) => memory.sweep(limit),
    };
    const { time, server } = world({ store });
    const error = await time.run(rejection(server.call({ expectStore: "before" })));
    expect(receiptOf(error)).toMatchObject({ execution: "not-executed", code: "store_mismatch" });
    expect(server.executions).toBe(0);
    await time.run(server.call({}));
    expect(server.executions).toBe(1);
  });

  test("gives a resend the failure of its first sending, and lets only a call that is made anew reclaim", async () => {
    const { time, server, store } = world({ toolErrors: "reclaim" }, () => ({ isError: true, content: [] }));
    await time.run(server.call({}));
    await time.run(server.call({ attempt: 2, expectStore: store.storeId }));
    expect(server.executions).toBe(1);
    await time.run(server.call({}));
    expect(server.executions).toBe(2);
  });

  test("keeps its records beside those of its client in one store", async () => {
    const { time, server, store } = world();
    const shared = idempotency({ store });
    const handler = pipeline(shared, async () => server.call({}));
    const call = () =>
      run(
        handler,
        { tool: "pay", args: { amount: 1 }, side: "client", options: { idempotencyKey: "k" } },
        { runtime: time.runtime, peer: { server: "shop" } },
      );
    expect((await time.run(call())).structuredContent).toEqual({ run: 1 });
    expect((await time.run(call())).structuredContent).toEqual({ run: 1 });
    expect(server.executions).toBe(1);
    expect(time.now()).toBe(0);
  });

  test("still has the record when a resend arrives that left at the end of the announced window", async () => {
    const { time, server, store } = world({ ttlMs: 1000 });
    await time.run(server.call({}));
    await time.advance(1050);
    await time.run(server.call({ attempt: 2, expectStore: store.storeId }));
    expect(server.executions).toBe(1);
    await time.advance(100);
    await time.run(server.call({ attempt: 3 }));
    expect(server.executions).toBe(2);
  });

  test("refuses a resend whose key it does not honour", async () => {
    const { time, server, store } = world();
    const error = await time.run(
      rejection(server.call({ expectStore: store.storeId }, { extra: { authInfo: { token: "t" } } })),
    );
    expect(receiptOf(error)).toMatchObject({ execution: "not-executed", code: "store_mismatch" });
    expect(server.executions).toBe(0);
  });

  test.each([
    ["arguments that are no text", {}, { note: "\ud83d" }, "arguments.note holds half"],
    ["a key that is no text", { idempotencyKey: "\ud83d" }, {}, "idempotencyKey must be text"],
    ["a key that is too long", { idempotencyKey: "k".repeat(1025) }, {}, "idempotencyKey must have from 1 to 1024"],
  ])("tells the client that it did not run a call with %s", async (_, meta, args, message) => {
    const { time, server } = world();
    const error = await time.run(rejection(server.call(meta, { args })));
    expect(error.message).toContain(message);
    expect(receiptOf(error)).toMatchObject({ execution: "not-executed", code: "protocol_error" });
    expect(server.executions).toBe(0);
  });

  test("replays a failure at the same epoch and runs it again at a higher one", async () => {
    const { time, server } = world({}, (runs) => ({ structuredContent: { run: runs }, isError: runs === 1 }));
    const answers = [];
    for (const epoch of [0, 0, 1, 1, 0]) answers.push(await time.run(server.call({ epoch })));
    expect(answers.map(({ isError, structuredContent }) => [isError === true, structuredContent])).toEqual([
      [true, { run: 1 }],
      [true, { run: 1 }],
      [false, { run: 2 }],
      [false, { run: 2 }],
      [false, { run: 2 }],
    ]);
  });

  test("sends what a handler threw as it did the first time", async () => {
    const thrown = Object.assign(new Error("no such order"), { code: -32_002, data: { order: 1 } });
    for (const error of [thrown, new Error("boom")]) {
      const { time, server } = world({}, () => {
        throw error;
      });
      const [first, second] = [await time.run(rejection(server.call({}))), await time.run(rejection(server.call({})))];
      expect(server.executions).toBe(1);
      expect(second.code).toBe(first.code);
      expect(second.message).toBe(first.message);
      expect(receiptOf(first)).toMatchObject({ execution: "executed", duplicate: false });
      expect(receiptOf(second)).toMatchObject({ execution: "executed", duplicate: true });
    }
  });

  test("does not let an epoch from a stranger keep it busy", async () => {
    const { time, server } = world({ toolErrors: "reclaim" }, (runs) => ({ isError: runs < 3, content: [] }));
    await time.run(server.call({ epoch: Number.MAX_SAFE_INTEGER }));
    await time.run(server.call({ epoch: 0 }));
    expect((await time.run(server.call({ epoch: 0 }))).isError).toBe(false);
    expect(server.executions).toBe(3);
  });

  test("says unknown, for good, when an earlier process died over the call", async () => {
    const { time, server, store } = world();
    const doomed = lowServer(() => new Promise<never>(() => undefined));
    const dead = virtualTime();
    wrapServer(doomed.low, idempotency({ store }), { runtime: dead.runtime });
    void doomed.call({});
    await time.advance(70_000);
    const error = await time.run(rejection(server.call({})));
    expect(receiptOf(error)).toMatchObject({ ack: true, execution: "unknown", code: "outcome_unknown" });
    expect(server.executions).toBe(0);
  });

  test("says in progress, which is unknown, while another process has the call", async () => {
    const { time, server, store } = world({ onConcurrent: "reject" });
    const other = lowServer(async () => {
      await time.runtime.sleep(10_000);
      return {};
    });
    wrapServer(other.low, idempotency({ store }), { runtime: time.runtime });
    const first = other.call({});
    await time.advance(10);
    const error = await time.run(rejection(server.call({})));
    expect(receiptOf(error)).toMatchObject({ execution: "unknown", code: "idempotency_in_progress" });
    expect(receiptOf(error)?.retryAfterMs).toBeGreaterThan(0);
    await time.run(first);
  });

  describe("behind authentication", () => {
    const ada = { extra: { authInfo: { clientId: "app", extra: { user: "ada" } } } };
    const bob = { extra: { authInfo: { clientId: "app", extra: { user: "bob" } } } };

    test("promises nothing and honours no key without an explicit scope", async () => {
      const { time, server } = world();
      expect(await server.greet()).toBeDefined();
      expect(await server.greet(ada.extra)).toBeUndefined();
      const first = await time.run(server.call({}, ada));
      const second = await time.run(server.call({}, bob));
      expect([first.structuredContent, second.structuredContent]).toEqual([{ run: 1 }, { run: 2 }]);
    });

    test("refuses a call that it would have to key itself without an explicit scope", async () => {
      const errors: unknown[] = [];
      const { time, server } = world({ key }, undefined, { onReport: ({ error }) => errors.push(error?.message) });
      const error = await time.run(rejection(server.call(undefined, ada)));
      expect(error.message).toBe("Internal error");
      expect(errors).toEqual([expect.stringContaining("idempotency: scope is required")]);
      expect(server.executions).toBe(0);
    });

    test("keeps users apart by the scope it is given", async () => {
      const scope: IdempotencyOptions["scope"] = ({ call }) =>
        (call.peer.authInfo as { readonly extra: { readonly user: string } }).extra.user;
      const { time, server } = world({ scope });
      expect(await server.greet(ada.extra)).toBeDefined();
      const answers = [];
      for (const user of [ada, bob, ada]) answers.push(await time.run(server.call({}, user)));
      expect(answers.map(({ structuredContent }) => structuredContent)).toEqual([{ run: 1 }, { run: 2 }, { run: 1 }]);
    });
  });
});

/** The methods of a store, without its identity. */
function methodsOf(store: IdempotencyStore): IdempotencyStore {
  const { claim, extend, settle, release, get, expire, sweep } = store;
  const bound = { claim, extend, settle, release, get, expire, sweep };
  // Everything but `storeId`, which the test defines.
  return { ...bound, durable: true } as unknown as IdempotencyStore;
}

describe("a client and a server that both keep records", () => {
  test("run a call once, though its answer is lost and the client starts anew without its records", async () => {
    const time = virtualTime();
    const server = lowServer(() => ({ structuredContent: "paid" }));
    wrapServer(server.low, idempotency({ store: memoryStore({ runtime: time.runtime }) }), { runtime: time.runtime });
    for (let session = 0; session < 3; session += 1) {
      const handler = pipeline(idempotency(), async (ctx) => {
        const result = await server.call({ idempotencyKey: ctx.options.idempotencyKey ?? "" });
        if (session === 0)
          throw new McpTxError("lost", "transport_error", {
            outcome: { status: "failure", execution: "unknown", transient: true },
          });
        return result;
      });
      const call = run(handler, { tool: "pay", options: { idempotencyKey: "order-1" } }, { runtime: time.runtime });
      if (session === 0) await time.run(rejection(call));
      else expect((await time.run(call)).structuredContent).toBe("paid");
    }
    expect(server.executions).toBe(1);
  });

  test("keep apart what travels under one key from two scopes of the client", async () => {
    const time = virtualTime();
    const server = lowServer(() => ({ structuredContent: "paid" }));
    wrapServer(server.low, idempotency({ store: memoryStore({ runtime: time.runtime }) }), { runtime: time.runtime });
    const terminal = scriptedTool([(ctx) => server.call({ idempotencyKey: ctx.options.idempotencyKey ?? "" })], {
      repeatLast: true,
    });
    const handler = pipeline(idempotency({ scope: ({ options }) => options.transactionId ?? "" }), terminal);
    for (const transactionId of ["a", "b", "a"]) {
      const options = { idempotencyKey: "order-1", transactionId };
      await time.run(run(handler, { tool: "pay", options }, { runtime: time.runtime }));
    }
    expect(server.executions).toBe(2);
  });
});

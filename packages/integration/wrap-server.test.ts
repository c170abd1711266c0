import {
  ANNOUNCEMENT_KEY,
  CALL_META_KEY,
  type CallContext,
  type CallReport,
  type IdempotencyAnnouncement,
  type Middleware,
  type Peer,
  RateLimitError,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  ReplayedError,
  readReceipt,
  reportOf,
  type ToolResult,
  type WrapOptions,
  wrapClient,
  wrapServer,
} from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { acceptedContent, inputRequired } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { type HttpFixture, httpV1, httpV2 } from "./fixtures/http-servers.js";
import {
  LINES,
  type Line,
  type SdkClient,
  type SdkMcpServer,
  type SdkServer,
  type SdkTransport,
  v1,
  v2,
  type WireMessage,
} from "./fixtures/lines.js";
import { registerTools } from "./fixtures/tools.mjs";

const text = (value: unknown) => ({ content: [{ type: "text", text: String(value) }] });
const OK = text("ok");
const SECRET = "postgres://admin:hunter2@db/internal";

/** A protocol era of one line, and how to connect to a server in memory in it. */
interface Era {
  readonly on: string;
  readonly line: Line;
  readonly client: Readonly<Record<string, unknown>>;
  readonly serve: (build: () => SdkServer, far: SdkTransport) => Promise<unknown> | unknown;
}

const handshake = (build: () => SdkServer, far: SdkTransport): Promise<void> => build().connect(far);
const MODERN = { versionNegotiation: { mode: "auto" } };
const ERAS: readonly Era[] = [
  { on: "v1", line: v1, client: {}, serve: handshake },
  { on: "v2", line: v2, client: {}, serve: handshake },
  {
    on: "v2, 2026-07-28",
    line: v2,
    client: MODERN,
    serve: (build, far) => serveStdio(() => build() as never, { transport: far as never }),
  },
];

interface Connection {
  readonly client: SdkClient;
  /** Everything the server sent, as it sent it. */
  readonly sent: WireMessage[];
  readonly received: WireMessage[];
  call(tool: string, args?: object, options?: object): Promise<ToolResult>;
}

/** Connects a client in memory and records what goes over the wire. */
async function connect({ line, client: options, serve }: Era, build: () => SdkServer): Promise<Connection> {
  const [near, far] = line.pair();
  const sent: WireMessage[] = [];
  const received: WireMessage[] = [];
  const send = far.send.bind(far);
  far.send = (message, sendOptions) => {
    sent.push(JSON.parse(JSON.stringify(message)));
    return send(message, sendOptions);
  };
  const sendNear = near.send.bind(near);
  near.send = (message, sendOptions) => {
    received.push(JSON.parse(JSON.stringify(message)));
    return sendNear(message, sendOptions);
  };
  await serve(build, far);
  const client = line.client(options);
  await client.connect(near);
  onTestFinished(() => client.close());
  return {
    client,
    sent,
    received,
    call: async (tool, args, given) => (await line.call(client, tool, args as never, given as never)) as ToolResult,
  };
}

/** The same with a client that knows of us. */
async function connectAware(era: Era, build: () => SdkServer): Promise<Connection> {
  const connection = await connect(era, build);
  const client = wrapClient(connection.client, []);
  return {
    ...connection,
    client,
    call: async (tool, args, given) => (await era.line.call(client, tool, args as never, given as never)) as ToolResult,
  };
}

function watcher(): { readonly seen: CallContext[]; readonly middleware: Middleware } {
  const seen: CallContext[] = [];
  return {
    seen,
    middleware: (ctx, next) => {
      seen.push(ctx);
      return next(ctx);
    },
  };
}

const refusing: Middleware = (ctx) => {
  throw new RateLimitError(ctx.tool, { retryAfterMs: 250 });
};
const breaking: Middleware = () => {
  throw new TypeError(`cannot read ${SECRET}`);
};

/** A server with one tool, wrapped. */
function oneTool(
  line: Line,
  callback: (...args: never[]) => unknown,
  middleware: Middleware | readonly Middleware[],
  options?: WrapOptions,
) {
  return (): SdkMcpServer => {
    const server = line.mcpServer();
    server.registerTool("tool", { inputSchema: z.looseObject({}) }, callback);
    return wrapServer(server, middleware, options);
  };
}

const failure = (
  promise: Promise<unknown>,
): Promise<{ readonly code?: unknown; readonly message: string; readonly data?: unknown }> =>
  promise.then(
    () => {
      throw new Error("the call did not fail");
    },
    (error) => error,
  );

describe.each(ERAS)("wrapServer, $on,", (era) => {
  const { line } = era;

  test("sees calls of tools registered before it, after it and while connected", async () => {
    const { seen, middleware } = watcher();
    let server: SdkMcpServer | undefined;
    const { call } = await connect(era, () => {
      const made = line.mcpServer();
      made.registerTool("before", {}, () => OK);
      wrapServer(made, middleware);
      made.registerTool("after", {}, () => OK);
      server = made;
      return made;
    });
    await call("before");
    server?.registerTool("while", {}, () => OK);
    for (const tool of ["after", "while"]) expect(await call(tool)).toMatchObject(OK);
    expect(seen.map(({ tool, side }) => `${side} ${tool}`)).toEqual(["server before", "server after", "server while"]);
  });

  test("sees every call of a server that had no tool when it was wrapped", async () => {
    const { seen, middleware } = watcher();
    const { call } = await connect(era, () => {
      const server = wrapServer(line.mcpServer(), middleware);
      server.registerTool("late", {}, () => OK);
      return server;
    });
    await call("late");
    expect(seen).toHaveLength(1);
  });

  test("gives the pipeline the raw arguments and the tool the parsed ones", async () => {
    const { seen, middleware } = watcher();
    const parsed: unknown[] = [];
    const { call } = await connect(era, () => {
      const server = line.mcpServer();
      const inputSchema = z.object({ n: z.coerce.number(), unit: z.string().default("ms") });
      server.registerTool("tool", { inputSchema }, ((args: unknown) => {
        parsed.push(args);
        return OK;
      }) as never);
      return wrapServer(server, middleware);
    });
    await call("tool", { n: "5", extra: true });
    expect(seen[0]?.args).toEqual({ n: "5", extra: true });
    expect(parsed).toEqual([{ n: 5, unit: "ms" }]);
  });

  test("lets a middleware change arguments, tool and metadata", async () => {
    const redirect: Middleware = (ctx, next) =>
      next({ ...ctx, tool: "tool", args: { n: 2 }, meta: { ...ctx.meta, "acme/x": 1 } });
    const calls: unknown[] = [];
    const { call } = await connect(
      era,
      oneTool(
        line,
        ((args: unknown, extra: { _meta?: object; mcpReq?: { _meta?: object } }) => {
          calls.push([args, (extra._meta ?? extra.mcpReq?._meta) as object]);
          return OK;
        }) as never,
        redirect,
      ),
    );
    expect(await call("other", { n: 1 })).toMatchObject(OK);
    expect(calls).toEqual([[{ n: 2 }, expect.objectContaining({ "acme/x": 1 })]]);
  });

  test("wraps a low-level server, whose handler may be set later or replaced", async () => {
    const { seen, middleware } = watcher();
    const handlers: ((tool: string) => ToolResult)[] = [];
    const { call } = await connect(era, () => {
      const server = line.lowLevelServer({ call: ({ params }) => handlers[0]?.(String(params?.["name"])) });
      return wrapServer(server, middleware);
    });
    handlers[0] = (tool) => text(`${tool} 1`);
    expect(await call("a")).toMatchObject(text("a 1"));
    handlers[0] = (tool) => text(`${tool} 2`);
    expect(await call("b")).toMatchObject(text("b 2"));
    expect(seen.map(({ tool }) => tool)).toEqual(["a", "b"]);
  });

  test("refuses an aware client with an error and a receipt", async () => {
    const { call, received } = await connectAware(
      era,
      oneTool(line, () => OK, refusing),
    );
    const error = await failure(call("tool"));
    expect(error.code).toBe(RECEIPT_ERROR_CODE);
    const sentId = callMetaOf(received)?.requestId;
    expect(readReceipt(error.data)).toEqual({
      requestId: sentId,
      ack: true,
      execution: "not-executed",
      duplicate: false,
      code: "rate_limited",
      retryAfterMs: 250,
    });
    expect(reportOf(error)).toMatchObject({
      requestId: sentId,
      execution: "not-executed",
      status: "rejected",
      ack: true,
      attempts: 1,
      error: { code: "rate_limited", retryAfterMs: 250 },
    });
  });

  test("refuses a plain client with an ordinary tool error and nothing of its own", async () => {
    const { call, sent } = await connect(
      era,
      oneTool(line, () => OK, refusing),
    );
    const result = await call("tool");
    expect(result).toMatchObject({
      isError: true,
      content: [{ type: "text", text: expect.stringContaining("rate limited") }],
    });
    expect(JSON.stringify(answersOf(sent).at(-1))).not.toContain("dev.mcp-tx");
  });

  test.each([{ kind: "plain" }, { kind: "aware" }])(
    "lets no text of an internal error out to a $kind client",
    async ({ kind }) => {
      const open = kind === "plain" ? connect : connectAware;
      const { call, sent } = await open(
        era,
        oneTool(line, () => OK, breaking),
      );
      const error = await failure(call("tool"));
      expect(error.code).toBe(-32_603);
      expect(error.message).toContain("Internal error");
      expect(JSON.stringify(sent)).not.toContain("hunter2");
      expect(JSON.stringify(sent)).not.toContain("cannot read");
    },
  );

  const throwing = (error: object) => (): SdkServer =>
    wrapServer(
      line.lowLevelServer({
        call: () => {
          throw Object.assign(new Error("not today"), error);
        },
      }),
      [],
    );

  test("hands a handler's own JSON-RPC error to a plain client as it is", async () => {
    const data = { field: "name" };
    const { call, sent } = await connect(era, throwing({ code: -32_050, data }));
    expect((await failure(call("tool"))).code).toBe(-32_050);
    expect(answersOf(sent).at(-1)?.error).toEqual({ code: -32_050, message: "not today", data });
  });

  test("adds a receipt to a handler's own JSON-RPC error for an aware client: it ran, whatever its code says", async () => {
    const { call, sent } = await connectAware(era, throwing({ code: -32_601, data: { field: "name" } }));
    expect((await failure(call("tool"))).code).toBe(-32_601);
    const error = answersOf(sent).at(-1)?.error;
    expect(error).toMatchObject({ code: -32_601, message: "not today", data: { field: "name" } });
    expect(readReceipt(error?.data)).toMatchObject({ ack: true, execution: "executed", duplicate: false });
  });

  test.each([["text"], [[1, 2]], [7]])("leaves error data that is no object alone: %j", async (data) => {
    const { call, sent } = await connectAware(era, throwing({ code: -32_050, data }));
    await failure(call("tool"));
    expect(answersOf(sent).at(-1)?.error).toEqual({ code: -32_050, message: "not today", data });
  });

  test("hands isError results on, with a receipt for an aware client alone", async () => {
    const handler = (): never => {
      throw new Error("no such city");
    };
    const plain = await connect(era, oneTool(line, handler, []));
    const bare = await connect(era, () => {
      const server = line.mcpServer();
      server.registerTool("tool", { inputSchema: z.looseObject({}) }, handler);
      return server;
    });
    await plain.call("tool");
    await bare.call("tool");
    expect(answersOf(plain.sent).at(-1)).toEqual(answersOf(bare.sent).at(-1));
    const aware = await connectAware(era, oneTool(line, handler, []));
    const result = await aware.call("tool");
    expect(result).toMatchObject({ isError: true, content: [{ text: "no such city" }] });
    expect(readReceipt(result._meta)).toMatchObject({
      ack: true,
      execution: "executed",
      duplicate: false,
      code: "tool_error",
    });
  });

  test("gives an aware client a receipt with each result", async () => {
    const { call, received } = await connectAware(
      era,
      oneTool(line, () => ({ ...OK, _meta: { "acme/kept": 1 } }), []),
    );
    const result = await call("tool");
    expect(result._meta?.["acme/kept"]).toBe(1);
    expect(result._meta?.[RECEIPT_KEY]).toEqual({
      requestId: callMetaOf(received)?.requestId,
      ack: true,
      execution: "executed",
      duplicate: false,
    });
  });

  test("announces itself, and the store that a middleware brings", async () => {
    const store: IdempotencyAnnouncement = { storeId: "s-1", windowMs: 60_000, durable: true };
    const bringing: Middleware = Object.assign((ctx: CallContext, next: Parameters<Middleware>[1]) => next(ctx), {
      announces: () => store,
      optionKeys: ["idempotencyKey"],
    });
    const { seen, middleware } = watcher();
    const { client, call, received } = await connectAware(
      era,
      oneTool(line, () => OK, [bringing, middleware]),
    );
    const capabilities = client.getServerCapabilities() as Readonly<
      Record<string, Readonly<Record<string, unknown>> | undefined>
    >;
    const announced =
      capabilities["experimental"]?.[ANNOUNCEMENT_KEY] ?? capabilities["extensions"]?.[ANNOUNCEMENT_KEY];
    expect(announced).toEqual({ version: 1, idempotency: store });
    await call("tool", {}, { idempotencyKey: "order-1" });
    expect(callMetaOf(received)).toMatchObject({ idempotencyKey: "order-1", attempt: 1, epoch: 0 });
    expect(seen[0]?.options.idempotencyKey).toBe("order-1");
  });

  test("announces under experimental and under extensions", async () => {
    const { client } = await connect(
      era,
      oneTool(line, () => OK, []),
    );
    const capabilities = client.getServerCapabilities();
    expect(capabilities).toMatchObject({
      experimental: { [ANNOUNCEMENT_KEY]: { version: 1 } },
      extensions: { [ANNOUNCEMENT_KEY]: { version: 1 } },
    });
  });

  test("tells the pipeline nothing of a key that nobody here honours", async () => {
    const { seen, middleware } = watcher();
    const { call } = await connectAware(
      era,
      oneTool(line, () => OK, middleware),
    );
    await call("tool", {}, { transactionId: "t-1" });
    expect(seen[0]?.options).toMatchObject({ transactionId: "t-1" });
    expect(seen[0]?.options.idempotencyKey).toBeUndefined();
  });

  test("aborts the pipeline and the tool when the client cancels", async () => {
    const { seen, middleware } = watcher();
    const reports: CallReport[] = [];
    const controller = new AbortController();
    let handlerSignal: AbortSignal | undefined;
    const handler = (
      _args: unknown,
      extra: { signal?: AbortSignal; mcpReq?: { signal: AbortSignal } },
    ): Promise<never> => {
      handlerSignal = extra.signal ?? extra.mcpReq?.signal;
      setTimeout(() => controller.abort(), 5);
      return new Promise(() => undefined);
    };
    const { call } = await connect(
      era,
      oneTool(line, handler as never, middleware, { onReport: (report) => reports.push(report) }),
    );
    await failure(call("tool", {}, { signal: controller.signal }));
    await expect.poll(() => seen[0]?.signal?.aborted, { interval: 2 }).toBe(true);
    expect(handlerSignal?.aborted).toBe(true);
    await expect.poll(() => reports, { interval: 2 }).toMatchObject([{ status: "cancelled", execution: "unknown" }]);
  });

  test("keeps its own deadline, and tells an aware client that the tool may still run", async () => {
    const never = (): Promise<never> => new Promise(() => undefined);
    const aware = await connectAware(era, oneTool(line, never, [], { timeoutMs: 30 }));
    const error = await failure(aware.call("tool"));
    expect(readReceipt(error.data)).toMatchObject({ ack: true, execution: "unknown", code: "deadline" });
    expect(reportOf(error)).toMatchObject({ execution: "unknown", ack: true });
    const plain = await connect(era, oneTool(line, never, [], { timeoutMs: 30 }));
    expect(await plain.call("tool")).toMatchObject({
      isError: true,
      content: [{ text: expect.stringContaining("may still be running") }],
    });
  });

  test("runs the handler again for a middleware that repeats", async () => {
    let runs = 0;
    const handler = (): unknown => {
      runs += 1;
      return runs < 3 ? { ...text("busy"), isError: true } : OK;
    };
    const again = retry({ baseDelayMs: 0, retryOn: () => true });
    const { call } = await connect(era, oneTool(line, handler, again));
    expect(await call("tool")).toMatchObject(OK);
    expect(runs).toBe(3);
  });

  test("promises nothing to a client for whom the middleware announces nothing, and takes no key of it", async () => {
    const peers: unknown[] = [];
    const picky: Middleware = Object.assign((ctx: CallContext, next: Parameters<Middleware>[1]) => next(ctx), {
      announces: (peer: Peer) => {
        peers.push(peer);
        return undefined;
      },
      optionKeys: ["idempotencyKey"],
    });
    const { seen, middleware } = watcher();
    const { client, call, received } = await connectAware(
      era,
      oneTool(line, () => OK, [picky, middleware]),
    );
    const capabilities = client.getServerCapabilities() as Readonly<
      Record<string, Readonly<Record<string, unknown>> | undefined>
    >;
    const announced =
      capabilities["experimental"]?.[ANNOUNCEMENT_KEY] ?? capabilities["extensions"]?.[ANNOUNCEMENT_KEY];
    expect(announced).toEqual({ version: 1 });
    await call("tool");
    expect(callMetaOf(received)).toBeDefined();
    expect(seen[0]?.options.idempotencyKey).toBeUndefined();
    expect(peers.length).toBeGreaterThan(1);
  });

  test("shows a middleware the name of the server", async () => {
    const { seen, middleware } = watcher();
    const { call } = await connect(
      era,
      oneTool(line, () => OK, [middleware]),
    );
    await call("tool");
    expect(seen[0]?.call.peer.server).toBe(
      (line.mcpServer() as never as { server: { _serverInfo: { name: string } } }).server._serverInfo.name,
    );
  });

  test("gives a replayed error answer as it went out the first time, with a receipt for an aware client", async () => {
    const answer = { code: -32_602, message: "No such order", data: { order: 7 } };
    const replaying: Middleware = (ctx) => {
      ctx.call.note({ duplicate: true, execution: "executed" });
      throw new ReplayedError("No such order", { code: "protocol_error", answer });
    };
    const handler = vi.fn(() => OK);
    const { call } = await connectAware(era, oneTool(line, handler, [replaying]));
    const error = (await call("tool").catch((thrown: unknown) => thrown)) as { code: unknown; data: object };
    expect(error.code).toBe(-32_602);
    expect(error.data).toMatchObject({ order: 7 });
    expect(readReceipt(error.data)).toMatchObject({ execution: "executed", duplicate: true, code: "protocol_error" });
    expect(handler).not.toHaveBeenCalled();
  });

  test("nests, whatever the order of registration, and keeps the announcement of the inner one", async () => {
    const order: string[] = [];
    const noting =
      (name: string): Middleware =>
      (ctx, next) => {
        order.push(`${name} ${ctx.tool}`);
        return next(ctx);
      };
    const store: IdempotencyAnnouncement = { storeId: "s-1", windowMs: 60_000, durable: true };
    const inner = Object.assign(noting("inner"), { announces: () => store, optionKeys: ["idempotencyKey"] });
    const { call, client } = await connectAware(era, () => {
      const late = wrapServer(wrapServer(line.mcpServer(), inner), noting("outer"));
      late.registerTool("late", {}, () => OK);
      return late;
    });
    expect(await call("late")).toMatchObject(OK);
    const { call: callEarly } = await connectAware(era, () =>
      wrapServer(oneTool(line, () => OK, inner)(), noting("outer")),
    );
    expect(await callEarly("tool")).toMatchObject(OK);
    expect(order).toEqual(["outer late", "inner late", "outer tool", "inner tool"]);
    const capabilities = client.getServerCapabilities();
    expect(capabilities).toMatchObject({ experimental: { [ANNOUNCEMENT_KEY]: { version: 1, idempotency: store } } });
  });

  test("tells the tool when its own time limit is over", async () => {
    const signals: (AbortSignal | undefined)[] = [];
    const handler = (
      _args: unknown,
      extra: { signal?: AbortSignal; mcpReq?: { signal: AbortSignal } },
    ): Promise<never> => {
      signals.push(extra.signal ?? extra.mcpReq?.signal);
      return new Promise(() => undefined);
    };
    const { call } = await connect(era, oneTool(line, handler as never, [], { attemptTimeoutMs: 30 }));
    expect(await call("tool")).toMatchObject({ isError: true });
    expect(signals).toMatchObject([{ aborted: true }]);
  });

  test("leaves unknown tools and bad arguments to the SDK", async () => {
    const strict = (server: SdkMcpServer): SdkMcpServer => {
      server.registerTool("tool", { inputSchema: z.object({ n: z.number() }) }, () => OK);
      return server;
    };
    const bare = await connect(era, () => strict(line.mcpServer()));
    const wrapped = await connect(era, () => wrapServer(strict(line.mcpServer()), []));
    for (const { call } of [bare, wrapped]) {
      await call("tool", { n: "x" }).catch(() => undefined);
      await call("no-such-tool").catch(() => undefined);
      await call("tool", { n: 1 });
    }
    expect(answersOf(wrapped.sent).slice(1)).toEqual(answersOf(bare.sent).slice(1));
  });

  test("leaves what is no proper call to the SDK", async () => {
    const { seen, middleware } = watcher();
    const answers: unknown[] = [];
    const malformed: object[] = [{}, { name: 5 }, { name: "" }, { name: "tool", arguments: [1] }];
    for (const wrap of [(server: SdkMcpServer) => server, (server: SdkMcpServer) => wrapServer(server, middleware)]) {
      const { client } = await connect(era, () => {
        const server = line.mcpServer();
        server.registerTool("tool", {}, () => OK);
        return wrap(server);
      });
      const request = client as unknown as { request(request: object, schema: unknown): Promise<unknown> };
      for (const params of malformed) {
        const { code, message } = await failure(
          request.request({ method: "tools/call", params }, z.any()).then((value) => Promise.reject(value)),
        );
        answers.push({ code, message });
      }
    }
    expect(answers).toHaveLength(2 * malformed.length);
    expect(answers.slice(malformed.length)).toEqual(answers.slice(0, malformed.length));
    expect(seen).toEqual([]);
  });
});

function answersOf(sent: readonly WireMessage[]): readonly WireMessage[] {
  return sent.filter(({ id, method }) => id !== undefined && method === undefined);
}

function callMetaOf(received: readonly WireMessage[]): Readonly<Record<string, unknown>> | undefined {
  const params = received.findLast(({ method }) => method === "tools/call")?.params;
  return (params?.["_meta"] as Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined)?.[
    CALL_META_KEY
  ];
}

describe.each(LINES)("wrapServer, $name", (line) => {
  test("refuses a server that is connected", async () => {
    for (const server of [line.mcpServer(), line.lowLevelServer({ call: () => OK })]) {
      await server.connect(line.pair()[1]);
      expect(() => wrapServer(server, [])).toThrow(TypeError);
      expect(() => wrapServer(server, [])).toThrow(/before it connects/);
    }
  });

  test("returns the server it was given", () => {
    const server = line.mcpServer();
    expect(wrapServer(server, [])).toBe(server);
  });
});

test("wrapServer refuses what is no server", () => {
  for (const value of [undefined, null, {}, line1Client()])
    expect(() => wrapServer(value as never, [])).toThrow(TypeError);
  expect(() => wrapServer(v1.mcpServer(), {} as never)).toThrow(/wrapServer: middleware/);
  expect(() => wrapServer(v1.mcpServer(), [], { timeoutMs: -1 })).toThrow(/wrapServer: timeoutMs/);
});

function line1Client(): unknown {
  return { server: {} };
}

test("an input round passes through wrapServer and wrapClient as part of one attempt", async () => {
  const era = ERAS[2] as Era;
  const { seen, middleware } = watcher();
  const schema = z.object({ confirm: z.boolean() });
  const connection = await connectAware({ ...era, client: { ...MODERN, capabilities: { elicitation: {} } } }, () => {
    const server = v2.mcpServer();
    server.registerTool("deploy", { inputSchema: z.object({}) }, ((
      _args: unknown,
      ctx: { mcpReq: { inputResponses: never } },
    ) => {
      if (acceptedContent(ctx.mcpReq.inputResponses, "confirm", schema)?.confirm === true) return text("deployed");
      const confirm = inputRequired.elicit({ message: "Deploy?", requestedSchema: schema as never });
      return inputRequired({ inputRequests: { confirm } });
    }) as never);
    return wrapServer(server, middleware);
  });
  const { client } = connection as unknown as {
    readonly client: { setRequestHandler(method: string, handler: () => unknown): void };
  };
  client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { confirm: true } }));
  const result = await connection.call("deploy");
  expect(result).toMatchObject(text("deployed"));
  expect(seen).toHaveLength(2);
  expect(reportOf(result)).toMatchObject({ status: "completed", execution: "executed", attempts: 1, ack: true });
});

describe("over HTTP", () => {
  const servers = [
    { on: "v1", line: v1, client: {}, serve: (build: () => SdkServer): Promise<HttpFixture> => httpV1(build) },
    {
      on: "v2 with sessions",
      line: v2,
      client: {},
      serve: (build: () => SdkServer): Promise<HttpFixture> => httpV1(build),
    },
  ];

  test.each(servers)(
    "shows the pipeline the session of each request: $on",
    async ({ line, client: options, serve }) => {
      const { seen, middleware } = watcher();
      const http = await serve(() => {
        const server = v1.mcpServer();
        registerTools(server, () => undefined);
        return wrapServer(server, middleware);
      });
      onTestFinished(() => http.close());
      const sessions: unknown[] = [];
      for (let n = 0; n < 2; n += 1) {
        const client = line.client(options);
        const transport = line.http(http.url);
        await client.connect(transport);
        onTestFinished(() => client.close());
        await line.call(client, "echo", { text: "x" });
        sessions.push(transport.sessionId);
      }
      expect(seen.map(({ call }) => call.peer.sessionId)).toEqual(sessions);
      expect(new Set(sessions).size).toBe(2);
    },
  );
});

/** Where client and server meet, and how each of them is made aware. */
interface Meeting {
  readonly on: string;
  readonly line: Line;
  readonly client: Readonly<Record<string, unknown>>;
  readonly open: (isAware: boolean) => Promise<SdkTransport>;
}

function toolServer(line: Line, isAware: boolean): SdkServer {
  const server = line.mcpServer();
  registerTools(server, () => undefined);
  return isAware ? wrapServer(server, []) : server;
}

function inMemory({ line, serve }: Era): Meeting["open"] {
  return async (isAware) => {
    const [near, far] = line.pair();
    await serve(() => toolServer(line, isAware), far);
    return near;
  };
}

function overHttp(
  line: Line,
  serve: (build: () => SdkServer) => Promise<HttpFixture>,
  serverLine = line,
): Meeting["open"] {
  return async (isAware) => {
    const http = await serve(() => toolServer(serverLine, isAware));
    onTestFinished(() => http.close());
    return line.http(http.url);
  };
}

const overStdio =
  (line: Line): Meeting["open"] =>
  async (isAware) =>
    line.stdio(isAware ? { WRAP_SERVER: "1" } : {});

const MEETINGS: readonly Meeting[] = [
  ...ERAS.map((era) => ({ on: `${era.on} in memory`, line: era.line, client: era.client, open: inMemory(era) })),
  { on: "v1 over stdio", line: v1, client: {}, open: overStdio(v1) },
  { on: "v2 over stdio", line: v2, client: {}, open: overStdio(v2) },
  { on: "v2 over stdio, 2026-07-28", line: v2, client: MODERN, open: overStdio(v2) },
  { on: "v1 over HTTP", line: v1, client: {}, open: overHttp(v1, httpV1) },
  { on: "v1 over HTTP, JSON", line: v1, client: {}, open: overHttp(v1, (build) => httpV1(build, { json: true })) },
  { on: "v1 against v2 over HTTP", line: v1, client: {}, open: overHttp(v1, httpV2, v2) },
  { on: "v2 against v1 over HTTP", line: v2, client: {}, open: overHttp(v2, httpV1, v1) },
  { on: "v2 over HTTP, stateless", line: v2, client: {}, open: overHttp(v2, httpV2) },
  { on: "v2 over HTTP, 2026-07-28", line: v2, client: MODERN, open: overHttp(v2, httpV2) },
];
const COMBINATIONS = [
  { isClientAware: false, isServerAware: false },
  { isClientAware: false, isServerAware: true },
  { isClientAware: true, isServerAware: false },
  { isClientAware: true, isServerAware: true },
];

describe.each(MEETINGS)("$on", (meeting) => {
  test.each(COMBINATIONS)(
    "speaks plain MCP to a plain side: client aware $isClientAware, server aware $isServerAware",
    async (pair) => {
      const { line, client: options, open } = meeting;
      const transport = await open(pair.isServerAware);
      const requests: string[] = [];
      const send = transport.send.bind(transport);
      transport.send = (message, sendOptions) => {
        requests.push(JSON.stringify(message));
        return send(message, sendOptions);
      };
      const bare = line.client(options);
      const client = pair.isClientAware ? wrapClient(bare, []) : bare;
      await client.connect(transport);
      onTestFinished(() => client.close());
      const result = (await line.call(client, "echo", { text: "hello" })) as ToolResult;
      const failed = (await line.call(client, "throws")) as ToolResult;
      expect(result.content).toEqual([{ type: "text", text: "hello" }]);
      expect(failed).toMatchObject({ isError: true, content: [{ type: "text", text: "the tool failed" }] });

      const bothAware = pair.isClientAware && pair.isServerAware;
      const calls = requests.filter((request) => request.includes('"tools/call"'));
      expect(calls).toHaveLength(2);
      for (const request of calls) expect(request.includes("dev.mcp-tx/")).toBe(bothAware);
      for (const answer of [result, failed]) {
        expect(JSON.stringify(answer).includes("dev.mcp-tx/")).toBe(bothAware);
        expect(readReceipt(answer._meta) !== undefined).toBe(bothAware);
      }
      const reports = [reportOf(result), reportOf(failed)];
      if (pair.isClientAware)
        expect(reports).toMatchObject([
          { status: "completed", ack: true },
          { status: "failed", execution: "executed" },
        ]);
      else expect(reports).toEqual([undefined, undefined]);
    },
  );
});

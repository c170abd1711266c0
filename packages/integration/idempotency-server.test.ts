import {
  CALL_META_KEY,
  type CallReport,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  readReceipt,
  reportOf,
  type ToolResult,
  wrapClient,
  wrapServer,
} from "@mcp-tx/core";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { type IdempotencyOptions, idempotency, memoryStore } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks/stores/in-memory.js";
import { CallToolResultSchema, CreateTaskResultSchema } from "@modelcontextprotocol/sdk/types.js";
import { acceptedContent, inputRequired } from "@modelcontextprotocol/server";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { connectIn, ERAS, type Era } from "./fixtures/eras.js";
import { type HttpFixture, httpV1, httpV2 } from "./fixtures/http-servers.js";
import { MODERN } from "./fixtures/idempotent-servers.js";
import { type Line, type SdkMcpServer, type SdkServer, v1, v2, type WireMessage } from "./fixtures/lines.js";

/** What a server that recognises duplicates does with keyed calls, on both SDK lines and in every era. */

const SECRET = "postgres://admin:hunter2@db/srv/app/orders.ts";
const text = (value: unknown) => ({ content: [{ type: "text", text: String(value) }] });

/** What a handler gets of either SDK about its request. */
interface Extra {
  readonly signal?: AbortSignal;
  readonly mcpReq?: { readonly signal: AbortSignal };
}
type Callback = (args: Readonly<Record<string, unknown>>, extra: Extra) => unknown;

/** Builds a server with one tool and a middleware of its own. */
function toolServer({ line }: Era, callback: Callback, options: IdempotencyOptions): () => SdkMcpServer {
  return () => {
    const server = line.mcpServer();
    server.registerTool("tool", { inputSchema: z.looseObject({}) }, callback as never);
    return wrapServer(server, idempotency(options));
  };
}

/** Connects a client that knows of receipts and one that does not, to one server. */
async function connectBoth(era: Era, callback: Callback, options: IdempotencyOptions = {}) {
  const store = options.store ?? memoryStore();
  const connection = await connectIn(era, toolServer(era, callback, { ...options, store }));
  const aware = wrapClient(connection.client, []);
  const call = (args: Readonly<Record<string, unknown>> = {}, given: object = { idempotencyKey: "order-1" }) =>
    aware.call("tool", args, given) as Promise<ToolResult>;
  return { ...connection, store, callAware: call };
}

const failure = (call: Promise<unknown>): Promise<Error & { readonly code: unknown; readonly data: unknown }> =>
  call.then(
    (value) => Promise.reject(new Error(`the call did not fail: ${JSON.stringify(value)}`)),
    (error) => error,
  );

const errorOf = (message: WireMessage | undefined): WireMessage["error"] => message?.error;

/** An error without what differs from one request to the next. */
function withoutReceipt(message: WireMessage | undefined): unknown {
  const { code, message: words, data } = errorOf(message) ?? {};
  if (typeof data !== "object" || data === null || !(RECEIPT_KEY in data)) return { code, words, data };
  const { [RECEIPT_KEY]: _, ...rest } = data;
  return { code, words, data: Object.keys(rest).length === 0 ? undefined : rest };
}

describe.each(ERAS)("$on", (era) => {
  test("a conflict says so to aware and to plain clients, in words a model can act on, and runs nothing", async () => {
    const runs: unknown[] = [];
    const { callAware, answers } = await connectBoth(era, () => text(runs.push("ran")));
    await callAware({ amount: 1 });
    const error = await failure(callAware({ amount: 2 }));
    expect(error.code).toBe(RECEIPT_ERROR_CODE);
    expect(readReceipt(error.data)).toMatchObject({
      execution: "not-executed",
      duplicate: false,
      code: "idempotency_conflict",
    });
    expect(reportOf(error)).toMatchObject({ status: "rejected", execution: "not-executed" });
    expect(reportOf(error)?.error?.code).toBe("idempotency_conflict");
    expect(errorOf(answers.at(-1))?.message).toMatch(/"tool" was not called: .*other arguments.*new key/s);
    expect(runs).toHaveLength(1);
  });

  test("a duplicate is refused while the first runs, where the server does not wait", async () => {
    let finish: (value: unknown) => void = () => undefined;
    const { callAware } = await connectBoth(era, () => new Promise((resolve) => (finish = resolve)), {
      onConcurrent: "reject",
    });
    const first = callAware();
    await expect.poll(() => finish.length, { interval: 2 }).toBe(1);
    const error = await failure(callAware());
    expect(readReceipt(error.data)).toMatchObject({ execution: "unknown", code: "idempotency_in_progress" });
    expect(error.message).toContain("in progress");
    expect(error.message).toContain("do not use a new key");
    finish(text("ran"));
    expect(await first).toMatchObject(text("ran"));
    expect(readReceipt((await callAware())._meta)).toMatchObject({ execution: "executed", duplicate: true });
  });

  test("a handler does not see that its client gave up, and its signal can be watched", async () => {
    const signals: (AbortSignal | undefined)[] = [];
    let finish: (value: unknown) => void = () => undefined;
    const { callAware } = await connectBoth(era, (_args, extra) => {
      const signal = extra.mcpReq?.signal ?? extra.signal;
      signals.push(signal);
      signal?.addEventListener("abort", () => finish(text("given up")));
      return new Promise((resolve) => (finish = resolve));
    });
    const error = await failure(callAware({}, { idempotencyKey: "order-1", attemptTimeoutMs: 40 }));
    expect(reportOf(error)).toMatchObject({ status: "timeout", execution: "unknown" });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(signals).toHaveLength(1);
    expect(signals[0]?.aborted).toBe(false);
    finish(text("ran"));
    const result = await callAware();
    expect(result).toMatchObject(text("ran"));
    expect(readReceipt(result._meta)).toMatchObject({ execution: "executed", duplicate: true });
    expect(signals).toHaveLength(1);
  });

  test("a deliberate retry of a failed call runs again, a duplicate of it gets the failure", async () => {
    let failures = 0;
    const { client, callAware, requests } = await connectBoth(era, () => {
      failures += 1;
      return { ...text(`failure ${failures}`), isError: failures < 3 };
    });
    const first = await callAware();
    expect(first).toMatchObject({ ...text("failure 1"), isError: true });
    const replayed = await callAware();
    expect(replayed).toMatchObject({ ...text("failure 1"), isError: true });
    expect(readReceipt(replayed._meta)).toMatchObject({ duplicate: true, code: "tool_error", execution: "executed" });
    const stubborn = wrapClient(client, retry({ baseDelayMs: 0, maxAttempts: 5, retryOn: () => true }));
    const result = (await stubborn.call("tool", {}, { idempotencyKey: "order-1" })) as ToolResult;
    expect(result).toMatchObject({ ...text("failure 3"), isError: false });
    expect(failures).toBe(3);
    const epochs = requests.map(({ params }) => (params?.["_meta"] as never)?.[CALL_META_KEY]?.["epoch"]);
    expect(epochs).toEqual([0, 0, 0, 1, 2]);
  });

  test("a resend that expects another store is refused, one that expects this one is taken", async () => {
    const runs: unknown[] = [];
    const { client, store } = await connectBoth(era, () => text(runs.push("ran")));
    const callExpecting = (expectStore: string) => {
      const meta = { requestId: "r", idempotencyKey: "k", attempt: 2, epoch: 0, expectStore };
      return client.callTool({ name: "tool", arguments: {}, _meta: { [CALL_META_KEY]: meta } });
    };
    const refused = await failure(callExpecting("another"));
    expect(readReceipt(refused.data)).toMatchObject({ execution: "not-executed", code: "store_mismatch" });
    expect(refused.message).not.toContain(store.storeId);
    expect(runs).toHaveLength(0);
    expect(await callExpecting(store.storeId)).toMatchObject(text(1));
  });

  test("a failure of the store says nothing about it", async () => {
    const down: IdempotencyStore = Object.create(memoryStore(), {
      claim: { value: () => Promise.reject(new Error(SECRET)) },
    });
    const runs: unknown[] = [];
    const { callAware, answers } = await connectBoth(era, () => text(runs.push("ran")), { store: down });
    const error = await failure(callAware());
    expect(readReceipt(error.data)).toMatchObject({ execution: "not-executed", code: "store_unavailable" });
    expect(JSON.stringify(answers)).not.toMatch(/hunter2|\.ts|stack|node_modules/);
    expect(runs).toHaveLength(0);
  });

  test("what fails inside the middleware says nothing about itself", async () => {
    const runs: unknown[] = [];
    const scope = (): string => {
      throw new Error(SECRET);
    };
    const { callAware, answers } = await connectBoth(era, () => text(runs.push("ran")), { scope });
    await failure(callAware());
    expect(errorOf(answers.at(-1))).toEqual({ code: -32_603, message: "Internal error" });
    expect(JSON.stringify(answers)).not.toMatch(/hunter2|\.ts|stack|node_modules/);
    expect(runs).toHaveLength(0);
  });

  test("errors of a low-level handler go out again as they did the first time", async () => {
    const errors: readonly unknown[] = [
      Object.assign(new Error("No such order"), { code: -32_602, data: { order: 7 } }),
      Object.assign(new Error("No data"), { code: -32_050 }),
      Object.assign(new Error("Text for data"), { code: 7, data: "text" }),
      Object.assign(new Error("List for data"), { code: 7, data: [1, null] }),
      new Error("no code"),
      Object.assign(new Error("a code that is none"), { code: "ENOENT" }),
      "a string",
    ];
    const bare = await connectIn(era, () => era.line.lowLevelServer({ call: thrower(errors) }));
    const store = memoryStore();
    const wrapped = await connectIn(era, () =>
      wrapServer(era.line.lowLevelServer({ call: thrower(errors) }), idempotency({ store })),
    );
    const aware = wrapClient(wrapped.client, []);
    for (const [index] of errors.entries()) {
      const args = { index };
      await failure(bare.call("tool", args));
      for (let n = 0; n < 2; n += 1) await failure(aware.call("tool", args, { idempotencyKey: `k${index}` }));
      const [first, again] = wrapped.answers.slice(-2);
      expect(withoutReceipt(again), `error ${index}`).toEqual(withoutReceipt(first));
      expect(withoutReceipt(again), `error ${index}`).toEqual(withoutReceipt(bare.answers.at(-1)));
    }
    expect(thrown).toHaveLength(2 * errors.length);
    thrown.length = 0;
  });
});

/** How a client reaches a server over HTTP. */
const ROUTES: readonly {
  readonly on: string;
  readonly line: Line;
  readonly client: object;
  serve(build: () => SdkServer): Promise<HttpFixture>;
}[] = [
  { on: "v1", line: v1, client: {}, serve: httpV1 },
  { on: "v1, stateless", line: v1, client: {}, serve: (build) => httpV1(build, { stateless: true }) },
  { on: "v2, stateless", line: v2, client: {}, serve: httpV2 },
  { on: "v2, 2026-07-28", line: v2, client: MODERN, serve: httpV2 },
];

/** What a handler that reports progress needs of either SDK. */
interface Reporter {
  readonly _meta?: { readonly progressToken?: number };
  sendNotification?(notification: object): Promise<void>;
  readonly mcpReq?: {
    readonly _meta?: { readonly progressToken?: number };
    notify(notification: object): Promise<void>;
  };
}

const thrown: unknown[] = [];
const thrower =
  (errors: readonly unknown[]) =>
  ({ params }: { readonly params: WireMessage["params"] }): never => {
    const { index } = (params?.["arguments"] ?? {}) as { readonly index: number };
    thrown.push(errors[index]);
    throw errors[index];
  };

describe.each(ROUTES)("a tool that reports progress, $on,", ({ line, client: options, serve }) => {
  test("goes on when its client has gone, and its result is there for the retry", async () => {
    const store = memoryStore();
    const runs: unknown[] = [];
    const http = await serve(() => {
      const server = line.mcpServer();
      server.registerTool("tool", { inputSchema: z.looseObject({}) }, (async (_args: unknown, extra: Reporter) => {
        runs.push("ran");
        const meta = extra.mcpReq?._meta ?? extra._meta;
        const notify = extra.mcpReq?.notify ?? extra.sendNotification;
        for (let progress = 0; progress < 4; progress += 1) {
          await new Promise((resolve) => setTimeout(resolve, 60));
          const params = { progressToken: meta?.progressToken ?? 0, progress };
          await notify?.({ method: "notifications/progress", params });
        }
        return text("ran");
      }) as never);
      return wrapServer(server, idempotency({ store }));
    });
    onTestFinished(() => http.close());
    const bare = line.client({ ...options });
    await bare.connect(line.http(http.url));
    onTestFinished(() => bare.close());
    const client = wrapClient(bare, retry({ baseDelayMs: 0, maxAttempts: 20 }), { attemptTimeoutMs: 100 });
    const result = (await client.call("tool", {}, { onprogress: () => undefined } as never)) as ToolResult;
    expect(result).toMatchObject(text("ran"));
    expect(reportOf(result)).toMatchObject({ status: "completed", duplicate: true });
    expect(runs).toHaveLength(1);
  });
});

describe("input rounds", () => {
  const era = ERAS[2] as Era;
  const schema = z.object({ confirm: z.boolean() });

  /** A tool that wants consent, and a user who gives it or not. */
  async function deployment(answers: boolean[]) {
    const store = memoryStore();
    const runs = { rounds: 0, deployed: 0 };
    const build = (): SdkServer => {
      const server = v2.mcpServer();
      server.registerTool("deploy", { inputSchema: z.object({}) }, ((
        _args: unknown,
        ctx: { mcpReq: { inputResponses: never } },
      ) => {
        runs.rounds += 1;
        const given = acceptedContent(ctx.mcpReq.inputResponses, "confirm", schema);
        if (given?.confirm === true) {
          runs.deployed += 1;
          return text(`deployed ${runs.deployed}`);
        }
        if (given?.confirm === false) return text("declined");
        const confirm = inputRequired.elicit({ message: "Deploy?", requestedSchema: schema as never });
        return inputRequired({ inputRequests: { confirm } });
      }) as never);
      return wrapServer(server, idempotency({ store }));
    };
    const connection = await connectIn(era, build, { capabilities: { elicitation: {} } });
    const client = connection.client as unknown as {
      setRequestHandler(method: string, handler: () => unknown): void;
    };
    client.setRequestHandler("elicitation/create", () => ({
      action: "accept",
      content: { confirm: answers.shift() ?? false },
    }));
    return { ...connection, runs };
  }

  test("are records of their own, and an open one is no record", async () => {
    const { client, runs } = await deployment([true, true, false]);
    const aware = wrapClient(client, []);
    const call = () => aware.call("deploy", {}, { idempotencyKey: "release-1" }) as Promise<ToolResult>;
    const first = await call();
    expect(first).toMatchObject(text("deployed 1"));
    expect(reportOf(first)).toMatchObject({ status: "completed", duplicate: false });
    expect(runs).toEqual({ rounds: 2, deployed: 1 });
    // The question is asked again, and the same answer gets the same result.
    const again = await call();
    expect(again).toMatchObject(text("deployed 1"));
    expect(readReceipt(again._meta)).toMatchObject({ duplicate: true, execution: "executed" });
    expect(runs).toEqual({ rounds: 3, deployed: 1 });
    // Another answer is another round.
    expect(await call()).toMatchObject(text("declined"));
    expect(runs).toEqual({ rounds: 5, deployed: 1 });
  });

  test("are one call to a client that keeps records", async () => {
    const { client, runs } = await deployment([true]);
    const aware = wrapClient(client, idempotency());
    const call = () => aware.call("deploy", {}, { idempotencyKey: "release-1" }) as Promise<ToolResult>;
    expect(await call()).toMatchObject(text("deployed 1"));
    expect(reportOf(await call())).toMatchObject({ duplicate: true, attempts: 0, recorded: true });
    expect(runs).toEqual({ rounds: 2, deployed: 1 });
  });
});

describe("tasks", () => {
  /** A server whose tool gives a task handle; the work goes on behind it. */
  async function taskServer() {
    const taskStore = new InMemoryTaskStore();
    onTestFinished(() => taskStore.cleanup());
    const made: string[] = [];
    const capabilities = { tasks: { requests: { tools: { call: {} } } } };
    const build = (): SdkServer => {
      const server = v1.mcpServer("tasks", { capabilities, taskStore }) as unknown as SdkServer & {
        readonly experimental: { readonly tasks: { registerToolTask(...args: unknown[]): void } };
      };
      server.experimental.tasks.registerToolTask(
        "build",
        { inputSchema: { what: z.string() }, execution: { taskSupport: "required" } },
        {
          createTask: async ({ what }: { what: string }, { taskStore: tasks }: { taskStore: InMemoryTaskStore }) => {
            const task = await tasks.createTask({ ttl: 60_000 } as never, undefined as never, undefined as never);
            made.push(task.taskId);
            await tasks.storeTaskResult(task.taskId, "completed", text(`built ${what}`) as never);
            return { task };
          },
          getTask: (_args: unknown, extra: { taskId: string; taskStore: InMemoryTaskStore }) =>
            extra.taskStore.getTask(extra.taskId),
          getTaskResult: (_args: unknown, extra: { taskId: string; taskStore: InMemoryTaskStore }) =>
            extra.taskStore.getTaskResult(extra.taskId),
        },
      );
      return wrapServer(server, idempotency({ store: memoryStore() }));
    };
    const connection = await connectIn(ERAS[0] as Era, build, { capabilities });
    return { ...connection, made };
  }

  interface Handle {
    readonly task: { readonly taskId: string };
    readonly _meta?: unknown;
  }

  test.each(["server", "client"] as const)("a handle is recorded by the %s and given again", async (side) => {
    const { client, made } = await taskServer();
    const aware = wrapClient(client, side === "client" ? idempotency() : []);
    const call = () =>
      aware.callTool({ name: "build", arguments: { what: "docs" } }, CreateTaskResultSchema, {
        task: { ttl: 60_000 },
        idempotencyKey: "build-1",
      }) as unknown as Promise<Handle>;
    const [first, again] = [await call(), await call()];
    expect(made).toEqual([first.task.taskId]);
    expect(again.task).toEqual(first.task);
    expect((reportOf(again) as CallReport).duplicate).toBe(true);
    const { experimental } = client as unknown as {
      readonly experimental: { readonly tasks: { getTaskResult(id: string, schema: unknown): Promise<unknown> } };
    };
    expect(await experimental.tasks.getTaskResult(again.task.taskId, CallToolResultSchema)).toMatchObject(
      text("built docs"),
    );
  });
});

import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as coreA from "@mcp-tx/core";
import { type AnnouncingServer, announcingServer, keyClaiming } from "@mcp-tx/core/testing";
import * as retryA from "@mcp-tx/retry";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { LINES, type Line, type SdkClient, type SdkTransport } from "./fixtures/lines.js";

// Two versions of a dependency, or an install path per package, bring two copies of the core into one process. Copy A is what
// all tests run on; copy B is what users install, in a folder of its own.

type Core = typeof coreA;
type Retry = typeof retryA;

let folder: string;
let coreB: Core;
let retryB: Retry;

function install(name: "core" | "retry"): string {
  const from = fileURLToPath(new URL(`../${name}/`, import.meta.url));
  if (!existsSync(join(from, "dist", "index.js"))) throw new Error(`packages/${name} is not built`);
  const to = join(folder, "node_modules", "@mcp-tx", name);
  mkdirSync(to, { recursive: true });
  cpSync(join(from, "dist"), join(to, "dist"), { recursive: true });
  cpSync(join(from, "package.json"), join(to, "package.json"));
  return pathToFileURL(join(to, "dist", "index.js")).href;
}

beforeAll(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "second-copy-")));
  const [core, retry] = [install("core"), install("retry")];
  coreB = await import(core);
  retryB = await import(retry);
});
afterAll(() => rmSync(folder, { recursive: true }));

const OK: coreA.ToolResult = { content: [{ type: "text", text: "done" }] };
const copies = (): readonly [Core, Core][] => [
  [coreA, coreB],
  [coreB, coreA],
];

/** A handler that gives failures a number of times, then works. */
function failingFirst(failures: number): coreA.Handler & { runs: number } {
  async function handler(): Promise<coreA.ToolResult> {
    handler.runs += 1;
    if (handler.runs <= failures) return { ...OK, isError: true };
    return OK;
  }
  handler.runs = 0;
  return handler;
}

function scriptedServer(announce: boolean): AnnouncingServer {
  return announcingServer({ announce, tools: { act: { run: () => OK } } });
}

async function connected(
  line: Line,
  server: AnnouncingServer,
): Promise<{ client: SdkClient; transport: SdkTransport }> {
  const client = line.client();
  const transport = server.connect() as unknown as SdkTransport;
  await client.connect(transport);
  onTestFinished(() => client.close());
  return { client, transport };
}

/** Loses the answer of the first call: the tool ran, and sending fails as it does when an HTTP connection breaks. */
function losingFirstAnswer(transport: SdkTransport): void {
  let calls = 0;
  const { send } = transport;
  transport.send = async (message, options) => {
    if (message.method !== "tools/call") return send.call(transport, message, options);
    calls += 1;
    const { onmessage } = transport;
    if (calls === 1) {
      transport.onmessage = () => {
        transport.onmessage = onmessage;
      };
    }
    await send.call(transport, message, options);
    if (calls === 1) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      throw new TypeError("fetch failed", {
        cause: Object.assign(new Error("other side closed"), { code: "UND_ERR_SOCKET" }),
      });
    }
  };
}

test("the copies are two", () => {
  expect(coreB.wrapClient).not.toBe(coreA.wrapClient);
  expect(coreB.McpTxError).not.toBe(coreA.McpTxError);
  expect(retryB.retry).not.toBe(retryA.retry);
});

test("keys and the default runtime are the same in both", () => {
  expect(coreB.createKey("example.a")).toBe(coreA.createKey("example.a"));
  expect(coreB.createKey("example.a")).not.toBe(coreA.createKey("example.b"));
  expect(coreB.defaultRuntime).toBe(coreA.defaultRuntime);
});

test("a value that one copy's middleware sets is read by the other's", async () => {
  const seen: unknown[] = [];
  const sets: coreA.Middleware = (ctx, next) => {
    ctx.call.set(coreA.createKey<string>("example.tenant"), "acme");
    return next(ctx);
  };
  const reads: coreA.Middleware = (ctx, next) => {
    seen.push(ctx.call.get(coreB.createKey<string>("example.tenant")));
    return next(ctx);
  };
  await coreB.run(
    coreA.pipeline([sets, reads], async () => OK),
    { tool: "act" },
  );
  expect(seen).toEqual(["acme"]);
});

test("each copy reads the reports that the other stamped", async () => {
  for (const [one, other] of copies()) {
    const result = await one.run(async () => OK, { tool: "act" });
    expect(other.reportOf(result)).toEqual(one.reportOf(result));
    expect(other.reportOf(result)).toMatchObject({ tool: "act", execution: "executed", attempts: 1 });
    const thrown = await one
      .run(() => Promise.reject(Object.freeze(new Error("no"))), { tool: "act" })
      .catch((error) => error);
    expect(other.reportOf(thrown)).toMatchObject({ tool: "act", status: "failed" });
  }
});

test("a result that passed both copies tells of the outer call", async () => {
  const frozen = Object.freeze({ ...OK });
  const inner = (): Promise<coreA.ToolResult> => coreA.run(async () => frozen, { tool: "inner" });
  const result = await coreB.run(inner, { tool: "outer" });
  expect(coreA.reportOf(result)?.tool).toBe("outer");
  expect(coreB.reportOf(result)?.tool).toBe("outer");
});

test("each copy recognises the errors of the other, by class and by code", () => {
  for (const [one, other] of copies()) {
    const errors = {
      OutcomeUnknownError: new one.OutcomeUnknownError("act"),
      AttemptTimeoutError: new one.AttemptTimeoutError("act", 5),
      DeadlineError: new one.DeadlineError("late", { execution: "unknown" }),
      RateLimitError: new one.RateLimitError("act", { retryAfterMs: 5 }),
      ToolError: new one.ToolError("act", "no such row"),
    };
    for (const name of Object.keys(errors) as (keyof typeof errors)[]) {
      const error = errors[name];
      expect(error).not.toBeInstanceOf(other[name]);
      expect(other.McpTxError.isInstance(error), name).toBe(true);
      const recognised = (Object.keys(errors) as (keyof typeof errors)[]).filter((kind) =>
        other[kind].isInstance(error),
      );
      expect(recognised).toEqual([name]);
    }
  }
});

test("a call takes the outcome of an error that the other copy's middleware threw", async () => {
  const refuses: coreA.Middleware = () => Promise.reject(new coreB.RateLimitError("act", { retryAfterMs: 40 }));
  const error = await coreA
    .run(
      coreA.pipeline(refuses, async () => OK),
      { tool: "act" },
    )
    .catch((thrown) => thrown);
  const report = coreA.reportOf(error);
  expect(report).toMatchObject({
    status: "rejected",
    execution: "not-executed",
    error: { code: "rate_limited", retryAfterMs: 40 },
  });
  expect(error.report).toEqual(report);
});

test("retry of one copy works in a pipeline of the other", async () => {
  for (const [core, retry] of [
    [coreA, retryB],
    [coreB, retryA],
  ] as const) {
    const terminal = failingFirst(2);
    const handler = core.pipeline(retry.retry({ baseDelayMs: 0, retryOn: () => true }), terminal);
    const result = await core.run(handler, { tool: "act" });
    expect(terminal.runs).toBe(3);
    expect(core.reportOf(result)).toMatchObject({ attempts: 3, status: "completed", execution: "executed" });
  }
});

test("call options are claimed across the copies", async () => {
  const options = { retry: false } as const;
  for (const [core, retry] of [
    [coreA, retryB],
    [coreB, retryA],
  ] as const) {
    const terminal = failingFirst(1);
    const handler = core.pipeline(retry.retry({ baseDelayMs: 0, retryOn: () => true }), terminal);
    const result = await core.run(handler, { tool: "act", options });
    expect(result.isError).toBe(true);
    expect(terminal.runs).toBe(1);
    await expect(core.run(terminal, { tool: "act", options })).rejects.toThrow(TypeError);
  }
});

test("compose and when of one copy are taken apart by the other", async () => {
  for (const [one, other] of copies()) {
    const seen: string[] = [];
    const note = (name: string, optionKeys: readonly string[]): coreA.Middleware =>
      Object.assign(
        (ctx: coreA.CallContext, next: coreA.Handler) => {
          seen.push(name);
          return next(ctx);
        },
        { optionKeys },
      );
    const group = other.compose([note("a", []), other.when("act", [note("b", ["idempotencyKey"]), note("c", [])])]);
    const handler = one.pipeline([group, note("d", [])], async () => OK);
    await one.run(handler, { tool: "act", options: { idempotencyKey: "k" } });
    expect(seen).toEqual(["a", "b", "c", "d"]);
    // The claim of b holds only where b applies, which shows only to a copy that looks into the group.
    await expect(one.run(handler, { tool: "other", options: { idempotencyKey: "k" } })).rejects.toThrow(
      /idempotencyKey/,
    );
  }
});

test("a pipeline of one copy runs in the other, its middleware seeing one call", async () => {
  for (const [one, other] of copies()) {
    const calls = new Set<string>();
    const note: coreA.Middleware = (ctx, next) => {
      calls.add(ctx.call.id);
      return next(ctx);
    };
    const inner = other.pipeline(note, async () => OK);
    const result = await one.run(one.pipeline(note, inner), { tool: "act" });
    expect([...calls]).toEqual([other.reportOf(result)?.requestId]);
  }
});

test("a transaction of one copy drives a caller of the other, its keys accepted", async () => {
  for (const [one, other] of copies()) {
    const { client } = await connected(LINES[0] as Line, scriptedServer(false));
    const transaction = other.transaction(one.wrapClient(client, []), { id: "t" });
    await expect(transaction.invoke("step", "act")).resolves.toBe("done");
    expect(transaction.reports).toMatchObject([{ step: "step", status: "completed", transactionId: "t" }]);
  }
});

test.each(LINES)("$name: a client that both copies wrap side by side is watched by both", async (line) => {
  const { client } = await connected(line, scriptedServer(false));
  for (const core of [coreA, coreB, coreA]) {
    const result = await line.call(core.wrapClient(client, []), "act");
    expect(coreA.reportOf(result)).toMatchObject({ attempts: 1, ack: true, execution: "executed" });
  }
});

test.each(LINES)("$name: a client wrapped by one copy is wrapped by the other, and keeps one key", async (line) => {
  for (const [outer, inner, retry] of [
    [coreA, coreB, retryA],
    [coreB, coreA, retryB],
  ] as const) {
    const server = scriptedServer(true);
    const { client, transport } = await connected(line, server);
    losingFirstAnswer(transport);
    const wrapped = outer.wrapClient(inner.wrapClient(client, []), [retry.retry({ baseDelayMs: 0 })]);
    const result = await line.call(wrapped, "act");
    expect(outer.reportOf(result)).toMatchObject({ attempts: 2, duplicate: true, execution: "executed" });
    expect(server.executions("act")).toBe(1);
  }
});

test.each(LINES)("$name: a lost call of the inner copy is unknown to the outer one", async (line) => {
  for (const [outer, inner, retry] of [
    [coreA, coreB, retryA],
    [coreB, coreA, retryB],
  ] as const) {
    const server = scriptedServer(false);
    const { client, transport } = await connected(line, server);
    losingFirstAnswer(transport);
    const wrapped = outer.wrapClient(inner.wrapClient(client, []), [keyClaiming(), retry.retry({ baseDelayMs: 0 })]);
    const error = await line.call(wrapped, "act", {}, { idempotencyKey: "k" }).catch((thrown: unknown) => thrown);
    expect(coreA.OutcomeUnknownError.isInstance(error)).toBe(true);
    expect(coreB.OutcomeUnknownError.isInstance(error)).toBe(true);
    expect(outer.reportOf(error)).toMatchObject({ execution: "unknown", status: "unknown", idempotencyKey: "k" });
    expect(server.executions("act")).toBe(1);
  }
});

test.each(LINES)("$name: a refusal of the inner copy is one to the outer one, which tries again", async (line) => {
  for (const [outer, inner, retry] of [
    [coreA, coreB, retryA],
    [coreB, coreA, retryB],
  ] as const) {
    const server = scriptedServer(false);
    const { client } = await connected(line, server);
    let refusals = 0;
    const refusesOnce: coreA.Middleware = (ctx, next) => {
      if (refusals > 0) return next(ctx);
      refusals += 1;
      return Promise.reject(new inner.RateLimitError("act", { retryAfterMs: 5 }));
    };
    const events: coreA.Outcome[] = [];
    const wrapped = outer.wrapClient(inner.wrapClient(client, refusesOnce), [retry.retry({ baseDelayMs: 0 })], {
      onEvent: (name, detail) => {
        if (name === "attempt.end") events.push((detail as coreA.CallEvents["attempt.end"]).outcome);
      },
    });
    await expect(line.call(wrapped, "act")).resolves.toMatchObject(OK);
    expect(events[0]).toMatchObject({
      execution: "not-executed",
      transient: true,
      code: "rate_limited",
      retryAfterMs: 5,
    });
    expect(server.executions("act")).toBe(1);
  }
});

test.each(LINES)("$name: a client over a transport wrapped by one copy is wrapped by the other", async (line) => {
  for (const [outer, inner] of copies()) {
    const client = line.client();
    const transport = scriptedServer(true).connect() as unknown as SdkTransport;
    await client.connect(inner.wrapTransport(transport, []));
    onTestFinished(() => client.close());
    const result = await line.call(outer.wrapClient(client, []), "act");
    expect(outer.reportOf(result)).toMatchObject({ attempts: 1, ack: true, execution: "executed" });
  }
});

test("what one copy's fetch wrapper sees reaches the other's client", async () => {
  const server = createServer((_request, response) => response.writeHead(429, { "retry-after": "7" }).end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/`;
  for (const [one, other] of copies()) {
    for (const line of LINES) {
      const client = line.client();
      const http = line.http(url, { fetch: other.wrapFetch() });
      const answers = scriptedServer(false).connect() as unknown as SdkTransport;
      // Only the call goes over HTTP: everything else is answered in memory.
      const { send } = answers;
      await http.start();
      answers.send = (message, options) =>
        message.method === "tools/call" ? http.send(message, options) : send.call(answers, message, options);
      await client.connect(answers);
      onTestFinished(() => client.close());
      const error = await line.call(one.wrapClient(client, []), "act").catch((thrown: unknown) => thrown);
      expect(one.reportOf(error)).toMatchObject({
        status: "rejected",
        error: { code: "rate_limited", retryAfterMs: 7000 },
      });
    }
  }
});

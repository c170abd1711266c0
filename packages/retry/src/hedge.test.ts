import {
  McpTxError,
  type Middleware,
  type Outcome,
  pipeline,
  reportOf,
  run,
  type ToolResult,
  type WrapOptions,
  wrapTransport,
} from "@mcp-tx/core";
import { middlewareContract, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { retryBudget } from "./budget.js";
import { type HedgeOptions, hedge } from "./hedge.js";

/** A transport end whose server lists one tool and answers each call as the script says. */
function scriptedServer(hints: object, answers: readonly (() => Promise<ToolResult>)[]) {
  let executions = 0;
  const received: { readonly method?: string; readonly params?: Record<string, unknown> }[] = [];
  const answer = async (method: string | undefined): Promise<unknown> => {
    if (method === "tools/list")
      return { tools: [{ name: "read", inputSchema: { type: "object" }, annotations: hints }] };
    executions += 1;
    return answers[executions - 1]?.();
  };
  const transport = {
    onmessage: undefined as ((message: object) => void) | undefined,
    onclose: undefined as (() => void) | undefined,
    async send(message: {
      readonly id?: unknown;
      readonly method?: string;
      readonly params?: Record<string, unknown>;
    }) {
      received.push(message);
      if (message.id === undefined) return;
      const result = await answer(message.method);
      transport.onmessage?.({ jsonrpc: "2.0", id: message.id, result });
    },
  };
  return { transport, received, executions: () => executions };
}

interface Setup {
  readonly hints?: object;
  readonly hedge?: Partial<HedgeOptions>;
  readonly wrap?: WrapOptions;
}

/** Sends one call through a hedged transport and gives the host's answer. */
function call(answers: readonly ((sleep: (ms: number) => Promise<void>) => Promise<ToolResult>)[], setup: Setup = {}) {
  const time = virtualTime();
  const sleep = (ms: number): Promise<void> => time.runtime.sleep(ms);
  const server = scriptedServer(
    setup.hints ?? { readOnlyHint: true },
    answers.map((make) => () => make(sleep)),
  );
  const wrapped = wrapTransport(server.transport, [hedge({ delayMs: 100, ...setup.hedge })], {
    runtime: time.runtime,
    trustAnnotations: true,
    ...setup.wrap,
  });
  const answer = new Promise<Record<string, unknown>>((resolve) => {
    wrapped.onmessage = (message) => resolve(message as Record<string, unknown>);
    void wrapped.send({ id: 1, method: "tools/call", params: { name: "read", arguments: {} } });
  });
  return { time, server, answer: time.run(answer) };
}

const text = (value: string): ToolResult => ({ content: [{ type: "text", text: value }] });
const after = (ms: number, value: ToolResult) => async (sleep: (ms: number) => Promise<void>) => {
  await sleep(ms);
  return value;
};

describe("hedge", () => {
  test("makes one attempt when the answer comes before the delay", async () => {
    const { server, answer } = call([after(50, text("first"))]);
    expect(await answer).toMatchObject({ id: 1, result: text("first") });
    expect(server.executions()).toBe(1);
  });

  test("starts a second attempt after the delay, takes the first success and cancels the loser", async () => {
    const reports: unknown[] = [];
    const { time, server, answer } = call([after(5000, text("slow")), after(10, text("fast"))], {
      wrap: { onReport: (report) => void reports.push(report) },
    });
    expect(await answer).toMatchObject({ id: 1, result: text("fast") });
    expect(time.now()).toBe(110);
    expect(server.received.filter(({ method }) => method === "notifications/cancelled")).toHaveLength(1);
    expect(reports).toEqual([expect.objectContaining({ attempts: 2, status: "completed", execution: "executed" })]);
  });

  test.each([
    ["a destructive tool", { hints: { destructiveHint: true } }],
    ["an untrusted server", { wrap: { trustAnnotations: false } }],
  ])("never starts one for %s", async (_, setup) => {
    const { server, answer } = call([after(5000, text("slow"))], setup);
    expect(await answer).toMatchObject({ result: text("slow") });
    expect(server.executions()).toBe(1);
  });

  test("never starts one while the first attempt still waits in a queue, for it could run twice later", async () => {
    const time = virtualTime();
    const queue: Middleware = async (ctx, next) => {
      await ctx.call.runtime.sleep(1000);
      return next(ctx);
    };
    const tool = scriptedTool([{ result: text("once") }]);
    await time.run(run(pipeline([hedge({ delayMs: 100 }), queue], tool), { tool: "pay" }, { runtime: time.runtime }));
    expect(tool.executions).toBe(1);
  });

  test("starts no more than max attempts", async () => {
    const { server, answer } = call(
      [1, 2, 3, 4].map(() => after(5000, text("slow"))),
      { hedge: { max: 3 } },
    );
    await answer;
    expect(server.executions()).toBe(3);
  });

  test("draws on the retry budget", async () => {
    const budget = retryBudget({ ratio: 0, minPerSecond: 0 });
    const { server, answer } = call([after(5000, text("slow"))], { hedge: { budget } });
    await answer;
    expect(server.executions()).toBe(1);
  });

  test("never asks verify", async () => {
    let asked = 0;
    const { server, answer } = call([after(5000, text("slow"))], {
      hints: {},
      wrap: {
        verify: () => {
          asked += 1;
          return { execution: "not-executed" };
        },
      },
    });
    await answer;
    expect([server.executions(), asked]).toEqual([1, 0]);
  });

  test("waits for the attempt that can still succeed when another one fails", async () => {
    const failed: ToolResult = { ...text("no"), isError: true };
    const { answer } = call([after(400, text("late success")), after(10, failed)]);
    expect(await answer).toMatchObject({ result: text("late success") });
  });

  test("ends with the failure of the tool, not with a refusal, when every attempt fails", async () => {
    const time = virtualTime();
    const failed: ToolResult = { ...text("no"), isError: true };
    let attempts = 0;
    const refuseFirst: Middleware = async (ctx, next) => {
      attempts += 1;
      if (attempts > 1) return next(ctx);
      await ctx.call.runtime.sleep(1000);
      const outcome: Outcome = { status: "rejected", execution: "not-executed", transient: true };
      throw new McpTxError("open", "circuit_open", { outcome });
    };
    const trusting: WrapOptions = { runtime: time.runtime, trustAnnotations: true };
    const server = scriptedServer({ idempotentHint: true }, [async () => failed]);
    const wrapped = wrapTransport(server.transport, [hedge({ delayMs: 100 }), refuseFirst], trusting);
    const answer = new Promise((resolve) => {
      wrapped.onmessage = resolve;
      void wrapped.send({ id: 1, method: "tools/call", params: { name: "read", arguments: {} } });
    });
    expect(await time.run(answer)).toMatchObject({ result: failed });
  });

  test("settles at once when the caller aborts, and leaves no timer", async () => {
    const time = virtualTime();
    const controller = new AbortController();
    const tool = scriptedTool([{ hang: true }]);
    const handler = pipeline([hedge({ delayMs: 100 })], tool);
    const result = run(
      handler,
      { tool: "pay", options: { signal: controller.signal } },
      { runtime: time.runtime },
    ).catch((error: unknown) => error);
    await time.advance(50);
    controller.abort(new Error("enough"));
    expect(await result).toBe(controller.signal.reason);
    expect(reportOf(controller.signal.reason)).toMatchObject({ status: "cancelled", execution: "unknown" });
    expect(time.timers).toBe(0);
  });

  test.each([
    [undefined, /options|delayMs/],
    [{}, /hedge: delayMs is required/],
    [{ delayMs: -1 }, /hedge: delayMs/],
    [{ delayMs: 1, max: 0 }, /hedge: max/],
    [{ delayMs: 1, attempts: 2 }, /unknown option "attempts"/],
  ])("refuses %j, naming what is wrong", (options, message) => {
    expect(() => hedge(options as HedgeOptions)).toThrow(message);
  });
});

describe("conformance", () => {
  for (const { name, run: check } of middlewareContract(() => hedge({ delayMs: 10 }))) test(name, check);
});

const brokenBudget = {
  deposit: (): never => {
    throw new Error("no books");
  },
  withdraw: (): never => {
    throw new Error("no books");
  },
  remaining: () => 0,
};

test("a budget that throws does not replace the result, and allows no hedge", async () => {
  const time = virtualTime();
  const tool = scriptedTool([{ result: { content: [] } }]);
  const handler = pipeline([hedge({ delayMs: 10, budget: brokenBudget })], tool);
  await expect(run(handler, { tool: "t" }, { runtime: time.runtime })).resolves.toEqual({ content: [] });
});

/** A server that fails its first call that many microtasks after it has listed its tools, and answers every other one. */
function failingAfterList(ticks: number) {
  let executions = 0;
  let first: unknown;
  const answer = (id: unknown, content: object): void => transport.onmessage?.({ jsonrpc: "2.0", id, ...content });
  const transport = {
    onmessage: undefined as ((message: object) => void) | undefined,
    async send({ id, method }: { readonly id?: unknown; readonly method?: string }): Promise<void> {
      if (method === "tools/call") {
        executions += 1;
        if (executions > 1) answer(id, { result: { content: [] } });
        else first = id;
      }
      if (method !== "tools/list") return;
      answer(id, { result: { tools: [{ name: "read", annotations: { readOnlyHint: true } }] } });
      for (let tick = 0; tick < ticks; tick += 1) await undefined;
      answer(first, { error: { code: -5, message: "no" } });
    },
  };
  return { transport, executions: () => executions };
}

test("starts nothing once the last attempt has ended the race, however close to the gate's answer", async () => {
  const started = new Set<number>();
  for (let ticks = 0; ticks < 40; ticks += 1) {
    const server = failingAfterList(ticks);
    const host = wrapTransport(server.transport, [hedge({ delayMs: 0 })], { trustAnnotations: true });
    const answers: object[] = [];
    host.onmessage = (message) => answers.push(message);
    await host.send({ id: 1, method: "tools/call", params: { name: "read" } } as never);
    started.add(server.executions());
    expect(answers).toMatchObject([server.executions() === 1 ? { error: { code: -5 } } : { result: {} }]);
  }
  // Some came before the gate's answer, some after.
  expect(started).toEqual(new Set([1, 2]));
});

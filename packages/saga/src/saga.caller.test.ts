import { type Caller, McpTxError, type Middleware, type ToolResult } from "@mcp-tx/core";
import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { diesAt } from "./mortal.fixture.js";
import type { StepRetry } from "./policy.js";
import { createSagaRunner } from "./runner.js";
import type { SagaRunnerOptions } from "./runner-types.js";
import { saga } from "./saga.js";
import { LostAnswer, type ProcessOptions, type Wire, type WorldOptions, world } from "./world.fixture.js";

const step = <const N extends string>(name: N) => ({ name, tool: name, compensate: { tool: `undo-${name}` } });
const definition = defineSaga("s").step(step("a")).step(step("b"));

function scene(options: Omit<WorldOptions, "names"> = {}) {
  const server = world({ names: ["a", "undo-a", "b", "undo-b"], ...options });
  const { runtime } = server.time;
  const store = memorySagaStore({ runtime });
  const runner = (process: ProcessOptions = {}, own: Partial<SagaRunnerOptions> = {}) =>
    createSagaRunner({ caller: server.caller(process), store, runtime, leaseMs: 1000, ...own });
  return { ...server, store, runner };
}

const fail = (): never => {
  throw new Error("no stock");
};
/** Loses the first answer of a tool. */
const losingOnce = (lost: string): Wire => {
  let isLost = false;
  return async (tool, send) => {
    const answer = await send();
    if (tool !== lost || isLost) return answer;
    isLost = true;
    throw new LostAnswer("gone");
  };
};

describe("a step's own patience", () => {
  async function calls(retry: StepRetry, options: Omit<WorldOptions, "names"> = {}, process: ProcessOptions = {}) {
    const here = scene(options);
    const outcome = await here.time.run(here.runner(process).run(defineSaga("s").step({ ...step("a"), retry }), {}));
    return { ...here, outcome };
  }

  it("calls once when it is not asked for more", async () => {
    const { log } = await calls({}, { tools: { a: fail } });
    expect(log).toEqual(["a", "undo-a"]);
  });

  it("ends when its function says so, and asks it about each failure", async () => {
    const asked: unknown[] = [];
    const retryOn: StepRetry["retryOn"] = ({ execution }, { tool, call, error }) => {
      asked.push([execution, tool, call, (error as Error).name]);
      return call < 2;
    };
    const { log } = await calls({ maxAttempts: 9, retryOn }, { tools: { a: fail } });
    expect(log).toEqual(["a", "a", "undo-a"]);
    expect(asked).toEqual([
      ["executed", "a", 1, "ToolError"],
      ["executed", "a", 2, "ToolError"],
    ]);
  });

  it("counts a function that throws as one without an opinion", async () => {
    const { log } = await calls({ maxAttempts: 3, retryOn: fail }, { tools: { a: fail } });
    expect(log).toEqual(["a", "a", "a", "undo-a"]);
  });

  it("grows from one repetition to the next, up to its bound", async () => {
    const retry = { maxAttempts: 5, baseDelayMs: 100, maxDelayMs: 300, jitter: "none" } as const;
    const { time } = await calls(retry, { tools: { a: fail } });
    expect(time.now()).toBe(100 + 200 + 300 + 300);
  });

  it("waits as long as a refusal asks for, but no year", async () => {
    let refused = 0;
    const busy: Middleware = (ctx, next) => {
      refused += 1;
      if (refused > 2) return next(ctx);
      const retryAfterMs = refused === 1 ? 7000 : 1e12;
      const outcome = { status: "throttled", execution: "not-executed", transient: true, retryAfterMs } as const;
      throw new McpTxError("busy", "rate_limited", { outcome });
    };
    const { time, outcome } = await calls({ maxAttempts: 3, baseDelayMs: 0 }, {}, { middleware: [busy] });
    expect(outcome).toMatchObject({ status: "completed", steps: [{ calls: 3 }] });
    expect(time.now()).toBe(7000 + 300_000);
  });

  it("remembers a failure when a later call is refused: half of the work may be done", async () => {
    let reached = 0;
    const busy: Middleware = (ctx, next) => {
      if (ctx.tool === "a") reached += 1;
      if (ctx.tool !== "a" || reached === 1) return next(ctx);
      const outcome = { status: "rejected", execution: "not-executed", transient: true } as const;
      throw new McpTxError("busy", "circuit_open", { outcome });
    };
    const { log, outcome } = await calls({ maxAttempts: 3 }, { tools: { a: fail } }, { middleware: [busy] });
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["a"], steps: [{ status: "failed" }] });
    expect(log).toEqual(["a", "undo-a"]);
  });

  it.each<[StepRetry["replay"], string[], string]>([
    ["always", ["a", "a"], "completed"],
    ["safe", ["a", "undo-a"], "stuck"],
    ["never", ["a", "undo-a"], "stuck"],
  ])("with replay %j decides about an unknown call of a plain tool", async (replay, log, status) => {
    const given = await calls({ replay }, {}, { wire: losingOnce("a") });
    expect(given.log).toEqual(log);
    expect(given.outcome).toMatchObject({ status });
  });

  it("settles an unknown call on a server that keeps records, whatever the answer", async () => {
    for (const [tools, log, status] of [
      [{}, ["a"], "completed"],
      [{ a: fail }, ["a", "undo-a"], "compensated"],
    ] as const) {
      const given = await calls({}, { announces: true, tools }, { wire: losingOnce("a") });
      expect(given.log).toEqual(log);
      expect(given.outcome).toMatchObject({ status, unknown: [] });
    }
  });
});

describe("saga()", () => {
  it("has its place in a pipeline, where it is not added once more", async () => {
    const { runner, time, seen } = scene();
    const order: string[] = [];
    const outer: Middleware = (ctx, next) => {
      order.push("outer");
      return next(ctx);
    };
    expect(await time.run(runner({ middleware: [outer, saga()] }).run(definition, {}))).toMatchObject({
      status: "completed",
    });
    expect([order.length, seen.length]).toEqual([2, 2]);
  });

  it("leaves other calls alone, and honours the key of those that it makes", async () => {
    const { caller } = scene();
    const wrapped = caller({ middleware: [saga()] });
    expect(await wrapped.invoke("a")).toEqual({ did: "a" });
    await expect(wrapped.call("a", {}, { saga: undefined })).resolves.toMatchObject({
      structuredContent: { did: "a" },
    });
  });

  it("tells the call's listeners which step it is", async () => {
    const { runner, time } = scene();
    const told: unknown[] = [];
    const onEvent = (name: string, detail: unknown): void => {
      if (name === "saga.step") told.push(detail);
    };
    await time.run(runner({ onEvent }).run(definition, {}, { id: "1" }));
    expect(told[0]).toEqual({ saga: "s", id: "1", step: "a", phase: "action", tool: "a" });
    expect(told).toHaveLength(2);
  });

  it("writes the intent last: a refusal before the dispatch leaves none", async () => {
    const { runner, time, store } = scene();
    const closed: Middleware = (ctx, next) => {
      if (ctx.tool !== "b") return next(ctx);
      throw new McpTxError("closed", "circuit_open", {
        outcome: { status: "rejected", execution: "not-executed", transient: false },
      });
    };
    const outcome = await time.run(runner({ middleware: [closed] }).run(definition, {}, { id: "1" }));
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["a"], steps: [{}, { status: "not-run" }] });
    const intents = (await store.entries("1")).filter(
      ({ body }) => body.includes('"intent"') && body.includes('\\"b\\"'),
    );
    expect(intents).toEqual([]);
  });
});

describe("a caller of another making", () => {
  function foreign(answer: (tool: string) => Promise<ToolResult>) {
    const log: string[] = [];
    const call = (tool: string): Promise<ToolResult> => {
      log.push(tool);
      return answer(tool);
    };
    const caller: Caller<unknown> = { call, invoke: () => Promise.reject(new Error("not used")) };
    return { caller, log };
  }
  const fine: ToolResult = { content: [], structuredContent: { ok: true } };

  it("is known to have run what it answers, also with a failure", async () => {
    const { runner, time } = scene();
    const { caller, log } = foreign(async (tool) => (tool === "b" ? { content: [], isError: true } : fine));
    const outcome = await time.run(runner({}, { caller }).run(definition, {}));
    expect(outcome).toMatchObject({ status: "compensated", unknown: [], compensated: ["b", "a"] });
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });

  it("leaves a call unknown that it rejects, and is not asked to send it again", async () => {
    const { runner, time } = scene();
    const { caller, log } = foreign(async (tool) => (tool === "b" ? fail() : fine));
    const outcome = await time.run(runner({}, { caller }).run(definition, {}));
    expect(outcome).toMatchObject({ status: "stuck", unknown: ["b"], compensated: ["b", "a"] });
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });

  it("is not sent again what another process may have sent", async () => {
    const { runner, time, store } = scene();
    const dead = diesAt("after append");
    const first = foreign(async () => fine);
    const lost = runner({}, { caller: first.caller, store: dead.over(store) }).run(definition, {}, { id: "1" });
    await expect(time.run(Promise.race([lost, dead.stopped]))).rejects.toThrow("after append");
    await time.advance(1001);
    const second = foreign(async () => fine);
    const outcome = await time.run(runner({}, { caller: second.caller }).run(definition, {}, { id: "1" }));
    expect(outcome).toMatchObject({ status: "stuck", unknown: ["a"], compensated: ["a"] });
    expect([first.log, second.log]).toEqual([[], ["undo-a"]]);
  });
});

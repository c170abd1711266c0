import { join } from "node:path";
import {
  type CallContext,
  type Caller,
  defaultRuntime,
  type Handler,
  McpTxError,
  type Middleware,
  pipeline,
  run,
  wrapClient,
} from "@mcp-tx/core";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import {
  createSagaRunner,
  defineSaga,
  memorySagaStore,
  type SagaRunner,
  type SagaRunnerOptions,
  saga,
  unchecked,
} from "@mcp-tx/saga";
import { sqliteStore } from "@mcp-tx/sqlite";
import { describe, expect, expectTypeOf, onTestFinished, test } from "vitest";
import { z } from "zod";
import { tempFolder } from "./fixtures/idempotent-servers.js";
import { guardedShop, type Shop, STREETS, type Street } from "./fixtures/saga-servers.js";

/** Sagas over real SDK clients, against real servers. */

interface Order {
  readonly sku: string;
  readonly answersAfterMs?: number;
  readonly fails?: boolean;
  readonly declines?: boolean;
}

const Reservation = z.object({ id: z.string(), sku: z.string() });

/** An order whose charge is given some time to answer. */
function orderWithin(timeoutMs: number) {
  return defineSaga<Order>("order")
    .step({
      name: "reserve",
      tool: "reserve",
      args: ({ input }) => ({ sku: input.sku }),
      output: Reservation,
      compensate: { tool: "release" },
    })
    .step({
      name: "charge",
      tool: "charge",
      args: ({ input: { answersAfterMs = 0, fails = false, declines = false }, reserve }) => {
        expectTypeOf(reserve.id).toEqualTypeOf<string>();
        return { reservation: reserve.id, answersAfterMs, fails, declines };
      },
      output: unchecked<{ readonly receipt: string }>(),
      timeoutMs,
      compensate: { tool: "refund" },
    });
}

const PLENTY_MS = 20_000;
const SHORT_MS = 250;
/** Longer than the first call waits, shorter than it and its two repetitions do. */
const LATE_MS = 400;
/** What the runner has by default. */
const LEASE_MS = 30_000;
const order = orderWithin(PLENTY_MS);
const hasty = orderWithin(SHORT_MS);

const toolsIn = (shop: Shop): readonly string[] => shop.executions().map(({ tool }) => tool);

/** Repetitions do not wait, and there are enough of them for a busy machine. */
const AT_ONCE = {
  compensationRetry: { maxAttempts: 2, baseDelayMs: 0 },
  settleRetry: { maxAttempts: 20, baseDelayMs: 0 },
};

/** What a client's caller and a runner over it make of the same shop. */
function runnerOver(
  shop: Pick<Shop, "client">,
  middleware: readonly Middleware[] = [],
  more: Partial<SagaRunnerOptions> = {},
) {
  const caller = wrapClient(shop.client, middleware) as unknown as Caller<unknown>;
  const runner = createSagaRunner({ caller, ...AT_ONCE, ...more });
  onTestFinished(() => runner.close());
  return runner;
}

/** How many intents the journal of saga "1" holds for a step. */
async function sentOf(runner: SagaRunner, name: string): Promise<number | undefined> {
  const timeline = await runner.timeline("1");
  return timeline?.events.filter(({ step, type }) => step === name && type === "sent").length;
}

/** Stores in a file, whose clock can be set forward. */
function sqliteFile() {
  let aheadMs = 0;
  const runtime = { ...defaultRuntime, wallNow: () => Date.now() + aheadMs };
  const store = sqliteStore({ path: join(tempFolder(), "sagas.db"), runtime });
  onTestFinished(() => store.close());
  return {
    ...store,
    pass: (ms: number) => {
      aheadMs += ms;
    },
  };
}

const ANNOUNCING = [false, true] as const;

describe.each(STREETS)("$on", ({ open }: Street) => {
  test.each(ANNOUNCING)("undoes a step that fails and those before it (announcing: %s)", async (announces) => {
    const shop = await open(announces);
    const outcome = await runnerOver(shop).run(order, { sku: "A", fails: true }, { id: "1" });
    expect(outcome).toMatchObject({
      status: "compensated",
      compensated: ["charge", "reserve"],
      error: { message: expect.stringContaining("the card is refused") },
    });
    expect(toolsIn(shop)).toEqual(["reserve", "charge", "refund", "release"]);
    const [refund, release] = shop.executions().slice(2);
    expect(refund?.args).toEqual({
      originalArgs: { reservation: "R-A", answersAfterMs: 0, fails: true, declines: false },
      originalResult: null,
    });
    expect(release?.args).toEqual({ originalArgs: { sku: "A" }, originalResult: { id: "R-A", sku: "A" } });
  });

  test("a step without an answer is undone and the saga stuck, where nobody knows whether it ran", async () => {
    const shop = await open(false);
    const outcome = await runnerOver(shop).run(hasty, { sku: "A", answersAfterMs: LATE_MS }, { id: "1" });
    expect(outcome).toMatchObject({
      status: "stuck",
      unknown: ["charge"],
      compensated: ["charge", "reserve"],
      failedCompensations: [],
    });
    expect(toolsIn(shop)).toEqual(["reserve", "charge", "refund", "release"]);
  });

  test("a step without an answer is asked after, and runs once, where the server keeps records", async () => {
    const shop = await open(true);
    const outcome = await runnerOver(shop).run(hasty, { sku: "A", answersAfterMs: LATE_MS }, { id: "1" });
    expect(outcome).toMatchObject({ status: "completed", results: { charge: { receipt: "C-R-A" } }, unknown: [] });
    expect(outcome.steps[1]?.calls).toBeGreaterThan(1);
    expect(outcome.steps[1]?.report).toMatchObject({ duplicate: true, execution: "executed" });
    expect(toolsIn(shop)).toEqual(["reserve", "charge"]);
  });

  test.each(ANNOUNCING)("completes, with structured results typed through (announcing: %s)", async (announces) => {
    const shop = await open(announces);
    const tools = (): Promise<never> => shop.client.listTools() as Promise<never>;
    const outcome = await runnerOver(shop, [], { tools }).run(order, { sku: "A" }, { id: "1" });
    if (outcome.status !== "completed") throw new Error(`it is ${outcome.status}: ${outcome.error.message}`);
    expectTypeOf(outcome.results.reserve).toEqualTypeOf<{ id: string; sku: string }>();
    expectTypeOf(outcome.results.charge.receipt).toEqualTypeOf<string>();
    expect(outcome.results).toEqual({ reserve: { id: "R-A", sku: "A" }, charge: { receipt: "C-R-A" } });
    expect(toolsIn(shop)).toEqual(["reserve", "charge"]);
  });
});

describe.each(STREETS.slice(0, 2))("pipelines, $on", ({ open }) => {
  test("saga() in the pipeline does the same, and tells of each call", async () => {
    const shop = await open(true);
    const seen: unknown[] = [];
    const caller = wrapClient(shop.client, [saga(), retry()], {
      onEvent: (name, detail) => {
        if (name === "saga.step") seen.push(detail);
      },
    }) as unknown as Caller<unknown>;
    const runner = createSagaRunner({ caller });
    const outcome = await runner.run(order, { sku: "A", fails: true }, { id: "1" });
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["charge", "reserve"] });
    expect(toolsIn(shop)).toEqual(["reserve", "charge", "refund", "release"]);
    expect(seen).toMatchObject([
      { saga: "order", id: "1", step: "reserve", phase: "action", tool: "reserve" },
      { step: "charge", phase: "action" },
      { step: "charge", phase: "compensation", tool: "refund" },
      { step: "reserve", phase: "compensation", tool: "release" },
    ]);
  });

  test("records of the client give the result of a step whose end was not written down", async () => {
    const shop = await open(false);
    const { saga: store, idempotency: records, pass } = sqliteFile();
    // The process dies, as it were, between the answer and the journal.
    let isDead = false;
    const gone = () => Promise.reject(new Error("gone"));
    const dying = new Proxy(store, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== "function") return member;
        return (...args: readonly unknown[]) => {
          isDead ||= name === "append" && /"end".*charge/.test(JSON.stringify(args).replaceAll("\\", ""));
          return isDead ? gone() : (member.apply(target, args) as unknown);
        };
      },
    });
    const layers = [idempotency({ store: records })];
    const first = runnerOver(shop, layers, { store: dying });
    await expect(first.run(order, { sku: "A" }, { id: "1" })).rejects.toThrow("interrupted");
    expect(toolsIn(shop)).toEqual(["reserve", "charge"]);
    const second = runnerOver(shop, layers, { store, sagas: [order] });
    expect(await second.recover()).toEqual([]);
    pass(LEASE_MS);
    expect(await second.recover()).toMatchObject([{ id: "1", status: "completed" }]);
    expect(await second.run(order, { sku: "A" }, { id: "1" })).toMatchObject({
      results: { charge: { receipt: "C-R-A" } },
      steps: [{}, { report: { duplicate: true, attempts: 0 } }],
    });
    expect(toolsIn(shop)).toEqual(["reserve", "charge"]);
  });

  test("retry() sends a call again that was not answered: one intent, one effect", async () => {
    const shop = await open(true);
    const within = { attemptTimeoutMs: SHORT_MS };
    const caller = wrapClient(shop.client, [retry({ baseDelayMs: 0, maxAttempts: 20 })], within);
    const runner = createSagaRunner({ caller: caller as unknown as Caller<unknown> });
    const outcome = await runner.run(order, { sku: "A", answersAfterMs: LATE_MS }, { id: "1" });
    expect(outcome.status).toBe("completed");
    expect(outcome.steps[1]).toMatchObject({ calls: 1, report: { duplicate: true } });
    expect(outcome.steps[1]?.report?.attempts).toBeGreaterThan(1);
    expect(await sentOf(runner, "charge")).toBe(1);
    expect(toolsIn(shop)).toEqual(["reserve", "charge"]);
  });
});

/** A shop that refuses charges, `times` times, before they run. */
function refusingShop(times: number, transient: boolean): Promise<Shop> {
  let refusals = 0;
  async function refuse(ctx: CallContext, next: Handler): ReturnType<Handler> {
    if (ctx.tool !== "charge" || refusals >= times) return next(ctx);
    refusals += 1;
    const status = transient ? "throttled" : "rejected";
    throw new McpTxError("no charges now", "rate_limited", {
      outcome: { status, execution: "not-executed", transient },
    });
  }
  return guardedShop([refuse]);
}

describe("a server that refuses", () => {
  test("a step of which its receipt says that it did not run is not undone", async () => {
    const shop = await refusingShop(Infinity, false);
    const outcome = await runnerOver(shop).run(order, { sku: "A" }, { id: "1" });
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["reserve"] });
    expect(outcome.steps[1]).toMatchObject({ step: "charge", status: "not-run" });
    expect(outcome.steps[1]?.compensation).toBeUndefined();
    expect(toolsIn(shop)).toEqual(["reserve", "release"]);
  });

  test.each(STREETS)("a step whose failure carries such a receipt is not undone, $on", async ({ open }) => {
    const shop = await open(false);
    const outcome = await runnerOver(shop).run(order, { sku: "A", declines: true }, { id: "1" });
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["reserve"] });
    expect(outcome.steps[1]).toMatchObject({ step: "charge", status: "not-run" });
    expect(toolsIn(shop)).toEqual(["reserve", "release"]);
  });

  test("retry() repeats within one call of the step: one intent, its attempts counted", async () => {
    const shop = await refusingShop(2, true);
    const runner = runnerOver(shop, [retry({ baseDelayMs: 0, maxAttempts: 5 })]);
    const outcome = await runner.run(order, { sku: "A" }, { id: "1" });
    expect(outcome.status).toBe("completed");
    expect(outcome.steps[1]).toMatchObject({ calls: 1, report: { attempts: 3 } });
    expect(await sentOf(runner, "charge")).toBe(1);
    expect(toolsIn(shop)).toEqual(["reserve", "charge"]);
  });
});

describe("stores that do not fit each other", () => {
  const caller = (middleware: Middleware): Caller<unknown> =>
    wrapClient({ callTool: async () => ({ content: [] }) }, middleware) as unknown as Caller<unknown>;

  test("records that are lost with the process are refused under a journal that is not", () => {
    const { saga: store } = sqliteFile();
    const volatile = caller(idempotency({ store: memoryStore() }));
    expect(() => createSagaRunner({ caller: volatile, store })).toThrow(/give idempotency\(\) a durable store/);
    expect(() => createSagaRunner({ caller: caller(idempotency()), store })).toThrow(/durable/);
    expect(() => createSagaRunner({ caller: volatile, store: memorySagaStore() })).not.toThrow();
  });

  test("records that may be missing are refused under a durable journal", () => {
    const { saga: store, idempotency: records } = sqliteFile();
    const bypassing = caller(idempotency({ store: records, storeErrors: "bypass" }));
    expect(() => createSagaRunner({ caller: bypassing, store })).toThrow(/bypass/);
    expect(() => createSagaRunner({ caller: caller(idempotency({ store: records })), store })).not.toThrow();
  });
});

describe("local callers", () => {
  /** A caller of functions, without any client. */
  function localCaller(middleware: readonly Middleware[], effects: string[]): Caller<unknown> {
    const handler = pipeline(middleware, async ({ tool, args }: CallContext) => {
      effects.push(tool);
      if (args["fails"] === true) return { content: [{ type: "text", text: "the card is refused" }], isError: true };
      return { content: [], structuredContent: { id: tool, sku: "A", receipt: tool } };
    });
    const call: Caller<unknown>["call"] = (tool, args, options) => run(handler, { tool, args, options });
    return { call, invoke: () => Promise.reject(new Error("it is not asked for")) };
  }

  test.each([
    { on: "without middleware", middleware: [] },
    { on: "with saga()", middleware: [saga()] },
    { on: "with records", middleware: [saga(), idempotency({ store: memoryStore() })] },
  ])("runs and undoes $on", async ({ middleware }) => {
    const effects: string[] = [];
    const runner = createSagaRunner({ caller: localCaller(middleware, effects) });
    expect(await runner.run(order, { sku: "A" }, { id: "1" })).toMatchObject({ status: "completed" });
    expect(effects).toEqual(["reserve", "charge"]);
    const failed = await runner.run(order, { sku: "A", fails: true }, { id: "2" });
    expect(failed).toMatchObject({ status: "compensated", compensated: ["charge", "reserve"] });
    expect(effects.slice(2)).toEqual(["reserve", "charge", "refund", "release"]);
  });

  test("numbers the calls of a unit, over all of its repetitions", async () => {
    const effects: string[] = [];
    const runner = createSagaRunner({ caller: localCaller([], effects), ...AT_ONCE });
    const once = defineSaga("once").step({
      name: "charge",
      tool: "charge",
      args: { fails: true },
      retry: { maxAttempts: 3, baseDelayMs: 0 },
      atomic: true,
    });
    expect(await runner.run(once, undefined, { id: "1" })).toMatchObject({ status: "compensated", compensated: [] });
    const { events = [] } = (await runner.timeline("1")) ?? {};
    expect(events.filter(({ type }) => type === "sent").map(({ call }) => call)).toEqual([1, 2, 3]);
    expect(effects).toEqual(["charge", "charge", "charge"]);
  });
});

import { type CircuitBreaker, CircuitOpenError, circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  type CallOptions,
  type CallReport,
  type Classifier,
  type Handler,
  type Middleware,
  pipeline,
  reportOf,
  run,
  type ToolResult,
} from "@mcp-tx/core";
import { context, type ScriptedStep, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { monitor } from "@mcp-tx/monitor";
import { otel, otelAttempt } from "@mcp-tx/otel";
import { type RateLimit, rateLimit } from "@mcp-tx/rate-limit";
import { hedge, retry } from "@mcp-tx/retry";
import { saga } from "@mcp-tx/saga";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { ReliableConfig } from "./config-types.js";
import { createPreset, standardOrder, wrapOptions } from "./standard-order.js";

const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };
const names = (config?: ReliableConfig): readonly string[] => standardOrder(config).map(({ name }) => name);

/** A failure of the transport, before anything was sent. */
const REFUSED = new Error("refused");
const asRefused: Classifier = ({ error }) =>
  error === REFUSED ? { execution: "not-executed", transient: true, code: "transport_error" } : undefined;

/** The pipeline of a configuration round a script, on virtual time. */
function play(config: ReliableConfig, steps: readonly ScriptedStep[] = [{ result: OK }]) {
  const time = virtualTime({ random: () => 0.5 });
  const tool = scriptedTool(steps, { repeatLast: true });
  const full: ReliableConfig = { classifiers: [asRefused], ...config, runtime: time.runtime };
  const { middleware, wrapOptions: options } = createPreset(full);
  const handler: Handler = pipeline(middleware, tool);
  const call = (name: string, args = {}, callOptions?: CallOptions): Promise<unknown> =>
    run(handler, { tool: name, args, options: callOptions, side: "client" }, options).catch((error: unknown) => error);
  const callInTime = (name: string, args = {}, callOptions?: CallOptions): Promise<unknown> =>
    time.run(call(name, args, callOptions));
  const reportIn = async (name: string, args = {}, callOptions?: CallOptions): Promise<CallReport | undefined> =>
    reportOf(await callInTime(name, args, callOptions));
  return { time, tool, middleware, call, callInTime, reportIn };
}

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe("the order", () => {
  test("by default is idempotency, retry and breaker", () => {
    expect(names()).toEqual(["idempotency", "retry", "circuitBreaker"]);
    expect(names({})).toEqual(names());
  });

  test("with everything is the standard one, wherever in the configuration it stands", () => {
    const extras = [otelAttempt(), saga(), monitor(), otel(), hedge({ delayMs: 10 })];
    const config: ReliableConfig = { middleware: extras, rateLimit: { rate: 5 }, concurrency: 3 };
    expect(names(config)).toEqual([
      ...["otel", "monitor", "saga", "idempotency", "retry", "hedge", "otelAttempt", "circuitBreaker"],
      ...["rateLimit", "concurrencyLimit"],
    ]);
  });

  test("has no layer for what is off", () => {
    const off: ReliableConfig = { idempotency: false, retry: false, circuitBreaker: false, rateLimit: false };
    expect(names({ ...off, concurrency: false })).toEqual([]);
  });

  test("has a middleware without a seat outside of all others", () => {
    const own: Middleware = function own(ctx, next) {
      return next(ctx);
    };
    expect(names({ middleware: [otel(), own] })).toEqual(["own", "otel", "idempotency", "retry", "circuitBreaker"]);
  });

  test("lets a default make room for what is brought along in its seat", () => {
    const brought = [retry({ maxAttempts: 7 }), circuitBreaker(), idempotency()];
    const order = standardOrder({ middleware: brought });
    expect(order).toHaveLength(3);
    expect(order).toEqual(expect.arrayContaining(brought));
  });

  test("keeps what is asked for by name beside what is brought along, and warns once where that does harm", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    const config: ReliableConfig = { retry: { maxAttempts: 2 }, middleware: [retry()] };
    expect(names(config)).toEqual(["idempotency", "retry", "retry", "circuitBreaker"]);
    standardOrder(config);
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn).toHaveBeenCalledWith(
      'retry() and retry() both take the seat "retry": their attempts multiply. Keep one of them.',
      { type: "McpTxWarning", code: "MCP_TX_ORDER" },
    );
  });

  test("warns through the logger where there is one, and in production not at all", () => {
    const emit = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
    const config: ReliableConfig = { idempotency: true, middleware: [idempotency()], logger };
    vi.stubEnv("NODE_ENV", "production");
    standardOrder(config);
    expect(logger.warn).not.toHaveBeenCalled();
    vi.stubEnv("NODE_ENV", "development");
    standardOrder(config);
    expect(logger.warn).toHaveBeenCalledTimes(1);
    expect(logger.warn.mock.calls[0]?.[1]).toContain('both take the seat "idempotency"');
    expect(emit).not.toHaveBeenCalled();
  });
});

describe("retries", () => {
  test("a call that was refused is made three times by default", async () => {
    const { reportIn, tool } = play({}, [{ error: REFUSED }]);
    expect(await reportIn("pay")).toMatchObject({ attempts: 3, status: "failed" });
    expect(tool.executions).toBe(3);
  });

  test("differ from tool to tool", async () => {
    const { reportIn } = play(
      {
        retry: { maxAttempts: 2 },
        circuitBreaker: false,
        tools: { "pay*": { retry: { maxAttempts: 5 } }, payNow: { retry: false } },
      },
      [{ error: REFUSED }],
    );
    expect(await reportIn("search")).toMatchObject({ attempts: 2 });
    expect(await reportIn("pay")).toMatchObject({ attempts: 5 });
    expect(await reportIn("payNow")).toMatchObject({ attempts: 1 });
  });

  test("of a tool have the options for all that it says nothing about, also after they were off in between", async () => {
    const { callInTime, time } = play(
      {
        retry: { jitter: "none", baseDelayMs: 100, multiplier: 1 },
        circuitBreaker: false,
        tools: { "*": { retry: false }, "pay*": { retry: { maxAttempts: 4 } } },
      },
      [{ error: REFUSED }],
    );
    expect(reportOf(await callInTime("pay"))).toMatchObject({ attempts: 4 });
    expect(time.now()).toBe(300);
    expect(reportOf(await callInTime("search"))).toMatchObject({ attempts: 1 });
  });

  test("that a tool does not have cannot be asked for by a call either", async () => {
    const { callInTime, tool } = play({ tools: { pay: { retry: false } } });
    const refusal = await callInTime("pay", {}, { retry: { maxAttempts: 2 } });
    expect(refusal).toBeInstanceOf(TypeError);
    expect((refusal as Error).message).toContain('nothing in the pipeline takes the call option "retry"');
    expect(tool.executions).toBe(0);
    expect(reportOf(await callInTime("search", {}, { retry: { maxAttempts: 2 } }))).toMatchObject({ attempts: 1 });
  });

  test("can be asked for by codes", async () => {
    const failed: ToolResult = { ...OK, isError: true };
    const { reportIn } = play({ tools: { flaky: { retry: { retryOn: ["tool_error"] } } } }, [{ result: failed }]);
    expect(await reportIn("flaky")).toMatchObject({ attempts: 3 });
    expect(await reportIn("other")).toMatchObject({ attempts: 1 });
  });

  test("start no later than two minutes after the call, unless a time limit says how long it may take", async () => {
    const slow = { retry: { jitter: "none", baseDelayMs: 50_000, maxDelayMs: 50_000, maxAttempts: 10 } } as const;
    const plain = play({ ...slow, circuitBreaker: false }, [{ error: REFUSED }]);
    expect(await plain.reportIn("pay")).toMatchObject({ attempts: 3 });
    const limited = play({ ...slow, circuitBreaker: false, timeoutMs: 260_000 }, [{ error: REFUSED }]);
    expect(await limited.reportIn("pay")).toMatchObject({ attempts: 6 });
    const one = play({ ...slow, circuitBreaker: false, tools: { pay: { timeoutMs: 260_000 } } }, [{ error: REFUSED }]);
    expect(await one.reportIn("pay")).toMatchObject({ attempts: 6 });
    expect(await one.reportIn("search")).toMatchObject({ attempts: 3 });
  });

  test("of all tools draw on one budget", async () => {
    const config: ReliableConfig = {
      retryBudget: { ratio: 0, minPerSecond: 0.3, ttlMs: 10_000 },
      circuitBreaker: false,
      tools: { b: { retry: { maxAttempts: 3 } } },
    };
    const { reportIn } = play(config, [{ error: REFUSED }]);
    expect(await reportIn("a")).toMatchObject({ attempts: 3 });
    expect(await reportIn("b")).toMatchObject({ attempts: 2 });
    const endless = play({ ...config, retryBudget: false }, [{ error: REFUSED }]);
    expect(await endless.reportIn("a")).toMatchObject({ attempts: 3 });
    expect(await endless.reportIn("b")).toMatchObject({ attempts: 3 });
  });
});

describe("idempotency", () => {
  const KEY = { idempotencyKey: "order-1" };

  test("is on by default: a duplicate gets the first one's result", async () => {
    const { reportIn, tool } = play({});
    expect(await reportIn("pay", {}, KEY)).toMatchObject({ duplicate: false, attempts: 1 });
    expect(await reportIn("pay", {}, KEY)).toMatchObject({ duplicate: true, attempts: 0 });
    expect(tool.executions).toBe(1);
  });

  test("forgets after the window of the tool", async () => {
    const { reportIn, time } = play({ idempotency: { ttlMs: 1000 }, tools: { pay: { idempotency: { ttlMs: 5000 } } } });
    await reportIn("pay", {}, KEY);
    await reportIn("search", {}, KEY);
    await time.advance(2000);
    expect(await reportIn("pay", {}, KEY)).toMatchObject({ duplicate: true });
    expect(await reportIn("search", {}, KEY)).toMatchObject({ duplicate: false });
    await time.advance(5000);
    expect(await reportIn("pay", {}, KEY)).toMatchObject({ duplicate: false });
  });

  test("makes keys of arguments for the tools that say so", async () => {
    const { reportIn, tool } = play({ tools: { "pay*": { idempotency: { key: { fields: ["orderId"] } } } } });
    await reportIn("pay", { orderId: 7 });
    expect(await reportIn("pay", { orderId: 7 })).toMatchObject({ duplicate: true, idempotencyKey: "[7]" });
    await reportIn("search", { orderId: 7 });
    expect(await reportIn("search", { orderId: 7 })).toMatchObject({ duplicate: false });
    expect(tool.executions).toBe(3);
  });

  test("takes a key function", async () => {
    const { reportIn } = play({ idempotency: { key: ({ args }) => `order-${String(args["id"])}` } });
    await reportIn("pay", { id: 1 });
    expect(await reportIn("pay", { id: 1 })).toMatchObject({ duplicate: true, idempotencyKey: "order-1" });
  });

  test("that a tool does not have refuses its keys", async () => {
    const { callInTime, tool } = play({ tools: { "search*": { idempotency: false } } });
    const refusal = await callInTime("search", {}, KEY);
    expect(refusal).toBeInstanceOf(TypeError);
    expect((refusal as Error).message).toContain("nothing honours idempotencyKey");
    expect(tool.executions).toBe(0);
  });

  test("can be on for some tools alone", async () => {
    const { reportIn, callInTime } = play({ idempotency: false, tools: { pay: { idempotency: true } } });
    await reportIn("pay", {}, KEY);
    expect(await reportIn("pay", {}, KEY)).toMatchObject({ duplicate: true });
    expect(await callInTime("search", {}, KEY)).toBeInstanceOf(TypeError);
  });

  test("keeps all records in one store, so that whoever pins them finds them", async () => {
    const store = memoryStore();
    const order = standardOrder({ idempotency: { store }, tools: { pay: { idempotency: { ttlMs: 5 } } } });
    expect(order[0]?.records).toMatchObject({ durable: false, bypasses: false });
    expect(order[0]?.name).toBe("idempotencyPerTool");
    const off = standardOrder({ tools: { pay: { idempotency: false } } });
    expect(off[0]?.records).toMatchObject({ durable: false });
    expect(off[0]?.seat).toBe("idempotency");
  });
});

describe("what a server announces", () => {
  const store = memoryStore();
  const windowOf = (config: ReliableConfig) => {
    const [layer] = standardOrder(config);
    expect(layer?.seat).toBe("idempotency");
    return layer?.announces?.({});
  };

  test("is the shortest time for which a tool keeps its records", () => {
    const tools = { "a*": { idempotency: { ttlMs: 500 } }, b: { idempotency: { ttlMs: 9000 } } };
    const idempotency = { store, ttlMs: 1000 };
    expect(windowOf({ idempotency })).toMatchObject({ storeId: store.storeId, windowMs: 1000 });
    expect(windowOf({ idempotency, tools })).toEqual({ storeId: store.storeId, windowMs: 500, durable: false });
    const fields = { "*": { idempotency: { key: { fields: ["id"] } } } };
    expect(windowOf({ idempotency, tools: fields })).toMatchObject({ windowMs: 1000 });
  });

  test("is nothing when some tool keeps no records, or records are passed by", () => {
    expect(windowOf({ idempotency: { store }, tools: { a: { idempotency: false } } })).toBeUndefined();
    const tools = { a: { idempotency: { ttlMs: 5 } } };
    expect(windowOf({ idempotency: { store, storeErrors: "bypass" }, tools })).toBeUndefined();
  });

  test("is refused without a store of its own", () => {
    const tools = { a: { idempotency: { ttlMs: 5 } } };
    expect(() => windowOf({})).toThrow("store is required on a server");
    expect(() => windowOf({ tools })).toThrow("store is required on a server");
    expect(() => windowOf({ tools: { a: { idempotency: false } } })).toThrow("store is required on a server");
  });
});

describe("circuits", () => {
  test("open after five failures in a row of one tool, and only for it", async () => {
    const { callInTime, tool } = play({ retry: false }, [{ error: REFUSED }]);
    for (let index = 0; index < 5; index += 1) await callInTime("pay");
    expect(CircuitOpenError.isInstance(await callInTime("pay"))).toBe(true);
    expect(tool.executions).toBe(5);
    await callInTime("search");
    expect(tool.executions).toBe(6);
  });

  test("of tools with options of their own are their own", async () => {
    const config: ReliableConfig = {
      retry: false,
      tools: { "pay*": { circuitBreaker: { consecutiveFailures: 1 } }, payNow: { circuitBreaker: false } },
    };
    const { callInTime, tool } = play(config, [{ error: REFUSED }]);
    await callInTime("payLater");
    expect(CircuitOpenError.isInstance(await callInTime("payLater"))).toBe(true);
    expect(await callInTime("payOther")).toBe(REFUSED);
    for (let index = 0; index < 7; index += 1) expect(await callInTime("payNow")).toBe(REFUSED);
    expect(tool.executions).toBe(9);
  });

  test("can be one for the whole server", async () => {
    const { callInTime } = play({ retry: false, circuitBreaker: { key: "server", consecutiveFailures: 2 } }, [
      { error: REFUSED },
    ]);
    await callInTime("a");
    await callInTime("b");
    expect(CircuitOpenError.isInstance(await callInTime("c"))).toBe(true);
  });

  test("are told by all breakers, those that were brought along included", async () => {
    const own = circuitBreaker();
    expect(createPreset({ middleware: [own] }).breakers).toEqual([own]);
    expect(createPreset({}).breakers).toHaveLength(1);
    expect(createPreset({ circuitBreaker: true, middleware: [own] }).breakers).toHaveLength(2);
    expect(createPreset({ circuitBreaker: false }).breakers).toEqual([]);
  });

  test("of all tools are told as one, whatever options they have", async () => {
    const tools = { "b*": { circuitBreaker: { consecutiveFailures: 1 } }, c: { circuitBreaker: false } } as const;
    const { callInTime, middleware } = play({ retry: false, tools, circuitBreaker: { consecutiveFailures: 2 } }, [
      { error: REFUSED },
    ]);
    const [breaker] = middleware.filter(({ seat }) => seat === "breaker") as unknown as readonly CircuitBreaker[];
    expect(breaker?.snapshot()).toMatchObject({ version: 1, circuits: [], isolated: [] });
    for (const tool of ["a", "b1", "b2", "c"]) await callInTime(tool);
    const states = breaker?.snapshot().circuits.map(({ tool, state }) => `${tool} ${state}`);
    expect(states?.sort()).toEqual(["a closed", "b1 open", "b2 open"]);
    expect(breaker?.snapshot().takenAtWall).toBeGreaterThan(0);
  });
});

/** How many run at once, and of which tools at most. */
function crowd() {
  const running = new Map<string, number>();
  const most = new Map<string, number>();
  const change = (name: string, by: number): void => {
    const now = (running.get(name) ?? 0) + by;
    running.set(name, now);
    most.set(name, Math.max(most.get(name) ?? 0, now));
  };
  const step: ScriptedStep = async ({ tool, call }) => {
    for (const name of [tool, "all"]) change(name, 1);
    await call.runtime.sleep(10);
    for (const name of [tool, "all"]) change(name, -1);
    return OK;
  };
  return { step, most };
}

describe("limits", () => {
  test("of concurrency hold for the server, and within it for each tool that has one", async () => {
    const { step, most } = crowd();
    const tools = { "export*": { concurrency: 2 }, ping: { concurrency: false } } as const;
    const { call, time } = play({ concurrency: 5, tools }, [step]);
    const names = ["exportA", "exportB", "search", "ping"].flatMap((name) => Array<string>(10).fill(name));
    await time.run(Promise.all(names.map((name) => call(name))));
    expect(most.get("exportA")).toBe(2);
    expect(most.get("exportB")).toBe(2);
    expect(most.get("ping")).toBe(10);
    expect(most.get("all")).toBe(15);
  });

  test("of concurrency of tools alone leave the others unlimited", async () => {
    const { step, most } = crowd();
    const { call, time } = play({ tools: { export: { concurrency: { max: 1, key: "server" } } } }, [step]);
    await time.run(Promise.all(["export", "search"].flatMap((name) => Array.from({ length: 6 }, () => call(name)))));
    expect(most.get("export")).toBe(1);
    expect(most.get("search")).toBe(6);
  });

  /** When each call of some tools leaves, all made at once. */
  async function departures(config: ReliableConfig, names: readonly string[]) {
    const at: (readonly [tool: string, when: number])[] = [];
    const { call, time } = play(config, [
      ({ tool, call: { runtime } }) => {
        at.push([tool, runtime.now()]);
        return OK;
      },
    ]);
    await time.run(Promise.all(names.map((name) => call(name))));
    return at;
  }

  test("of rate hold for each tool that has one", async () => {
    const config: ReliableConfig = { rateLimit: { rate: 10 }, tools: { "slow*": { rateLimit: { rate: 1 } } } };
    const names = ["slowA", "slowA", "slowA", "slowB", "fast", "fast", "fast"];
    const at = await departures(config, names);
    const of = (name: string) => at.filter(([tool]) => tool === name).map(([, when]) => Math.round(when));
    expect(of("slowA")).toEqual([0, 1000, 2000]);
    expect(of("slowB")).toEqual([0]);
    expect(of("fast")).toEqual([0, 0, 0]);
  });

  test("of rate hold for the server, tools with one of their own included", async () => {
    const config: ReliableConfig = {
      rateLimit: { rate: 10 },
      tools: { "slow*": { rateLimit: { rate: 5, burst: 9 } } },
    };
    const at = await departures(
      config,
      Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? "slow" : "fast")),
    );
    expect(at).toHaveLength(40);
    for (const [, start] of at) {
      expect(at.filter(([, when]) => when >= start && when < start + 999).length).toBeLessThanOrEqual(20);
    }
    expect(at.filter(([, when]) => when === 0)).toHaveLength(10);
  });

  test("of rate tell what is left, each for the tools that it holds for", async () => {
    const tools = { slow: { rateLimit: { rate: 1, burst: 3 } }, ping: { rateLimit: false } } as const;
    const { callInTime, middleware, time } = play({ rateLimit: { rate: 10 }, tools });
    const asked = middleware.filter(({ seat }) => seat === "rate-limit") as unknown as readonly RateLimit[];
    const left = (tool: string) =>
      asked.map((limit) => limit.quota(context({ tool }, { runtime: time.runtime }))?.remaining);
    await callInTime("slow");
    expect(left("slow")).toEqual([2, 9]);
    expect(left("search")).toEqual([undefined, 9]);
    expect(left("ping")).toEqual([undefined, undefined]);
  });

  test("let a second's worth through at once, unless told otherwise", async () => {
    const { call, time, tool } = play({ rateLimit: { rate: 4 } });
    for (let index = 0; index < 10; index += 1) void call("a");
    await time.advance(0);
    expect(tool.executions).toBe(4);
    const rare = play({ rateLimit: { rate: 0.5 } });
    for (let index = 0; index < 10; index += 1) void rare.call("a");
    await rare.time.advance(0);
    expect(rare.tool.executions).toBe(1);
  });
});

describe("options that do not go together are named by where they stand", () => {
  test.each<[ReliableConfig, string]>([
    [{ rateLimit: {} }, "config.rateLimit.rate is required"],
    [{ rateLimit: { rate: 5, cost: 9 } }, "config.rateLimit.cost must be a number > 0 and <= 5, got 9"],
    [{ rateLimit: { rate: 1e-300, burst: 1e300 } }, "config.rateLimit.burst / rate must be a number of seconds"],
    [{ concurrency: { maxQueue: 5 } }, "config.concurrency.max is required: calls that may run at once"],
    [{ tools: { "pay*": { rateLimit: { onLimit: "reject" } } } }, 'config.tools["pay*"].rateLimit.rate is required'],
    [{ tools: { pay: { concurrency: {} } } }, "config.tools.pay.concurrency.max is required"],
    [
      { circuitBreaker: { window: { type: "count", size: 5, minimumCalls: 9 } } },
      "config.circuitBreaker.window.minimumCalls must be at most size (5), got 9",
    ],
    [
      { tools: { a: { circuitBreaker: { window: { type: "time", durationMs: 9, slowCallRate: 0.5 } } } } },
      "config.tools.a.circuitBreaker.window.slowCallRate needs slowCallMs",
    ],
    [{ circuitBreaker: { window: {} as never } }, 'config.circuitBreaker.window.type must be one of "count", "time"'],
  ])("%j", (config, message) => {
    expect(() => standardOrder(config)).toThrow(message);
  });

  test("also where two overrides meet, when the first such tool is called", async () => {
    const tools = { "a*": { rateLimit: { rate: 9, cost: 5 } }, "*z": { rateLimit: { rate: 1 } } };
    const { callInTime, tool } = play({ tools });
    const refusal = await callInTime("a-z");
    expect(refusal).toBeInstanceOf(RangeError);
    expect((refusal as Error).message).toContain('config.tools["*z"].rateLimit.cost must be');
    expect(tool.executions).toBe(0);
    expect(reportOf(await callInTime("a-b"))).toMatchObject({ status: "completed" });
  });
});

test("a brought rate limit stands beside the configured one", () => {
  const own = rateLimit({ rate: 1, burst: 1 });
  expect(standardOrder({ rateLimit: { rate: 5 }, middleware: own })).toContain(own);
  expect(names({ rateLimit: { rate: 5 }, middleware: own }).filter((name) => name === "rateLimit")).toHaveLength(2);
});

test("wrapOptions has what is no middleware", () => {
  const peer = { server: "bank" };
  const onReport = (): void => undefined;
  const config: ReliableConfig = { timeoutMs: 5000, attemptTimeoutMs: 1000, trustAnnotations: true, peer, onReport };
  expect(wrapOptions(config)).toEqual({ ...config, onEvent: undefined });
  expect(wrapOptions()).toEqual({ onEvent: undefined, onReport: undefined });
});

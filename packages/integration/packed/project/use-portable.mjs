// One real use of each package that needs neither a file nor a process. `load` is `import` or `require`. Runs in Node, Bun, Deno and
// workerd alike: no import of a runtime's own modules here.
import { equal, isTrue, rejection } from "./expect.mjs";

const OK = { content: [{ type: "text", text: "done" }] };

/** An attempt that certainly did not run: a retry may repeat it, and a circuit counts it. */
const REFUSED = { execution: "not-executed", transient: true, code: "transport_error" };
const NOT_SENT = [({ error }) => (error === undefined ? undefined : REFUSED)];

/** A handler that fails a number of times, then works; `runs` counts. */
function failing(times) {
  const handler = async () => {
    handler.runs += 1;
    if (handler.runs <= times) throw new Error("refused");
    return { ...OK };
  };
  handler.runs = 0;
  return handler;
}

/** What an SDK's client looks like from the outside. */
const clientOf = (callTool) => ({
  callTool,
  listTools: async () => ({ tools: [{ name: "search", inputSchema: { type: "object" } }] }),
  close: async () => undefined,
});

/** @type {Record<string, (load: (specifier: string) => Promise<any>) => Promise<void>>} */
export const portable = {
  async "@mcp-tx/core"(load) {
    const { pipeline, reportOf, run, wrapTool } = await load("@mcp-tx/core");
    const { scriptedTool, virtualTime } = await load("@mcp-tx/core/testing");
    const { number, readOptions } = await load("@mcp-tx/core/options");
    await load("@mcp-tx/core/stores");
    const double = wrapTool("double", ({ value }) => value * 2, [], { timeoutMs: 1000 });
    equal(await double({ value: 21 }), 42, "what the tool returns");
    const tool = scriptedTool([{ result: OK }]);
    const time = virtualTime();
    const result = await time.run(run(pipeline([], tool), { tool: "search" }, { runtime: time.runtime }));
    equal(reportOf(result)?.execution, "executed", "what the report says of a tool that ran");
    equal(readOptions("thing", undefined, { size: number({ min: 0 }, 7) }).size, 7, "an option's default");
  },

  async "@mcp-tx/retry"(load) {
    const { pipeline, reportOf, run } = await load("@mcp-tx/core");
    const { retry, retryBudget } = await load("@mcp-tx/retry");
    const tool = failing(2);
    const handler = pipeline([retry({ baseDelayMs: 1, budget: retryBudget({ ratio: 1 }) })], tool);
    const result = await run(handler, { tool: "search" }, { classifiers: NOT_SENT });
    equal([tool.runs, reportOf(result)?.attempts], [3, 3], "attempts after two refusals");
  },

  async "@mcp-tx/circuit-breaker"(load) {
    const { pipeline, run } = await load("@mcp-tx/core");
    const { CircuitOpenError, circuitBreaker } = await load("@mcp-tx/circuit-breaker");
    const tool = failing(Number.POSITIVE_INFINITY);
    const handler = pipeline([circuitBreaker({ consecutiveFailures: 2 })], tool);
    const call = () => rejection(run(handler, { tool: "search" }, { classifiers: NOT_SENT }));
    await call();
    await call();
    isTrue(CircuitOpenError.isInstance(await call()), "the circuit is open after two failures");
    equal(tool.runs, 2, "runs before the circuit opened");
  },

  async "@mcp-tx/rate-limit"(load) {
    const { pipeline, run } = await load("@mcp-tx/core");
    const { concurrencyLimit, RateLimitError, rateLimit } = await load("@mcp-tx/rate-limit");
    const tool = failing(0);
    const limits = [concurrencyLimit({ max: 1 }), rateLimit({ rate: 0.001, burst: 2, onLimit: "reject" })];
    const handler = pipeline(limits, tool);
    await Promise.all([run(handler, { tool: "search" }), run(handler, { tool: "search" })]);
    isTrue(RateLimitError.isInstance(await rejection(run(handler, { tool: "search" }))), "the third call is refused");
    equal(tool.runs, 2, "runs within the burst");
  },

  async "@mcp-tx/idempotency"(load) {
    const { pipeline, reportOf, run } = await load("@mcp-tx/core");
    const { fingerprintOf, idempotency, memoryStore } = await load("@mcp-tx/idempotency");
    const tool = failing(0);
    const handler = pipeline([idempotency({ store: memoryStore() })], tool);
    const order = { tool: "pay", args: { amount: 5 }, options: { idempotencyKey: "order-42" } };
    await run(handler, order);
    const again = await run(handler, order);
    equal([tool.runs, reportOf(again)?.duplicate], [1, true], "runs of a call that is made twice");
    const claim = { fingerprint: "f", token: "t1", leaseMs: 1000, epoch: 0, sentAtWall: Date.now() };
    const store = memoryStore();
    equal((await store.claim("k", claim)).won, true, "the first claim");
    equal((await store.claim("k", { ...claim, token: "t2" })).won, false, "the second claim");
    isTrue(typeof fingerprintOf === "function", "fingerprints can be made");
  },

  async "@mcp-tx/monitor"(load) {
    const { pipeline, run } = await load("@mcp-tx/core");
    const { formatReport, monitor } = await load("@mcp-tx/monitor");
    const health = monitor();
    await run(pipeline([health], failing(0)), { tool: "search" });
    isTrue(formatReport(health.report()).includes("search"), "the report names the tool");
  },

  async "@mcp-tx/otel"(load) {
    const { pipeline, run } = await load("@mcp-tx/core");
    const { otel, otelAttempt } = await load("@mcp-tx/otel");
    const { trace } = await load("@opentelemetry/api");
    const names = [];
    const context = { traceId: "1".repeat(32), spanId: "2".repeat(16), traceFlags: 1 };
    trace.setGlobalTracerProvider({
      getTracer: () => ({
        startSpan(name) {
          names.push(name);
          return trace.wrapSpanContext(context);
        },
      }),
    });
    await run(pipeline([otel(), otelAttempt()], failing(0)), { tool: "search", side: "client" });
    equal(names, ["execute_tool search", "tools/call search"], "spans of a call and its attempt");
  },

  async "@mcp-tx/saga"(load) {
    const { wrapClient } = await load("@mcp-tx/core");
    const { createSagaRunner, defineSaga } = await load("@mcp-tx/saga");
    const { INTERPRETER_VERSION } = await load("@mcp-tx/saga/engine");
    const done = [];
    const client = {
      async callTool({ name }) {
        done.push(name);
        return name === "charge" ? { content: [{ type: "text", text: "no money" }], isError: true } : { ...OK };
      },
    };
    const order = defineSaga("order")
      .step({ name: "reserve", tool: "reserve", args: () => ({}), compensate: { tool: "release" } })
      .step({ name: "charge", tool: "charge", args: () => ({}), atomic: true, compensate: { tool: "refund" } });
    const sagas = createSagaRunner({ caller: wrapClient(client, []), sagas: [order] });
    const outcome = await sagas.run(order, {}, { id: "order-42" });
    equal([outcome.status, done], ["compensated", ["reserve", "charge", "release"]], "a saga that fails is undone");
    isTrue(INTERPRETER_VERSION !== "", "the interpreter has a version");
  },

  async "@mcp-tx/http"(load) {
    const { wrapClient } = await load("@mcp-tx/core");
    const { createHttpHandler } = await load("@mcp-tx/http");
    const caller = wrapClient(
      clientOf(async () => OK),
      [],
    );
    const handler = createHttpHandler(caller, { tools: ["search"] });
    const body = JSON.stringify({ tool: "search", arguments: {} });
    const request = { method: "POST", headers: { "content-type": "application/json" }, body };
    const answer = await handler.fetch(new Request("http://localhost/execute-tool", request));
    equal([answer.status, (await answer.json()).success], [200, true], "what the handler answers");
    await handler.close();
  },

  async "mcp-tx"(load) {
    const { reliable, reportOf } = await load("mcp-tx");
    let calls = 0;
    const client = clientOf(async () => {
      calls += 1;
      return { ...OK };
    });
    const tx = reliable(client, { tools: { pay: { idempotency: { key: { fields: ["order"] } } } } });
    await tx.call("pay", { order: 42 });
    const again = await tx.call("pay", { order: 42 });
    equal([calls, reportOf(again)?.duplicate, tx.health().status], [1, true, "pass"], "calls of one order");
    await tx.close();
  },
};

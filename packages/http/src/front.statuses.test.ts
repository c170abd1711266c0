import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  AttemptTimeoutError,
  DeadlineError,
  McpTxError,
  type Middleware,
  type Outcome,
  type OutcomeCode,
  OutcomeUnknownError,
  RateLimitError,
  ToolError,
} from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { idempotency } from "@mcp-tx/idempotency";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { describe, expect, test } from "vitest";
import { createHttpHandler } from "./create-handler.js";
import { type Answer, OK, post, read, scene } from "./front.fixture.js";

/** The status table of the README, row by row, over scripted tools. */

const SEARCH = { tool: "search", arguments: { query: "tides" } };

function expectProblem({ status, json, headers }: Answer, expected: number, code: string): void {
  expect(json).toMatchObject({ status: expected, code });
  expect(status).toBe(expected);
  expect(json.type).toBe(`https://github.com/mcp-tx/mcp-tx/blob/main/docs/rest.md#${code}`);
  expect(headers.get("content-type")).toBe("application/problem+json");
  expect(headers.get("cache-control")).toBe("no-store");
  expect(json.requestId).toMatch(/^[\da-f-]{36}$/);
}

/** Ends each call as its pipeline would, before or after the tool ran. */
function ending(error: unknown, runs = false): Middleware {
  return async (ctx, next) => {
    if (runs) await next(ctx);
    throw error;
  };
}

function refusal(code: OutcomeCode, outcome: Partial<Outcome> = {}): McpTxError {
  return new McpTxError("internal words", code, {
    outcome: { status: "rejected", execution: "not-executed", transient: true, ...outcome },
  });
}

describe("a tool that ran", () => {
  test("200, with its result and what is said of the call", async () => {
    const { execute, tool } = scene();
    const { status, json, headers } = await execute(SEARCH);
    expect(status).toBe(200);
    expect(json).toEqual({
      success: true,
      result: OK,
      metadata: {
        requestId: expect.stringMatching(/^[\da-f-]{36}$/),
        attempts: 1,
        duplicate: false,
        execution: "executed",
        status: "completed",
        waitedMs: 0,
      },
    });
    expect(headers.get("content-type")).toBe("application/json");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(tool.contexts[0]).toMatchObject({ tool: "search", args: { query: "tides" } });
  });

  test("200 with isError, when it reports a failure", async () => {
    const { execute } = scene({ steps: [{ result: { ...OK, isError: true } }], toolErrors: "expose" });
    const { status, json } = await execute(SEARCH);
    expect(status).toBe(200);
    expect(json).toMatchObject({ success: false, isError: true, result: OK, metadata: { status: "failed" } });
  });

  test("a failure is told in general words, unless tool errors are exposed", async () => {
    const { execute } = scene({ steps: [{ result: { ...OK, isError: true } }] });
    const { json } = await execute(SEARCH);
    expect(json.result).toEqual({ content: [{ type: "text", text: "The tool failed." }], isError: true });
  });

  test("what client and server tell each other is no part of the result", async () => {
    const _meta = { "dev.mcp-tx/receipt": { secret: 1 }, "acme.cost": 2 };
    const { execute } = scene({
      steps: [{ result: { ...OK, _meta } }, { result: { ...OK, _meta: { "dev.mcp-tx/x": 1 } } }],
    });
    expect((await execute(SEARCH)).json.result._meta).toEqual({ "acme.cost": 2 });
    expect((await execute(SEARCH)).json.result).toEqual(OK);
  });

  test("200 whatever limits tell that are no limits, and onError does", async () => {
    const wrong = [null, undefined, { limit: 1n, remaining: 1, windowMs: 1, resetMs: 1 }, "full", { limit: "1" }];
    const rateLimits = wrong.map((quota) => ({ quota: () => quota as never }));
    const onError = () => Promise.reject(new Error("nobody hears this"));
    const { execute } = scene({ rateLimits, onError, steps: [{ result: OK }, { error: new Error("boom") }] });
    const { status, json, headers } = await execute(SEARCH);
    expect([status, json.result, headers.get("ratelimit")]).toEqual([200, OK, null]);
    expectProblem(await execute(SEARCH), 500, "tool_error");
  });

  test("500 when it threw: it ran, so 502 would be wrong", async () => {
    const { execute } = scene({ steps: [{ error: new Error("boom") }] });
    const answer = await execute(SEARCH);
    expectProblem(answer, 500, "tool_error");
    expect(answer.json.execution).toBe("executed");
  });

  test("500 when its result is no JSON: it ran", async () => {
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    for (const structuredContent of [circle, 1n]) {
      const answer = await scene({ steps: [{ result: { structuredContent } }] }).execute(SEARCH);
      expectProblem(answer, 500, "unusable_result");
      expect(answer.json.execution).toBe("executed");
    }
  });
});

describe("a call that failed", () => {
  test.each<[OutcomeCode, number, boolean]>([
    ["circuit_open", 503, true],
    ["rate_limited", 429, true],
    ["queue_full", 503, true],
    ["store_unavailable", 503, true],
    ["store_mismatch", 502, false],
    ["idempotency_conflict", 422, false],
    ["transport_error", 502, false],
    ["session_expired", 502, false],
    ["protocol_error", 502, false],
    ["deadline", 504, false],
  ])("%s without having run: %i", async (code, status, comesAgain) => {
    const { execute, tool } = scene({ middleware: [ending(refusal(code))] });
    const answer = await execute(SEARCH);
    expectProblem(answer, status, code);
    expect(answer.json.execution).toBe("not-executed");
    expect(answer.headers.get("retry-after")).toBe(comesAgain ? "1" : null);
    expect(tool.executions).toBe(0);
  });

  test.each<[OutcomeCode]>([
    ["circuit_open"],
    ["rate_limited"],
    ["queue_full"],
    ["transport_error"],
    ["session_expired"],
    ["protocol_error"],
    ["deadline"],
    ["attempt_timeout"],
    ["store_mismatch"],
    ["outcome_unknown"],
  ])("%s, when an attempt may have run: 504 outcome_unknown, and why", async (code) => {
    const error = refusal(code, { status: "failure", execution: "unknown" });
    const adopting: Middleware = (ctx) => {
      ctx.call.adoptAttempt({ sentAtWall: 0 });
      throw error;
    };
    const answer = await scene({ middleware: [adopting] }).execute(SEARCH);
    expectProblem(answer, 504, "outcome_unknown");
    expect(answer.json).toMatchObject({ execution: "unknown", reason: code });
  });

  test.each<[OutcomeCode]>([["transport_error"], ["session_expired"], ["protocol_error"], ["store_mismatch"]])(
    "%s, when the tool ran: 500, and not a word that it did not",
    async (code) => {
      const error = refusal(code, { status: "failure", execution: "executed" });
      const answer = await scene({ middleware: [ending(error, true)] }).execute(SEARCH);
      expectProblem(answer, 500, code);
      expect(answer.json.execution).toBe("executed");
      expect(answer.json.detail).not.toContain("Nothing was executed");
      expect(answer.json.detail).toContain("The tool ran");
    },
  );

  test.each([
    ["a deadline that passed under way", new DeadlineError("x", { execution: "unknown" })],
    ["an attempt that timed out", new AttemptTimeoutError("search", 5)],
    ["an outcome that nobody knows", new OutcomeUnknownError("search")],
  ])("%s of a caller of another making: 504", async (_name, error) => {
    const foreign = { call: () => Promise.reject(error), invoke: () => Promise.reject(error) };
    const answer = await read(await createHttpHandler(foreign, { tools: ["search"] }).fetch(post(SEARCH)));
    expectProblem(answer, 504, "outcome_unknown");
  });

  test("an error of which nothing is known, of a caller of another making: 504, it may have run", async () => {
    for (const error of [new Error("boom"), new TypeError("fetch failed"), undefined, "text"]) {
      const foreign = { call: () => Promise.reject(error), invoke: () => Promise.reject(error) };
      const front = createHttpHandler(foreign, { tools: ["search"] });
      const answer = await read(await front.fetch(post({ ...SEARCH, idempotencyKey: "k" })));
      expectProblem(answer, 504, "outcome_unknown");
    }
  });

  test("a middleware that breaks before anything is sent: 500, nothing ran", async () => {
    const { execute, errors } = scene({ middleware: [ending(new TypeError("cannot read"))] });
    const answer = await execute(SEARCH);
    expectProblem(answer, 500, "internal_error");
    expect(answer.json.execution).toBe("not-executed");
    expect(errors).toEqual([expect.any(TypeError)]);
  });

  test("an error of a tool about another call is the tool's failure", async () => {
    const { execute } = scene({ steps: [{ error: new RateLimitError("other", { retryAfterMs: 5000 }) }] });
    const answer = await execute(SEARCH);
    expect(answer.json.execution).toBe("executed");
    expect(answer.status).not.toBe(502);
  });

  test("a ToolError that a middleware makes: 500", async () => {
    const { execute } = scene({ middleware: [ending(new ToolError("search", "words"), true)] });
    expectProblem(await execute(SEARCH), 500, "tool_error");
  });
});

describe("with the middlewares of the standard order", () => {
  test("429 with RateLimit headers, integers rounded up, when a limit is reached", async () => {
    const time = virtualTime();
    const limit = rateLimit({ rate: 0.3, burst: 1, onLimit: "reject" });
    const { execute } = scene({
      middleware: [limit],
      wrap: { runtime: time.runtime },
      rateLimits: [limit],
    });
    const first = await execute(SEARCH);
    expect(first.status).toBe(200);
    expect(first.headers.get("ratelimit-policy")).toBe('"default";q=1;w=4');
    expect(first.headers.get("ratelimit")).toBe('"default";r=0;t=4');
    const second = await execute(SEARCH);
    expectProblem(second, 429, "rate_limited");
    expect(second.headers.get("retry-after")).toBe("4");
    expect(second.json.retryAfterMs).toBe(3334);
    expect(second.headers.get("ratelimit")).toBe('"default";r=0;t=4');
  });

  test("503 with Retry-After while a circuit is open", async () => {
    const time = virtualTime();
    const breaker = circuitBreaker({ consecutiveFailures: 1, recoveryTimeoutMs: 1500 });
    const { execute, tool } = scene({
      steps: [{ error: new Error("down") }],
      middleware: [breaker],
      wrap: { runtime: time.runtime },
    });
    await execute(SEARCH);
    const answer = await execute(SEARCH);
    expectProblem(answer, 503, "circuit_open");
    expect(answer.headers.get("retry-after")).toBe("2");
    expect(tool.executions).toBe(1);
  });

  test("503 when too many wait for a slot", async () => {
    const { handler, execute, tool } = scene({
      steps: [{ hang: true }],
      middleware: [concurrencyLimit({ max: 1, maxQueue: 0 })],
    });
    const gone = new AbortController();
    const first = handler.fetch(post(SEARCH, {}, { signal: gone.signal }));
    await expect.poll(() => tool.executions).toBe(1);
    expectProblem(await execute(SEARCH), 503, "queue_full");
    gone.abort();
    expect((await first).status).toBe(504);
  });

  test("409 with a hint while the same call is in progress, and its result afterwards", async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { execute, tool } = scene({
      steps: [() => held.then(() => OK)],
      middleware: [idempotency({ onConcurrent: "reject" })],
    });
    const first = execute(SEARCH, { "idempotency-key": '"k"' });
    await expect.poll(() => tool.executions).toBe(1);
    const second = await execute(SEARCH, { "idempotency-key": '"k"' });
    expectProblem(second, 409, "idempotency_in_progress");
    expect(second.json.execution).toBe("unknown");
    expect(Number(second.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    release();
    const { json } = await first;
    const third = await execute(SEARCH, { "idempotency-key": "k" });
    expect(third.json.result).toEqual(json.result);
    expect(third.json.metadata).toMatchObject({ duplicate: true, attempts: 0 });
    expect(tool.executions).toBe(1);
  });

  test("422 for a key that belongs to another call", async () => {
    const { execute, tool } = scene({ middleware: [idempotency()] });
    await execute({ ...SEARCH, idempotencyKey: "k" });
    const answer = await execute({ tool: "search", arguments: { query: "other" }, idempotencyKey: "k" });
    expectProblem(answer, 422, "idempotency_conflict");
    expect(tool.executions).toBe(1);
  });

  test("400 for a key that nothing honours: it must not be swallowed", async () => {
    const { execute, tool } = scene();
    await execute(SEARCH);
    const answer = await execute({ ...SEARCH, idempotencyKey: "k" });
    expectProblem(answer, 400, "idempotency_unsupported");
    expect(tool.executions).toBe(1);
  });

  test("504 when the deadline passes under way, and the tool's own upper bound counts", async () => {
    const time = virtualTime();
    const { handler, tool } = scene({
      steps: [{ hang: true }],
      wrap: { runtime: time.runtime },
      maxTimeoutMs: 5000,
      tools: { search: { maxTimeoutMs: 700 }, pay: {} },
    });
    const ask = (body: object) => time.run(handler.fetch(post(body)).then(read));
    expectProblem(await ask(SEARCH), 504, "outcome_unknown");
    expect(time.now()).toBe(700);
    const answer = await ask({ tool: "pay", timeoutMs: 1e9 });
    expect(answer.json.reason).toBe("deadline");
    expect(time.now()).toBe(5700);
    await ask({ tool: "pay", timeoutMs: 100 });
    expect(time.now()).toBe(5800);
    expect(tool.executions).toBe(3);
  });
});

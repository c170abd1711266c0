import fc from "fast-check";
import { expect, test } from "vitest";
import type { Call, CallEvents, Execution, Handler, Middleware, Outcome, ToolResult } from "./contract.js";
import { DeadlineError, McpTxError } from "./errors.js";
import { SUCCESS } from "./outcome.js";
import { pipeline } from "./pipeline.js";
import { reportOf } from "./report.js";
import { run } from "./run.js";
import { context, scriptedTool, virtualTime } from "./testing/index.js";
import { RECEIPT_KEY } from "./wire.js";

const failed = (execution: Execution, code: Outcome["code"] = "transport_error"): Outcome => ({
  status: "failure",
  execution,
  transient: true,
  code,
});
const result: ToolResult = { content: [] };

/** One attempt of a generated history. */
interface Step {
  readonly handedOver: boolean;
  /** `undefined`: still in flight. */
  readonly outcome: Outcome | undefined;
}

const step: fc.Arbitrary<Step> = fc.record({
  handedOver: fc.boolean(),
  outcome: fc.constantFrom(
    undefined,
    SUCCESS,
    failed("executed"),
    failed("unknown"),
    failed("unknown", "idempotency_in_progress"),
    failed("not-executed"),
    { status: "rejected", execution: "not-executed", transient: true, code: "circuit_open" } as const,
    { status: "throttled", execution: "executed", transient: true, code: "rate_limited" } as const,
    { status: "cancelled", execution: "unknown", transient: false, code: "cancelled" } as const,
  ),
});

function play(call: Call, { handedOver, outcome }: Step): void {
  const attempt = call.beginAttempt(context());
  if (handedOver) attempt.handOver();
  if (outcome !== undefined) attempt.end(outcome, {});
}

/** The rule as the semantics state it: success, else unknown, else executed, else not-executed. */
function model(steps: readonly Step[]): Execution {
  if (steps.some(({ outcome }) => outcome?.status === "success")) return "executed";
  const told = steps.map(({ handedOver, outcome }): Execution => {
    if (outcome === undefined) return handedOver ? "unknown" : "not-executed";
    return outcome.code === "idempotency_in_progress" ? "not-executed" : outcome.execution;
  });
  if (told.includes("unknown")) return "unknown";
  return told.includes("executed") ? "executed" : "not-executed";
}

test("sums up its attempts as the rule says", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
      const { call } = context();
      for (const one of steps) play(call, one);
      expect(call.execution).toBe(model(steps));
    }),
  );
});

test("is never lowered by a later refusal", () => {
  const refusal = step.filter(
    ({ outcome }) => outcome?.execution === "not-executed" || outcome?.code === "idempotency_in_progress",
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 6 }),
      fc.array(refusal, { minLength: 1, maxLength: 4 }),
      (steps, refusals) => {
        const { call } = context();
        for (const one of steps) play(call, one);
        const before = call.execution;
        for (const one of refusals) play(call, one);
        expect(call.execution).toBe(before);
      },
    ),
  );
});

test("is settled by whoever finds out what became of the unresolved attempts, and of those alone", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 6 }),
      fc.constantFrom("executed" as const, "not-executed" as const),
      (steps, found) => {
        const { call } = context();
        for (const one of steps) play(call, one);
        const known = call.attempts
          .map(({ outcome }) => outcome)
          .filter((outcome) => outcome?.execution === "executed");
        call.resolveAttempts(found);
        expect(call.execution).not.toBe("unknown");
        if (found === "executed" && model(steps) === "unknown") expect(call.execution).toBe("executed");
        for (const outcome of known) expect(call.attempts.map((attempt) => attempt.outcome)).toContain(outcome);
      },
    ),
  );
});

test("believes only the first end of an attempt", () => {
  const { call } = context();
  const attempt = call.beginAttempt(context());
  attempt.handOver();
  attempt.end(failed("unknown"), new Error("timeout"));
  attempt.end(SUCCESS, result);
  expect([call.execution, attempt.outcome?.execution]).toEqual(["unknown", "unknown"]);
});

test("remembers when and with what an attempt was handed over, once", () => {
  const time = virtualTime({ now: 5, wallNow: 1000 });
  const { call } = context({}, { runtime: time.runtime });
  const attempt = call.beginAttempt(context());
  expect(attempt.handedOver).toBe(false);
  attempt.handOver({ key: "k", storeId: "s" });
  attempt.handOver({ key: "other" });
  expect(attempt).toMatchObject({ handedOver: true, key: "k", storeId: "s", sentAt: 5, sentAtWall: 1000 });
});

test("calls back on release once, also for whoever asks late, and whatever another listener throws", () => {
  const { call } = context();
  const attempt = call.beginAttempt(context());
  let calls = 0;
  attempt.onRelease(() => {
    throw new Error("listener");
  });
  const count = (): void => {
    calls += 1;
  };
  attempt.onRelease(count);
  attempt.end(failed("unknown"), {});
  expect(calls).toBe(0);
  attempt.release();
  attempt.release();
  expect(calls).toBe(1);
  attempt.onRelease(count);
  expect(calls).toBe(2);
});

test("is released by an end that leaves nothing open", () => {
  const attempt = context().call.beginAttempt(context());
  let released = false;
  attempt.onRelease(() => {
    released = true;
  });
  attempt.end(failed("executed"), {});
  expect(released).toBe(true);
});

// What values mean

/** Runs the handler and asks the call what came out of next. */
async function outcomeThrough(
  terminal: Handler,
  change: (value: unknown) => unknown = (value) => value,
): Promise<Outcome> {
  let outcome: Outcome | undefined;
  const asking: Middleware = async (ctx, next) => {
    try {
      const value = await next(ctx);
      outcome = ctx.call.outcomeOf(change(value), false);
    } catch (error) {
      outcome = ctx.call.outcomeOf(change(error), true);
    }
    return { content: [] };
  };
  await run(pipeline([asking], terminal), { tool: "t" });
  if (outcome === undefined) throw new Error("not asked");
  return outcome;
}

test("knows what an attempt threw, also inside the causes of a wrapping error", async () => {
  const terminal = scriptedTool([{ error: new Error("inner") }], { repeatLast: true });
  const wrap = (cause: unknown): Error => new Error("outer", { cause });
  for (const change of [(error: unknown) => error, wrap, (error: unknown) => wrap(wrap(error))]) {
    expect(await outcomeThrough(terminal, change)).toMatchObject({
      execution: "executed",
      code: "tool_error",
      status: "failure",
    });
  }
});

test("takes an error of our own for what it says, whatever its cause", async () => {
  const own = (cause: unknown): McpTxError =>
    new McpTxError("m", "circuit_open", {
      outcome: { status: "rejected", execution: "not-executed", transient: true },
      cause,
    });
  expect(await outcomeThrough(scriptedTool([{ error: new Error("x") }]), own)).toMatchObject({
    status: "rejected",
    code: "circuit_open",
    execution: "not-executed",
  });
});

test("does not follow causes for ever", async () => {
  const loop = new Error("loop");
  loop.cause = loop;
  expect(await outcomeThrough(scriptedTool([{ error: new Error("x") }]), () => loop)).toMatchObject({
    execution: "executed",
  });
});

test("takes a foreign error for a failure with the aggregate of the call", () => {
  const { call } = context();
  expect(call.outcomeOf(new Error("middleware"), true)).toMatchObject({ status: "failure", execution: "not-executed" });
  play(call, { handedOver: true, outcome: undefined });
  expect(call.outcomeOf(new Error("middleware"), true)).toMatchObject({ status: "failure", execution: "unknown" });
});

test("takes a foreign error after an abort for a cancellation, and a value never", () => {
  const { call } = context({ options: { signal: AbortSignal.abort() } });
  expect(call.outcomeOf(new Error("x"), true)).toMatchObject({ status: "cancelled", code: "cancelled" });
  expect(call.outcomeOf(result, false)).toMatchObject({ status: "success" });
});

test("reads a result that a middleware made", () => {
  const { call } = context();
  expect(call.outcomeOf({ content: [] }, false)).toMatchObject({ status: "success", execution: "executed" });
  expect(call.outcomeOf({ content: [], isError: true }, false)).toMatchObject({
    status: "failure",
    code: "tool_error",
  });
});

test("tells two attempts apart that threw one constant", () => {
  const { call } = context();
  const error = new Error("constant");
  call.beginAttempt(context()).end(failed("not-executed"), error);
  call.beginAttempt(context()).end(failed("executed"), error);
  expect(call.outcomeOf(error, true).execution).toBe("executed");
});

// Report

test("adds up what is waited and merges everything else", async () => {
  const noting: Middleware = (ctx, next) => {
    ctx.call.note({ waitedMs: 5, recorded: false });
    ctx.call.note({ waitedMs: 7 });
    ctx.call.note({ recorded: true });
    return next(ctx);
  };
  const value = await run(pipeline([noting], scriptedTool([{ result: { content: [] } }])), { tool: "t" });
  expect(reportOf(value)).toMatchObject({ waitedMs: 12, recorded: true, status: "completed" });
});

test("takes no note once it has ended", async () => {
  let call: Call | undefined;
  const keeping: Middleware = (ctx, next) => {
    call = ctx.call;
    return next(ctx);
  };
  const value = await run(pipeline([keeping], scriptedTool([{ result: { content: [] } }])), { tool: "t" });
  call?.note({ waitedMs: 99, duplicate: true });
  expect(reportOf(value)).toMatchObject({ waitedMs: 0, duplicate: false });
});

test("reports a replay from a record: executed, no attempts, a duplicate", async () => {
  const replaying: Middleware = async (ctx) => {
    ctx.call.note({ duplicate: true, attempts: 0 });
    return { content: [] };
  };
  const value = await run(pipeline([replaying], scriptedTool([{ result }])), { tool: "t" });
  expect(reportOf(value)).toMatchObject({ execution: "executed", attempts: 0, duplicate: true, status: "completed" });
});

test("does not take the receipt in a local function's result for its own: it belongs to a call further down", async () => {
  const receipt = { requestId: "r", ack: true, execution: "executed", duplicate: true };
  const value = await run(scriptedTool([{ result: { content: [], _meta: { [RECEIPT_KEY]: receipt } } }]), {
    tool: "t",
  });
  expect(reportOf(value)).toMatchObject({ duplicate: false, execution: "executed", attempts: 1 });
});

const refused = (execution: Execution, code: Outcome["code"], status: Outcome["status"] = "rejected"): McpTxError =>
  new McpTxError("refused", code ?? "circuit_open", { outcome: { status, execution, transient: true } });

const statuses: readonly (readonly [name: string, layer: Middleware, status: string])[] = [
  ["a refusal before anything was sent", () => Promise.reject(refused("not-executed", "circuit_open")), "rejected"],
  [
    "a throttling before anything was sent",
    () => Promise.reject(refused("not-executed", "rate_limited", "throttled")),
    "rejected",
  ],
  [
    "a refusal after an attempt that ran",
    (ctx, next) => next(ctx).then(() => Promise.reject(refused("not-executed", "circuit_open"))),
    "failed",
  ],
  [
    "a refusal while an attempt is in flight",
    (ctx) => {
      play(ctx.call, { handedOver: true, outcome: undefined });
      return Promise.reject(refused("not-executed", "circuit_open"));
    },
    "unknown",
  ],
  [
    "a timeout, also inside a cause",
    () => Promise.reject(new Error("outer", { cause: refused("unknown", "attempt_timeout", "failure") })),
    "timeout",
  ],
  ["a deadline", () => Promise.reject(refused("unknown", "deadline", "failure")), "timeout"],
  ["a bug of a middleware", () => Promise.reject(new TypeError("bug")), "failed"],
];

test.each(statuses)("reports %s", async (_name, layer, status) => {
  const reports: (string | undefined)[] = [];
  const onReport = ({ status: told }: { readonly status: string }): unknown => reports.push(told);
  await run(pipeline([layer], scriptedTool([{ result }])), { tool: "t" }, { onReport }).catch(() => undefined);
  expect(reports).toEqual([status]);
});

// Small things

test("makes its id when it is first asked for, and keeps it", () => {
  const { call } = context();
  const { id } = call;
  expect([call.id, context().call.id === id]).toEqual([id, false]);
});

test("starts with epoch 0 and raises it by one", () => {
  const { call } = context();
  expect([call.epoch, call.raiseEpoch(), call.raiseEpoch(), call.epoch]).toEqual([0, 1, 2, 2]);
});

test("is observed while somebody listens, and tells all of them whatever one throws", () => {
  const { call } = context();
  const seen: string[] = [];
  expect(call.observed).toBe(false);
  const stopThrowing = call.on(() => {
    throw new Error("listener");
  });
  const stop = call.on((name, detail) => seen.push(`${name} ${(detail as CallEvents["attempt.start"]).attempt}`));
  call.emit("attempt.start", { tool: "t", attempt: 3 });
  stop();
  stop();
  stopThrowing();
  call.emit("attempt.start", { tool: "t", attempt: 4 });
  expect([seen, call.observed]).toEqual([["attempt.start 3"], false]);
});

test("trusts annotations as the option says for its peer", () => {
  const trusts = (trustAnnotations: boolean | ((peer: { readonly server?: string | undefined }) => boolean)): boolean =>
    context({}, { trustAnnotations, peer: { server: "ours" } }).call.trustsAnnotations;
  expect([
    trusts(true),
    trusts(false),
    trusts(({ server }) => server === "ours"),
    trusts(({ server }) => server === "theirs"),
  ]).toEqual([true, false, true, false]);
  expect(trusts((() => "yes") as never)).toBe(false);
});

test("reports how the call ended, whatever the caller's signal does afterwards", async () => {
  const controller = new AbortController();
  const broken: Middleware = () => Promise.reject(new TypeError("bug"));
  const options = { signal: controller.signal };
  const error = await run(pipeline([broken], scriptedTool([{ result }])), { tool: "t", options }).catch(
    (e: unknown) => e,
  );
  controller.abort();
  expect(reportOf(error)).toMatchObject({ status: "failed", execution: "not-executed" });
});

test.each([
  ["an object without a prototype", Object.create(null)],
  ["a symbol", Symbol("boom")],
  ["nothing", undefined],
])("reports %s that was thrown, and throws just that", async (_, thrown) => {
  const reports: unknown[] = [];
  const failing: Middleware = () => Promise.reject(thrown);
  const handler = pipeline([failing], scriptedTool([{ result }]));
  const caught = run(handler, { tool: "t" }, { onReport: (report) => void reports.push(report) });
  await expect(
    caught.then(
      () => "resolved",
      (error: unknown) => error === thrown,
    ),
  ).resolves.toBe(true);
  expect(reports).toEqual([expect.objectContaining({ status: "failed", attempts: 0 })]);
});

/** Something thrown whose every property throws when it is looked at. */
function untouchable(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

/** What a call rejected with, boxed: resolving a promise with it would look at it. */
const rejection = (call: Promise<unknown>): Promise<{ readonly error: unknown }> =>
  call.then(
    () => ({ error: undefined }),
    (error: unknown) => ({ error }),
  );

test.each([
  ["a tool", (error: unknown) => pipeline([], () => Promise.reject(error))],
  ["a middleware", (error: unknown) => pipeline([() => Promise.reject(error)], async () => result)],
])("hands on what cannot be looked at as it was thrown by %s, and reports it", async (_who, handler) => {
  const thrown = untouchable();
  const statuses: string[] = [];
  const classifiers = [() => undefined];
  const onReport = ({ status }: { readonly status: string }): number => statuses.push(status);
  const { error } = await rejection(run(handler(thrown), { tool: "t" }, { onReport, classifiers }));
  expect(error === thrown).toBe(true);
  expect(reportOf(error)?.status).toBe("failed");
  expect(statuses).toEqual(["failed"]);
});

test("a result with malformed content is not lost to its report", async () => {
  const malformed = { isError: true, content: [null] } as unknown as ToolResult;
  const statuses: string[] = [];
  const onReport = ({ status }: { readonly status: string }): number => statuses.push(status);
  const given = await run(async () => malformed, { tool: "t" }, { onReport });
  expect(given).toBe(malformed);
  expect(statuses).toEqual(["failed"]);
});

test("a timeout of another call behind the error of a tool is no timeout of this one", async () => {
  const cause = new DeadlineError("other call", { execution: "unknown" });
  const { error } = await rejection(run(() => Promise.reject(new Error("upstream", { cause })), { tool: "t" }));
  expect(reportOf(error)).toMatchObject({ status: "failed", execution: "executed", error: { code: "tool_error" } });
});

test("a caller that aborts with the timeout of its own call cancels this one", async () => {
  const controller = new AbortController();
  const reason = new DeadlineError("outer call", { execution: "unknown" });
  const aborting: Middleware = async () => {
    controller.abort(reason);
    throw reason;
  };
  const options = { signal: controller.signal };
  const { error } = await rejection(
    run(
      pipeline([aborting], async () => result),
      { tool: "t", options },
    ),
  );
  expect(error).toBe(reason);
  expect(reportOf(error)).toMatchObject({
    status: "cancelled",
    execution: "not-executed",
    error: { code: "cancelled" },
  });
});

test("a record that an earlier attempt met does not settle a later one", async () => {
  const { error } = await rejection(
    run(
      async ({ call }) => {
        call.note({ duplicate: true });
        return Promise.reject(new Error("lost"));
      },
      { tool: "t" },
      { classifiers: [() => failed("unknown")] },
    ),
  );
  expect(reportOf(error)).toMatchObject({ execution: "unknown", status: "unknown" });
});

test("reports as unknown what is in progress elsewhere, and leaves the aggregate alone", async () => {
  const elsewhere = new McpTxError("in progress", "idempotency_in_progress", {
    outcome: { status: "failure", execution: "unknown", transient: true },
  });
  const seen: string[] = [];
  const refusing: Middleware = async (ctx) => {
    seen.push(ctx.call.execution);
    throw elsewhere;
  };
  const error: unknown = await run(
    pipeline(refusing, async () => ({})),
    { tool: "pay" },
  ).catch((thrown) => thrown);
  expect(reportOf(error)).toMatchObject({ execution: "unknown", attempts: 0, status: "failed" });
  expect(seen).toEqual(["not-executed"]);
});

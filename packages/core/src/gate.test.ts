import { describe, expect, test, vi } from "vitest";
import { CallState } from "./call.js";
import type { CallContext, Execution, IdempotencyAnnouncement, Outcome, ToolAnnotations, Verify } from "./contract.js";
import { type ReplayQuestion, replayGate, storeCovers } from "./gate.js";
import { SUCCESS } from "./outcome.js";
import { context, countingSignal, type VirtualTime, virtualTime } from "./testing/index.js";

const WINDOW_MS = 60_000;
const STORE: IdempotencyAnnouncement = { storeId: "s", windowMs: WINDOW_MS, durable: true };

interface World {
  readonly store?: IdempotencyAnnouncement | undefined;
  readonly annotations?: ToolAnnotations | undefined;
  readonly readAnnotations?: (() => Promise<ToolAnnotations | undefined>) | undefined;
  readonly trust?: boolean | (() => boolean);
  readonly verify?: Verify;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  readonly local?: boolean;
}

interface Scene {
  readonly time: VirtualTime;
  readonly call: CallState;
  readonly ctx: CallContext;
  /** How often annotations were looked up. */
  lookups(): number;
  send(sent?: { readonly key?: string; readonly storeId?: string }, outcome?: Outcome): void;
  ask(question?: Partial<ReplayQuestion>): ReturnType<typeof replayGate>;
}

function failure(execution: Execution, code: Outcome["code"] = "transport_error"): Outcome {
  return { status: "failure", execution, transient: true, code };
}
const throttled: Outcome = { status: "throttled", execution: "executed", transient: true, code: "rate_limited" };

function scene(world: World = {}): Scene {
  const time = virtualTime();
  let lookups = 0;
  const { store } = world;
  const deadline = world.timeoutMs ?? Infinity;
  const call = new CallState(
    {
      runtime: time.runtime,
      peer: {},
      classifiers: [],
      trustAnnotations: world.trust ?? false,
      verify: world.verify,
      endpoint: world.local
        ? undefined
        : {
            announcement: () => (store === undefined ? undefined : { version: 1, idempotency: store }),
            annotations: async () => {
              lookups += 1;
              return world.readAnnotations === undefined ? world.annotations : world.readAnnotations();
            },
          },
      side: "client",
      onReport: undefined,
      onEvent: undefined,
    },
    { tool: "pay", args: {}, meta: {}, options: { signal: world.signal } },
    deadline,
  );
  const ctx: CallContext = { ...context({ tool: "pay" }), call, signal: world.signal, deadline };
  return {
    time,
    call,
    ctx,
    lookups: () => lookups,
    send: (sent, outcome = failure("unknown")) => {
      const attempt = call.beginAttempt(ctx);
      attempt.handOver(sent ?? {});
      attempt.end(outcome, {});
    },
    ask: (question) => time.run(replayGate(ctx, { outcome: failure("unknown"), ...question })),
  };
}

// 1. The caller aborted

test("never lets a call be sent again whose caller aborted", async () => {
  const everything: World = {
    store: STORE,
    annotations: { readOnlyHint: true },
    trust: true,
    signal: AbortSignal.abort(),
  };
  for (const outcome of [failure("not-executed"), failure("executed"), failure("unknown"), throttled]) {
    const { send, ask } = scene(everything);
    send({ key: "k", storeId: "s" }, outcome);
    expect(await ask({ outcome, replay: "always", repeatFailures: true })).toEqual({
      replay: false,
      reason: "cancelled",
    });
  }
});

test("reads a cancelled outcome as an abort", async () => {
  const outcome: Outcome = { status: "cancelled", execution: "not-executed", transient: false };
  expect(await scene().ask({ outcome, replay: "always" })).toEqual({ replay: false, reason: "cancelled" });
});

test("does not replay when the caller aborts while annotations or verify are asked", async () => {
  for (const asked of ["annotations", "verify"] as const) {
    const controller = new AbortController();
    const { send, ask, ctx } = scene({
      signal: controller.signal,
      trust: true,
      readAnnotations: async () => {
        if (asked === "annotations") controller.abort();
        return asked === "annotations" ? { readOnlyHint: true } : {};
      },
      verify: async () => {
        controller.abort();
        return { execution: "not-executed" };
      },
    });
    send();
    expect(await ask()).toEqual({ replay: false, reason: "cancelled" });
    expect(ctx.signal?.aborted).toBe(true);
  }
});

// 2. Nothing ran

test("lets a call be sent again that was not executed, whatever replay says", async () => {
  for (const replay of ["safe", "always", "never"] as const) {
    const { send, ask } = scene();
    send({}, failure("not-executed"));
    expect(await ask({ outcome: failure("not-executed"), replay })).toEqual({ replay: true });
  }
});

test("goes by the aggregate, not by the last outcome", async () => {
  const { send, ask } = scene();
  send({}, failure("unknown"));
  send({}, failure("not-executed", "circuit_open"));
  expect(await ask({ outcome: failure("not-executed", "circuit_open") })).toEqual({ replay: false, reason: "unknown" });
});

// 3. It ran and failed

test("repeats a call that ran and failed only when it was throttled or that is asked for", async () => {
  const asked = async (outcome: Outcome, repeatFailures?: boolean) => {
    const { send, ask } = scene();
    send({}, outcome);
    return (await ask({ outcome, repeatFailures })).replay;
  };
  expect(await asked(failure("executed"))).toBe(false);
  expect(await asked(failure("executed"), false)).toBe(false);
  expect(await asked(failure("executed"), true)).toBe(true);
  expect(await asked(throttled)).toBe(true);
});

test('restricts with replay "never" no repetition of a call that ran and failed', async () => {
  const { send, ask } = scene();
  send({}, failure("executed"));
  expect(await ask({ outcome: failure("executed"), replay: "never", repeatFailures: true })).toEqual({ replay: true });
});

// 4. Nobody knows

test("does not repeat an unknown outcome without evidence", async () => {
  for (const replay of ["safe", "never", undefined] as const) {
    const { send, ask } = scene();
    send();
    expect(await ask({ replay, repeatFailures: true })).toEqual({ replay: false, reason: "unknown" });
  }
});

test("repeats an unknown outcome when the user takes it on himself", async () => {
  const { send, ask } = scene();
  send();
  expect(await ask({ replay: "always" })).toEqual({ replay: true });
});

const coverage: readonly (readonly [
  name: string,
  attempts: readonly { readonly key?: string; readonly storeId?: string }[],
  covered: boolean,
])[] = [
  ["the key went to this store", [{ key: "k", storeId: "s" }], true],
  [
    "the key went to this store each time",
    [
      { key: "k", storeId: "s" },
      { key: "k", storeId: "s" },
    ],
    true,
  ],
  ["no key went along", [{ storeId: "s" }], false],
  ["nothing is known of the store it went to", [{ key: "k" }], false],
  ["it went to another store", [{ key: "k", storeId: "lost" }], false],
  [
    "one of them went to another store",
    [
      { key: "k", storeId: "lost" },
      { key: "k", storeId: "s" },
    ],
    false,
  ],
  ["one of them went without a key", [{ key: "k", storeId: "s" }, {}], false],
];

test.each(coverage)("covers unresolved attempts by the server's store when %s", async (_name, attempts, covered) => {
  const { send, ask, call } = scene({ store: STORE });
  for (const sent of attempts) send(sent);
  expect(storeCovers(call)).toBe(covered);
  expect(await ask()).toEqual(covered ? { replay: true } : { replay: false, reason: "unknown" });
});

test("does not ask coverage of attempts that are settled, or that only met themselves", async () => {
  const { send, call } = scene({ store: STORE });
  send({ key: "k", storeId: "s" });
  send({}, failure("not-executed"));
  send({}, failure("executed"));
  send({}, failure("unknown", "idempotency_in_progress"));
  expect(storeCovers(call)).toBe(true);
});

test("covers nothing on a plain server, and nothing after the server said that its store is another", () => {
  const plain = scene();
  plain.send({ key: "k", storeId: "s" });
  expect(storeCovers(plain.call)).toBe(false);
  const lost = scene({ store: STORE });
  lost.send({ key: "k", storeId: "s" });
  lost.send({ key: "k", storeId: "s" }, failure("not-executed", "store_mismatch"));
  expect(storeCovers(lost.call)).toBe(false);
});

test("counts an attempt in flight among the unresolved", () => {
  const { call, ctx } = scene({ store: STORE });
  call.beginAttempt(ctx).handOver({ key: "k" });
  expect(storeCovers(call)).toBe(false);
});

test("covers up to the end of the window, counted from the oldest unresolved attempt", async () => {
  const { send, call, time } = scene({ store: STORE });
  send({ key: "k", storeId: "s" });
  await time.advance(WINDOW_MS / 2);
  send({ key: "k", storeId: "s" });
  await time.advance(WINDOW_MS / 2 - 1);
  expect(storeCovers(call)).toBe(true);
  await time.advance(1);
  expect(storeCovers(call)).toBe(false);
});

test("goes by the larger age of both clocks", async () => {
  const suspended = scene({ store: STORE });
  suspended.send({ key: "k", storeId: "s" });
  suspended.time.stepWall(WINDOW_MS);
  expect(storeCovers(suspended.call)).toBe(false);
  const setBack = scene({ store: STORE });
  setBack.send({ key: "k", storeId: "s" });
  setBack.time.stepWall(-WINDOW_MS * 10);
  await setBack.time.advance(WINDOW_MS);
  expect(storeCovers(setBack.call)).toBe(false);
});

test('overrules store and annotations with replay "never"', async () => {
  const { send, ask, lookups } = scene({ store: STORE, annotations: { readOnlyHint: true }, trust: true });
  send({ key: "k", storeId: "s" });
  expect(await ask({ replay: "never" })).toEqual({ replay: false, reason: "unknown" });
  expect(lookups()).toBe(0);
});

const hints: readonly (readonly [annotations: ToolAnnotations | undefined, trusted: boolean, replay: boolean])[] = [
  [{ readOnlyHint: true }, true, true],
  [{ idempotentHint: true }, true, true],
  [{ idempotentHint: true, destructiveHint: true }, true, true],
  [{ destructiveHint: false }, true, false],
  [{ readOnlyHint: false, idempotentHint: false }, true, false],
  [{ readOnlyHint: "true" as never }, true, false],
  [{}, true, false],
  [undefined, true, false],
  [{ readOnlyHint: true }, false, false],
  [{ idempotentHint: true }, false, false],
];

test.each(hints)("reads annotations %o of a server that is trusted: %s", async (annotations, trust, replay) => {
  const { send, ask, lookups } = scene({ annotations, trust });
  send();
  expect((await ask()).replay).toBe(replay);
  expect(lookups()).toBe(trust ? 1 : 0);
});

test("takes annotations that cannot be read, or a trust that cannot be told, for untrusted", async () => {
  const failing = scene({ trust: true, readAnnotations: () => Promise.reject(new Error("list failed")) });
  failing.send();
  expect(await failing.ask()).toEqual({ replay: false, reason: "unknown" });
  const throwing = scene({
    annotations: { readOnlyHint: true },
    trust: () => {
      throw new Error("trust");
    },
  });
  throwing.send();
  expect(await throwing.ask()).toEqual({ replay: false, reason: "unknown" });
});

test("gives up on annotations that never come when the time of the call is over", async () => {
  const { send, ask, time } = scene({
    trust: true,
    readAnnotations: () => new Promise(() => undefined),
    timeoutMs: 500,
  });
  send();
  expect(await ask()).toEqual({ replay: false, reason: "unknown" });
  expect([time.now(), time.timers]).toEqual([500, 0]);
});

test("has no annotations for local tools", async () => {
  const { send, ask } = scene({ local: true, trust: true });
  send();
  expect(await ask()).toEqual({ replay: false, reason: "unknown" });
});

// verify

test("gives the result that verify found, and knows from then on that the tool ran", async () => {
  const result = { content: [] };
  const { send, ask, call } = scene({ verify: () => ({ execution: "executed", result }) });
  send();
  expect(await ask()).toEqual({ replay: false, reason: "verified", result });
  expect(call.execution).toBe("executed");
});

test("replays when verify says that it can no longer happen, and knows so from then on", async () => {
  const { send, ask, call } = scene({ verify: async () => ({ execution: "not-executed" }) });
  send();
  send();
  expect(await ask()).toEqual({ replay: true });
  expect(call.execution).toBe("not-executed");
});

const useless: readonly (readonly [name: string, verify: Verify])[] = [
  ["does not know", () => ({ execution: "unknown" })],
  ["throws", () => Promise.reject(new Error("no"))],
  [
    "throws at once",
    () => {
      throw new Error("no");
    },
  ],
  ["says nothing", (() => undefined) as never],
  ["says executed without a result", (() => ({ execution: "executed" })) as never],
  ["says executed with a result that is none", (() => ({ execution: "executed", result: "done" })) as never],
  ["says something else", (() => ({ execution: "maybe" })) as never],
];

test.each(useless)("ends unknown when verify %s", async (_name, verify) => {
  const { send, ask, call } = scene({ verify });
  send();
  expect(await ask()).toEqual({ replay: false, reason: "unknown" });
  expect(call.execution).toBe("unknown");
});

test("does not wait for a verify that hangs longer than the call lives", async () => {
  const { send, ask, time } = scene({ verify: () => new Promise(() => undefined), timeoutMs: 300 });
  send();
  expect(await ask()).toEqual({ replay: false, reason: "unknown" });
  expect([time.now(), time.timers]).toEqual([300, 0]);
});

test("does not wait for a verify that hangs when the caller aborts", async () => {
  const controller = new AbortController();
  const { send, ctx, time } = scene({ verify: () => new Promise(() => undefined), signal: controller.signal });
  send();
  const decision = replayGate(ctx, { outcome: failure("unknown") });
  await time.advance(10);
  controller.abort();
  expect(await time.run(decision)).toEqual({ replay: false, reason: "cancelled" });
});

test("leaves no listener of verify and of the annotations behind", async () => {
  const counting = countingSignal();
  const { send, ask } = scene({
    signal: counting.signal,
    trust: true,
    timeoutMs: 100,
    verify: async () => ({ execution: "unknown" }),
  });
  send();
  for (let index = 0; index < 100; index += 1) await ask();
  expect(counting.listeners).toBe(0);
});

test("asks verify with the reason, and with the time of the oldest unresolved attempt", async () => {
  const questions: unknown[] = [];
  const { send, ask, time } = scene({
    verify: (ctx, question) => {
      questions.push({ tool: ctx.tool, ...question });
      return { execution: "unknown" };
    },
  });
  const start = time.runtime.wallNow();
  send({}, failure("executed"));
  await time.advance(100);
  send();
  await time.advance(100);
  send();
  await ask({ outcome: failure("unknown", "attempt_timeout") });
  expect(questions).toEqual([{ tool: "pay", reason: "attempt_timeout", sentAtWall: start + 100, attempt: 1 }]);
});

test("asks verify last: not where the call may be sent again anyway", async () => {
  let asked = 0;
  const verify: Verify = () => {
    asked += 1;
    return { execution: "unknown" };
  };
  const covered = scene({ store: STORE, verify });
  covered.send({ key: "k", storeId: "s" });
  await covered.ask();
  const ran = scene({ verify });
  ran.send({}, SUCCESS);
  await ran.ask({ outcome: failure("executed") });
  expect(asked).toBe(0);
});

test("takes the outcome for unknown while an attempt is under way, and does not ask verify then", async () => {
  let asked = 0;
  const verify: Verify = () => {
    asked += 1;
    return { execution: "not-executed" };
  };
  const { ask } = scene({ verify });
  expect(await ask({ outcome: failure("not-executed"), inFlight: true })).toEqual({ replay: false, reason: "unknown" });
  expect(asked).toBe(0);
});

describe("an attempt that an earlier process left", () => {
  const past = { key: "order-1", storeId: "s-1", sentAtWall: 1_700_000_000_000 };
  const covering = { storeId: "s-1", windowMs: 60_000, durable: true };

  test("makes the call unknown, and adds no hand-over", () => {
    const { call } = scene();
    call.adoptAttempt(past);
    expect(call.execution).toBe("unknown");
    expect(call.report()).toMatchObject({ attempts: 0, execution: "unknown" });
  });

  test("may be repeated while the store that it was sent to covers it", async () => {
    const { call, ask } = scene({ store: covering });
    call.adoptAttempt(past);
    expect(await ask()).toEqual({ replay: true });
  });

  test("is not repeated once the window is over, by the wall clock", async () => {
    const { call, ask, time } = scene({ store: covering });
    time.stepWall(60_000);
    call.adoptAttempt(past);
    expect(await ask()).toEqual({ replay: false, reason: "unknown" });
  });

  test("is not repeated where the store is another one, or where it carried no key", async () => {
    for (const other of [
      { ...past, storeId: "s-2" },
      { ...past, key: undefined },
    ]) {
      const { call, ask } = scene({ store: covering });
      call.adoptAttempt(other);
      expect(await ask()).toEqual({ replay: false, reason: "unknown" });
    }
  });

  test("is what verify is asked about, and what its answer resolves", async () => {
    const verify = vi.fn(() => ({ execution: "not-executed" }) as const);
    const { call, ask } = scene({ verify });
    call.adoptAttempt({ ...past, sentAtWall: 1_600_000_000_000 });
    expect(await ask()).toEqual({ replay: true });
    expect(verify).toHaveBeenCalledWith(expect.anything(), expect.objectContaining({ sentAtWall: 1_600_000_000_000 }));
    expect(call.execution).toBe("not-executed");
  });

  test("does not take a value that was thrown for its own", () => {
    const { call } = scene();
    call.adoptAttempt(past);
    expect(call.outcomeOf(undefined, false).status).toBe("success");
  });
});

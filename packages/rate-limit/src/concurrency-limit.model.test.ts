import {
  type CallEvents,
  type CallListener,
  type CallOptions,
  McpTxError,
  type Middleware,
  pipeline,
  RateLimitError,
  run,
  wrapTransport,
} from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { concurrencyLimit } from "./concurrency-limit.js";

const optionally = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const calls = fc.array(
  fc.record({
    startAt: fc.nat(60),
    workMs: fc.integer({ min: 0, max: 40 }),
    key: fc.constantFrom("a", "b"),
    ending: fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom("result", "error") },
      { weight: 1, arbitrary: fc.constantFrom("sync throw", "gate shut") },
    ),
    abortAt: optionally(fc.nat(100)),
    attemptTimeoutMs: optionally(fc.integer({ min: 1, max: 30 })),
    timeoutMs: optionally(fc.integer({ min: 1, max: 60 })),
    twice: fc.boolean(),
  }),
  { maxLength: 25 },
);
type Planned = typeof calls extends fc.Arbitrary<readonly (infer T)[]> ? T : never;

const limits = fc.record({
  max: fc.integer({ min: 1, max: 3 }),
  maxQueue: fc.integer({ min: 0, max: 6 }),
  maxWaitMs: optionally(fc.integer({ min: 1, max: 30 })),
});

/** Two passages of one call at once, for some calls. */
const twice: Middleware = (ctx, next) =>
  ctx.args.twice === true ? Promise.any([next(ctx), next({ ...ctx, attempt: 2 })]) : next(ctx);

const gate: Middleware = (ctx, next) => {
  if (ctx.args.ending !== "gate shut") return next(ctx);
  const admit = (): void => {
    ctx.admit?.();
    throw new RateLimitError(ctx.tool);
  };
  return next({ ...ctx, admit });
};

test("never more than max at work, in the order of arrival, and every slot comes back: whatever calls, aborts and timeouts do", async () => {
  await fc.assert(
    fc.asyncProperty(limits, calls, async (limit, planned) => {
      const time = virtualTime();
      const atWork = new Map<string, number>();
      const began: number[] = [];
      const layer = concurrencyLimit({ ...limit, key: (ctx) => String(ctx.args.key) });
      const handler = pipeline([twice, gate, layer], (ctx) => {
        const { key, workMs, ending, index } = ctx.args as Planned & { index: number };
        const now = (atWork.get(key) ?? 0) + 1;
        expect(now).toBeLessThanOrEqual(limit.max);
        if (ending === "sync throw") throw new Error("thrown");
        atWork.set(key, now);
        began.push(index);
        return ctx.call.runtime.sleep(workMs).then(() => {
          atWork.set(key, (atWork.get(key) ?? 0) - 1);
          if (ending === "error") throw new Error("failed");
          return {};
        });
      });
      const entered: number[] = [];
      /** Refusals while a slot was free. Calls that never get to work take one for some microtasks, unseen. */
      const needless: unknown[] = [];
      const allWork = planned.every(({ ending }) => ending === "result" || ending === "error");
      const onEvent: CallListener = (name, detail) => {
        if (name !== "limit.rejected" || !allWork) return;
        const { key } = detail as CallEvents["limit.rejected"];
        if (atWork.get(key) !== limit.max) needless.push(detail);
      };
      const launch = async (plan: Planned, index: number): Promise<unknown> => {
        await time.runtime.sleep(plan.startAt);
        const { abortAt, attemptTimeoutMs, timeoutMs } = plan;
        const controller = new AbortController();
        if (abortAt !== undefined) void time.runtime.sleep(abortAt).then(() => controller.abort(new Error("aborted")));
        const options: CallOptions = { signal: controller.signal, attemptTimeoutMs, timeoutMs };
        entered.push(index);
        const request = { tool: "work", args: { ...plan, index }, options };
        return run(handler, request, { runtime: time.runtime, onEvent }).catch((error: unknown) => error);
      };
      const ends = await time.run(Promise.all(planned.map(launch)));
      await time.advance(1000);

      // A violated expectation inside the tool ends as its error.
      for (const end of ends) expect(String(end)).not.toContain("AssertionError");
      expect(needless).toEqual([]);
      for (const key of ["a", "b"]) {
        const ofKey = (indexes: readonly number[]) => [
          ...new Set(indexes.filter((index) => planned[index]?.key === key)),
        ];
        const order = ofKey(entered);
        const positions = ofKey(began).map((index) => order.indexOf(index));
        expect(positions).toEqual([...positions].sort((left, right) => left - right));
      }
      expect(time.timers).toBe(0);
      await expectAllFree(layer, limit.max);
    }),
    { numRuns: 200 },
  );
}, 30_000);

/** Takes all the slots of both keys at once, without waiting for any. */
async function expectAllFree(layer: Middleware, max: number): Promise<void> {
  const time = virtualTime();
  let running = 0;
  const handler = pipeline(layer, () => {
    running += 1;
    return new Promise(() => undefined);
  });
  for (const key of ["a", "b"]) {
    for (let slot = 0; slot < max; slot += 1) {
      void run(handler, { tool: "work", args: { key } }, { runtime: time.runtime });
    }
  }
  expect(running).toBe(2 * max);
  await time.advance(0);
}

interface Message {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

const requests = fc.array(
  fc.record({
    startAt: fc.nat(60),
    /** When the server answers; `undefined` for never. */
    answerMs: optionally(fc.integer({ min: 1, max: 80 })),
    cancelAt: optionally(fc.nat(100)),
  }),
  { maxLength: 20 },
);

test("never more than max unanswered at a server, but for those given up, and every slot comes back", async () => {
  const [attemptTimeoutMs, abandonedMs] = [25, 20];
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), requests, async (max, planned) => {
      const time = virtualTime();
      /** Until when each request that was sent may hold a slot, as the server and the clock see it. */
      const held: { until: number }[] = [];
      const byId = new Map<string, { until: number; answered: boolean }>();
      const transport = {
        onmessage: undefined as ((message: object) => void) | undefined,
        async send(message: Message) {
          if (message.method !== "tools/call") return;
          const { answerMs } = (message.params?.arguments ?? {}) as { answerMs?: number };
          expect(held.filter(({ until }) => until > time.now()).length).toBeLessThan(max);
          const entry = { until: time.now() + attemptTimeoutMs + abandonedMs, answered: false };
          held.push(entry);
          byId.set(String(message.id), entry);
          if (answerMs === undefined) return;
          void time.runtime.sleep(answerMs).then(() => {
            entry.until = Math.min(entry.until, time.now());
            entry.answered = true;
            transport.onmessage?.({ jsonrpc: "2.0", id: message.id, result: {} });
          });
        },
      };
      const layer = concurrencyLimit({ max, abandonedMs });
      const wrapped = wrapTransport(transport, layer, { runtime: time.runtime, attemptTimeoutMs, timeoutMs: Infinity });
      const violations: unknown[] = [];
      wrapped.onmessage = (message) => {
        const { error } = message as { error?: { message?: string } };
        if (error?.message?.includes("expected") === true) violations.push(error);
      };
      planned.forEach(({ startAt, answerMs, cancelAt }, index) => {
        const id = `host ${index}`;
        void time.runtime.sleep(startAt).then(() => {
          void wrapped.send({ id, method: "tools/call", params: { name: "work", arguments: { answerMs } } });
        });
        if (cancelAt === undefined) return;
        void time.runtime.sleep(cancelAt).then(() => {
          const entry = byId.get(id);
          if (entry !== undefined && !entry.answered) entry.until = Math.min(entry.until, time.now() + abandonedMs);
          void wrapped.send({ method: "notifications/cancelled", params: { requestId: id } });
        });
      });
      await time.advance(5000);
      expect(violations).toEqual([]);
      expect(time.timers).toBe(0);
      let running = 0;
      const handler = pipeline(layer, () => {
        running += 1;
        return new Promise(() => undefined);
      });
      for (let slot = 0; slot < max; slot += 1) void run(handler, { tool: "work" }, { runtime: time.runtime });
      expect(running).toBe(max);
    }),
    { numRuns: 200 },
  );
}, 30_000);

test("a refusal is always one that can be told from a failure of the tool", async () => {
  const limit = concurrencyLimit({ max: 1, maxQueue: 0 });
  const hang = pipeline(limit, () => new Promise(() => undefined));
  void run(hang, { tool: "work" });
  const error: unknown = await run(hang, { tool: "work" }).catch((thrown: unknown) => thrown);
  expect(McpTxError.isInstance(error) && error.outcome.status).toBe("rejected");
});

import { expect, test } from "vitest";
import type { ToolResult } from "./contract.js";
import { overRounds } from "./input-rounds.js";
import { context, countingSignal, virtualTime } from "./testing/index.js";
import { Wire } from "./wire-attempt.js";

const LIMIT = { ms: 100, isDeadline: false };

/** An attempt that was sent and has no answer yet. */
function sent(limit: typeof LIMIT | undefined = LIMIT) {
  const time = virtualTime();
  const signal = countingSignal();
  const ctx = context({ signal: signal.signal }, { runtime: time.runtime });
  const wire = new Wire(ctx.call.beginAttempt(ctx), {});
  let answer: (result: ToolResult) => void = () => undefined;
  const answered = new Promise<ToolResult>((resolve) => {
    answer = resolve;
  });
  let expired = false;
  const onExpire = (): void => {
    expired = true;
  };
  wire.leave(false);
  const ended = overRounds(answered, ctx, wire, { signal: signal.signal, limit, onExpire });
  let outcome: unknown = "open";
  ended.then(
    (result) => {
      outcome = result;
    },
    (error: Error) => {
      outcome = error.name;
    },
  );
  return { time, signal, wire, answer, outcome: () => outcome, expired: () => expired };
}

test("counts the limit from when the request left, not from the round that made us count", async () => {
  const attempt = sent();
  await attempt.time.advance(60);
  attempt.wire.onInputRequired?.();
  await attempt.time.advance(39);
  expect(attempt.outcome()).toBe("open");
  await attempt.time.advance(1);
  expect(attempt.outcome()).toBe("AttemptTimeoutError");
  expect(attempt.expired()).toBe(true);
  expect(attempt.signal.listeners).toBe(0);
});

test("leaves an attempt without rounds to whoever bounds it otherwise", async () => {
  const attempt = sent();
  await attempt.time.advance(1000);
  expect(attempt.outcome()).toBe("open");
  expect(attempt.signal.listeners).toBe(0);
});

test("keeps nothing once the answer is there", async () => {
  const attempt = sent();
  attempt.wire.onInputRequired?.();
  expect(attempt.signal.listeners).toBe(1);
  const result = { content: [] };
  attempt.answer(result);
  await attempt.time.advance(0);
  expect(attempt.outcome()).toBe(result);
  expect(attempt.signal.listeners).toBe(0);
  expect(attempt.wire.onInputRequired).toBeUndefined();
  await attempt.time.advance(1000);
  expect(attempt.expired()).toBe(false);
});

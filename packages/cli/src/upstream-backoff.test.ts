import { expect, test } from "vitest";
import { MAX_FAILURES, RESTART, restartDelayMs } from "./upstream-backoff.js";

test("waits for nothing after a server that was of use", () => {
  expect(restartDelayMs(0, () => 1)).toBe(0);
});

test("doubles up to a bound, and half of it is random", () => {
  const longest = [1, 2, 3, 4, 5, 6, 50].map((failures) => restartDelayMs(failures, () => 1));
  expect(longest).toEqual([200, 400, 800, 1600, 3200, RESTART.maxDelayMs, RESTART.maxDelayMs]);
  expect(restartDelayMs(2, () => 0)).toBe(200);
});

test("has given up on a server that never works in seconds, before a host does", () => {
  let total = 0;
  for (let failures = 1; failures < MAX_FAILURES; failures += 1) total += restartDelayMs(failures, () => 1);
  expect(total).toBeLessThan(5000);
});

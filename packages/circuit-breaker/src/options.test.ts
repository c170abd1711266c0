import { describe, expect, test } from "vitest";
import { readSettings } from "./options.js";

const count = { type: "count", size: 20 };
const time = { type: "time", durationMs: 1000 };

describe("readSettings", () => {
  test.each([
    [null, TypeError, "circuitBreaker: options must be an object, got null"],
    [[], TypeError, "circuitBreaker: options must be an object, got an array"],
    [{ threshold: 5 }, TypeError, 'circuitBreaker: unknown option "threshold"'],
    [{ key: "tenant" }, TypeError, 'circuitBreaker: key must be a function, got "tenant"'],
    [
      { consecutiveFailures: 0 },
      RangeError,
      "circuitBreaker: consecutiveFailures must be an integer >= 1 (Infinity allowed), got 0",
    ],
    [{ consecutiveFailures: 1.5 }, RangeError, "circuitBreaker: consecutiveFailures"],
    [{ consecutiveFailures: "5" }, TypeError, "circuitBreaker: consecutiveFailures"],
    [{ recoveryTimeoutMs: 0 }, RangeError, "circuitBreaker: recoveryTimeoutMs must be a number > 0, got 0"],
    [{ recoveryTimeoutMs: Infinity }, RangeError, "circuitBreaker: recoveryTimeoutMs"],
    [{ recoveryTimeoutMs: Number.NaN }, RangeError, "circuitBreaker: recoveryTimeoutMs"],
    [{ recoveryTimeoutMs: "1s" }, TypeError, "circuitBreaker: recoveryTimeoutMs"],
    [{ maxRetryAfterMs: -1 }, RangeError, "circuitBreaker: maxRetryAfterMs must be a number >= 0, got -1"],
    [{ maxRetryAfterMs: Infinity }, RangeError, "circuitBreaker: maxRetryAfterMs"],
    [{ maxKeys: 0 }, RangeError, "circuitBreaker: maxKeys must be an integer >= 1, got 0"],
    [{ maxKeys: Infinity }, RangeError, "circuitBreaker: maxKeys"],
    [{ isFailure: true }, TypeError, "circuitBreaker: isFailure must be a function, got true"],
    [{ window: "count" }, TypeError, 'circuitBreaker: window: options must be an object, got "count"'],
    [{ window: null }, TypeError, "circuitBreaker: window: options must be an object, got null"],
    [{ window: [] }, TypeError, "circuitBreaker: window: options must be an object, got an array"],
    [{ window: {} }, TypeError, 'circuitBreaker: window: type must be one of "count", "time"'],
    [{ window: { size: 3 } }, TypeError, 'circuitBreaker: window: type must be one of "count", "time"'],
    [{ window: { type: "sliding", size: 3 } }, TypeError, 'must be one of "count", "time", got "sliding"'],
    [{ window: { type: "count" } }, TypeError, "circuitBreaker: window: size is required"],
    [{ window: { type: "time" } }, TypeError, "circuitBreaker: window: durationMs is required"],
    [{ window: { ...count, durationMs: 5 } }, TypeError, 'circuitBreaker: window: unknown option "durationMs"'],
    [{ window: { ...time, size: 5 } }, TypeError, 'circuitBreaker: window: unknown option "size"'],
    [{ window: { ...count, size: 0 } }, RangeError, "circuitBreaker: window: size must be an integer >= 1, got 0"],
    [{ window: { ...count, size: Infinity } }, RangeError, "circuitBreaker: window: size"],
    [
      { window: { ...time, durationMs: 0 } },
      RangeError,
      "circuitBreaker: window: durationMs must be a number > 0, got 0",
    ],
    [{ window: { ...time, durationMs: Infinity } }, RangeError, "circuitBreaker: window: durationMs"],
    [
      { window: { ...count, failureRate: 0 } },
      RangeError,
      "circuitBreaker: window: failureRate must be a number > 0 and <= 1, got 0",
    ],
    [{ window: { ...count, failureRate: 50 } }, RangeError, "circuitBreaker: window: failureRate"],
    [
      { window: { ...count, minimumCalls: 0 } },
      RangeError,
      "circuitBreaker: window: minimumCalls must be an integer >= 1, got 0",
    ],
    [
      { window: { ...count, minimumCalls: 21 } },
      RangeError,
      "circuitBreaker: window: minimumCalls must be at most size (20), got 21",
    ],
    [
      { window: { ...count, slowCallMs: -1 } },
      RangeError,
      "circuitBreaker: window: slowCallMs must be a number >= 0, got -1",
    ],
    [{ window: { ...count, slowCallMs: 5, slowCallRate: 1.1 } }, RangeError, "circuitBreaker: window: slowCallRate"],
    [{ window: { ...count, slowCallRate: 0.5 } }, TypeError, "circuitBreaker: window: slowCallRate needs slowCallMs"],
    [{ halfOpen: 3 }, TypeError, "circuitBreaker: halfOpen: options must be an object, got 3"],
    [{ halfOpen: { probe: 1 } }, TypeError, 'circuitBreaker: halfOpen: unknown option "probe"'],
    [{ halfOpen: { probes: 0 } }, RangeError, "circuitBreaker: halfOpen: probes must be an integer >= 1, got 0"],
    [{ halfOpen: { probes: Infinity } }, RangeError, "circuitBreaker: halfOpen: probes"],
    [{ halfOpen: { maxWaitMs: 0 } }, RangeError, "circuitBreaker: halfOpen: maxWaitMs must be a number > 0"],
    [{ halfOpen: { ramp: -1 } }, RangeError, "circuitBreaker: halfOpen: ramp must be an integer >= 0, got -1"],
    [{ halfOpen: { ramp: 0.5 } }, RangeError, "circuitBreaker: halfOpen: ramp"],
  ])("refuses %o", (options, kind, message) => {
    expect(() => readSettings(options)).toThrow(kind);
    expect(() => readSettings(options)).toThrow(message);
  });

  test("has the documented defaults", () => {
    expect(readSettings(undefined)).toEqual({
      key: undefined,
      consecutiveFailures: 5,
      recoveryTimeoutMs: 60_000,
      window: undefined,
      probes: 1,
      maxWaitMs: 30_000,
      ramp: 0,
      isFailure: undefined,
      maxKeys: 10_000,
      maxRetryAfterMs: 300_000,
    });
    expect(readSettings({ window: time })).toMatchObject({
      consecutiveFailures: Infinity,
      window: { length: 1000, failureRate: 0.5, minimumCalls: 10, slowCallMs: Infinity, slowCallRate: 0.5 },
    });
  });

  test("asks for no more calls than a small count window holds", () => {
    expect(readSettings({ window: { type: "count", size: 4 } }).window?.minimumCalls).toBe(4);
    expect(readSettings({ window: count }).window?.minimumCalls).toBe(10);
  });

  test("keeps both rules when both are given", () => {
    expect(readSettings({ window: count, consecutiveFailures: 3 })).toMatchObject({ consecutiveFailures: 3 });
  });

  test("takes a time window whose minimum is above any size", () => {
    expect(readSettings({ window: { ...time, minimumCalls: 1e6 } }).window?.minimumCalls).toBe(1e6);
  });

  test("takes explicit undefined as absent", () => {
    const options = { window: undefined, halfOpen: { probes: undefined }, consecutiveFailures: undefined };
    expect(readSettings(options)).toEqual(readSettings({}));
  });
});

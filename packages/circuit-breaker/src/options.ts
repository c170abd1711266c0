import type { CallContext } from "@mcp-tx/core";
import { callback, number, type OptionReader, oneOf, readOptions } from "@mcp-tx/core/options";
import { type CircuitSettings, DEFAULT_RECOVERY_MS } from "./circuit.js";
import type { IsFailure } from "./judge.js";
import type { WindowSettings } from "./window.js";

/** What both kinds of window have. */
export interface RateOptions {
  /**
   * Share of failures in the window at which the circuit opens. Greater than 0, at most 1.
   * @defaultValue 0.5
   */
  readonly failureRate?: number | undefined;
  /**
   * Finished calls in the window below which no rate opens the circuit. At least 1, at most the size of a count window.
   * @defaultValue 10, or the size of a smaller count window
   */
  readonly minimumCalls?: number | undefined;
  /** Milliseconds beyond which a call is slow, from its dispatch to its end, also when it succeeds. At least 0. */
  readonly slowCallMs?: number | undefined;
  /**
   * Share of slow calls in the window at which the circuit opens. Greater than 0, at most 1. Needs `slowCallMs`.
   * @defaultValue 0.5
   */
  readonly slowCallRate?: number | undefined;
}

/** A window over the last so many calls. */
export interface CountWindowOptions extends RateOptions {
  readonly type: "count";
  /** Finished calls. At least 1. */
  readonly size: number;
}

/** A window over the calls that ended in the last so many milliseconds. */
export interface TimeWindowOptions extends RateOptions {
  readonly type: "time";
  /** Milliseconds, greater than 0. In ten steps: nothing older counts, and what is younger than nine tenths of it does. */
  readonly durationMs: number;
}

/** How a circuit finds out whether calls succeed again. */
export interface HalfOpenOptions {
  /**
   * Calls let through in half-open; all have to succeed for the circuit to close, one failure opens it again. At least 1.
   * @defaultValue 1
   */
  readonly probes?: number | undefined;
  /**
   * Milliseconds after which a probe without an outcome gives its slot back; what becomes of it later does not count.
   * Greater than 0; Infinity is allowed.
   * @defaultValue 30000
   */
  readonly maxWaitMs?: number | undefined;
  /**
   * Calls that must succeed after the circuit closed before all are let through again: until then, `probes` at a time and one
   * more for each success. 0 lets all through at once.
   * @defaultValue 0
   */
  readonly ramp?: number | undefined;
}

/** Options of `circuitBreaker`. */
export interface CircuitBreakerOptions {
  /**
   * What shares a circuit. One that throws or gives no string fails the call with a TypeError before anything is sent.
   * @defaultValue one circuit for each tool of each server
   */
  readonly key?: ((ctx: CallContext) => string) | undefined;
  /**
   * Failures in a row that open the circuit. At least 1; Infinity is allowed.
   * @defaultValue 5 without a `window`, Infinity with one
   */
  readonly consecutiveFailures?: number | undefined;
  /**
   * Milliseconds for which the circuit stays open, greater than 0; or a function of the number of openings since the circuit
   * was last closed, from 1. What is no finite number > 0, or a throw, means 60000. A server's own retry-after goes first.
   * @defaultValue 60000
   */
  readonly recoveryTimeoutMs?: number | ((opening: number) => number) | undefined;
  /** Opens the circuit by the share of failures or slow calls. */
  readonly window?: CountWindowOptions | TimeWindowOptions | undefined;
  readonly halfOpen?: HalfOpenOptions | undefined;
  /** What counts as a failure, over the default. */
  readonly isFailure?: IsFailure | undefined;
  /**
   * Circuits kept. At least 1. Beyond that the least recently used closed one leaves first.
   * @defaultValue 10000
   */
  readonly maxKeys?: number | undefined;
  /**
   * Upper bound, in milliseconds, of an open time that the server asks for. 0 ignores what it asks for.
   * @defaultValue 300000
   */
  readonly maxRetryAfterMs?: number | undefined;
}

/** Options as read. */
export interface Settings extends CircuitSettings {
  readonly key: CircuitBreakerOptions["key"];
  readonly isFailure: IsFailure | undefined;
  readonly maxKeys: number;
}

const rate: OptionReader<number | undefined> = number({ min: 0, above: true, max: 1 }, undefined);
const calls: OptionReader<number | undefined> = number({ min: 1, integer: true }, undefined);
const duration: OptionReader<number | undefined> = number({ min: 0, above: true }, undefined);
const RATES = {
  failureRate: rate,
  minimumCalls: calls,
  slowCallMs: number({ min: 0 }, undefined),
  slowCallRate: rate,
};
const DEFAULT_RATE = 0.5;
const DEFAULT_MINIMUM = 10;

const windowType: OptionReader<"count" | "time"> = (value, path) => {
  // Without a default: whoever leaves it out has not said what the window is.
  return oneOf(["count", "time"], "count")(value ?? null, path);
};

function required(reader: OptionReader<number | undefined>, meaning: string): OptionReader<number> {
  return (value, path) => {
    const read = reader(value, path);
    if (read === undefined) throw new TypeError(`${path} is required: ${meaning}`);
    return read;
  };
}

const window: OptionReader<WindowSettings | undefined> = (value, path) => {
  if (value === undefined) return undefined;
  const given: object = Object(value);
  const { type, length, failureRate, minimumCalls, slowCallMs, slowCallRate } =
    "type" in given && given.type === "time" ? timeWindow(value, path) : countWindow(value, path);
  const most = type === "count" ? length : Infinity;
  if (minimumCalls !== undefined && minimumCalls > most) {
    throw new RangeError(`${path}: minimumCalls must be at most size (${most}), got ${minimumCalls}`);
  }
  if (slowCallRate !== undefined && slowCallMs === undefined) {
    throw new TypeError(`${path}: slowCallRate needs slowCallMs, which says what is slow`);
  }
  return {
    type,
    length,
    failureRate: failureRate ?? DEFAULT_RATE,
    minimumCalls: minimumCalls ?? Math.min(DEFAULT_MINIMUM, most),
    slowCallMs: slowCallMs ?? Infinity,
    slowCallRate: slowCallRate ?? DEFAULT_RATE,
  };
};

function countWindow(value: unknown, path: string) {
  const read = readOptions(path, value, { type: windowType, size: required(calls, "calls in the window"), ...RATES });
  return { ...read, length: read.size };
}

function timeWindow(value: unknown, path: string) {
  const durationMs = required(duration, "milliseconds that the window spans");
  const read = readOptions(path, value, { type: windowType, durationMs, ...RATES });
  return { ...read, length: read.durationMs };
}

const halfOpen: OptionReader<Pick<Settings, "probes" | "maxWaitMs" | "ramp">> = (value, path) =>
  readOptions(path, value, {
    probes: number({ min: 1, integer: true }, 1),
    maxWaitMs: number({ min: 0, above: true, infinite: true }, 30_000),
    ramp: number({ min: 0, integer: true }, 0),
  });

const recoveryTimeout: OptionReader<Settings["recoveryTimeoutMs"]> = (value, path) => {
  // Any function passes; what it gives is checked when it is asked.
  if (typeof value === "function") return value as (opening: number) => number;
  return duration(value, path) ?? DEFAULT_RECOVERY_MS;
};

/** Checks and completes the options. */
export function readSettings(options: unknown): Settings {
  const { halfOpen: recovery, ...read } = readOptions("circuitBreaker", options, {
    key: callback<NonNullable<CircuitBreakerOptions["key"]>>(),
    consecutiveFailures: number({ min: 1, integer: true, infinite: true }, undefined),
    recoveryTimeoutMs: recoveryTimeout,
    window,
    halfOpen,
    isFailure: callback<IsFailure>(),
    maxKeys: number({ min: 1, integer: true }, 10_000),
    maxRetryAfterMs: number({ min: 0 }, 300_000),
  });
  const consecutiveFailures = read.consecutiveFailures ?? (read.window === undefined ? 5 : Infinity);
  return { ...read, ...recovery, consecutiveFailures };
}

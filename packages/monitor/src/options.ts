import { callback, flag, number, type OptionReader, readOptions } from "@mcp-tx/core/options";
import type { Alert } from "./alert.js";

/** When the alert of one tool fires and resolves, over what the monitor says. */
export interface ToolAlertOptions {
  /**
   * Success rate below which it fires. From 0, which never fires, to 1.
   * @defaultValue the monitor's
   */
  readonly threshold?: number | undefined;
  /**
   * Success rate from which on it resolves. At least `threshold`, at most 1.
   * @defaultValue the monitor's, or `threshold` where that is higher
   */
  readonly recoverAt?: number | undefined;
  /**
   * Calls in the window below which it does not fire. At least 1.
   * @defaultValue the monitor's
   */
  readonly minSamples?: number | undefined;
  /**
   * Milliseconds after it resolved for which it does not fire again. At least 0.
   * @defaultValue the monitor's
   */
  readonly cooldownMs?: number | undefined;
}

/** Options of `monitor`. */
export interface MonitorOptions {
  /**
   * Milliseconds that the window spans, greater than 0: nothing older counts.
   * @defaultValue 300000
   */
  readonly windowMs?: number | undefined;
  /**
   * Steps in which the window moves on, 1 to 1000: what is younger than the window less one step counts.
   * @defaultValue 10
   */
  readonly buckets?: number | undefined;
  /**
   * Tools kept apart. At least 1. The rest counts as one tool, `_OTHER`, until another one has had no call for a whole window.
   * @defaultValue 10000
   */
  readonly maxTools?: number | undefined;
  /**
   * Success rate below which a tool's alert fires. From 0, which never fires, to 1.
   * @defaultValue 0.95
   */
  readonly threshold?: number | undefined;
  /**
   * Success rate from which on it resolves. At least `threshold`, at most 1.
   * @defaultValue 0.97, or `threshold` where that is higher
   */
  readonly recoverAt?: number | undefined;
  /**
   * Calls in the window below which no alert fires. At least 1.
   * @defaultValue 20
   */
  readonly minSamples?: number | undefined;
  /**
   * Milliseconds after an alert resolved for which that tool's does not fire again. At least 0.
   * @defaultValue 60000
   */
  readonly cooldownMs?: number | undefined;
  /**
   * Whether calls that a breaker or a limit refused, without anything having run, are failures to the success rate.
   * @defaultValue false
   */
  readonly countRejected?: boolean | undefined;
  /** Alerts of single tools, by their names. These tools are always kept apart. */
  readonly tools?: Readonly<Record<string, ToolAlertOptions>> | undefined;
  /**
   * Gets every alert, after the call that caused it went on. No call waits for it; what it throws or rejects with is counted in
   * the report.
   */
  readonly onAlert?: ((alert: Alert) => unknown) | undefined;
}

/** When an alert fires and resolves. */
export interface AlertRules {
  readonly threshold: number;
  readonly recoverAt: number;
  readonly minSamples: number;
  readonly cooldownMs: number;
}

/** Options as read. */
export interface Settings {
  readonly windowMs: number;
  readonly buckets: number;
  readonly maxTools: number;
  readonly countRejected: boolean;
  readonly rules: AlertRules;
  readonly toolRules: ReadonlyMap<string, AlertRules>;
  readonly onAlert: ((alert: Alert) => unknown) | undefined;
}

const DEFAULT_RULES: AlertRules = { threshold: 0.95, recoverAt: 0.97, minSamples: 20, cooldownMs: 60_000 };

const rate: OptionReader<number | undefined> = number({ min: 0, max: 1 }, undefined);
const RULES = {
  threshold: rate,
  recoverAt: rate,
  minSamples: number({ min: 1, integer: true }, undefined),
  cooldownMs: number({ min: 0 }, undefined),
};

type GivenRules = { readonly [K in keyof AlertRules]: AlertRules[K] | undefined };

function completeRules(given: GivenRules, base: AlertRules, path: string): AlertRules {
  const threshold = given.threshold ?? base.threshold;
  const recoverAt = given.recoverAt ?? Math.max(base.recoverAt, threshold);
  if (recoverAt < threshold) {
    throw new RangeError(`${path}: recoverAt must be >= threshold (${threshold}), got ${recoverAt}`);
  }
  return {
    threshold,
    recoverAt,
    minSamples: given.minSamples ?? base.minSamples,
    cooldownMs: given.cooldownMs ?? base.cooldownMs,
  };
}

const byTool: OptionReader<ReadonlyMap<string, GivenRules>> = (value, path) => {
  if (value === undefined) return new Map();
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`${path} must be an object of alert options by tool name`);
  }
  return new Map(
    Object.entries(value).map(([tool, options]) => [
      tool,
      readOptions(`${path}[${JSON.stringify(tool)}]`, options ?? null, RULES),
    ]),
  );
};

/** Checks and completes the options. */
export function readSettings(options: unknown): Settings {
  const { tools, threshold, recoverAt, minSamples, cooldownMs, ...read } = readOptions("monitor", options, {
    windowMs: number({ min: 0, above: true }, 300_000),
    buckets: number({ min: 1, max: 1000, integer: true }, 10),
    maxTools: number({ min: 1, integer: true }, 10_000),
    ...RULES,
    countRejected: flag(false),
    tools: byTool,
    onAlert: callback<NonNullable<MonitorOptions["onAlert"]>>(),
  });
  const rules = completeRules({ threshold, recoverAt, minSamples, cooldownMs }, DEFAULT_RULES, "monitor");
  const toolRules = new Map(
    Array.from(tools, ([tool, given]) => [
      tool,
      completeRules(given, rules, `monitor: tools[${JSON.stringify(tool)}]`),
    ]),
  );
  return { ...read, rules, toolRules };
}

import { callback, number, type OptionReader, objectWith } from "@mcp-tx/core/options";
import { childPath, describe, type Fields, fields, plainObject } from "./config-path.js";
import {
  circuitBreakerSection,
  concurrencySection,
  duration,
  idempotencySection,
  rateLimitSection,
  reconnectSection,
  retryBudgetSection,
  retrySection,
  runtimeReader,
  toolIdempotencySection,
  yesOrNo,
} from "./config-schema.js";
import type { Logger, LoggingConfig, ReliableConfig, ToolConfig } from "./config-types.js";
import { compileGlob, isGlob } from "./tool-pattern.js";

const TOOL: Fields<ToolConfig> = {
  timeoutMs: duration,
  attemptTimeoutMs: duration,
  retry: retrySection,
  idempotency: toolIdempotencySection,
  circuitBreaker: circuitBreakerSection,
  rateLimit: rateLimitSection,
  concurrency: concurrencySection,
};
const tool: OptionReader<ToolConfig | undefined> = fields(TOOL);

/** Tool names and globs are data: any text may be one, also `__proto__`. */
const tools: OptionReader<Readonly<Record<string, ToolConfig>> | undefined> = (value, path) => {
  if (value === undefined) return undefined;
  const given = plainObject(value, path, "an object of tool names or globs");
  const read: [string, ToolConfig][] = [];
  for (const name of Object.keys(given)) {
    const at = childPath(path, name);
    if (name === "") throw new TypeError(`${at} must have a tool name or a glob for its key`);
    if (isGlob(name)) compileGlob(name, at);
    read.push([name, tool(given[name] ?? null, at) ?? {}]);
  }
  return Object.fromEntries(read);
};

const trust: OptionReader<ReliableConfig["trustAnnotations"]> = (value, path) => {
  if (typeof value === "function") return value as (peer: object) => boolean;
  if (value === undefined || typeof value === "boolean") return value;
  throw new TypeError(`${path} must be true, false or a function (peer) => boolean, got ${describe(value)}`);
};

function functions<T>(allowsOne: boolean): OptionReader<T | undefined> {
  return (value, path) => {
    if (value === undefined || (allowsOne && typeof value === "function")) return value as T | undefined;
    const what = allowsOne ? "a function or an array of functions" : "an array of functions";
    if (!Array.isArray(value)) throw new TypeError(`${path} must be ${what}, got ${describe(value)}`);
    const wrong = value.findIndex((entry) => typeof entry !== "function");
    if (wrong === -1) return value as T;
    throw new TypeError(`${path}[${wrong}] must be a function, got ${describe(value[wrong])}`);
  };
}

const CONFIG: Fields<ReliableConfig> = {
  timeoutMs: duration,
  attemptTimeoutMs: duration,
  retry: retrySection,
  retryBudget: retryBudgetSection,
  idempotency: idempotencySection,
  circuitBreaker: circuitBreakerSection,
  rateLimit: rateLimitSection,
  concurrency: concurrencySection,
  tools,
  middleware: functions<NonNullable<ReliableConfig["middleware"]>>(true),
  logger: objectWith<Logger>("debug", "info", "warn", "error"),
  logging: fields<LoggingConfig>({ arguments: yesOrNo, results: yesOrNo, keys: yesOrNo, messages: yesOrNo }),
  trustAnnotations: trust,
  verify: callback<NonNullable<ReliableConfig["verify"]>>(),
  classifiers: functions<NonNullable<ReliableConfig["classifiers"]>>(false),
  peer: objectWith<NonNullable<ReliableConfig["peer"]>>(),
  onReport: callback<NonNullable<ReliableConfig["onReport"]>>(),
  onEvent: callback<NonNullable<ReliableConfig["onEvent"]>>(),
  runtime: runtimeReader,
  reconnect: reconnectSection,
  connectTimeoutMs: number({ min: 0, above: true }, undefined),
  replayAcrossSessions: yesOrNo,
};

/** The keys of the configuration. */
export const CONFIG_KEYS: readonly string[] = Object.keys(CONFIG);

const config: OptionReader<ReliableConfig | undefined> = fields(CONFIG);

/**
 * Checks a configuration.
 *
 * @param root - what it is called in messages; `""` where the keys stand alone
 * @returns what was given and is not `undefined`
 * @throws TypeError or RangeError naming the full path of the key that is wrong
 */
export function readConfig(given: unknown, root = "config"): ReliableConfig {
  return config(given, root) ?? {};
}

import type { CountWindowOptions, HalfOpenOptions, TimeWindowOptions } from "@mcp-tx/circuit-breaker";
import type { CallContext, OutcomeCode, Runtime } from "@mcp-tx/core";
import { callback, flag, number, type OptionReader, objectWith, oneOf } from "@mcp-tx/core/options";
import type { IdempotencyStore, RateLimitStore } from "@mcp-tx/core/stores";
import type { LimitKey } from "@mcp-tx/rate-limit";
import type { RetryBudget, RetryBudgetOptions } from "@mcp-tx/retry";
import { childPath, describe, type Fields, fields } from "./config-path.js";
import type {
  CircuitBreakerConfig,
  ConcurrencyConfig,
  IdempotencyConfig,
  KeyFields,
  RateLimitConfig,
  ReconnectConfig,
  RetryConfig,
  ToolIdempotencyConfig,
} from "./config-types.js";

/** What each key of the configuration may be. The ranges are those of the packages that get the values; a test compares them. */

/** Everything after which `retryOn` can ask for a repetition. */
const CODES = [
  "circuit_open",
  "rate_limited",
  "queue_full",
  "deadline",
  "attempt_timeout",
  "cancelled",
  "outcome_unknown",
  "idempotency_conflict",
  "idempotency_in_progress",
  "store_unavailable",
  "store_mismatch",
  "tool_error",
  "protocol_error",
  "transport_error",
  "session_expired",
] as const satisfies readonly OutcomeCode[];

type Reader<T> = OptionReader<T | undefined>;

/** One of a few words; absent stays absent. */
export function word<const W extends readonly string[]>(words: W): Reader<W[number]> {
  const read = oneOf(words, words[0] as W[number]);
  return (value, path) => (value === undefined ? undefined : read(value, path));
}

/** What one reader takes, or else what another one does; `isFirst` says which is meant. */
function either<A, B>(isFirst: (value: unknown) => boolean, first: Reader<A>, second: Reader<B>): Reader<A | B> {
  return (value, path) => (isFirst(value) ? first(value, path) : second(value, path));
}

const isFunction = (value: unknown): boolean => typeof value === "function";
const isBoolean = (value: unknown): boolean => typeof value === "boolean";

export const duration: Reader<number> = number({ min: 0, above: true, infinite: true }, undefined);
export const yesOrNo: Reader<boolean> = flag(undefined);
const atLeastZero: Reader<number> = number({ min: 0, infinite: true }, undefined);
const finite: Reader<number> = number({ min: 0 }, undefined);
const count: Reader<number> = number({ min: 1, integer: true }, undefined);
const share: Reader<number> = number({ min: 0, above: true, max: 1 }, undefined);
const positive: Reader<number> = number({ min: 0, above: true }, undefined);

const text: Reader<string> = (value, path) => {
  if (value === undefined || typeof value === "string") return value;
  throw new TypeError(`${path} must be a string, got ${describe(value)}`);
};

/** A list of at least one entry. */
function list<T>(entry: Reader<T>, what: string): Reader<readonly T[]> {
  return (value, path) => {
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.length === 0) {
      throw new TypeError(
        `${path} must be a list of ${what}, got ${Array.isArray(value) ? "an empty one" : describe(value)}`,
      );
    }
    return value.map((each, index) => {
      const read = entry(each, `${path}[${index}]`);
      if (read === undefined) throw new TypeError(`${path}[${index}] must be one of ${what}, got ${describe(each)}`);
      return read;
    });
  };
}

const name: Reader<string> = (value, path) => {
  if (typeof value === "string" && value !== "") return value;
  throw new TypeError(`${path} must be a non-empty string, got ${describe(value)}`);
};

const keyFields: Reader<KeyFields> = (value, path) => {
  const what = 'a function (ctx) => string or an object such as { fields: ["orderId"] }';
  const read = fields<KeyFields>({ fields: list(name, "argument names"), missing: word(["refuse", "ignore"]) }, what)(
    value,
    path,
  );
  if (read !== undefined && read.fields === undefined) {
    throw new TypeError(`${childPath(path, "fields")} is required: the arguments of which the key is made`);
  }
  return read;
};

const sharedKey: Reader<"tool" | "server" | LimitKey> = either(
  isFunction,
  callback<LimitKey>(),
  word(["tool", "server"]),
);

/** Any function passes; what it gives is checked when it is asked. */
function orFunction<T, F>(other: Reader<T>): Reader<T | F> {
  return (value, path) => (isFunction(value) ? (value as F) : other(value, path));
}

const RETRY: Fields<RetryConfig> = {
  maxAttempts: number({ min: 1, integer: true, infinite: true }, undefined),
  baseDelayMs: finite,
  maxDelayMs: finite,
  multiplier: number({ min: 1 }, undefined),
  jitter: word(["full", "equal", "decorrelated", "none"]),
  maxElapsedMs: atLeastZero,
  maxRetryAfterMs: atLeastZero,
  replay: word(["safe", "always", "never"]),
  retryOn: orFunction(list(word(CODES), "outcome codes")),
  delay: callback<NonNullable<RetryConfig["delay"]>>(),
};

const TOOL_IDEMPOTENCY: Fields<ToolIdempotencyConfig> = {
  key: orFunction<KeyFields, (ctx: CallContext) => string | undefined>(keyFields),
  scope: orFunction<string, (ctx: CallContext) => string>(text),
  ttlMs: duration,
  leaseMs: number({ min: 1 }, undefined),
  onConcurrent: word(["wait", "reject"]),
  toolErrors: word(["replay", "reclaim"]),
  keyArgument: orFunction<string, (tool: string) => string | undefined>(text),
};

const store: Reader<IdempotencyStore> = (value, path) => {
  if (typeof (value as { readonly idempotency?: unknown } | null | undefined)?.idempotency === "object") {
    throw new TypeError(`${path} must be one store, got a bundle of stores: pass its member "idempotency"`);
  }
  return objectWith<IdempotencyStore>("claim", "extend", "settle", "release", "get", "expire")(value, path);
};

const IDEMPOTENCY: Fields<IdempotencyConfig> = {
  ...TOOL_IDEMPOTENCY,
  store,
  storeErrors: word(["fail", "bypass"]),
};

/** One store holds all records: what it is, and what happens when it fails, is said once. */
const onceForAll: Reader<never> = (value, path) => {
  if (value === undefined) return undefined;
  throw new TypeError(`${path} is the same for all tools; set it once, in config.idempotency`);
};

const RATES: Fields<Omit<CountWindowOptions, "type" | "size">> = {
  failureRate: share,
  minimumCalls: count,
  slowCallMs: finite,
  slowCallRate: share,
};
/** Says both words that there are, whichever of the two windows it reads. */
function windowType<T extends "count" | "time">(): Reader<T> {
  return word(["count", "time"]) as Reader<T>;
}
const countWindow = fields<CountWindowOptions>({ type: windowType<"count">(), size: count, ...RATES });
const timeWindow = fields<TimeWindowOptions>({ type: windowType<"time">(), durationMs: positive, ...RATES });

const window: Reader<CountWindowOptions | TimeWindowOptions> = (value, path) => {
  const type = (value as { readonly type?: unknown } | null | undefined)?.type;
  return type === "time" ? timeWindow(value, path) : countWindow(value, path);
};

const CIRCUIT_BREAKER: Fields<CircuitBreakerConfig> = {
  key: sharedKey,
  consecutiveFailures: number({ min: 1, integer: true, infinite: true }, undefined),
  recoveryTimeoutMs: orFunction<number, (opening: number) => number>(positive),
  window,
  halfOpen: fields<HalfOpenOptions>({
    probes: count,
    maxWaitMs: duration,
    ramp: number({ min: 0, integer: true }, undefined),
  }),
  isFailure: callback<NonNullable<CircuitBreakerConfig["isFailure"]>>(),
  maxKeys: count,
  maxRetryAfterMs: finite,
};

const RATE_LIMIT: Fields<RateLimitConfig> = {
  rate: positive,
  burst: positive,
  key: sharedKey,
  cost: orFunction<number, (ctx: CallContext) => number>(positive),
  onLimit: word(["wait", "reject"]),
  maxQueue: number({ min: 0, integer: true, infinite: true }, undefined),
  maxWaitMs: atLeastZero,
  maxRetryAfterMs: atLeastZero,
  store: objectWith<RateLimitStore>("take", "refund", "pause"),
  storeErrors: word(["fail", "bypass"]),
};

const CONCURRENCY: Fields<ConcurrencyConfig> = {
  max: count,
  key: sharedKey,
  maxQueue: number({ min: 0, integer: true, infinite: true }, undefined),
  maxWaitMs: atLeastZero,
  abandonedMs: atLeastZero,
};

/** A section that can be switched on and off. */
function switchable<T extends object>(readers: Fields<T>): Reader<T | boolean> {
  return either(isBoolean, yesOrNo, fields(readers, "true, false or an object of options"));
}

const never: Reader<false> = (value, path) => {
  if (value === false) return false;
  throw new TypeError(`${path} cannot be true: say what the limit is, or false for none`);
};

/** A limit, which nobody but the user knows: it can be switched off, not on. */
function limit<T extends object>(readers: Fields<T>, what: string): Reader<T | false> {
  return either(isBoolean, never, fields(readers, what));
}

export const retrySection: Reader<RetryConfig | boolean> = switchable(RETRY);
export const idempotencySection: Reader<IdempotencyConfig | boolean> = switchable(IDEMPOTENCY);
export const toolIdempotencySection: Reader<ToolIdempotencyConfig | boolean> = switchable<ToolIdempotencyConfig>({
  ...TOOL_IDEMPOTENCY,
  ...{ store: onceForAll, storeErrors: onceForAll },
});
export const circuitBreakerSection: Reader<CircuitBreakerConfig | boolean> = switchable(CIRCUIT_BREAKER);
export const rateLimitSection: Reader<RateLimitConfig | false> = limit(RATE_LIMIT, "false or an object of options");
export const concurrencySection: Reader<ConcurrencyConfig | number | false> = either(
  (value) => typeof value === "number",
  count,
  limit(CONCURRENCY, "a number, false or an object of options"),
);
export const retryBudgetSection: Reader<RetryBudget | RetryBudgetOptions | false> = (value, path) => {
  const isBudget = typeof (value as { readonly withdraw?: unknown } | null | undefined)?.withdraw === "function";
  if (isBudget) return objectWith<RetryBudget>("deposit", "withdraw")(value, path);
  return limit<RetryBudgetOptions>(
    { ratio: number({ min: 0, max: 1000 }, undefined), minPerSecond: finite, ttlMs: number({ min: 1 }, undefined) },
    "false, a retryBudget() or an object of its options",
  )(value, path);
};
export const runtimeReader: Reader<Runtime> = objectWith<Runtime>("now", "wallNow", "sleep", "random");
export const reconnectSection: Reader<ReconnectConfig> = fields<ReconnectConfig>({
  baseDelayMs: finite,
  maxDelayMs: finite,
  multiplier: number({ min: 1 }, undefined),
  jitter: word(["full", "equal", "decorrelated", "none"]),
});

import type { CircuitBreakerOptions } from "@mcp-tx/circuit-breaker";
import type { Middleware, OutcomeCode, WrapOptions } from "@mcp-tx/core";
import type { IdempotencyOptions } from "@mcp-tx/idempotency";
import type { ConcurrencyLimitOptions, LimitKey, RateLimitOptions } from "@mcp-tx/rate-limit";
import type { Jitter, RetryBudget, RetryBudgetOptions, RetryOptions } from "@mcp-tx/retry";

/** Where log lines go. Every pino logger fits, and so does any object with these four methods. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What log lines hold beside names, numbers and codes. Nothing of it unless asked. */
export interface LoggingConfig {
  /**
   * The arguments of each call, in a line of its own at level debug.
   * @defaultValue false
   */
  readonly arguments?: boolean | undefined;
  /**
   * The result of each call, in a line of its own at level debug.
   * @defaultValue false
   */
  readonly results?: boolean | undefined;
  /**
   * Idempotency keys and transaction ids.
   * @defaultValue false
   */
  readonly keys?: boolean | undefined;
  /**
   * Texts of errors, which may quote what the server said.
   * @defaultValue false
   */
  readonly messages?: boolean | undefined;
}

/** How calls are repeated: the options of `retry`, and what JSON can say of `retryOn`. */
export interface RetryConfig extends Omit<RetryOptions, "budget" | "retryOn"> {
  /** Whether to repeat after an outcome: a function, or the codes after which a call is repeated beside what is by itself. */
  readonly retryOn?: RetryOptions["retryOn"] | readonly OutcomeCode[] | undefined;
}

/** An idempotency key as data: made of the values of some arguments. */
export interface KeyFields {
  /** Names of arguments; `order.id` is the member `id` of the argument `order`. At least one. */
  readonly fields: readonly string[];
  /**
   * A call that lacks one of them fails before anything is sent, or goes out without a key.
   * @defaultValue "refuse"
   */
  readonly missing?: "refuse" | "ignore" | undefined;
}

/** How calls with a key are kept from happening twice: the options of `idempotency`, and what JSON can say of `key`. */
export interface IdempotencyConfig extends Omit<IdempotencyOptions, "key"> {
  /** Makes the key of a call that has none of its own: a function, or the arguments that make it. */
  readonly key?: IdempotencyOptions["key"] | KeyFields | undefined;
}

/** What of it can differ from tool to tool: all records are in one store. */
export type ToolIdempotencyConfig = Omit<IdempotencyConfig, "store" | "storeErrors">;

/** What shares a limit or a circuit: the calls of a tool, those of the server, or those for which a function gives the same text. */
export type SharedKey = "tool" | "server" | LimitKey;

/** When calls that keep failing are stopped: the options of `circuitBreaker`. */
export interface CircuitBreakerConfig extends Omit<CircuitBreakerOptions, "key"> {
  /** @defaultValue "tool" */
  readonly key?: SharedKey | undefined;
}

/** How many calls may go out in a time: the options of `rateLimit`. */
export interface RateLimitConfig extends Omit<RateLimitOptions, "rate" | "burst" | "key"> {
  /** Calls per second. Greater than 0; required. */
  readonly rate?: number | undefined;
  /**
   * Calls that may go out at once after a rest. Greater than 0.
   * @defaultValue `rate`, at least 1: what a second allows
   */
  readonly burst?: number | undefined;
  /** @defaultValue "server"; below `tools`, "tool" */
  readonly key?: SharedKey | undefined;
}

/** How many calls may run at once: the options of `concurrencyLimit`. */
export interface ConcurrencyConfig extends Omit<ConcurrencyLimitOptions, "max" | "key"> {
  /** Calls that may run at once. An integer of at least 1; required. */
  readonly max?: number | undefined;
  /** @defaultValue "server"; below `tools`, "tool" */
  readonly key?: SharedKey | undefined;
}

/** How often a lost connection is made anew: without end, with growing waits between failures. */
export interface ReconnectConfig {
  /**
   * Milliseconds before the second try, before jitter. At least 0.
   * @defaultValue 200
   */
  readonly baseDelayMs?: number | undefined;
  /**
   * Upper bound of a wait in milliseconds. At least 0.
   * @defaultValue 30000
   */
  readonly maxDelayMs?: number | undefined;
  /**
   * Growth from one wait to the next. At least 1.
   * @defaultValue 2
   */
  readonly multiplier?: number | undefined;
  /** @defaultValue "full" */
  readonly jitter?: Jitter | undefined;
}

/** What differs for some tools. Whatever is not said is as it is for all. */
export interface ToolConfig {
  /** Milliseconds for the whole call, all attempts and waits. Greater than 0; Infinity is allowed. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for one attempt. Greater than 0; Infinity is allowed. */
  readonly attemptTimeoutMs?: number | undefined;
  /** `false`: each call is sent once, and its error comes back as it was. */
  readonly retry?: RetryConfig | boolean | undefined;
  /** `false`: no records; a call with a key is refused. */
  readonly idempotency?: ToolIdempotencyConfig | boolean | undefined;
  /** `false`: no circuit. */
  readonly circuitBreaker?: CircuitBreakerConfig | boolean | undefined;
  /** A limit of each tool's own, within the one for all; `false`: no limit at all. */
  readonly rateLimit?: RateLimitConfig | false | undefined;
  /** Calls of each tool that may run at once, within the limit for all; `false`: no limit at all. */
  readonly concurrency?: ConcurrencyConfig | number | false | undefined;
}

/** All that can be said about how calls are made reliable. Each key is optional. */
export interface ReliableConfig {
  /**
   * Milliseconds for a whole call, all attempts and waits. Greater than 0; Infinity is allowed.
   * @defaultValue none: each attempt is bounded (the SDK's own default is a minute), and so is the time in which repetitions start
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Milliseconds for one attempt. Greater than 0; Infinity is allowed.
   * @defaultValue the SDK's request timeout, 60000
   */
  readonly attemptTimeoutMs?: number | undefined;
  /** @defaultValue on */
  readonly retry?: RetryConfig | boolean | undefined;
  /**
   * What all repetitions together may come to.
   * @defaultValue a `retryBudget()` of its own
   */
  readonly retryBudget?: RetryBudget | RetryBudgetOptions | false | undefined;
  /** @defaultValue on, with records in memory */
  readonly idempotency?: IdempotencyConfig | boolean | undefined;
  /** @defaultValue on */
  readonly circuitBreaker?: CircuitBreakerConfig | boolean | undefined;
  /** @defaultValue off */
  readonly rateLimit?: RateLimitConfig | false | undefined;
  /**
   * Calls that may run at once, as a number or with the options of `concurrencyLimit`.
   * @defaultValue off
   */
  readonly concurrency?: ConcurrencyConfig | number | false | undefined;
  /**
   * What differs for some tools, by name or glob (`"pay*"`, `"files/{read,list}"`). All globs that fit apply, later ones over
   * earlier ones, and an exact name over all of them.
   */
  readonly tools?: Readonly<Record<string, ToolConfig>> | undefined;
  /** More middleware, such as `otel()`, `monitor()` or `saga()`. Each goes to its seat in the standard order. */
  readonly middleware?: Middleware | readonly Middleware[] | undefined;
  /** Where calls are logged: one line for each that ended, and for what happened on its way. */
  readonly logger?: Logger | undefined;
  readonly logging?: LoggingConfig | undefined;
  /** @defaultValue false */
  readonly trustAnnotations?: WrapOptions["trustAnnotations"];
  readonly verify?: WrapOptions["verify"];
  readonly classifiers?: WrapOptions["classifiers"];
  readonly peer?: WrapOptions["peer"];
  readonly onReport?: WrapOptions["onReport"];
  readonly onEvent?: WrapOptions["onEvent"];
  /** @defaultValue the process clock */
  readonly runtime?: WrapOptions["runtime"];
  /** How a lost connection is made anew; for `{ connect }` and `{ servers }`. */
  readonly reconnect?: ReconnectConfig | undefined;
  /**
   * Milliseconds for making one connection; for `{ connect }` and `{ servers }`. Greater than 0.
   * @defaultValue 30000
   */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * Whether a call that did not run may be sent again in a fresh session, which may have lost the server's state (a browser, a
   * working directory); for `{ connect }` and `{ servers }`.
   * @defaultValue only for stateless servers and read-only tools of trusted ones
   */
  readonly replayAcrossSessions?: boolean | undefined;
}

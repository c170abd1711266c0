import { callback, flag, number, type OptionReader, objectWith, oneOf, readOptions } from "@mcp-tx/core/options";
import type { Attributes, AttributeValue, MeterProvider, TextMapPropagator, TracerProvider } from "@opentelemetry/api";

/** Which sensitive values go into spans. */
export interface CaptureOptions {
  /**
   * The arguments, as `gen_ai.tool.call.arguments`.
   * @defaultValue false
   */
  readonly arguments?: boolean | undefined;
  /**
   * The result, as `gen_ai.tool.call.result`.
   * @defaultValue false
   */
  readonly results?: boolean | undefined;
}

/** What {@link OtelOptions.redact} is told about the value that it gets. */
export interface RedactInfo {
  readonly tool: string;
  readonly kind: "arguments" | "result";
}

/** Gives what may be shown of a value, anything that JSON can hold; `undefined`, or throwing, shows nothing. */
export type Redact = (value: unknown, info: RedactInfo) => unknown;

/** Options of `otel`, `otelAttempt` and `otelServer`. */
export interface OtelOptions {
  /**
   * `native`: spans, metrics and propagation. `propagation-only`: only the context goes from `context.active()` into `_meta`, or,
   * with `activeContext`, from `_meta` to the server's handlers. `off`: nothing.
   * @defaultValue "native"
   */
  readonly mode?: "native" | "propagation-only" | "off" | undefined;
  /** @defaultValue the global one, also when it is registered later */
  readonly tracerProvider?: TracerProvider | undefined;
  /** @defaultValue the global one, also when it is registered later */
  readonly meterProvider?: MeterProvider | undefined;
  /** Writes the context into `_meta` and reads it from there. The default is the global one, also when it is registered later. */
  readonly propagator?: TextMapPropagator | undefined;
  /** Attributes of all spans and metrics, such as `network.transport` (`pipe`, `tcp`) or `mcp.protocol.version`. */
  readonly attributes?: Attributes | undefined;
  /** Sensitive values in spans: none unless asked for. */
  readonly capture?: CaptureOptions | undefined;
  /** Sees every captured value before it is written. */
  readonly redact?: Redact | undefined;
  /**
   * Names of tools, and of circuits, that metrics and span names tell apart; every further one is `_OTHER`. At least 0.
   * @defaultValue 200
   */
  readonly maxNames?: number | undefined;
  /**
   * Whether the span is the active one while what is inside of it runs, so that the spans of others nest below it. Makes every
   * `await` dearer on Node 20 and 22.
   * @defaultValue false
   */
  readonly activeContext?: boolean | undefined;
}

/** The part of a circuit breaker that is used here. */
export interface CircuitBreakerSource {
  onStateChange(listener: (change: CircuitChange) => void): unknown;
}

/** A change of a circuit's state. */
export interface CircuitChange {
  readonly key: string;
  readonly tool?: string | undefined;
  readonly from: string;
  readonly to: string;
}

/** The part of a retry budget that is used here. */
export interface RetryBudgetSource {
  remaining(now: number): number;
}

/** Options of `otel` alone: what calls by themselves do not tell. */
export interface OtelSourceOptions {
  /**
   * Breakers whose changes are counted, those by controls included. Without them, the changes that calls of this pipeline cause are.
   */
  readonly circuitBreakers?: readonly CircuitBreakerSource[] | undefined;
  /**
   * The name of a circuit in spans and metrics, from its key. The default is a key that says no more than server and tool do, and
   * `_OTHER` for all others: keys may be made of arguments.
   */
  readonly circuitName?: ((key: string) => string) | undefined;
  /** Its rest is `mcp_tx.retry_budget.remaining`. */
  readonly retryBudget?: RetryBudgetSource | undefined;
}

/** Options with their defaults. */
export interface Settings {
  readonly mode: "native" | "propagation-only" | "off";
  readonly tracerProvider: TracerProvider | undefined;
  readonly meterProvider: MeterProvider | undefined;
  readonly propagator: TextMapPropagator | undefined;
  readonly attributes: Attributes;
  readonly capture: { readonly arguments: boolean; readonly results: boolean };
  readonly redact: Redact | undefined;
  readonly maxNames: number;
  readonly activeContext: boolean;
}

/** Settings of `otel`. */
export interface CallSettings extends Settings {
  readonly circuitBreakers: readonly CircuitBreakerSource[] | undefined;
  readonly circuitName: ((key: string) => string) | undefined;
  readonly retryBudget: RetryBudgetSource | undefined;
}

function isAttributeValue(value: unknown): value is AttributeValue {
  if (Array.isArray(value)) return value.every((entry) => ["string", "number", "boolean"].includes(typeof entry));
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

const attributes: OptionReader<Attributes> = (value, path) => {
  if (value === undefined) return Object.freeze({});
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`${path} must be an object of attributes`);
  }
  for (const [name, entry] of Object.entries(value)) {
    if (!isAttributeValue(entry))
      throw new TypeError(`${path}: "${name}" must be a string, a number, a boolean or an array of them`);
  }
  return Object.freeze({ ...value });
};

const capture: OptionReader<Settings["capture"]> = (value, path) =>
  readOptions(path, value, { arguments: flag(false), results: flag(false) });

const sources: OptionReader<readonly CircuitBreakerSource[] | undefined> = (value, path) => {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw new TypeError(`${path} must be an array of circuit breakers`);
  return value.map((entry, index) => source(entry, `${path}[${index}]`));
};

/** A breaker is a function with its controls on it. */
function source(value: unknown, path: string): CircuitBreakerSource {
  const controls = value as Partial<CircuitBreakerSource> | null | undefined;
  if (typeof controls?.onStateChange === "function") return controls as CircuitBreakerSource;
  throw new TypeError(`${path} must have a method onStateChange()`);
}

const SHARED = {
  mode: oneOf(["native", "propagation-only", "off"], "native"),
  tracerProvider: objectWith<TracerProvider>("getTracer"),
  meterProvider: objectWith<MeterProvider>("getMeter"),
  propagator: objectWith<TextMapPropagator>("inject", "extract", "fields"),
  attributes,
  capture,
  redact: callback<Redact>(),
  maxNames: number({ min: 0, integer: true, infinite: true }, 200),
  activeContext: flag(false),
};

/** @throws TypeError or RangeError naming the option */
export function readSettings(owner: string, options: OtelOptions): Settings {
  return readOptions(owner, options, SHARED);
}

/** @throws TypeError or RangeError naming the option */
export function readCallSettings(owner: string, options: OtelOptions & OtelSourceOptions): CallSettings {
  return readOptions(owner, options, {
    ...SHARED,
    circuitBreakers: sources,
    circuitName: callback<(key: string) => string>(),
    retryBudget: objectWith<RetryBudgetSource>("remaining"),
  });
}

import type { CallContext } from "@mcp-tx/core";
import { callback, number, type OptionReader, objectWith, oneOf, readOptions } from "@mcp-tx/core/options";
import type { IdempotencyStore } from "@mcp-tx/core/stores";

/** Options of `idempotency`. */
export interface IdempotencyOptions {
  /**
   * Where records are kept. Required on a server.
   * @defaultValue a `memoryStore()` of its own
   */
  readonly store?: IdempotencyStore | undefined;
  /** Makes the key of a call that has none of its own; `undefined` leaves the call alone. */
  readonly key?: ((ctx: CallContext) => string | undefined) | undefined;
  /**
   * Keeps callers apart that must not see each other's results: a tenant, a user. Required on a server whose callers
   * authenticate. Never a session: a duplicate may come through another one.
   * @defaultValue "" for callers that do not authenticate
   */
  readonly scope?: string | ((ctx: CallContext) => string) | undefined;
  /**
   * Milliseconds for which an outcome is kept. Greater than 0; Infinity keeps it for good.
   * @defaultValue 300000
   */
  readonly ttlMs?: number | undefined;
  /**
   * Milliseconds after which a call whose process gives no sign of life counts as lost. At least 1.
   * @defaultValue 60000
   */
  readonly leaseMs?: number | undefined;
  /**
   * What a call does while the same call is in progress: wait for its outcome, or be refused.
   * @defaultValue "wait"
   */
  readonly onConcurrent?: "wait" | "reject" | undefined;
  /**
   * What a call does when the store fails: it fails, or it runs without a record. With `"bypass"` a server announces no store.
   * @defaultValue "fail"
   */
  readonly storeErrors?: "fail" | "bypass" | undefined;
  /**
   * What a repetition of a call does that ran and failed: get that failure again, or run again.
   * @defaultValue "replay"
   */
  readonly toolErrors?: "replay" | "reclaim" | undefined;
  /**
   * Argument in which the tool takes the key as well: its name, or a function of the tool's name. An argument of that name
   * that the call has already is replaced.
   */
  readonly keyArgument?: string | ((tool: string) => string | undefined) | undefined;
}

const OWNER = "idempotency";

const storeReader: OptionReader<IdempotencyStore | undefined> = (value, path) => {
  const bundle = value as { readonly idempotency?: unknown } | null | undefined;
  if (typeof bundle?.idempotency === "object") {
    throw new TypeError(`${path} must be one store, got a bundle of stores: pass its member "idempotency"`);
  }
  return objectWith<IdempotencyStore>("claim", "extend", "settle", "release", "get", "expire")(value, path);
};

function textOrFunction<F>(kind: string): OptionReader<string | F | undefined> {
  return (value, path) => {
    if (value === undefined || typeof value === "string") return value;
    // The type of the function is the caller's to state, as for every callback.
    if (typeof value === "function") return value as F;
    throw new TypeError(
      `${path} must be a string or a function ${kind}, got ${value === null ? "null" : typeof value}`,
    );
  };
}

/** The options, checked and completed; what they are is left to inference. */
export interface Settings {
  readonly store: IdempotencyStore | undefined;
  readonly key: IdempotencyOptions["key"];
  readonly scope: IdempotencyOptions["scope"];
  readonly ttlMs: number;
  readonly leaseMs: number;
  readonly onConcurrent: "wait" | "reject";
  readonly storeErrors: "fail" | "bypass";
  readonly toolErrors: "replay" | "reclaim";
  readonly keyArgument: IdempotencyOptions["keyArgument"];
}

/** @throws TypeError or RangeError naming the option */
export function readSettings(options: IdempotencyOptions): Settings {
  return readOptions(OWNER, options, {
    store: storeReader,
    key: callback<NonNullable<IdempotencyOptions["key"]>>(),
    scope: textOrFunction<(ctx: CallContext) => string>("(ctx) => string"),
    ttlMs: number({ min: 0, above: true, infinite: true }, 300_000),
    leaseMs: number({ min: 1 }, 60_000),
    onConcurrent: oneOf(["wait", "reject"], "wait"),
    storeErrors: oneOf(["fail", "bypass"], "fail"),
    toolErrors: oneOf(["replay", "reclaim"], "replay"),
    keyArgument: textOrFunction<(tool: string) => string | undefined>("(tool) => string | undefined"),
  });
}

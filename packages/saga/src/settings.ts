import { type Caller, defaultRuntime, type Middleware, middlewareOf, type Runtime } from "@mcp-tx/core";
import { callback, number, type OptionReader, objectWith, readOptions } from "@mcp-tx/core/options";
import type { SagaStore } from "@mcp-tx/core/stores";
import type { SagaListener } from "./events.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { DEFAULT_RETRY, readPolicy, type StepRetry } from "./policy.js";

/** What every saga of one runner is run with, checked and completed. */
export interface Settings {
  readonly caller: Caller<unknown>;
  readonly store: SagaStore;
  readonly leaseMs: number;
  readonly retentionMs: number;
  readonly graceMs: number;
  readonly compensationRetry: StepRetry;
  readonly compensationBudgetMs: number;
  readonly forwardRetry: StepRetry;
  readonly settleRetry: StepRetry;
  readonly runtime: Runtime;
  readonly onEvent: SagaListener | undefined;
}

const retryOption: OptionReader<StepRetry> = (value, path) => {
  if (value === undefined) return DEFAULT_RETRY;
  readPolicy(path, value as StepRetry);
  return value as StepRetry;
};

/** The records that the pipeline of a caller keeps. */
export function keepersOf(caller: object): readonly NonNullable<Middleware["records"]>[] {
  return (middlewareOf(caller) ?? []).map(({ records }) => records).filter((records) => records !== undefined);
}

/** A journal that survives is worth nothing over records that do not. */
function checkRecords(owner: string, caller: object, store: SagaStore): void {
  if (!store.durable) return;
  for (const { durable, bypasses } of keepersOf(caller)) {
    if (!durable) {
      throw new TypeError(
        `${owner}: caller has an idempotency() whose store is lost with the process, under a store of sagas that is not; give idempotency() a durable store`,
      );
    }
    if (bypasses) {
      throw new TypeError(
        `${owner}: caller has an idempotency() with storeErrors "bypass", which lets a step run without a record; leave it at "fail"`,
      );
    }
  }
}

const storeReader: OptionReader<SagaStore | undefined> = (value, path) => {
  const bundle = value as { readonly saga?: unknown } | null | undefined;
  if (typeof bundle?.saga === "object") {
    throw new TypeError(`${path} must be one store, got a bundle of stores: pass its member "saga"`);
  }
  const methods = ["create", "claim", "extend", "append", "end", "release", "get", "entries", "list", "sweep"] as const;
  return objectWith<SagaStore>(...methods)(value, path);
};

/**
 * Reads the options that `createSagaRunner` and `compensating` have in common.
 *
 * @param others - readers of what only one of them takes
 * @throws TypeError or RangeError naming the option
 */
export function readSettings<R extends { readonly [name: string]: OptionReader<unknown> }>(
  owner: string,
  options: unknown,
  others: R,
): { readonly settings: Settings; readonly rest: { readonly [K in keyof R]: ReturnType<R[K]> } } {
  const own = {
    caller: objectWith<Caller<unknown>>("call"),
    store: storeReader,
    leaseMs: number({ min: 100 }, 30_000),
    retentionMs: number({ min: 0, above: true, infinite: true }, Infinity),
    graceMs: number({ min: 0, infinite: true }, 30_000),
    compensationRetry: retryOption,
    compensationBudgetMs: number({ min: 0, above: true, infinite: true }, 300_000),
    forwardRetry: retryOption,
    settleRetry: retryOption,
    runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
    onEvent: callback<SagaListener>(),
  };
  const read = readOptions(owner, options, { ...others, ...own });
  // The same readers again, one by one: what a union of two records reads has lost its types.
  const { caller, runtime = defaultRuntime, ...rest } = pick(read, own);
  if (caller === undefined) throw new TypeError(`${owner}: caller must be given: who calls the tools?`);
  const store = rest.store ?? memorySagaStore({ runtime });
  checkRecords(owner, caller, store);
  return { settings: { ...rest, caller, store, runtime }, rest: pick(read, others) };
}

type Read<R extends { readonly [name: string]: OptionReader<unknown> }> = {
  readonly [K in keyof R]: ReturnType<R[K]>;
};

function pick<R extends { readonly [name: string]: OptionReader<unknown> }>(
  read: Readonly<Record<string, unknown>>,
  readers: R,
): Read<R> {
  // What stands under a name was read by the reader of that name.
  return Object.fromEntries(Object.keys(readers).map((name) => [name, read[name]])) as Read<R>;
}

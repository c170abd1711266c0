import { type Caller, defaultRuntime, type Runtime } from "@mcp-tx/core";
import { callback, flag, number, objectWith, readOptions } from "@mcp-tx/core/options";
import type { SagaDefinition, SagaListener, StepRetry, ToolSource } from "@mcp-tx/saga";
import { DEFAULT_RETRY, readPolicy } from "@mcp-tx/saga/engine";

export const OWNER = "createDbosSagas";

/** Options of {@link createDbosSagas}. */
export interface DbosSagasOptions {
  /**
   * Through whom the tools are called: a client that was wrapped with `idempotency({ store })` on a durable store, which all processes
   * share.
   */
  readonly caller: Caller<unknown>;
  /**
   * Every definition that is started here, and every version of one of which sagas are unfinished: DBOS may hand any of them to this
   * process. Their types are the compiler's business at `run` and `start`.
   */
  readonly sagas: readonly SagaDefinition<never, unknown>[];
  /** The tools that there are, for checks before anything runs: a list, or a function that gives it. */
  readonly tools?: ToolSource | undefined;
  /**
   * Name of the workflow that is registered with DBOS. Several in one process need one each. From 1 to 100 characters.
   * @defaultValue "mcp-tx.saga"
   */
  readonly name?: string | undefined;
  /**
   * Name of a DBOS queue on which sagas are put, for whichever process listens to it. Without one a saga runs in the process that
   * starts it.
   */
  readonly queue?: string | undefined;
  /**
   * Takes a caller whose pipeline cannot be seen, or has no durable records, because the server recognises repeated keys for good.
   * @defaultValue false
   */
  readonly trustCaller?: boolean | undefined;
  /**
   * Takes the executor id that DBOS gives by default. Only where no second process is ever started on the same system database.
   * @defaultValue false
   */
  readonly singleProcess?: boolean | undefined;
  /**
   * Milliseconds for which a call that is under way may still answer once the deadline of its saga has passed.
   * @defaultValue 30000
   */
  readonly graceMs?: number | undefined;
  /**
   * How compensations are repeated that say nothing themselves.
   * @defaultValue `{ maxAttempts: 5 }`
   */
  readonly compensationRetry?: StepRetry | undefined;
  /**
   * Milliseconds for undoing a whole saga; what is not undone by then is left to an operator. Counted anew by a process that carries
   * the saga on.
   * @defaultValue 300000
   */
  readonly compensationBudgetMs?: number | undefined;
  /**
   * How steps are repeated that can only go forward and say nothing themselves.
   * @defaultValue `{ maxAttempts: 5 }`
   */
  readonly forwardRetry?: StepRetry | undefined;
  /**
   * How a call is asked after of which nobody knows whether it ran.
   * @defaultValue `{ maxAttempts: 5 }`
   */
  readonly settleRetry?: StepRetry | undefined;
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
  /** Hears of the sagas that this process works on. */
  readonly onEvent?: SagaListener | undefined;
}

/** {@link DbosSagasOptions}, checked and completed. */
export interface Settings {
  readonly caller: Caller<unknown>;
  readonly sagas: readonly SagaDefinition[];
  readonly tools: ToolSource | undefined;
  readonly name: string;
  readonly queue: string | undefined;
  readonly trustCaller: boolean;
  readonly singleProcess: boolean;
  readonly graceMs: number;
  readonly compensationRetry: StepRetry;
  readonly compensationBudgetMs: number;
  readonly forwardRetry: StepRetry;
  readonly settleRetry: StepRetry;
  readonly runtime: Runtime;
  readonly onEvent: SagaListener | undefined;
}

const MAX_NAME = 100;

function retry(value: unknown, path: string): StepRetry {
  if (value === undefined) return DEFAULT_RETRY;
  readPolicy(path, value as StepRetry);
  return value as StepRetry;
}

function toolSource(value: unknown, path: string): ToolSource | undefined {
  if (value === undefined || Array.isArray(value) || typeof value === "function") return value as ToolSource;
  throw new TypeError(`${path} must be an array of tools, or a function that gives it`);
}

function text(maxLength: number): (value: unknown, path: string) => string | undefined {
  return (value, path) => {
    if (value === undefined) return undefined;
    const isFine = typeof value === "string" && value.length >= 1 && value.length <= maxLength;
    if (isFine && !/\p{Surrogate}|\0/u.test(value)) return value;
    throw new TypeError(`${path} must be a text of 1 to ${maxLength} characters without NUL`);
  };
}

function definitions(value: unknown, path: string): readonly SagaDefinition[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw new TypeError(`${path} must be an array of the definitions that this process runs`);
  }
  for (const one of value) {
    const { name, nodes } = (one ?? {}) as Partial<SagaDefinition>;
    if (typeof name !== "string" || !Array.isArray(nodes)) throw new TypeError(`${path} must be made by defineSaga()`);
  }
  return value as readonly SagaDefinition[];
}

/** @throws TypeError or RangeError naming the option */
export function readSettings(options: DbosSagasOptions): Settings {
  const { caller, name, runtime, ...rest } = readOptions(OWNER, options, {
    caller: objectWith<Caller<unknown>>("call"),
    sagas: definitions,
    tools: toolSource,
    name: text(MAX_NAME),
    queue: text(MAX_NAME),
    trustCaller: flag(false),
    singleProcess: flag(false),
    graceMs: number({ min: 0, infinite: true }, 30_000),
    compensationRetry: retry,
    compensationBudgetMs: number({ min: 0, above: true, infinite: true }, 300_000),
    forwardRetry: retry,
    settleRetry: retry,
    runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
    onEvent: callback<SagaListener>(),
  });
  if (caller === undefined) throw new TypeError(`${OWNER}: caller must be given: who calls the tools?`);
  return { ...rest, caller, name: name ?? "mcp-tx.saga", runtime: runtime ?? defaultRuntime };
}

const MAX_ID = 256;

/** @throws TypeError */
export function checkId(id: unknown): string {
  const read = text(MAX_ID)(id, `${OWNER}: id`);
  if (read === undefined) throw new TypeError(`${OWNER}: id must be given`);
  return read;
}

/** @throws TypeError or RangeError */
export function checkTimeout(timeoutMs: unknown): number {
  return number({ min: 0, above: true, infinite: true }, Infinity)(timeoutMs, `${OWNER}: timeoutMs`);
}

/** @throws TypeError or RangeError */
export function checkLimit(limit: unknown): number {
  return number({ min: 1, integer: true }, 100)(limit, `${OWNER}: limit`);
}

import type { Caller, InvokeOptions, Runtime } from "@mcp-tx/core";
import { type OptionReader, objectWith } from "@mcp-tx/core/options";
import type { SagaStore } from "@mcp-tx/core/stores";
import type { Arguments } from "./definition.js";
import { SagaFailedError } from "./errors.js";
import type { SagaListener } from "./events.js";
import { IMPERATIVE, Imperative, PROCESS_GONE } from "./imperative.js";
import type { SagaOutcome } from "./outcome.js";
import { type Carry, checkId, Owner } from "./owner.js";
import { failureOf } from "./perform.js";
import { readPolicy, type StepRetry } from "./policy.js";
import { readSettings, type Settings } from "./settings.js";

const OWNER = "compensating";

/** Options of {@link compensating}. */
export interface CompensatingOptions {
  /** Names the saga: the same id is the same saga. From 1 to 256 characters. @defaultValue a random UUID */
  readonly id?: string | undefined;
  /** What kind of saga it is, for lists and keys. @defaultValue "compensating" */
  readonly name?: string | undefined;
  /** Where its journal is kept. @defaultValue a store in memory: nothing is undone after a crash */
  readonly store?: SagaStore | undefined;
  /** Aborts the steps that are under way; the work itself has to look at it. Undoing is not stopped by it. */
  readonly signal?: AbortSignal | undefined;
  /** As for `createSagaRunner`. @defaultValue 30000 */
  readonly leaseMs?: number | undefined;
  /** As for `createSagaRunner`. @defaultValue Infinity */
  readonly retentionMs?: number | undefined;
  /** As for `createSagaRunner`. @defaultValue `{ maxAttempts: 5 }` */
  readonly compensationRetry?: StepRetry | undefined;
  /** As for `createSagaRunner`. @defaultValue 300000 */
  readonly compensationBudgetMs?: number | undefined;
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
  readonly onEvent?: SagaListener | undefined;
}

/** Options of one step of {@link compensating}. */
export interface CompensatingStepOptions<T> extends Pick<InvokeOptions<T>, "output" | "timeoutMs"> {
  /** What undoes the step. */
  readonly compensate?:
    | {
        readonly tool: string;
        /**
         * A function is called before the step with `undefined`, for a step of which nobody will know, and after it with its result; one
         * that throws leaves the default.
         * @defaultValue `{ originalArgs, originalResult }`
         */
        readonly args?: Arguments | { make(result: T | undefined): Arguments }["make"] | undefined;
      }
    | undefined;
  readonly retry?: StepRetry | undefined;
  /** The tool either did all of its work or none: a failure of it is not compensated. */
  readonly atomic?: boolean | undefined;
}

/** What the work of {@link compensating} is given. */
export interface CompensatingScope {
  readonly id: string;
  /**
   * Calls a tool as a step of the saga.
   *
   * @throws what the call failed with; TypeError for a step that was called before, or after the work has ended
   */
  invoke<T = unknown>(step: string, tool: string, args?: Arguments, options?: CompensatingStepOptions<T>): Promise<T>;
}

/** What the work that was begun in this process came to. */
interface Work<T> {
  value?: T;
  error?: unknown;
}

class Scope implements CompensatingScope {
  readonly #imperative: Imperative;
  readonly #signal: AbortSignal | undefined;
  readonly #steps = new Map<string, Promise<unknown>>();
  #isOver = false;

  constructor(
    readonly id: string,
    imperative: Imperative,
    signal: AbortSignal | undefined,
  ) {
    this.#imperative = imperative;
    this.#signal = signal;
  }

  async invoke<T>(
    step: string,
    tool: string,
    args: Arguments = {},
    options: CompensatingStepOptions<T> = {},
  ): Promise<T> {
    if (typeof step !== "string" || step === "") throw new TypeError(`${OWNER}: step must be a non-empty string`);
    if (this.#isOver) throw new TypeError(`${OWNER}: step "${step}" comes too late, the work has ended`);
    if (this.#steps.has(step))
      throw new TypeError(`${OWNER}: step "${step}" was called before; another call needs another name`);
    readPolicy(`${OWNER}: retry`, options.retry);
    const { output, retry, timeoutMs, atomic = false, compensate } = options;
    const undo = compensate as
      | { readonly tool: string; readonly args?: Arguments | ((result: unknown) => Arguments) }
      | undefined;
    const running = this.#imperative.invoke({
      step,
      tool,
      args,
      output,
      retry,
      timeoutMs,
      atomic,
      compensate: undo,
      signal: this.#signal,
    });
    this.#steps.set(step, running);
    // What `output` lets through, or what the user says that it is.
    return (await running) as T;
  }

  /** Steps that nobody waited for are waited for here. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.allSettled(this.#steps.values());
  }
}

function carryOf<T>(
  name: string,
  work: (scope: CompensatingScope) => Promise<T>,
  signal: AbortSignal | undefined,
  result: Work<T>,
): Carry {
  return async (journal, terms) => {
    const imperative = new Imperative(name, journal, terms);
    const scope = new Scope(terms.id, imperative, signal);
    try {
      result.value = await work(scope);
      await scope.end();
      return await imperative.complete(result.value);
    } catch (error) {
      await scope.end();
      if (journal.isControlError(error)) throw error;
      result.error = error;
      return imperative.undo(failureOf(error));
    }
  };
}

const text: OptionReader<string | undefined> = (value, path) => {
  if (value === undefined || (typeof value === "string" && value !== "" && value.length <= 100)) return value;
  throw new TypeError(`${path} must be a string of 1 to 100 characters`);
};

/**
 * Runs a function whose tool calls are undone when it fails: a saga whose forward way is code.
 *
 * @remarks
 * Code cannot be carried on by another process. When this one dies, the next `compensating` with the same id, or `recover()` of any
 * runner on the same store, undoes what was done. An id whose work completed gives the recorded value again.
 *
 * @param work - calls tools through `s.invoke(step, tool, args, { compensate })`, each step under a name of its own
 * @returns what the work gave
 * @throws SagaFailedError with the outcome when the work fails or an earlier process left it; SagaInProgressError while another
 *   process runs it; SagaInterruptedError when this process cannot go on
 */
export async function compensating<T>(
  caller: Caller<unknown>,
  options: CompensatingOptions,
  work: (scope: CompensatingScope) => Promise<T>,
): Promise<T> {
  if (typeof work !== "function") throw new TypeError(`${OWNER}: work must be a function (scope) => Promise`);
  const { settings, rest } = readSettings(
    OWNER,
    { ...options, caller },
    { id: text, name: text, signal: signalReader },
  );
  const id = checkId(OWNER, options.id ?? crypto.randomUUID());
  const name = rest.name ?? OWNER;
  const result: Work<T> = {};
  const outcome = await runOnce(settings, id, name, carryOf(name, work, rest.signal, result));
  if (outcome.status !== "completed") throw new SagaFailedError(outcome, result.error);
  if ("value" in result) return result.value as T;
  // It completed before; its value is the result of nobody's step.
  return recordedValue(settings, id) as Promise<T>;
}

const signalReader: OptionReader<AbortSignal | undefined> = objectWith<AbortSignal>("addEventListener");

function runOnce(settings: Settings, id: string, name: string, carry: Carry): Promise<SagaOutcome> {
  const carryOn: Carry = (journal, terms) => new Imperative(name, journal, terms).undo(PROCESS_GONE);
  return new Owner(settings).run({ id, name, definition: IMPERATIVE, input: "null", carry, carryOn });
}

async function recordedValue({ store }: Settings, id: string): Promise<unknown> {
  return Imperative.valueIn(await store.entries(id));
}

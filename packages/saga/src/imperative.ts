import type { OutputSchema } from "@mcp-tx/core";
import type { SagaEntry } from "@mcp-tx/core/stores";
import type { Arguments } from "./definition.js";
import { tell } from "./events.js";
import { type Interpretation, laterFirst, outcomeOf, TURN, type Turn } from "./interpreter.js";
import { type Journal, JournalState, type UnitState } from "./journal.js";
import { asKept } from "./json.js";
import { keyOf } from "./keys.js";
import type { SagaFailure, SagaOutcome, SagaStepOutcome } from "./outcome.js";
import { failureOf, perform, type UnitTerms } from "./perform.js";
import { DEFAULT_RETRY, readPolicy, type StepRetry } from "./policy.js";
import type { Origin, UnitEnd, UnitMemory } from "./port.js";
import { Stop } from "./stop.js";

/** What stands for a definition where there is none: any runner can undo such a saga, and none can carry it forward. */
export const IMPERATIVE = "compensating/1";

/** The name under which the value of the work is remembered. */
const VALUE = "value";

/** One step, as the work asks for it. */
export interface ImperativeStep {
  readonly step: string;
  readonly tool: string;
  readonly args: Arguments;
  readonly output?: OutputSchema | undefined;
  readonly retry?: StepRetry | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly atomic: boolean;
  readonly compensate?:
    | { readonly tool: string; readonly args?: Arguments | ((result: unknown) => Arguments) | undefined }
    | undefined;
}

/** A step of a saga without a definition, as its journal tells it. */
interface Told {
  readonly step: string;
  readonly unit: string;
  readonly state: UnitState;
}

/** Steps that were sent, or that ended. */
function toldIn(journal: Journal): readonly Told[] {
  return [...journal.state.units].flatMap(([unit, state]) => {
    const [step = "", phase] = JSON.parse(unit) as readonly string[];
    return phase === "action" && (state.intent !== undefined || state.end !== undefined) ? [{ step, unit, state }] : [];
  });
}

function originOf({ end, intent }: UnitState): Origin | undefined {
  return end?.origin ?? intent?.origin;
}

function isHarmless({ end, ...state }: UnitState): boolean {
  if (end === undefined || end.status !== "failed") return false;
  if (end.execution === "not-executed") return true;
  return end.isDone !== true && originOf({ ...state, end })?.atomic === true;
}

/** A saga whose forward way is a function: journals its steps, and undoes them by the journal alone. */
export class Imperative {
  readonly #name: string;
  readonly #journal: Journal;
  readonly #terms: Omit<Interpretation, "port">;
  #order: number;

  constructor(name: string, journal: Journal, terms: Omit<Interpretation, "port">) {
    this.#name = name;
    this.#journal = journal;
    this.#terms = terms;
    this.#order = Math.max(0, ...[...journal.state.units.values()].map(({ end }) => end?.order ?? 0));
  }

  /** @throws the error of a step that did not complete */
  async invoke(step: ImperativeStep): Promise<unknown> {
    // What is kept is what is sent, also by whoever asks for it again.
    const args = asKept(step.args, "the arguments") as Arguments;
    let failure: unknown;
    const terms = {
      tool: step.tool,
      output: step.output,
      policy: readPolicy("retry", step.retry),
      timeoutMs: step.timeoutMs,
      stop: step.signal,
      signal: step.signal,
      onError: (error: unknown) => {
        failure = error;
      },
    };
    const end = await this.#unit(step.step, "action", terms, args, (result) => originFor(step, args, result));
    if (end.status === "completed") return end.result;
    throw failure;
  }

  async #unit(
    step: string,
    phase: UnitTerms["phase"],
    terms: Omit<UnitTerms, "saga" | "id" | "step" | "phase" | "key" | "settling">,
    args: Arguments,
    origin?: (result: unknown) => Origin | undefined,
  ): Promise<UnitEnd> {
    const { id, caller, runtime, pins, onEvent } = this.#terms;
    const about = { saga: this.#name, id, step, phase, tool: terms.tool };
    const settling = readPolicy("settleRetry", this.#terms.settleRetry ?? DEFAULT_RETRY);
    const run = async (memory: UnitMemory): Promise<UnitEnd> => {
      tell(onEvent, "saga.step.start", { ...about, at: runtime.wallNow() });
      const key = keyOf(this.#name, id, [step], phase);
      const kept = {
        ...memory,
        intend: (...[intent, calls]: Parameters<UnitMemory["intend"]>) =>
          memory.intend({ ...intent, origin: origin?.(undefined) }, calls),
      };
      const end = await perform({ ...terms, ...about, settling, key }, args, kept, {
        caller,
        runtime,
        pins,
        isControlError: (error) => this.#journal.isControlError(error),
      });
      this.#order += 1;
      const endedAt = runtime.wallNow();
      tell(onEvent, "saga.step.end", { ...about, status: end.status, calls: end.calls, error: end.error, at: endedAt });
      return { ...end, order: this.#order, endedAt, origin: origin?.(end.result) };
    };
    const unit = JSON.stringify([step, phase]);
    await this.#journal.prepare(unit, () => ({ args }));
    return this.#journal.unit(unit, run);
  }

  /** Ends the saga with the value of its work. */
  async complete(value: unknown): Promise<SagaOutcome> {
    await this.#journal.remember(VALUE, () => asKept(value, "the value"));
    return this.#outcome(undefined);
  }

  /** What the work of an ended saga gave. */
  static valueIn(entries: readonly SagaEntry[]): unknown {
    return JournalState.of(entries).memories.get(VALUE);
  }

  /** Undoes everything, in reverse order of completion. */
  async undo(error: SagaFailure): Promise<SagaOutcome> {
    if (this.#journal.state.memories.has(VALUE)) return this.#outcome(undefined);
    const { id, runtime, onEvent } = this.#terms;
    const turn: Turn = { direction: "back", error, at: "" };
    // The first reason counts, whoever comes later to undo it.
    const first = await this.#journal.remember<Turn>(TURN, () => turn);
    tell(onEvent, "saga.turn", { saga: this.#name, id, error: first.error, at: runtime.wallNow() });
    const stop = new Stop({ ...this.#terms, signal: undefined, deadlineAt: undefined });
    const budget = stop.after(this.#terms.compensationBudgetMs);
    try {
      for (const told of toldIn(this.#journal)) await this.#settle(told, budget.signal);
      const undoable = toldIn(this.#journal).filter(({ state }) => !isHarmless(state));
      const ordered = [...undoable].sort((one, other) => laterFirst(one.state.end, other.state.end));
      for (const told of ordered) await this.#compensate(told, budget.signal);
    } finally {
      budget.cancel();
      stop.dispose();
    }
    return this.#outcome(first.error);
  }

  /** Finds out what became of a step whose process is gone. */
  async #settle({ step, state }: Told, stop: AbortSignal): Promise<void> {
    const origin = originOf(state);
    if (state.end !== undefined || state.args === undefined || origin === undefined) return;
    await this.#unit(step, "action", plain(origin.tool, {}, stop), state.args, () => origin);
  }

  async #compensate({ step, state }: Told, stop: AbortSignal): Promise<void> {
    const undo = originOf(state)?.undo;
    if (undo === undefined) return;
    await this.#unit(step, "compensation", plain(undo.tool, this.#terms.compensationRetry, stop), undo.args);
  }

  #outcome(error: SagaFailure | undefined): SagaOutcome {
    const told = toldIn(this.#journal).filter(({ state }) => state.end !== undefined);
    const undone = (one: Told): UnitEnd | undefined =>
      this.#journal.state.units.get(JSON.stringify([one.step, "compensation"]))?.end;
    const byUndoing = [...told].sort((one, other) => -laterFirst(undone(one), undone(other)));
    const named = (of: readonly Told[]): readonly string[] => of.map(({ step }) => step);
    const failedCompensations = named(
      byUndoing.filter((one) => !["completed", undefined].includes(undone(one)?.status)),
    );
    const unknown = named(told.filter(({ state }) => state.end?.status === "unknown"));
    const completed = told.filter(({ state }) => state.end?.status === "completed");
    const common = {
      id: this.#terms.id,
      name: this.#name,
      steps: told.map((one) => this.#stepOutcome(one, undone(one))),
      results: Object.fromEntries(completed.map(({ step, state }) => [step, state.end?.result])),
      compensated: named(byUndoing.filter((one) => undone(one)?.status === "completed")),
      failedCompensations,
      unknown,
    };
    if (error === undefined) return { ...common, status: "completed" };
    const isStuck = unknown.length > 0 || failedCompensations.length > 0;
    return { ...common, status: isStuck ? "stuck" : "compensated", error };
  }

  #stepOutcome({ step, state }: Told, undone: UnitEnd | undefined): SagaStepOutcome {
    // Only steps that have ended are asked for.
    const end = state.end as UnitEnd;
    const undo = originOf(state)?.undo;
    return {
      step,
      ...outcomeOf({ end, prepared: { args: state.args ?? {} } }),
      ...(undone !== undefined && { compensation: outcomeOf({ end: undone, prepared: { args: undo?.args ?? {} } }) }),
    };
  }
}

function plain(
  tool: string,
  retry: StepRetry,
  stop: AbortSignal,
): Omit<UnitTerms, "saga" | "id" | "step" | "phase" | "key" | "settling"> {
  return { tool, output: undefined, policy: readPolicy("retry", retry), timeoutMs: undefined, stop, signal: stop };
}

/** What is journaled of a step, so that it can be undone without the function that asked for it. */
function originFor({ tool, atomic, compensate }: ImperativeStep, args: Arguments, result: unknown): Origin {
  if (compensate === undefined) return { tool, atomic };
  const usual = { originalArgs: args, originalResult: result ?? null };
  const { args: given } = compensate;
  const make = (): Arguments => (typeof given === "function" ? given(result) : (given ?? usual));
  try {
    return { tool, atomic, undo: { tool: compensate.tool, args: asKept(make(), "the arguments") as Arguments } };
  } catch {
    // It needs the result, and there is none.
    return { tool, atomic, undo: { tool: compensate.tool, args: usual } };
  }
}

/** What a saga without a definition is undone for, when its process is gone. */
export const PROCESS_GONE: SagaFailure = failureOf(
  new Error("the process that ran it is gone; what it had done is undone"),
);

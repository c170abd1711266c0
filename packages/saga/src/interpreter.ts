import type { Caller, Runtime } from "@mcp-tx/core";
import type { Arguments, SagaDefinition, SagaState } from "./definition.js";
import { type SagaListener, tell } from "./events.js";
import { asKept } from "./json.js";
import { keyOf, labelOf, type Phase, unitOf } from "./keys.js";
import type { SagaCallOutcome, SagaFailure, SagaOutcome, SagaStepOutcome } from "./outcome.js";
import { failureOf, perform, type UnitTerms } from "./perform.js";
import { DEFAULT_RETRY, readPolicy, type StepPolicy, type StepRetry } from "./policy.js";
import type { Prepared, SagaPort, UnitEnd, UnitMemory } from "./port.js";
import { Stop } from "./stop.js";
import type { PlannedStep, SagaNode } from "./structure.js";

/** Everything that the interpretation of one saga needs. */
export interface Interpretation {
  readonly id: string;
  /** The input, as it is kept. */
  readonly input: unknown;
  readonly port: SagaPort;
  readonly caller: Caller<unknown>;
  readonly runtime: Runtime;
  /** When the saga has to be done, in milliseconds since the epoch. */
  readonly deadlineAt?: number | undefined;
  /** The caller's wish to stop. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for which a call that is under way may go on once the saga is to stop. */
  readonly graceMs: number;
  /** Milliseconds for everything that undoes. */
  readonly compensationBudgetMs: number;
  readonly compensationRetry: StepRetry;
  readonly forwardRetry: StepRetry;
  /** @defaultValue `{ maxAttempts: 5 }` */
  readonly settleRetry?: StepRetry | undefined;
  /** Whether records of the calls have to outlast the process. */
  readonly pins: boolean;
  /** What is wrong with resolved arguments of a tool; `undefined` when nothing is. */
  readonly checkArguments?: ((tool: string, args: Arguments) => string | undefined) | undefined;
  readonly onEvent?: SagaListener | undefined;
}

/** A step that was begun. */
interface Begun {
  readonly step: PlannedStep;
  readonly path: readonly string[];
  /** Whether it can only go forward: by its own word, or behind the pivot. */
  readonly forward: boolean;
  readonly prepared: Prepared;
  /** What its functions are given. */
  readonly state: SagaState<unknown, object>;
  end?: UnitEnd;
  undone?: { readonly end: UnitEnd; readonly prepared: Prepared };
}

/** The input of a nested saga, or why there is none. */
type NestedInput = { readonly input: unknown } | { readonly failure: SagaFailure };

/** Why a saga does not go on, and where it goes. */
export interface Turn {
  readonly direction: "back" | "nowhere";
  readonly error: SagaFailure;
  /** Where in the definition. */
  readonly at: string;
}

/** The name under which the turn is remembered. */
export const TURN = "turn";

function argsOf(prepared: Prepared): Arguments {
  return "args" in prepared ? prepared.args : {};
}

function needsUndoing({ step, forward, end }: Begun): boolean {
  if (step.compensate === undefined || forward || end === undefined) return false;
  if (end.status !== "failed") return true;
  // It ran and failed: half of its work may be done.
  return end.execution !== "not-executed" && (!step.atomic || end.isDone === true);
}

/** One walk through a definition; what was done by earlier ones comes out of the port. */
class Walk {
  readonly #definition: SagaDefinition;
  readonly #terms: Interpretation;
  readonly #stop: Stop;
  readonly #begun: Begun[] = [];
  readonly #root: Record<string, unknown>;
  /** The turn that an earlier run took. */
  readonly #earlier: Turn | undefined;
  #order = 0;
  #isPastPivot = false;

  constructor(definition: SagaDefinition, terms: Interpretation) {
    this.#definition = definition;
    this.#terms = terms;
    // Written by an earlier run of this very interpreter.
    this.#earlier = terms.port.recall?.(TURN) as Turn | undefined;
    this.#stop = new Stop(terms);
    this.#root = stateWith(terms.input);
  }

  async run(): Promise<SagaOutcome> {
    try {
      const turn = await this.#nodes(this.#definition.nodes, this.#root, []);
      if (turn !== undefined) await this.#terms.port.remember(TURN, () => turn);
      if (turn?.direction === "back") await this.#back(turn);
      return this.#outcome(turn);
    } finally {
      this.#stop.dispose();
    }
  }

  async #nodes(
    nodes: readonly SagaNode[],
    state: Record<string, unknown>,
    path: readonly string[],
  ): Promise<Turn | undefined> {
    for (const node of nodes) {
      const turn = "saga" in node ? await this.#nested(node, state, path) : await this.#stage(node.steps, state, path);
      if (turn !== undefined) return turn;
    }
    return undefined;
  }

  async #nested(
    node: Extract<SagaNode, { saga: unknown }>,
    state: Record<string, unknown>,
    path: readonly string[],
  ): Promise<Turn | undefined> {
    const within = [...path, node.name];
    const at = JSON.stringify(within);
    const made = await this.#nestedInput(node, state, within);
    if ("failure" in made) return { direction: this.#isPastPivot ? "nowhere" : "back", error: made.failure, at };
    const inner = stateWith(made.input);
    const turn = await this.#nodes(node.saga.nodes, inner, within);
    state[node.name] = resultsIn(inner);
    return turn;
  }

  #nestedInput(
    { input: make }: Extract<SagaNode, { saga: unknown }>,
    state: Record<string, unknown>,
    within: readonly string[],
  ): Promise<NestedInput> | NestedInput {
    if (make === undefined) return { input: state["input"] };
    return this.#terms.port.remember<NestedInput>(JSON.stringify([...within, "input"]), () => {
      try {
        return { input: asKept(make(given(state)), "the input") };
      } catch (error) {
        return { failure: failureOf(error) };
      }
    });
  }

  /** Steps that run at the same time: mostly one. */
  async #stage(
    steps: readonly PlannedStep[],
    state: Record<string, unknown>,
    path: readonly string[],
  ): Promise<Turn | undefined> {
    const { port } = this.#terms;
    const at = JSON.stringify([...path, steps[0]?.name]);
    if (!this.#isPastPivot && this.#stop.isPossible) {
      const units = steps.map(({ name }) => unitOf([...path, name], "action"));
      const reason = await port.decide(`${TURN} ${at}`, units, () => this.#stop.reason());
      if (reason !== undefined) return { direction: "back", error: JSON.parse(reason) as SagaFailure, at };
    }
    const group: Begun[] = [];
    for (const step of steps) group.push(await this.#begin(step, state, path));
    this.#begun.push(...group);
    const settled = await Promise.allSettled(group.map((begun) => this.#act(begun)));
    // The engine's own errors, and nothing else: what a step throws is an end of it.
    for (const end of settled) if (end.status === "rejected") throw end.reason;
    const turn = this.#after(group, state, at);
    // An operator may have found out since that a step was done: it has been undone all the same, and there is no way on.
    return this.#earlier?.at === at ? this.#earlier : turn;
  }

  async #begin(step: PlannedStep, state: Record<string, unknown>, path: readonly string[]): Promise<Begun> {
    const own = [...path, step.name];
    const seen = given(state);
    const make = typeof step.args === "function" ? () => resolve(step.args, seen) : () => step.args ?? {};
    const prepared = await this.#terms.port.prepare(unitOf(own, "action"), () => this.#prepare(step.tool, make));
    return { step, path: own, forward: step.forward || this.#isPastPivot, prepared, state: seen };
  }

  #prepare(tool: string, make: () => unknown): Prepared {
    try {
      const args = asKept(make(), "the arguments");
      if (typeof args !== "object" || args === null || Array.isArray(args)) {
        throw new TypeError(`the arguments of tool "${tool}" must be an object`);
      }
      const problem = this.#terms.checkArguments?.(tool, args as Arguments);
      if (problem !== undefined) throw new TypeError(`the arguments of tool "${tool}" do not fit it: ${problem}`);
      return { args: args as Arguments };
    } catch (error) {
      return { failure: failureOf(error) };
    }
  }

  async #act(begun: Begun): Promise<void> {
    const { step, path, forward, prepared } = begun;
    const policy = this.#policy(step.retry, forward ? this.#terms.forwardRetry : {});
    begun.end = await this.#unit(path, "action", prepared, {
      tool: step.tool,
      output: step.output,
      policy,
      timeoutMs: step.timeoutMs,
      stop: forward ? undefined : this.#stop.wanted,
      signal: forward ? undefined : this.#stop.late,
      lateQuestionMs: forward ? undefined : this.#terms.graceMs,
    });
  }

  #policy(own: StepRetry | undefined, otherwise: StepRetry): StepPolicy {
    return readPolicy("retry", own ?? otherwise);
  }

  #unit(
    path: readonly string[],
    phase: Phase,
    prepared: Prepared,
    terms: Omit<UnitTerms, "saga" | "id" | "step" | "phase" | "key" | "settling">,
  ): Promise<UnitEnd> {
    const { port, id, caller, runtime, pins } = this.#terms;
    const { name: saga } = this.#definition;
    const step = labelOf(path);
    const settling = readPolicy("settleRetry", this.#terms.settleRetry ?? DEFAULT_RETRY);
    const run = async (memory: UnitMemory): Promise<UnitEnd> => {
      const about = { saga, id, step, phase, tool: terms.tool };
      tell(this.#terms.onEvent, "saga.step.start", { ...about, at: runtime.wallNow() });
      const end =
        "failure" in prepared
          ? notRun(terms.tool, prepared.failure)
          : await perform({ ...terms, ...about, settling, key: keyOf(saga, id, path, phase) }, prepared.args, memory, {
              caller,
              runtime,
              pins,
              isControlError: (error) => port.isControlError(error),
            });
      this.#order += 1;
      const endedAt = runtime.wallNow();
      const { status, calls, error } = end;
      tell(this.#terms.onEvent, "saga.step.end", { ...about, status, calls, error, at: endedAt });
      return { ...end, order: this.#order, endedAt };
    };
    return port.unit(unitOf(path, phase), run).then((end) => {
      this.#order = Math.max(this.#order, end.order);
      return end;
    });
  }

  /** Takes over the results of a stage, or says where its failure leads. */
  #after(group: readonly Begun[], state: Record<string, unknown>, at: string): Turn | undefined {
    const failed: Begun[] = [];
    for (const begun of group) {
      const { step, end } = begun;
      if (end?.status === "completed") {
        state[step.name] = end.result;
        if (step.pivot) this.#isPastPivot = true;
      } else failed.push(begun);
    }
    const backward = failed.find(({ forward }) => !forward);
    const culprit = backward ?? failed[0];
    if (culprit === undefined) return undefined;
    const error = culprit.end?.error ?? { name: "Error", message: `step "${labelOf(culprit.path)}" failed` };
    // Nobody knows whether the point of no return is behind us. Where it cannot be undone, both ways may be wrong.
    const isLost = group.some(
      ({ step, end }) => step.pivot && step.compensate === undefined && end?.status === "unknown",
    );
    return { direction: backward === undefined || isLost ? "nowhere" : "back", error, at };
  }

  /** Undoes what was done, in reverse order of completion. Nothing of it can be stopped by the saga's caller. */
  async #back({ error }: Turn): Promise<void> {
    const { id, runtime, compensationBudgetMs } = this.#terms;
    tell(this.#terms.onEvent, "saga.turn", { saga: this.#definition.name, id, error, at: runtime.wallNow() });
    const ends = runtime.now() + compensationBudgetMs;
    const undoable = this.#begun.filter(needsUndoing).sort((one, other) => laterFirst(one.end, other.end));
    for (const begun of undoable) await this.#undo(begun, ends);
  }

  async #undo(begun: Begun, ends: number): Promise<void> {
    const { step, path, end, state } = begun;
    const { compensate } = step;
    if (compensate === undefined) return;
    const { runtime, compensationRetry } = this.#terms;
    const args = argsOf(begun.prepared);
    const result = end?.status === "completed" ? end.result : undefined;
    const make = (): unknown => {
      if (typeof compensate.args === "function") return compensate.args(state, { args, result });
      return compensate.args ?? { originalArgs: args, originalResult: result ?? null };
    };
    const unit = unitOf(path, "compensation");
    const prepared = await this.#terms.port.prepare(unit, () => this.#prepare(compensate.tool, make));
    const left = Math.max(1, ends - runtime.now());
    const stop = this.#stop.after(left);
    const undoing = this.#unit(path, "compensation", prepared, {
      tool: compensate.tool,
      output: undefined,
      policy: this.#policy(compensate.retry, compensationRetry),
      timeoutMs: Math.min(compensate.timeoutMs ?? Infinity, left),
      stop: stop.signal,
      signal: undefined,
    });
    begun.undone = { prepared, end: await undoing.finally(stop.cancel) };
  }

  #outcome(turn: Turn | undefined): SagaOutcome {
    const steps = this.#begun.filter(({ end }) => end !== undefined);
    const undone = steps
      .filter(({ undone }) => undone !== undefined)
      .sort((one, other) => -laterFirst(one.undone?.end, other.undone?.end));
    const named = (of: readonly Begun[]): readonly string[] => of.map(({ path }) => labelOf(path));
    const compensated = named(undone.filter((begun) => begun.undone?.end.status === "completed"));
    const failedCompensations = named(undone.filter((begun) => begun.undone?.end.status !== "completed"));
    const unknown = named(steps.filter(({ end }) => end?.status === "unknown"));
    const common = {
      id: this.#terms.id,
      name: this.#definition.name,
      steps: steps.map(stepOutcome),
      compensated,
      failedCompensations,
      unknown,
      results: resultsIn(this.#root),
    };
    if (turn === undefined) return { ...common, status: "completed" };
    const isStuck = turn.direction === "nowhere" || unknown.length > 0 || failedCompensations.length > 0;
    return { ...common, status: isStuck ? "stuck" : "compensated", error: turn.error };
  }
}

function notRun(tool: string, error: SagaFailure): Omit<UnitEnd, "order" | "endedAt"> {
  return { tool, status: "failed", execution: "not-executed", error, calls: 0 };
}

export function laterFirst(one: UnitEnd | undefined, other: UnitEnd | undefined): number {
  const byOrder = (other?.order ?? 0) - (one?.order ?? 0);
  return byOrder === 0 ? (other?.endedAt ?? 0) - (one?.endedAt ?? 0) : byOrder;
}

export function outcomeOf({ end, prepared }: { readonly end: UnitEnd; readonly prepared: Prepared }): SagaCallOutcome {
  const { order: _order, endedAt: _endedAt, pins: _pins, origin: _origin, ...shown } = end;
  const { execution, status, isDone: _isDone, ...rest } = shown;
  const isHarmless = status === "failed" && execution === "not-executed";
  return { ...rest, status: isHarmless ? "not-run" : status, ...("args" in prepared && { args: prepared.args }) };
}

function stepOutcome(begun: Begun): SagaStepOutcome {
  // Only steps that have ended are asked for.
  const end = begun.end as UnitEnd;
  const compensation = begun.undone && outcomeOf(begun.undone);
  return {
    step: labelOf(begun.path),
    ...outcomeOf({ end, prepared: begun.prepared }),
    ...(compensation !== undefined && { compensation }),
  };
}

/** The state that steps add to. Without a prototype: a step may have any name. */
function stateWith(input: unknown): Record<string, unknown> {
  return Object.assign(Object.create(null) as Record<string, unknown>, { input });
}

/** What functions of the definition are given: their own copy, so that none changes what others see. */
function given(state: Record<string, unknown>): SagaState<unknown, object> {
  return structuredClone({ ...state }) as SagaState<unknown, object>;
}

function resultsIn({ input: _input, ...results }: Record<string, unknown>): object {
  return results;
}

function resolve(make: PlannedStep["args"], state: SagaState<unknown, object>): unknown {
  return typeof make === "function" ? make(state as SagaState<unknown, Readonly<Record<string, unknown>>>) : make;
}

/**
 * Interprets a saga's definition to its end, over an engine that remembers.
 *
 * @returns the outcome: completed, compensated or stuck
 * @throws what the engine throws as its own (`isControlError`): the saga is not over then
 */
export function interpret(definition: SagaDefinition, terms: Interpretation): Promise<SagaOutcome> {
  return new Walk(definition, terms).run();
}

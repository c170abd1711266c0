import { createHash } from "node:crypto";
import type { OutputSchema } from "@mcp-tx/core";
import type { Arguments, Compensation, NestedStep, SagaDefinition, SagaState, ToolStep } from "./definition.js";
import { SagaDefinitionError } from "./errors.js";
import { asKept } from "./json.js";
import { readPolicy } from "./policy.js";

/** A saga as plain data, where one is expected as part of another. */
export interface PlainSaga {
  readonly name: string;
  readonly version?: string | undefined;
  readonly steps: readonly PlainStep[];
}

type State = Readonly<Record<string, unknown>>;

/** A step as plain data; of its types nothing is known. */
export type PlainStep =
  | ToolStep<string, unknown, State>
  | NestedStep<string, unknown, State, never, unknown>
  | { readonly name: string; readonly saga: PlainSaga; readonly input?: ((state: State) => unknown) | undefined }
  | { readonly parallel: readonly ToolStep<string, unknown, State>[] };

/** A step that was checked. */
export interface PlannedStep {
  readonly name: string;
  readonly tool: string;
  readonly args: Arguments | ((state: SagaState<unknown, State>) => Arguments) | undefined;
  readonly output: OutputSchema | undefined;
  readonly compensate: Compensation | undefined;
  readonly retry: ToolStep["retry"];
  readonly timeoutMs: number | undefined;
  readonly pivot: boolean;
  readonly atomic: boolean;
  readonly forward: boolean;
  readonly readOnly: boolean;
}

/** One element of a saga: steps that run at the same time, mostly one; or a nested saga. */
export type SagaNode =
  | { readonly steps: readonly PlannedStep[] }
  | {
      readonly name: string;
      readonly saga: SagaDefinition;
      readonly input: ((state: SagaState<unknown, State>) => unknown) | undefined;
    };

type Bag = Readonly<Record<string, unknown>>;

const MAX_NAME = 100;
const STEP_KEYS: readonly string[] = [
  "name",
  "tool",
  "args",
  "output",
  "compensate",
  "retry",
  "timeoutMs",
  "pivot",
  "atomic",
  "forward",
  "readOnly",
];
const FLAGS = ["pivot", "atomic", "forward", "readOnly"] as const;
const COMPENSATION_KEYS: readonly string[] = ["tool", "args", "retry", "timeoutMs"];

function isBag(value: unknown): value is Bag {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function nameProblem(name: unknown, what: string): string | undefined {
  if (typeof name !== "string") return `${what} must be a string`;
  if (name.length < 1 || name.length > MAX_NAME) return `${what} must have from 1 to ${MAX_NAME} characters`;
  return /\p{Surrogate}|\0/u.test(name) ? `${what} must be text without NUL` : undefined;
}

function unknownKey(given: Bag, known: readonly string[]): string | undefined {
  return Object.keys(given).find((key) => !known.includes(key));
}

/** Checks one saga's steps; what is wrong is collected, so that one error names it all. */
class Planner {
  readonly problems: string[] = [];
  readonly #names = new Set<string>();
  #pivots = 0;

  constructor(readonly within: readonly unknown[]) {}

  node(given: unknown, index: number): SagaNode | undefined {
    if (!isBag(given)) return this.#fail(`step ${index + 1} must be an object`);
    if ("parallel" in given) return this.#group(given, index);
    return "saga" in given ? this.#nested(given, index) : this.#single(given, index);
  }

  #fail(problem: string): undefined {
    this.problems.push(problem);
    return undefined;
  }

  #single(given: Bag, index: number): SagaNode | undefined {
    const step = this.#step(given, `step ${index + 1}`);
    return step === undefined ? undefined : { steps: [step] };
  }

  #group(given: Bag, index: number): SagaNode | undefined {
    const { parallel } = given;
    if (!Array.isArray(parallel) || parallel.length === 0) {
      return this.#fail(`parallel group ${index + 1} must be an array of at least one step`);
    }
    const stranger = unknownKey(given, ["parallel"]);
    if (stranger !== undefined) return this.#fail(`parallel group ${index + 1}: unknown property "${stranger}"`);
    const steps = parallel.map((step: unknown, place) => {
      const what = `step ${place + 1} of parallel group ${index + 1}`;
      if (!isBag(step)) return this.#fail(`${what} must be an object`);
      if ("saga" in step || "parallel" in step) {
        return this.#fail(`${what} must call a tool; a nested saga takes its turn outside of the group`);
      }
      if (step["pivot"] === true)
        this.#fail(`step "${String(step["name"])}" must not be a pivot inside a parallel group`);
      return this.#step(step, what);
    });
    const planned = steps.filter((step) => step !== undefined);
    return planned.length === steps.length ? { steps: planned } : undefined;
  }

  #name(name: unknown, what: string): string | undefined {
    const problem = nameProblem(name, `the name of ${what}`);
    if (problem !== undefined) return this.#fail(problem);
    const text = String(name);
    if (text === "input" || text === "__proto__") return this.#fail(`a step cannot be named "${text}"`);
    if (this.#names.has(text)) return this.#fail(`two steps are named "${text}"`);
    this.#names.add(text);
    return text;
  }

  #step(given: Bag, what: string): PlannedStep | undefined {
    const name = this.#name(given["name"], what);
    if (name === undefined) return undefined;
    const before = this.problems.length;
    const path = `step "${name}"`;
    const stranger = unknownKey(given, STEP_KEYS);
    if (stranger !== undefined) this.#fail(`${path}: unknown property "${stranger}"; it takes ${STEP_KEYS.join(", ")}`);
    this.#call(given, path);
    for (const flag of FLAGS) {
      const value = given[flag];
      if (value !== undefined && typeof value !== "boolean") this.#fail(`${path}: ${flag} must be true or false`);
    }
    if (!isSchema(given["output"])) this.#fail(`${path}: output must be a Standard Schema, such as one of zod`);
    this.#compensation(given, path);
    if (given["pivot"] === true) this.#pivot(path);
    if (this.problems.length > before) return undefined;
    return stepOf(given as unknown as ToolStep, name);
  }

  #pivot(path: string): void {
    this.#pivots += 1;
    if (this.#pivots > 1) this.#fail(`${path}: there is a pivot already, and only one point of no return`);
  }

  /** What an action and a compensation have in common. */
  #call(given: Bag, path: string): void {
    const { tool, args, retry, timeoutMs } = given;
    if (typeof tool !== "string" || tool === "") this.#fail(`${path}: tool must be a non-empty string`);
    if (args !== undefined && typeof args !== "function") {
      if (!isBag(args)) this.#fail(`${path}: args must be an object or a function`);
      else this.#try(() => asKept(args, "args"), path);
    }
    this.#try(() => readPolicy("retry", retry as ToolStep["retry"]), path);
    if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs > 0)) {
      this.#fail(`${path}: timeoutMs must be a number > 0`);
    }
  }

  #compensation({ compensate, forward }: Bag, path: string): void {
    if (compensate === undefined) return;
    if (forward === true) this.#fail(`${path}: a forward step is never compensated, yet it has a compensation`);
    if (!isBag(compensate)) {
      this.#fail(`${path}: compensate must be an object { tool, args? }`);
      return;
    }
    const stranger = unknownKey(compensate, COMPENSATION_KEYS);
    if (stranger !== undefined) this.#fail(`${path}: compensate has an unknown property "${stranger}"`);
    this.#call(compensate, `${path}: compensate`);
  }

  #try(read: () => unknown, path: string): void {
    try {
      read();
    } catch (error) {
      this.#fail(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #nested(given: Bag, index: number): SagaNode | undefined {
    const name = this.#name(given["name"], `step ${index + 1}`);
    if (name === undefined) return undefined;
    const path = `step "${name}"`;
    const { saga, input } = given;
    if (input !== undefined && typeof input !== "function") return this.#fail(`${path}: input must be a function`);
    if (unknownKey(given, ["name", "saga", "input"]) !== undefined) {
      return this.#fail(`${path}: a nested saga takes name, saga and input only`);
    }
    try {
      const definition = definitionOf(saga, this.within);
      if (definition.nodes.length === 0) this.#fail(`${path}: saga "${definition.name}" has no steps`);
      if (pivotsOf(definition)) this.#pivot(path);
      return { name, saga: definition, input: input as (state: SagaState<unknown, State>) => unknown };
    } catch (error) {
      if (SagaDefinitionError.isInstance(error)) {
        for (const problem of error.problems) this.#fail(`${path}: ${problem}`);
        return undefined;
      }
      throw error;
    }
  }
}

function isSchema(value: unknown): boolean {
  if (value === undefined) return true;
  const standard = (value as { readonly "~standard"?: unknown } | null)?.["~standard"];
  return typeof (standard as { readonly validate?: unknown } | undefined)?.validate === "function";
}

function stepOf(given: ToolStep, name: string): PlannedStep {
  const { tool, args, output, compensate, retry, timeoutMs } = given;
  const { pivot = false, atomic = false, forward = false, readOnly = false } = given;
  // Static arguments are kept: what the caller does to the object later changes no saga.
  const kept = typeof args === "object" ? (asKept(args, "args") as Arguments) : args;
  const undo =
    typeof compensate?.args === "object"
      ? { ...compensate, args: asKept(compensate.args, "args") as Arguments }
      : compensate && { ...compensate };
  return Object.freeze({
    name,
    tool,
    args: kept as PlannedStep["args"],
    output,
    compensate: undo as Compensation | undefined,
    retry,
    timeoutMs,
    pivot,
    atomic,
    forward,
    readOnly,
  });
}

/** The definition that a nested step means. */
function definitionOf(saga: unknown, within: readonly unknown[]): SagaDefinition {
  if (!isBag(saga)) throw new SagaDefinitionError("nested", ["saga must be a definition, or { name, steps }"]);
  if (Array.isArray(saga["nodes"])) return saga as unknown as SagaDefinition;
  const { name, version = "", steps } = saga as unknown as PlainSaga;
  if (within.includes(saga) || within.includes(steps)) {
    throw new SagaDefinitionError(String(name), [`saga "${String(name)}" contains itself`]);
  }
  return { name, version, nodes: planOf(name, steps, [...within, saga]) };
}

function pivotsOf({ nodes }: SagaDefinition): boolean {
  return nodes.some((node) => ("saga" in node ? pivotsOf(node.saga) : node.steps.some((step) => step.pivot)));
}

/**
 * Checks the steps of a saga and makes its nodes.
 *
 * @throws SagaDefinitionError with everything that is wrong
 */
export function planOf(
  name: string,
  steps: readonly PlainStep[],
  within: readonly unknown[] = [],
): readonly SagaNode[] {
  const problem = nameProblem(name, "the name");
  if (problem !== undefined) throw new SagaDefinitionError(String(name), [problem]);
  if (!Array.isArray(steps)) throw new SagaDefinitionError(name, ["steps must be an array"]);
  const planner = new Planner([...within, steps]);
  const nodes = steps.map((step, index) => planner.node(step, index));
  if (planner.problems.length > 0) throw new SagaDefinitionError(name, planner.problems);
  return Object.freeze(nodes.filter((node) => node !== undefined));
}

function shapeOfCall({ tool, args }: { readonly tool: string; readonly args?: unknown }): unknown {
  return { tool, args: typeof args === "function" ? "function" : args };
}

function shapeOf(definition: SagaDefinition): unknown {
  const nodes = definition.nodes.map((node) => {
    if ("saga" in node) return { name: node.name, saga: shapeOf(node.saga), input: node.input !== undefined };
    return node.steps.map(({ name, compensate, pivot, atomic, forward, ...step }) => ({
      name,
      ...(shapeOfCall(step) as object),
      compensate: compensate && shapeOfCall(compensate),
      flags: [pivot, atomic, forward],
    }));
  });
  return { name: definition.name, version: definition.version, nodes };
}

/** What two definitions must have in common for one to carry on the other's sagas: structure and version. */
export function hashOf(definition: SagaDefinition): string {
  return createHash("sha256")
    .update(JSON.stringify(shapeOf(definition)))
    .digest("hex");
}

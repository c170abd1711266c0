import type { OutputSchema } from "@mcp-tx/core";
import type { StepRetry } from "./policy.js";
import { type PlainStep, planOf, type SagaNode } from "./structure.js";

/** Arguments of a tool. */
export type Arguments = Readonly<Record<string, unknown>>;

/** What a step's functions are given: the saga's input, and the results of the steps before it by their names. */
export type SagaState<Input, Results> = { readonly input: Input } & Results;

/** What a compensation is told of the step that it undoes. */
export interface Original<T = unknown> {
  readonly args: Arguments;
  /** The step's result; `undefined` when it failed or nobody knows what became of it. */
  readonly result: T | undefined;
}

/** How a step is undone. */
export interface Compensation<Input = unknown, Results = unknown, T = unknown> {
  readonly tool: string;
  /** @defaultValue `{ originalArgs, originalResult }`, with `null` for a result that is not known */
  readonly args?: Arguments | Resolver<[state: SagaState<Input, Results>, original: Original<T>]> | undefined;
  /** @defaultValue the runner's `compensationRetry` */
  readonly retry?: StepRetry | undefined;
  /** Milliseconds for one call. Greater than 0. */
  readonly timeoutMs?: number | undefined;
}

/** A function that makes arguments. Declared as a method, so that a step of known types fits where any step does. */
export type Resolver<P extends readonly unknown[]> = { make(...parameters: P): Arguments }["make"];

/** What every kind of step has. */
interface Named<N extends string> {
  /** Unique in its saga, and what later steps find the result by. From 1 to 100 characters, not `input`. */
  readonly name: N;
}

/** A step that calls a tool. */
export interface ToolStep<N extends string = string, Input = unknown, Results = unknown, T = unknown> extends Named<N> {
  readonly tool: string;
  /**
   * Called once, right before the step; what it gives is journaled before the tool is called, and never made again.
   * @defaultValue `{}`
   */
  readonly args?: Arguments | Resolver<[state: SagaState<Input, Results>]> | undefined;
  /** Validates the result (any Standard Schema) and gives it its type. A result that does not fit fails the step. */
  readonly output?: OutputSchema<T> | undefined;
  readonly compensate?: Compensation<Input, Results, T> | undefined;
  /** Repeats the step's call when it fails. @defaultValue one call; for `forward` steps the runner's `forwardRetry` */
  readonly retry?: StepRetry | undefined;
  /** Milliseconds for one call of the step. Greater than 0. */
  readonly timeoutMs?: number | undefined;
  /** The point of no return: once it has completed, the saga only goes forward. At most one in a saga, and not in a parallel group. */
  readonly pivot?: boolean | undefined;
  /** The tool either did all of its work or none: a failure of it is not compensated. */
  readonly atomic?: boolean | undefined;
  /** Is retried forward and never compensated; steps after the pivot are so by themselves. */
  readonly forward?: boolean | undefined;
  /** Changes nothing: it needs no compensation before a pivot. */
  readonly readOnly?: boolean | undefined;
}

/** A step that is a saga: its steps become part of this one, and are undone with it. */
export interface NestedStep<N extends string, Input, Results, I, R> extends Named<N> {
  readonly saga: SagaDefinition<I, R>;
  /** Makes the nested saga's input; journaled at once. @defaultValue the input of this saga */
  readonly input?: { make(state: SagaState<Input, Results>): I }["make"] | undefined;
}

/** The results of a parallel group, by name. */
export type ParallelResults<S extends readonly ToolStep[]> = {
  readonly [E in S[number] as E["name"]]: E extends { readonly output: OutputSchema<infer T> } ? T : unknown;
};

declare const Types: unique symbol;

/** A saga as data. Nothing in it runs before a runner runs it. Without parameters: any saga. */
export interface SagaDefinition<Input = never, Results = unknown> {
  readonly name: string;
  readonly version: string;
  readonly nodes: readonly SagaNode[];
  /** Only for the compiler. */
  readonly [Types]?: { readonly input: (input: Input) => void; readonly results: Results } | undefined;
}

/** Builds a saga step by step. Each method gives a new builder, which is a complete definition. */
export interface SagaBuilder<Input, Results> extends SagaDefinition<Input, Results> {
  /** Adds a step that calls a tool. */
  step<const N extends string, T = unknown>(
    step: ToolStep<N, Input, Results, T>,
  ): SagaBuilder<Input, Results & { readonly [K in N]: T }>;
  /** Adds a step that is a saga. */
  step<const N extends string, I, R>(
    step: NestedStep<N, Input, Results, I, R>,
  ): SagaBuilder<Input, Results & { readonly [K in N]: R }>;
  /** Adds steps that run at the same time. All of them are awaited, also when one fails. */
  parallel<const S extends readonly ToolStep<string, Input, Results>[]>(
    steps: S,
  ): SagaBuilder<Input, Results & ParallelResults<S>>;
}

/** Options of {@link defineSaga}. */
export interface SagaOptions {
  /**
   * Part of the definition's hash. Change it when a function of the definition changes what a running saga relies on; the hash covers
   * structure, not function text. Register both versions as long as sagas of the old one are unfinished.
   * @defaultValue ""
   */
  readonly version?: string | undefined;
}

function builderOf<Input, Results>(
  name: string,
  version: string,
  steps: readonly PlainStep[],
): SagaBuilder<Input, Results> {
  const nodes = planOf(name, steps);
  const add = (step: PlainStep): never => builderOf(name, version, [...steps, step]) as never;
  return Object.freeze({
    name,
    version,
    nodes,
    // What the steps are typed as is known at compile time only; here they are checked one by one.
    step: (step: unknown) => add(step as PlainStep),
    parallel: (group: unknown) => add({ parallel: group } as PlainStep),
  });
}

/**
 * Defines a saga: steps in order, each with what undoes it.
 *
 * @param name - part of every key of the saga; sagas of different names never share a call
 * @throws SagaDefinitionError naming the step
 */
export function defineSaga<Input = unknown>(name: string, options?: SagaOptions): SagaBuilder<Input, object>;
/**
 * The same for those who have the steps as data.
 *
 * @param name - part of every key of the saga; sagas of different names never share a call
 * @param steps - in their order; `{ parallel: [...] }` for a group
 * @throws SagaDefinitionError naming the step
 */
export function defineSaga<Input = unknown>(
  name: string,
  steps: readonly PlainStep[],
  options?: SagaOptions,
): SagaBuilder<Input, Readonly<Record<string, unknown>>>;
export function defineSaga(
  name: string,
  stepsOrOptions: readonly PlainStep[] | SagaOptions = [],
  options: SagaOptions = {},
): unknown {
  const isList = Array.isArray(stepsOrOptions);
  const steps: readonly PlainStep[] = isList ? stepsOrOptions : [];
  const { version = "" } = isList ? options : (stepsOrOptions as SagaOptions);
  if (typeof stepsOrOptions !== "object") throw new TypeError("defineSaga: steps must be an array");
  if (typeof version !== "string") throw new TypeError("defineSaga: version must be a string");
  return builderOf(name, version, steps);
}

/** A schema that takes every value for what you say it is: a type for a result that nobody validates. */
export function unchecked<T>(): OutputSchema<T> {
  return {
    "~standard": { version: 1, vendor: "mcp-tx", validate: (value) => ({ value: value as T }) },
  };
}

import type { ToolAnnotations } from "@mcp-tx/core";
import type { Arguments, SagaDefinition } from "./definition.js";
import { SagaDefinitionError } from "./errors.js";
import type { PlannedStep } from "./structure.js";

/** What `tools/list` says of a tool. */
export interface ToolInfo {
  readonly name: string;
  readonly inputSchema?: unknown;
  readonly annotations?: ToolAnnotations | undefined;
}

/** Where the tools of a caller are looked up. */
export type ToolSource =
  | readonly ToolInfo[]
  | (() => Promise<readonly ToolInfo[] | { readonly tools: readonly ToolInfo[] }>);

/** The tools by name; `undefined` when nobody said which there are. */
export type Tools = ReadonlyMap<string, ToolInfo>;

/** @throws what the source throws; TypeError when it gives no list */
export async function toolsFrom(source: ToolSource | undefined): Promise<Tools | undefined> {
  if (source === undefined) return undefined;
  const given = typeof source === "function" ? await source() : source;
  const list = "tools" in given ? given.tools : given;
  if (!Array.isArray(list)) throw new TypeError("createSagaRunner: tools must give an array, or { tools: [...] }");
  return new Map(list.map((tool: ToolInfo) => [tool.name, tool]));
}

type Bag = Readonly<Record<string, unknown>>;

function bag(value: unknown): Bag | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Bag) : undefined;
}

const CHECKS: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: Number.isInteger,
  boolean: (value) => typeof value === "boolean",
  array: Array.isArray,
  object: (value) => bag(value) !== undefined,
  null: (value) => value === null,
};

function fitsType(value: unknown, type: unknown): boolean {
  const types: readonly unknown[] = Array.isArray(type) ? type : [type];
  return types.some((one) => typeof one !== "string" || (CHECKS[one]?.(value) ?? true));
}

function propertyProblem(name: string, value: unknown, schema: unknown): string | undefined {
  const { type, enum: words, const: only } = bag(schema) ?? {};
  if (type !== undefined && !fitsType(value, type)) return `"${name}" must be of type ${String(type)}`;
  if (Array.isArray(words) && !words.includes(value)) return `"${name}" must be one of ${JSON.stringify(words)}`;
  if (only !== undefined && (typeof only !== "object" || only === null) && value !== only) {
    return `"${name}" must be ${JSON.stringify(only)}`;
  }
  return undefined;
}

/**
 * What is plainly wrong with arguments by a tool's `inputSchema`: members that are missing, unknown or of another type. It looks one
 * level deep; the server validates the rest.
 */
export function argumentsProblem(args: Arguments, inputSchema: unknown): string | undefined {
  const { required, properties, additionalProperties } = bag(inputSchema) ?? {};
  const missing = Array.isArray(required) ? required.find((name) => !Object.hasOwn(args, String(name))) : undefined;
  if (missing !== undefined) return `"${String(missing)}" is missing`;
  const known = bag(properties) ?? {};
  for (const [name, value] of Object.entries(args)) {
    if (!Object.hasOwn(known, name)) {
      if (additionalProperties === false) return `"${name}" is not taken`;
      continue;
    }
    const problem = propertyProblem(name, value, known[name]);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** What a look at a definition found. */
export interface Preflight {
  /** Why the saga cannot be run. */
  readonly problems: readonly string[];
  /** What need not be wrong. */
  readonly warnings: readonly string[];
}

interface Placed {
  readonly step: PlannedStep;
  readonly label: string;
}

function placed({ nodes }: SagaDefinition, path: readonly string[] = []): readonly Placed[] {
  return nodes.flatMap((node) =>
    "saga" in node
      ? placed(node.saga, [...path, node.name])
      : node.steps.map((step) => ({ step, label: [...path, step.name].join(".") })),
  );
}

function toolProblems({ step, label }: Placed, tools: Tools): readonly string[] {
  const problems: string[] = [];
  const calls = [
    { what: `step "${label}"`, tool: step.tool, args: step.args },
    ...(step.compensate === undefined
      ? []
      : [{ what: `the compensation of step "${label}"`, tool: step.compensate.tool, args: step.compensate.args }]),
  ];
  for (const { what, tool, args } of calls) {
    const info = tools.get(tool);
    if (info === undefined) problems.push(`${what} calls tool "${tool}", which the server does not have`);
    else if (typeof args === "object") {
      const problem = argumentsProblem(args, info.inputSchema);
      if (problem !== undefined) problems.push(`the arguments of ${what} do not fit tool "${tool}": ${problem}`);
    }
  }
  return problems;
}

/** Looks a definition through, against the tools where they are known. */
export function preflight(definition: SagaDefinition, tools: Tools | undefined): Preflight {
  const steps = placed(definition);
  const problems = tools === undefined ? [] : steps.flatMap((step) => toolProblems(step, tools));
  const warnings: string[] = [];
  const pivot = steps.findIndex(({ step }) => step.pivot);
  for (const [index, { step, label }] of steps.entries()) {
    const annotations = tools?.get(step.tool)?.annotations;
    const isHarmless = step.readOnly || annotations?.readOnlyHint === true;
    if (step.compensate !== undefined) {
      if (pivot !== -1 && index > pivot)
        warnings.push(`step "${label}" comes after the pivot: its compensation is never run`);
    } else if (index < pivot && !step.forward && !isHarmless) {
      problems.push(
        `step "${label}" comes before the pivot and has no compensation; give it one, or say readOnly: true if it changes nothing`,
      );
    } else if (!step.forward && !step.pivot && !isHarmless && annotations?.destructiveHint === true) {
      warnings.push(`step "${label}" calls a destructive tool and has no compensation`);
    }
  }
  return { problems, warnings };
}

/** @throws SagaDefinitionError with every problem */
export function refuseProblems(definition: SagaDefinition, { problems }: Preflight): void {
  if (problems.length > 0) throw new SagaDefinitionError(definition.name, problems);
}

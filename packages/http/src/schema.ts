import { type OutputUnit, type Schema, type SchemaDraft, Validator } from "@cfworker/json-schema";
import type { ToolInfo } from "@mcp-tx/core";
import { pointerSegment } from "./envelope.js";
import type { ProblemPointer } from "./problem-codes.js";
import { Refusal } from "./refusal.js";
import type { InputIssue, InputSchema } from "./types.js";

type Args = Readonly<Record<string, unknown>>;

/** Gives the arguments for the tool. @throws Refusal for those that do not fit, or a schema that cannot be used */
export type Check = (args: Args, size: number | undefined) => Promise<Args> | Args;

/** Of many wrong arguments not all are told. */
const MAX_ERRORS = 20;
const MAX_DETAIL = 200;
/** Bytes up to which all that is wrong is looked for: each wrong element of a large body would be an error of its own. */
const MAX_THOROUGH = 16_384;
/** Each is compared with each other. */
const MAX_UNIQUE = 1000;
const ROOT = "#/arguments";

/** Keywords that only say that something further in is wrong. */
const OUTER: ReadonlySet<string> = new Set([
  "$ref",
  "$recursiveRef",
  "allOf",
  "anyOf",
  "properties",
  "patternProperties",
  "additionalProperties",
  "unevaluatedProperties",
  "items",
  "prefixItems",
  "dependentSchemas",
  "if",
]);

function draftOf({ $schema }: { readonly $schema?: unknown }): SchemaDraft {
  const text = typeof $schema === "string" ? $schema : "";
  if (text.includes("draft-07") || text.includes("draft-06")) return "7";
  if (text.includes("draft-04")) return "4";
  return text.includes("2019-09") ? "2019-09" : "2020-12";
}

function invalid(errors: readonly ProblemPointer[]): Refusal {
  const told = errors.slice(0, MAX_ERRORS).map(({ pointer, detail }) => ({
    pointer,
    detail: detail.length > MAX_DETAIL ? `${detail.slice(0, MAX_DETAIL)}…` : detail,
  }));
  return new Refusal("invalid_arguments", { errors: told, execution: "not-executed" });
}

function unusable(cause: unknown): Refusal {
  return new Refusal("unusable_schema", { cause, execution: "not-executed" });
}

function pointersOf(units: readonly OutputUnit[]): readonly ProblemPointer[] {
  const exact = units.filter(({ keyword }) => !OUTER.has(keyword));
  const told = exact.length > 0 ? exact : units;
  return told.map(({ instanceLocation, error }) => ({ pointer: ROOT + instanceLocation.slice(1), detail: error }));
}

/** Where an array is longer than can be checked for doubles. */
function longArrayIn(args: Args): string | undefined {
  const open: { readonly value: object; readonly pointer: string }[] = [{ value: args, pointer: ROOT }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (Array.isArray(next.value) && next.value.length > MAX_UNIQUE) return next.pointer;
    for (const [name, member] of Object.entries(next.value)) {
      if (typeof member === "object" && member !== null) {
        open.push({ value: member, pointer: next.pointer + pointerSegment(name) });
      }
    }
  }
  return undefined;
}

/** The check by a JSON Schema. Compiled by the first call that needs it. */
function byJsonSchema(inputSchema: NonNullable<ToolInfo["inputSchema"]>): Check {
  // A copy: the validator writes into it.
  const schema = structuredClone(inputSchema) as Schema;
  const draft = draftOf(schema);
  const hasUnique = JSON.stringify(schema).includes('"uniqueItems":true');
  const quick = new Validator(schema, draft);
  const thorough = new Validator(schema, draft, false);
  return (args, size) => {
    const long = hasUnique ? longArrayIn(args) : undefined;
    if (long !== undefined) throw invalid([{ pointer: long, detail: `has more than ${MAX_UNIQUE} items` }]);
    let verdict = quick.validate(args);
    if (verdict.valid) return args;
    if (size !== undefined && size <= MAX_THOROUGH) verdict = thorough.validate(args);
    throw invalid(pointersOf(verdict.errors));
  };
}

function pointerOf({ path = [] }: InputIssue): string {
  const segments = path.map((segment) => pointerSegment(typeof segment === "object" ? segment.key : segment));
  return ROOT + segments.join("");
}

/** The check by a schema of the user's. The tool gets what it makes of the arguments. */
function byStandardSchema(schema: InputSchema): Check {
  return async (args) => {
    const verdict = await schema["~standard"].validate(args);
    if (verdict.issues !== undefined) {
      throw invalid(verdict.issues.map((issue) => ({ pointer: pointerOf(issue), detail: String(issue.message) })));
    }
    const { value } = verdict;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Args;
    throw new TypeError("createHttpHandler: input of a tool must give an object");
  };
}

/** Whatever breaks in a check is the schema's fault, and lets nothing through. */
async function guarded(check: Check, args: Args, size: number | undefined): Promise<Args> {
  try {
    return await check(args, size);
  } catch (error) {
    throw Refusal.isInstance(error) ? error : unusable(error);
  }
}

function compile(tool: ToolInfo, input: InputSchema | undefined): Check {
  const { inputSchema } = tool;
  if (input === undefined && inputSchema === undefined) return (args) => args;
  try {
    const check = input === undefined ? byJsonSchema(inputSchema ?? {}) : byStandardSchema(input);
    return (args, size) => guarded(check, args, size);
  } catch (cause) {
    return () => {
      throw unusable(cause);
    };
  }
}

/** The checks of tools, each made once per description of its tool. */
export class Checks {
  readonly #made = new WeakMap<ToolInfo, Check>();

  of(tool: ToolInfo, input: InputSchema | undefined): Check {
    const known = this.#made.get(tool);
    if (known !== undefined) return known;
    const check = compile(tool, input);
    this.#made.set(tool, check);
    return check;
  }
}

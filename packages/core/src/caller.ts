import type { CallOptions, ToolResult } from "./contract.js";
import { ToolError } from "./errors.js";
import { reportOf, stamp } from "./report.js";
import { textOf, unwrap } from "./value.js";

/** The part of a Standard Schema (zod, valibot, arktype, ...) that validates a value. */
export interface OutputSchema<T = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => OutputValidation<T> | Promise<OutputValidation<T>>;
    readonly types?: { readonly input: unknown; readonly output: T } | undefined;
  };
}

/** What a Standard Schema says about a value. */
export type OutputValidation<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** Options of {@link Caller.invoke}. */
export interface InvokeOptions<T> extends CallOptions {
  /** Validates the value and gives it its type. */
  readonly output?: OutputSchema<T> | undefined;
}

/** Anything that calls tools by name. */
export interface Caller<R = ToolResult> {
  /** Calls a tool; the result carries a report (`reportOf`). */
  call(tool: string, args?: Readonly<Record<string, unknown>>, options?: CallOptions): Promise<R>;
  /**
   * Calls a tool and gives its value: the structured content, else the text parsed as JSON, else the text.
   *
   * @throws ToolError when the tool reports a failure, or its value does not fit `output`
   */
  invoke<T = unknown>(tool: string, args?: Readonly<Record<string, unknown>>, options?: InvokeOptions<T>): Promise<T>;
}

type Call = (
  tool: string,
  args: Readonly<Record<string, unknown>>,
  options: CallOptions | undefined,
) => Promise<ToolResult>;

async function validated<T>(tool: string, value: unknown, schema: OutputSchema<T>): Promise<T> {
  const verdict = await schema["~standard"].validate(value);
  if (verdict.issues === undefined) return verdict.value;
  const issues = verdict.issues.map((issue) => issue.message).join("; ");
  throw new ToolError(tool, `its output does not fit the schema: ${issues}`);
}

/**
 * Makes one call and turns its result into its value, as {@link Caller.invoke} does; value and error carry the call's report.
 *
 * @throws ToolError when the tool reports a failure, or its value does not fit `output`
 */
export async function invokeThrough<T>(
  call: (options: CallOptions | undefined) => Promise<ToolResult>,
  tool: string,
  options: InvokeOptions<T> | undefined,
): Promise<T> {
  const { output, ...callOptions } = options ?? {};
  const result = await call(options === undefined ? undefined : callOptions);
  const report = reportOf(result);
  const reporter = report === undefined ? undefined : { report: () => report };
  try {
    if (result.isError === true) throw new ToolError(tool, textOf(result), { execution: report?.execution });
    const value = unwrap(result);
    const typed = output === undefined ? (value as T) : await validated(tool, value, output);
    if (reporter !== undefined) stamp(typed, reporter);
    return typed;
  } catch (error) {
    if (reporter !== undefined) stamp(error, reporter);
    throw error;
  }
}

/** Builds a caller on one way to call. */
export function callerOf(call: Call): Caller {
  return {
    call: (tool, args = {}, options) => call(tool, args, options),
    invoke: (tool, args = {}, options) => invokeThrough((callOptions) => call(tool, args, callOptions), tool, options),
  };
}

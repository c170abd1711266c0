import type { CallContext, Handler, ToolResult } from "../contract.js";

/** One run of a scripted tool. */
export type ScriptedStep =
  | { readonly result: ToolResult; readonly delayMs?: number | undefined }
  | { readonly error: unknown; readonly delayMs?: number | undefined }
  | { readonly hang: true }
  | ((ctx: CallContext) => ToolResult | Promise<ToolResult>);

/** Options of {@link scriptedTool}. */
export interface ScriptedToolOptions {
  /**
   * Whether the last step plays for every further run; without it a run past the script throws.
   * @defaultValue false
   */
  readonly repeatLast?: boolean | undefined;
}

/** A terminal that plays a script and counts. */
export interface ScriptedTool extends Handler {
  /** How often it ran, runs that hang or throw included. */
  readonly executions: number;
  /** The context of each run, in order. */
  readonly contexts: readonly CallContext[];
}

const STEP_KEYS: readonly string[] = ["result", "error", "delayMs", "hang"];
const EXPECTED =
  "give { result }, { error }, { delayMs, result | error }, { hang: true } or a function (ctx) => result";

function problemOf(step: unknown): string | undefined {
  if (typeof step === "function") return undefined;
  if (typeof step !== "object" || step === null || Array.isArray(step))
    return `is ${step === null ? "null" : typeof step}`;
  const unknown = Object.keys(step).find((key) => !STEP_KEYS.includes(key));
  if (unknown !== undefined) return `has an unknown key "${unknown}"`;
  const ends = ["result", "error", "hang"].filter((key) => key in step);
  if (ends.length !== 1) return ends.length === 0 ? "has no result, error or hang" : `has both ${ends.join(" and ")}`;
  return problemOfValues(step);
}

function problemOfValues(step: {
  readonly hang?: unknown;
  readonly result?: unknown;
  readonly delayMs?: unknown;
}): string | undefined {
  const { hang, result, delayMs } = step;
  if ("hang" in step && hang !== true) return "has a hang that is not true";
  if ("result" in step && (typeof result !== "object" || result === null)) return "has a result that is no object";
  if (delayMs === undefined) return undefined;
  if ("hang" in step) return "has both hang and delayMs";
  return typeof delayMs === "number" && delayMs >= 0 ? undefined : "has a delayMs that is no number >= 0";
}

function checkScript(steps: readonly ScriptedStep[]): void {
  if (!Array.isArray(steps) || steps.length === 0) throw new TypeError("scriptedTool: steps must be a non-empty array");
  for (const [index, step] of steps.entries()) {
    const problem = problemOf(step);
    if (problem !== undefined) throw new TypeError(`scriptedTool: steps[${index}] ${problem}; ${EXPECTED}`);
  }
}

async function play(step: ScriptedStep, ctx: CallContext): Promise<ToolResult> {
  if (typeof step === "function") return step(ctx);
  if ("hang" in step) return new Promise<never>(() => undefined);
  // Without the signal: most tools go on when their caller is gone, and what they do late is what tests are about.
  if (step.delayMs !== undefined) await ctx.call.runtime.sleep(step.delayMs);
  if ("error" in step) throw step.error;
  return step.result;
}

/**
 * Makes a terminal that plays the steps in order, one for each run.
 *
 * @remarks
 * Delays are slept on the call's runtime, to their end even when the call was aborted or timed out. A run past the end of the
 * script throws.
 *
 * @throws TypeError for a step that cannot be played, naming it
 */
export function scriptedTool(steps: readonly ScriptedStep[], options: ScriptedToolOptions = {}): ScriptedTool {
  checkScript(steps);
  const { repeatLast = false } = options;
  if (typeof repeatLast !== "boolean") throw new TypeError("scriptedTool: repeatLast must be true or false");
  const script = [...steps];
  const contexts: CallContext[] = [];

  function scripted(ctx: CallContext): Promise<ToolResult> {
    contexts.push(ctx);
    const step = script[contexts.length - 1] ?? (repeatLast ? script.at(-1) : undefined);
    if (step !== undefined) return play(step, ctx);
    const times = `${contexts.length} times`;
    return Promise.reject(
      new Error(
        `scriptedTool: "${ctx.tool}" ran ${times}, but the script has ${script.length} steps; add one or set repeatLast`,
      ),
    );
  }
  return Object.defineProperties(scripted as ScriptedTool, {
    executions: { get: () => contexts.length, enumerable: true },
    contexts: { value: contexts, enumerable: true },
  });
}

import type { CallContext, Handler, Middleware, ToolResult, WrapOptions } from "../contract.js";
import { pipeline } from "../pipeline.js";
import { run } from "../run.js";

const unreached: Handler = () => Promise.reject(new Error("context: its call is not meant to run"));

/** Keeps the context and holds the call open: no attempt, no report yet. */
function capture(into: (ctx: CallContext) => void, optionKeys: readonly string[]): Middleware {
  function captured(ctx: CallContext): Promise<ToolResult> {
    into(ctx);
    return new Promise<never>(() => undefined);
  }
  return Object.assign(captured, { optionKeys });
}

/**
 * Makes the context of a call that has just begun: a real `Call`, no attempt so far. For benchmarks and for tests that call a
 * middleware directly.
 *
 * @param overrides - members of the context; `tool`, `args`, `meta`, `options` and `side` also shape the call's request
 * @param options - as for a wrapper: runtime, peer, `verify`, listeners
 * @throws TypeError for overrides that `run` would refuse, or for bad options
 */
export function context(overrides: Partial<CallContext> = {}, options?: WrapOptions): CallContext {
  const { tool = "tool", args, meta, side, options: callOptions, ...rest } = overrides;
  let made: CallContext | undefined;
  const capturing = capture(
    (ctx) => {
      made = ctx;
    },
    Object.keys(callOptions ?? {}),
  );
  const request = { tool, args, meta, side, options: callOptions };
  run(pipeline(capturing, unreached), request, options).catch(() => undefined);
  if (made === undefined) {
    throw new TypeError(
      "context: run() refuses these overrides or options; await run(handler, { tool, args, options }) to see why",
    );
  }
  return { ...made, ...rest };
}

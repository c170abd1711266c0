import type { CallContext, CallOptions, Middleware, WrapOptions } from "./contract.js";
import { flatten } from "./pipeline.js";
import { createEntry, NO_OPTIONS, NOTHING } from "./run.js";
import { localTerminal } from "./terminal.js";
import { fromResult, toResult } from "./value.js";
import { asBag } from "./wire.js";

/** A local function with a pipeline round it. */
export type WrappedTool<A, R> = (args: A, options?: CallOptions) => Promise<R>;

/** AI SDKs call `execute(args, { toolCallId, abortSignal, messages, ... })`: of that, only the signal concerns a call. */
function callOptionsOf(given: CallOptions | undefined): CallOptions {
  if (given === undefined) return NO_OPTIONS;
  const host = asBag(given);
  if (host === undefined || !("toolCallId" in host)) return given;
  return { signal: host.abortSignal as AbortSignal | undefined };
}

/**
 * Puts a pipeline round a plain function.
 *
 * @remarks
 * What the function returns is what the caller gets. Inside the pipeline a value that is no ToolResult travels in
 * `structuredContent`, which a store must be able to serialise. The function gets the attempt's context as its second argument;
 * its signal aborts when the caller aborts or time is up. What it throws is an executed failure: it ran.
 *
 * @param name - the tool's name in reports, matches and messages
 */
export function wrapTool<A extends object = Readonly<Record<string, unknown>>, R = unknown>(
  name: string,
  fn: (args: A, ctx: CallContext) => R | Promise<R>,
  middleware: Middleware | readonly Middleware[],
  options?: WrapOptions,
): WrappedTool<A, R> {
  if (typeof name !== "string" || name === "") throw new TypeError("wrapTool: name must be a non-empty string");
  if (typeof fn !== "function") throw new TypeError("wrapTool: fn must be a function (args, ctx) => value");
  const enter = createEntry({
    owner: "wrapTool",
    middleware: flatten(middleware, "wrapTool"),
    terminal: localTerminal<unknown>((ctx) => fn(ctx.args as A, ctx), toResult),
    present: fromResult,
    side: "local",
    options,
  });
  return function tool(args, given) {
    return enter({
      tool: name,
      args: args as Readonly<Record<string, unknown>>,
      meta: NOTHING,
      options: callOptionsOf(given),
    }) as Promise<R>;
  };
}

import type { CallContext, Handler, Middleware, ToolResult } from "@mcp-tx/core";
import type { LayerSpec } from "./layers.js";
import { type Section, variants } from "./sections.js";

/** How long the calls of a tool may take. */
interface Times {
  readonly timeoutMs?: number | undefined;
  readonly attemptTimeoutMs?: number | undefined;
}

/** A call's context with the limits of its tool, unless the call has its own. */
function limited(ctx: CallContext, { timeoutMs, attemptTimeoutMs }: Times): CallContext {
  const { call } = ctx;
  const own = call.request.options;
  const isBounded = own.timeoutMs === undefined && timeoutMs !== undefined && timeoutMs !== Infinity;
  const deadline = isBounded ? Math.min(ctx.deadline, call.runtime.now() + timeoutMs) : ctx.deadline;
  const options =
    own.attemptTimeoutMs === undefined && attemptTimeoutMs !== undefined
      ? { ...ctx.options, attemptTimeoutMs }
      : ctx.options;
  return { ...ctx, deadline, options };
}

/** The time limits of a pipeline: the wrapper keeps the ones for all, and a layer those that differ from tool to tool. */
export interface TimeLimits {
  /** For `WrapOptions.timeoutMs`: a deadline can be drawn in later, but not put off. */
  readonly timeoutMs: number | undefined;
  readonly layer: readonly Middleware[];
}

export function timeLimits(spec: LayerSpec): TimeLimits {
  const { timeoutMs, attemptTimeoutMs } = spec.config;
  const concerns = (times: Times): boolean => times.timeoutMs !== undefined || times.attemptTimeoutMs !== undefined;
  const stated = spec.overrides.all.map(({ config }) => config).filter(concerns);
  if (stated.length === 0) return { timeoutMs, layer: [] };

  const longest =
    timeoutMs === undefined ? undefined : Math.max(timeoutMs, ...stated.map((tool) => tool.timeoutMs ?? 0));
  // What the wrapper does for all by itself need not be done for one.
  const base: Section<Times> = {
    isOn: longest !== timeoutMs,
    options: { timeoutMs, attemptTimeoutMs },
    path: spec.root,
  };
  const times = variants<Times, Times>({
    ...spec,
    concerns,
    combine: (said) => said.reduce<Section<Times>>(narrowed, base),
    build: ({ options }) => options,
  });

  function perToolLimits(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const own = times.of(ctx.tool);
    return next(own === undefined ? ctx : limited(ctx, own));
  }
  return { timeoutMs: longest, layer: [perToolLimits] };
}

function narrowed(
  section: Section<Times>,
  { config, path }: { readonly config: Times; readonly path: string },
): Section<Times> {
  const { timeoutMs = section.options.timeoutMs, attemptTimeoutMs = section.options.attemptTimeoutMs } = config;
  return { isOn: true, options: { timeoutMs, attemptTimeoutMs }, path };
}

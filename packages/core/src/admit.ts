import type { CallContext, Middleware } from "./contract.js";

/**
 * A context with other things to be done right before the dispatch. Member by member: a context is closed, and this costs a
 * third of a spread. The compiler misses none.
 */
export function beforeDispatch(
  ctx: CallContext,
  admit: CallContext["admit"],
  innermost: CallContext["innermost"],
): CallContext {
  return {
    tool: ctx.tool,
    args: ctx.args,
    meta: ctx.meta,
    signal: ctx.signal,
    deadline: ctx.deadline,
    attempt: ctx.attempt,
    side: ctx.side,
    options: ctx.options,
    call: ctx.call,
    admit,
    innermost,
  } satisfies Required<{ [K in keyof CallContext]: CallContext[K] }>;
}

/**
 * Derives a context with one more gate: `admit` asks those that are there already, and then this one.
 *
 * @param gate - asked right before every dispatch, and after waits; throws its refusal. It may be asked several times for one
 *   attempt and acquires at most once
 */
export function withGate(ctx: CallContext, gate: () => void): CallContext {
  const outer = ctx.admit;
  if (outer === undefined) return beforeDispatch(ctx, gate, ctx.innermost);
  const both = (): void => {
    outer();
    gate();
  };
  return beforeDispatch(ctx, both, ctx.innermost);
}

/** Derives a context with one more middleware round each dispatch, inside those that are there already. */
export function withInnermost(ctx: CallContext, middleware: Middleware): CallContext {
  const outer = ctx.innermost;
  if (outer === undefined) return beforeDispatch(ctx, ctx.admit, middleware);
  return beforeDispatch(ctx, ctx.admit, (inner, next) => outer(inner, (innermost) => middleware(innermost, next)));
}

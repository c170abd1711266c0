import type { CallContext, Handler, Middleware, ToolResult } from "../contract.js";

/** Claims `idempotencyKey` and does nothing with it: stands in for a middleware that honours keys. */
export function keyClaiming(): Middleware {
  function keyClaiming(ctx: CallContext, next: Handler): Promise<ToolResult> {
    return next(ctx);
  }
  return Object.assign(keyClaiming, { optionKeys: ["idempotencyKey"] } as const);
}

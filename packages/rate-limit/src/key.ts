import type { CallContext } from "@mcp-tx/core";

/** Which limit a call counts for. */
export type LimitKey = (ctx: CallContext) => string;

/** One limit for each server. */
function serverOf(ctx: CallContext): string {
  return ctx.call.peer.server ?? "";
}

/** The user's key function with its answer checked, or one limit for each server. */
export function limitKey(owner: string, key: LimitKey | undefined): LimitKey {
  if (key === undefined) return serverOf;
  return (ctx) => {
    const value = ask(owner, "key", key, ctx);
    if (typeof value === "string") return value;
    throw new TypeError(`${owner}: key must return a string for tool "${ctx.tool}", got ${typeof value}`);
  };
}

/** What a function of the user's says of a call. One that throws stops the call, and says so. */
export function ask(owner: string, option: string, question: (ctx: CallContext) => unknown, ctx: CallContext): unknown {
  try {
    return question(ctx);
  } catch (cause) {
    throw new TypeError(`${owner}: ${option} threw for tool "${ctx.tool}", which was not called`, { cause });
  }
}

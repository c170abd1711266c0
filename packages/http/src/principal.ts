import { type CallContext, createKey, type Handler, type Key, type Middleware, type ToolResult } from "@mcp-tx/core";

const PrincipalKey: Key<string> = createKey<string>("@mcp-tx/http.principal");

/**
 * Who made a call over HTTP, as `authorize` or the framework said; `undefined` where nobody did, or for a call that came another
 * way. For `rateLimit({ key })`, `idempotency({ scope })` and the like.
 */
export function principalOf(ctx: CallContext): string | undefined {
  return ctx.call.get(PrincipalKey);
}

/** One call's way through the pipeline, seen from outside of it. */
export interface Passage {
  readonly middleware: Middleware;
  /** The context with which the pipeline was entered; `undefined` when it was not. */
  readonly context: CallContext | undefined;
}

/** A middleware for one call that hands its principal in. It claims `onprogress`, which only callers of SDK clients take. */
export function passageOf(principal: string | undefined, onEntered: () => void): Passage {
  let context: CallContext | undefined;
  function http(ctx: CallContext, next: Handler): Promise<ToolResult> {
    context = ctx;
    onEntered();
    if (principal !== undefined) ctx.call.set(PrincipalKey, principal);
    return next(ctx);
  }
  return {
    middleware: Object.assign(http, { optionKeys: ["onprogress"] }),
    get context() {
      return context;
    },
  };
}

/** Longest principal, as JSON, that goes into a key as it is: a key of an idempotency record has at most 1024 characters. */
const MAX_PLAIN = 256;

async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `sha256:${hex}`;
}

/** The key of a record: two principals never share one, nor does anybody share one with a call that came another way. */
export async function scopedKey(principal: string | undefined, key: string): Promise<string> {
  const plain = JSON.stringify(principal ?? null);
  const owner = plain.length <= MAX_PLAIN ? (principal ?? null) : [await digestOf(plain)];
  return JSON.stringify(["http", owner, key]);
}

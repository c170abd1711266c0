// A consumer's own middleware, with a call option, an event and a state key.
import { type CallContext, createKey, type Middleware, type ToolResult, wrapTool } from "@mcp-tx/core";
import { number, readOptions } from "@mcp-tx/core/options";
import type { IdempotencyClaim, IdempotencyStore } from "@mcp-tx/core/stores";
import { middlewareContract, scriptedTool, virtualTime } from "@mcp-tx/core/testing";

declare module "@mcp-tx/core" {
  interface CallOptions {
    /** Who pays. */
    readonly tenant?: string | undefined;
  }
  interface CallEvents {
    "tenant.seen": { readonly tool: string; readonly tenant: string };
  }
}

const TENANT = createKey<string>("consumer.tenant");

export interface TenantOptions {
  /** Longest name of a tenant, in characters. */
  readonly maxLength?: number | undefined;
}

export function tenant(options: TenantOptions = {}): Middleware {
  const { maxLength } = readOptions("tenant", options, { maxLength: number({ min: 1 }, 64) });
  return function tenantMiddleware(ctx: CallContext, next): Promise<ToolResult> {
    const name: string = (ctx.options.tenant ?? "nobody").slice(0, maxLength);
    ctx.call.emit("tenant.seen", { tool: ctx.tool, tenant: name });
    // @ts-expect-error an event has the members that were declared
    ctx.call.emit("tenant.seen", { tool: ctx.tool, who: name });
    return next(ctx);
  };
}

const double = wrapTool("double", ({ value }: { readonly value: number }) => value * 2, [tenant()]);
export const doubled: Promise<number> = double({ value: 1 }, { tenant: "acme", timeoutMs: 1000 });
// @ts-expect-error the tool takes a number
export const wrong = double({ value: "1" });
// @ts-expect-error no such call option
export const unknown = double({ value: 1 }, { tennant: "acme" });
// @ts-expect-error durations are numbers
export const late = double({ value: 1 }, { timeoutMs: "1 s" });

export const key: symbol = TENANT;
export const suite = middlewareContract(() => tenant()).map(({ name, run }) => ({ name, run }));
export const scripted = scriptedTool([{ result: { content: [] } }]);
export const time = virtualTime({ now: 5 });
export async function claim(store: IdempotencyStore, wanted: IdempotencyClaim): Promise<boolean> {
  return (await store.claim("key", wanted)).won;
}

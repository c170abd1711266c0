import type { Middleware } from "@mcp-tx/core";

/** A middleware that does nothing, under the name of the one that it stands for. */
export function passing(name: string): Middleware {
  const middleware: Middleware = (ctx, next) => next(ctx);
  return Object.defineProperty(middleware, "name", { value: name });
}

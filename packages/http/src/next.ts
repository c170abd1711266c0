import type { Caller } from "@mcp-tx/core";
import { attachedCaller } from "./attached-caller.js";
import type { HttpHandler, HttpMethod } from "./index.js";

/** Answers the requests of one method to one route file. */
export type NextRouteHandler = (request: Request) => Promise<Response>;

/** What a route file of the App Router exports: Next asks it for each method by name. */
export type NextRouteHandlers = Readonly<Record<HttpMethod, NextRouteHandler>>;

/**
 * Serves a handler from a catch-all route file of Next's App Router.
 *
 * @remarks
 * Next gives the whole path: create the handler with the folder of the file as its `basePath`. It needs the Node runtime, and one
 * process that lives on: connections, limits and breakers are in its memory.
 *
 * @example
 * ```ts
 * // app/api/mcp/[...path]/route.ts
 * export const { GET, HEAD, POST, OPTIONS } = toRouteHandlers(createHttpHandler(caller, { basePath: "/api/mcp" }));
 * ```
 */
export function toRouteHandlers(handler: HttpHandler): NextRouteHandlers {
  const answer: NextRouteHandler = (request) => handler.fetch(request);
  return { HEAD: answer, GET: answer, POST: answer, PUT: answer, PATCH: answer, DELETE: answer, OPTIONS: answer };
}

/** What {@link withMcpTx} adds to the context of a route. */
export interface McpTxContext {
  /** Calls tools; connects on its first call. */
  readonly mcpTx: Caller;
}

/**
 * Hands the caller to a route handler of yours, beside what Next gives it.
 *
 * @example
 * ```ts
 * // app/orders/route.ts
 * export const POST = withMcpTx(handler, async (request, { mcpTx }) =>
 *   Response.json(await mcpTx.invoke("orders.create", await request.json())),
 * );
 * ```
 */
export function withMcpTx<R extends Request, C extends McpTxContext = McpTxContext>(
  handler: HttpHandler,
  route: (request: R, context: C) => Response | Promise<Response>,
): (request: R, context: Omit<C, "mcpTx">) => Promise<Response> {
  const mcpTx = attachedCaller(handler);
  // What Next gives, with what `C` has beyond it.
  return async (request, context) => route(request, { ...context, mcpTx } as C);
}

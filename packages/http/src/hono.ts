import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "@mcp-tx/core";
import type { Context, MiddlewareHandler } from "hono";
import { attachedCaller } from "./attached-caller.js";
import type { HttpHandler, RequestDetails } from "./index.js";
import { lettingItFinish, watchPipelined } from "./node-connection.js";

/** What {@link mcpTx} sets, for the `Env` of an app: `new Hono<McpTxEnv>()`. */
export interface McpTxEnv {
  Variables: {
    /** Calls tools; connects on its first call. */
    readonly mcpTx: Caller;
  };
}

/** The bindings of Hono's Node server. */
interface HttpBindings {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

/** Options of {@link mcpTx}. */
export interface McpTxOptions {
  /**
   * Who asks, where a middleware has found out already; the handler's `authorize` is asked when it gives nothing. What it throws
   * goes to the app's error handler.
   */
  readonly principal?: ((context: Context) => string | undefined) | undefined;
}

/** What the app knows of a request: who asks, and the body where `c.req.json()` or the like has read it, which Hono keeps. */
async function detailsOf(context: Context, { principal }: McpTxOptions): Promise<RequestDetails> {
  const { req } = context;
  return { principal: principal?.(context), ...(req.raw.bodyUsed && { body: await req.text() }) };
}

/** A body whose cancellation goes no further. */
function uncancelled(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}

/**
 * Asks the handler from Hono's Node server. That reads to its end by itself what is left of a body after the answer; cancelling
 * it destroys the connection, and with it the answer that says why the body was refused.
 */
async function fetchOnNode(
  handler: HttpHandler,
  request: Request,
  details: RequestDetails,
  { incoming, outgoing }: HttpBindings,
): Promise<Response> {
  watchPipelined(incoming, outgoing);
  if (!request.bodyUsed && request.body !== null) {
    const body = uncancelled(request.body);
    Object.defineProperty(request, "body", { value: body, configurable: true });
  }
  return lettingItFinish(incoming, await handler.fetch(request, details));
}

/** What Hono's Node server gives beside the request; nothing like it on other runtimes. */
function bindingsOf({ env }: Context): HttpBindings | undefined {
  const { incoming, outgoing } = (env ?? {}) as Partial<HttpBindings>;
  return incoming?.socket === undefined || outgoing === undefined ? undefined : { incoming, outgoing };
}

/**
 * Serves a handler in a Hono app and sets `c.var.mcpTx` for the routes after it. Requests that are not the handler's go on.
 *
 * @remarks
 * Hono gives the whole path: create the handler with `basePath` where it is not to answer at the root.
 *
 * @example
 * ```ts
 * const app = new Hono().use(mcpTx(createHttpHandler(caller, { basePath: "/mcp" })));
 * ```
 */
export function mcpTx(handler: HttpHandler, options: McpTxOptions = {}): MiddlewareHandler<McpTxEnv> {
  const caller = attachedCaller(handler);
  async function mcpTx(context: Context<McpTxEnv>, next: () => Promise<void>): Promise<Response | undefined> {
    context.set("mcpTx", caller);
    if (!handler.handles(context.req.raw, context.req.method)) {
      await next();
      return undefined;
    }
    const details = await detailsOf(context, options);
    const bindings = bindingsOf(context);
    if (bindings === undefined) return handler.fetch(context.req.raw, details);
    return fetchOnNode(handler, context.req.raw, details, bindings);
  }
  return mcpTx;
}

import type { Readable } from "node:stream";
import type { Caller } from "@mcp-tx/core";
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { attachedCaller } from "./attached-caller.js";
import type { HttpHandler } from "./index.js";
import { lettingItFinish } from "./node-connection.js";
import { toRequest } from "./node-request.js";

declare module "fastify" {
  interface FastifyInstance {
    /** Calls tools; connects on its first call. Set by `mcpTx()` of `@mcp-tx/http/fastify`. */
    readonly mcpTx: Caller;
  }
  interface FastifyRequest {
    /** Calls tools; connects on its first call. Set by `mcpTx()` of `@mcp-tx/http/fastify`. */
    readonly mcpTx: Caller;
  }
}

/** Options of {@link mcpTx}. */
export interface McpTxOptions {
  /**
   * Who asks, where a hook has found out already; the handler's `authorize` is asked when it gives nothing. What it throws goes
   * to the app's error handler.
   */
  readonly principal?: ((request: FastifyRequest) => string | undefined) | undefined;
}

/** Options of the plugin. */
export interface McpTxPluginOptions {
  /**
   * Where the routes are, below the prefix of the instance.
   *
   * @defaultValue ""
   */
  readonly prefix?: string | undefined;
}

/** Leaves bodies to the handler, whose limits, deadlines and answers are the same in every framework. */
function leaveBodies(routes: FastifyInstance): void {
  routes.removeAllContentTypeParsers();
  routes.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
}

/** The request at a route of the handler, whatever the prefix of the instance. */
function requestAt(path: string, { raw, body }: FastifyRequest, reply: FastifyReply): Request {
  const { url = "" } = raw;
  const query = url.indexOf("?");
  // The payload is another stream than the request where a hook unpacks it.
  const payload = (body as Readable | undefined) ?? raw;
  return toRequest(raw, reply.raw, { url: query === -1 ? path : path + url.slice(query), payload });
}

/**
 * Serves a handler in a Fastify app and decorates the instance and its requests with `mcpTx`.
 *
 * @remarks
 * Hooks of the instance apply to its routes. The decorators are seen by the instance that registers the plugin and by all below
 * it; two handlers go into two scopes. A prefix goes before the handler's `basePath`, unless that begins with it.
 *
 * @example
 * ```ts
 * await fastify.register(mcpTx(createHttpHandler(caller)), { prefix: "/mcp" });
 * ```
 */
export function mcpTx(handler: HttpHandler, options: McpTxOptions = {}): FastifyPluginAsync<McpTxPluginOptions> {
  const caller = attachedCaller(handler);

  async function addRoutes(routes: FastifyInstance): Promise<void> {
    leaveBodies(routes);
    const { prefix } = routes;
    for (const { method, path } of handler.routes) {
      const isBelow = prefix !== "" && path.startsWith(`${prefix}/`);
      routes.route({
        method,
        // Where the handler's `basePath` begins with the prefix, Fastify adds that by itself.
        url: isBelow ? path.slice(prefix.length) : path,
        // Fastify's own route for HEAD fails on a Response; the handler has one.
        exposeHeadRoute: false,
        handler: async (request, reply) => {
          const details = { principal: options.principal?.(request) };
          return lettingItFinish(request.raw, await handler.fetch(requestAt(path, request, reply), details));
        },
      });
    }
  }

  async function mcpTx(fastify: FastifyInstance, { prefix = "" }: McpTxPluginOptions): Promise<void> {
    fastify.decorate("mcpTx", caller);
    // Fastify refuses an object here, which all requests would share; a getter says that they may.
    fastify.decorateRequest("mcpTx", { getter: () => caller });
    fastify.register(addRoutes, { prefix });
  }
  // Without it the decorators would be seen by nobody but the plugin.
  return Object.assign(mcpTx, { [Symbol.for("skip-override")]: true });
}

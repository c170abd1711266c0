import type { Caller } from "@mcp-tx/core";
import type { Request as ExpressRequest, Response as ExpressResponse, NextFunction, RequestHandler } from "express";
import { attachedCaller } from "./attached-caller.js";
import type { HttpHandler, RequestDetails } from "./index.js";
import { toRequest } from "./node-request.js";
import { sendResponse } from "./node-response.js";

declare global {
  namespace Express {
    interface Request {
      /** Calls tools; connects on its first call. Set by `mcpTx()` of `@mcp-tx/http/express`. */
      mcpTx: Caller;
    }
  }
}

/** Options of {@link mcpTx}. */
export interface McpTxOptions {
  /**
   * Who asks, where the app knows it already; the handler's `authorize` is asked when it gives nothing. What it throws goes to
   * the app's error handler.
   */
  readonly principal?: ((request: ExpressRequest) => string | undefined) | undefined;
}

/** What the app knows of a request: who asks, and the body where a parser has read it. */
function detailsOf(request: ExpressRequest, { principal }: McpTxOptions): RequestDetails {
  const isRead = request.readableDidRead || request.readableEnded;
  return { principal: principal?.(request), ...(isRead && { body: request.body }) };
}

/** The URL that is a route of the handler: below the mount path, or with it where that is the handler's `basePath`. */
function urlOf({ url, originalUrl, method }: ExpressRequest, handler: HttpHandler): string | undefined {
  return [url, originalUrl].find((candidate) => handler.handles(candidate, method));
}

/**
 * Serves a handler in an Express app and sets `req.mcpTx` for the routes after it. Requests that are not the handler's go on.
 *
 * @remarks
 * Works before and after body parsers; before them, malformed bodies get the handler's answer instead of Express's page. Under a
 * path (`app.use("/mcp", mcpTx(handler))`) the handler sees what follows it, or all of it where its `basePath` says so.
 *
 * @example
 * ```ts
 * express().use(mcpTx(createHttpHandler(caller))).listen(3000, "127.0.0.1");
 * ```
 */
export function mcpTx(handler: HttpHandler, options: McpTxOptions = {}): RequestHandler {
  const caller = attachedCaller(handler);
  function mcpTx(request: ExpressRequest, response: ExpressResponse, next: NextFunction): void {
    request.mcpTx = caller;
    const url = urlOf(request, handler);
    if (url === undefined) {
      next();
      return;
    }
    const details = detailsOf(request, options);
    const answer = handler.fetch(toRequest(request, response, { url }), details);
    // It answers whatever happens, and never rejects.
    void sendResponse(request, response, answer);
  }
  return mcpTx;
}

import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpHandler, RequestDetails } from "./index.js";
import { toRequest } from "./node-request.js";
import { sendResponse } from "./node-response.js";

/** Answers one request of a Node server; resolves when the answer is sent, and never rejects. */
export type NodeHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  details?: RequestDetails | undefined,
) => Promise<void>;

/**
 * Serves a handler from `node:http`, `node:https` or any framework that hands out their requests and responses.
 *
 * @remarks
 * A client that goes away aborts its tool call. Where something has read the body already, hand it over as `details.body`.
 *
 * @example
 * ```ts
 * const serve = createNodeHandler(createHttpHandler(caller));
 * createServer(serve).listen(3000, "127.0.0.1");
 * ```
 */
export function createNodeHandler(handler: HttpHandler): NodeHandler {
  async function mcpTx(request: IncomingMessage, response: ServerResponse, details?: RequestDetails): Promise<void> {
    await sendResponse(request, response, handler.fetch(toRequest(request, response), details));
  }
  return mcpTx;
}

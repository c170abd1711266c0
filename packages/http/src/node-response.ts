import type { IncomingMessage, ServerResponse } from "node:http";
import { sendNodeResponse } from "srvx/node";
import { lettingItFinish } from "./node-connection.js";

function fail(response: ServerResponse): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(500).end();
}

/** Sends an answer, once there is one; whatever goes wrong with it ends with this request. Never rejects. */
export async function sendResponse(
  request: IncomingMessage,
  response: ServerResponse,
  answer: Promise<Response>,
): Promise<void> {
  try {
    await sendNodeResponse(response, lettingItFinish(request, await answer));
  } catch {
    fail(response);
  }
}

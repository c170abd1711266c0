import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

const waiting = new WeakMap<Socket, Set<ServerResponse>>();

/** The responses on a connection that wait for their turn; all are told when the connection is lost. */
function waitingOn(socket: Socket): Set<ServerResponse> {
  const known = waiting.get(socket);
  if (known !== undefined) return known;
  const responses = new Set<ServerResponse>();
  waiting.set(socket, responses);
  socket.once("close", () => {
    for (const response of responses) response.destroy().emit("close");
  });
  return responses;
}

/**
 * Closes the response of a pipelined request that waits for its turn when the connection is lost. Node does not, and srvx and
 * Hono's Node server abort the signal of a request on `close` of its response alone: its call would run to the end for nobody.
 */
export function watchPipelined({ socket }: IncomingMessage, response: ServerResponse): void {
  if (response.socket !== null) return;
  if (socket.destroyed) {
    response.destroy();
    return;
  }
  const responses = waitingOn(socket).add(response);
  response.once("socket", () => responses.delete(response));
}

/**
 * Takes `Connection: close` off an answer to a request that is still arriving. Node would close at once, what is still on its way
 * would reset the connection, and the client could miss the answer. The adapters let it finish for a while, and close then.
 */
export function lettingItFinish(request: IncomingMessage, answer: Response): Response {
  // HTTP/2 has no such header, and Node throws for one.
  if (!request.complete || request.httpVersionMajor > 1) answer.headers.delete("connection");
  return answer;
}

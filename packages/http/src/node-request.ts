import type { IncomingMessage, ServerResponse } from "node:http";
import { finished, PassThrough, Readable } from "node:stream";
import { NodeRequest } from "srvx/node";
import { watchPipelined } from "./node-connection.js";

/**
 * The body as a stream that can be cancelled. Cancelling the one that `Readable.toWeb` makes of a request destroys the
 * connection, and with it the answer that says why the body was refused.
 */
function bodyOf(payload: Readable): ReadableStream<Uint8Array> {
  const body = payload.pipe(new PassThrough());
  // A pipe ends with its source, but does not break with it.
  finished(payload, (error) => {
    if (error) body.destroy(error);
  });
  return Readable.toWeb(body) as ReadableStream<Uint8Array>;
}

/** Whether there is a body to stream; what others have read or kept is srvx's to tell of. */
function isStreamed(request: IncomingMessage, payload: Readable): boolean {
  if (request.method === "GET" || request.method === "HEAD") return false;
  return payload !== request || (!request.readableDidRead && !request.destroyed && !("rawBody" in request));
}

/** How long a client may go on sending a body that nobody reads, before its connection is cut. */
const LINGER_MS = 2_000;

/** Lets a client finish what it sends after it was answered, or it would miss the answer; but not for long. */
function linger(request: IncomingMessage): void {
  request.unpipe();
  request.resume();
  if (request.complete) return;
  const timer = setTimeout(() => request.destroy(), LINGER_MS);
  timer.unref();
  request.once("close", () => clearTimeout(timer));
}

/** What srvx puts in the place of a host that is none. */
const NO_ORIGIN = "http://_invalid_";

/** Path and query at an origin; what looks like a host in them (`//example.com`) stays a path. */
function urlAt(origin: string, target: string): URL {
  return new URL(target.startsWith("/") ? origin + target : target, NO_ORIGIN);
}

/** The URL of a request; where it differs from srvx's, `undefined` for that. */
function urlOf(request: IncomingMessage, converted: Request, given: string | undefined): URL | undefined {
  const target = given ?? request.url ?? "/";
  // srvx lets ports pass that no URL can have: the handler is to refuse such a host, not to stumble over it.
  if (!URL.canParse(converted.url)) return urlAt(NO_ORIGIN, target);
  return target === request.url ? undefined : urlAt(new URL(converted.url).origin, target);
}

/** How a framework has changed the request. */
export interface RequestChanges {
  /** Path and query, where a mount point has been taken off. */
  readonly url?: string | undefined;
  /** The body, where it has been unpacked. */
  readonly payload?: Readable | undefined;
}

/** The request of a Node server as the web standard has it. */
export function toRequest(
  request: IncomingMessage,
  response: ServerResponse,
  { url, payload = request }: RequestChanges = {},
): Request {
  const converted = new NodeRequest({ req: request, res: response });
  const changed = urlOf(request, converted, url);
  if (changed !== undefined) converted._url = changed;
  watchPipelined(request, response);
  response.once("finish", () => linger(request));
  if (!isStreamed(request, payload)) return converted;
  let body: ReadableStream<Uint8Array> | undefined;
  const streamed = (): ReadableStream<Uint8Array> => {
    body ??= bodyOf(payload);
    return body;
  };
  return Object.defineProperties(converted, {
    body: { get: streamed },
    // srvx reads the request by itself for these two; its other methods go through `body`.
    text: { value: () => new Response(streamed()).text() },
    json: { value: () => new Response(streamed()).json() },
  });
}

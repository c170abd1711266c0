import { parseRetryAfter } from "./classify.js";
import { announceWrapper, recordResponse } from "./http-registry.js";
import { lostAnswer } from "./tap.js";
import { asBag, type Message } from "./wire.js";

/** A `fetch`, as the SDKs' HTTP transports take it. */
export type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** A JSON-RPC request that was posted. */
interface Posted {
  readonly id: string | number;
  readonly body: string;
}

function postedRequest(init: RequestInit | undefined): Posted | undefined {
  const body = init?.body;
  if (init?.method !== "POST" || typeof body !== "string") return undefined;
  try {
    const message: Message = JSON.parse(body);
    const { id } = message;
    return message.method === "tools/call" && (typeof id === "string" || typeof id === "number")
      ? { id, body }
      : undefined;
  } catch {
    return undefined;
  }
}

function answers(data: unknown, id: string | number): boolean {
  const messages: readonly unknown[] = Array.isArray(data) ? data : [data];
  return messages.some((message) => {
    const bag = asBag(message);
    return bag !== undefined && bag.method === undefined && String(bag.id) === String(id);
  });
}

/** Watches one event stream go by: whether the answer to a request came, and whether the stream can be resumed. */
class StreamWatch {
  answered = false;
  resumable = false;
  /** The line that has not ended yet, in the pieces in which it came: a long one must not be scanned again with each of them. */
  #pieces: string[] = [];
  #data: string[] = [];

  constructor(private readonly id: string | number) {}

  read(text: string): void {
    // A carriage return at the end of a chunk waits for the line feed that may come with the next.
    const last = this.#pieces.at(-1) ?? "";
    const held = last.endsWith("\r") ? last : "";
    if (held !== "") this.#pieces.pop();
    const [first = "", ...others] = (held + text).split(/\r\n|\n|\r(?!$)/);
    this.#pieces.push(first);
    for (const piece of others) {
      this.#line(this.#pieces.join(""));
      this.#pieces = [piece];
    }
  }

  #line(line: string): void {
    if (line === "") {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id" && value !== "") this.resumable = true;
    if (field === "data") this.#data.push(value);
  }

  #dispatch(): void {
    const data = this.#data.join("\n");
    this.#data = [];
    if (data === "") return;
    try {
      if (answers(JSON.parse(data), this.id)) this.answered = true;
    } catch {
      // Not JSON: the SDK reports it; it answers nothing.
    }
  }
}

/** Passes an event stream through and, when it ends or breaks without the answer and cannot be resumed, says so in its place. */
function settledStream(stream: ReadableStream<Uint8Array>, id: string | number): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const watched = new StreamWatch(id);
  const isLost = (): boolean => !watched.answered && !watched.resumable;
  const verdict = (): Uint8Array =>
    new TextEncoder().encode(`\n\nevent: message\ndata: ${JSON.stringify(lostAnswer(id))}\n\n`);
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) {
          watched.read(decoder.decode(value, { stream: true }));
          return controller.enqueue(value);
        }
        if (isLost()) controller.enqueue(verdict());
        controller.close();
      } catch (error) {
        if (!isLost()) return controller.error(error);
        controller.enqueue(verdict());
        controller.close();
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

function isEventStream(response: Response): boolean {
  return response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() === "text/event-stream";
}

const ACCEPTED = 202;

/** The response, changed only where it would leave a request waiting for an answer that cannot come. */
function settledResponse(response: Response, { id }: Posted): Response {
  const { status, statusText, headers } = response;
  if (status === ACCEPTED) return Response.json(lostAnswer(id), { headers: withoutLength(headers) });
  if (!response.ok || response.body === null || !isEventStream(response)) return response;
  return new Response(settledStream(response.body, id), { status, statusText, headers });
}

function withoutLength(headers: Headers): Headers {
  const copy = new Headers(headers);
  for (const name of ["content-length", "content-type", "content-encoding"]) copy.delete(name);
  return copy;
}

/**
 * Wraps the `fetch` of an SDK's HTTP transport, to see what both SDKs drop: `Retry-After`, the status of a refusal, and a
 * response that ends without the answer.
 *
 * @remarks
 * Give each transport its own: `new StreamableHTTPClientTransport(url, { fetch: wrapFetch() })`. A call whose event stream ends
 * unanswered, and cannot be resumed, settles at once with an unknown outcome instead of waiting for its timeout.
 *
 * @param fetch - what to send with
 * @defaultValue the global `fetch`
 */
export function wrapFetch(fetch: Fetch = globalThis.fetch): Fetch {
  if (typeof fetch !== "function")
    throw new TypeError("wrapFetch: fetch must be a function (url, init) => Promise<Response>");
  announceWrapper();
  return async function observedFetch(url, init) {
    const posted = postedRequest(init);
    const response = await fetch(url, init);
    if (posted === undefined) return response;
    const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"), Date.now());
    recordResponse(posted.id, posted.body, { status: response.status, retryAfterMs });
    return settledResponse(response, posted);
  };
}

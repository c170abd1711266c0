import type { Fetch } from "@mcp-tx/core";
import { isRequest, lostAnswer, type Message, type Request } from "./proxy-messages.js";

const ACCEPTED = 202;
const NOT_FOUND = 404;
const SESSION_HEADER = "mcp-session-id";

/** The request that is posted, unless it is a tool call: those the core watches. */
function postedRequest(init: RequestInit | undefined): Request | undefined {
  if (init?.method !== "POST" || typeof init.body !== "string") return undefined;
  try {
    const message = JSON.parse(init.body) as Message;
    return isRequest(message) && message.method !== "tools/call" ? message : undefined;
  } catch {
    return undefined;
  }
}

/** Watches for event ids: a stream that has them can be resumed by the transport. */
class ResumeWatch {
  isResumable = false;
  #tail = "\n";

  read(text: string): void {
    const seen = this.#tail + text;
    if (/[\r\n]id: ?[^\r\n ]/.test(seen)) this.isResumable = true;
    this.#tail = seen.slice(-8);
  }
}

/** What an unanswered request is answered with, at the end of its stream: after the real answer nobody waits for it any more. */
function verdictOn(request: Request): Uint8Array {
  return new TextEncoder().encode(`\n\nevent: message\ndata: ${JSON.stringify(lostAnswer(request, false))}\n\n`);
}

function endingWith(stream: ReadableStream<Uint8Array>, request: Request): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const watch = new ResumeWatch();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) {
          watch.read(decoder.decode(value, { stream: true }));
          return controller.enqueue(value);
        }
      } catch (error) {
        if (watch.isResumable) return controller.error(error);
      }
      if (!watch.isResumable) controller.enqueue(verdictOn(request));
      controller.close();
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

function isEventStream(response: Response): boolean {
  return response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() === "text/event-stream";
}

function answered(response: Response, request: Request): Response {
  const { status, statusText, headers } = response;
  if (status === ACCEPTED) return Response.json(lostAnswer(request, false));
  if (!response.ok || response.body === null || !isEventStream(response)) return response;
  return new Response(endingWith(response.body, request), { status, statusText, headers });
}

/** How long a server may take to answer the request that opens a session. */
const OPEN_TIMEOUT_MS = 30_000;

/**
 * Bounds the time until a response begins. Nobody else does for a request that opens a session, and Node's `fetch` may wait for ever on a
 * connection that was closed as soon as it was made.
 */
async function inTime(fetch: Fetch, url: Parameters<Fetch>[0], init: RequestInit, limitMs: number): Promise<Response> {
  const over = new AbortController();
  const timer = setTimeout(() => {
    over.abort(new Error("the server does not answer", { cause: { code: "ETIMEDOUT" } }));
  }, limitMs);
  const { signal } = init;
  const both = signal === null || signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  try {
    return await fetch(url, { ...init, signal: both });
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A `fetch` under which no request waits for an answer that cannot come: one whose event stream ends without it gets an error.
 *
 * @param onExpired - told when the server does not know the session any more, of a request that nobody hears the status of
 */
export function answeringFetch(fetch: Fetch, onExpired: () => void, openTimeoutMs: number = OPEN_TIMEOUT_MS): Fetch {
  return async function answeringFetch(url, init) {
    const isOpening = init !== undefined && postedRequest(init)?.method === "initialize";
    const response = await (isOpening ? inTime(fetch, url, init, openTimeoutMs) : fetch(url, init));
    const isSession = new Headers(init?.headers).has(SESSION_HEADER);
    if (init?.method === "GET" && isSession && response.status === NOT_FOUND) onExpired();
    const request = postedRequest(init);
    return request === undefined ? response : answered(response, request);
  };
}

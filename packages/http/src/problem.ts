import { KINDS, type Problem, problemTypeOf } from "./problem-codes.js";
import type { Refusal } from "./refusal.js";

/** Seconds for `Retry-After`, rounded up: a client that comes earlier comes in vain. At least 1: at once would be too soon. */
function secondsOf(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

function isTime(ms: number | undefined): ms is number {
  return ms !== undefined && ms >= 0 && ms <= Number.MAX_SAFE_INTEGER;
}

/** Where a client should come again and nobody knows when. */
const DEFAULT_RETRY_AFTER_MS = 1000;
const COME_AGAIN = [409, 429, 503];

function retryAfterOf({ details }: Refusal, status: number): number | undefined {
  const given = details.retryAfterMs;
  if (isTime(given)) return given;
  return COME_AGAIN.includes(status) ? DEFAULT_RETRY_AFTER_MS : undefined;
}

/**
 * The body of a refusal.
 *
 * @param requestId - of the request; a call that was made has its own
 */
export function problemOf(refusal: Refusal, requestId: string): Problem {
  const { code, details } = refusal;
  const kind = KINDS[code];
  const status = details.status ?? kind.status;
  const retryAfterMs = retryAfterOf(refusal, status);
  return {
    type: problemTypeOf(code),
    title: kind.title,
    status,
    detail: details.detail ?? kind.detail,
    code,
    ...(details.reason !== undefined && { reason: details.reason }),
    requestId: details.requestId ?? requestId,
    ...(details.execution !== undefined && { execution: details.execution }),
    ...(retryAfterMs !== undefined && { retryAfterMs: Math.ceil(retryAfterMs) }),
    ...(details.errors !== undefined && { errors: details.errors }),
  };
}

/** Headers of everything: answers are about one call, and nobody may keep them or take them for something else. */
const BASE_HEADERS: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};

/** A response with a JSON body. */
export function jsonResponse(
  status: number,
  text: string,
  contentType = "application/json",
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(text, { status, headers: { ...BASE_HEADERS, "content-type": contentType, ...headers } });
}

/** The response of a problem. */
export function problemResponse(problem: Problem, headers: Readonly<Record<string, string>> = {}): Response {
  const { retryAfterMs } = problem;
  return jsonResponse(problem.status, JSON.stringify(problem), "application/problem+json", {
    ...headers,
    ...(retryAfterMs !== undefined && { "retry-after": String(secondsOf(retryAfterMs)) }),
  });
}

/** Headers of an event stream; `x-accel-buffering` keeps nginx from holding events back. */
export const STREAM_HEADERS: Readonly<Record<string, string>> = {
  ...BASE_HEADERS,
  "content-type": "text/event-stream; charset=utf-8",
  "x-accel-buffering": "no",
};

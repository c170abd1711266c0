import type { HttpEvidence } from "./classify.js";

/** A request on its way through some HTTP transport, waiting for what the fetch wrapper sees of its response. */
interface Expected {
  readonly id: string;
  readonly message: unknown;
  readonly wire: { http: HttpEvidence | undefined };
}

/**
 * Joins the two ends that the SDKs keep apart: the transport that sends a message, and the `fetch` that sees its HTTP
 * response. Both meet here by JSON-RPC id and body. One per process, so that two copies of this package agree.
 */
interface HttpRegistry {
  /** How many fetch wrappers exist: without one, nothing is registered. */
  wrappers: number;
  readonly expected: Set<Expected>;
}

const holder: { [key: symbol]: HttpRegistry | undefined } = globalThis as never;
const RegistryKey: symbol = Symbol.for("@mcp-tx/core.http.v1");

/** Made when first asked for, not when this file is loaded: a bundle without HTTP has nothing of it. */
function registry(): HttpRegistry {
  holder[RegistryKey] ??= { wrappers: 0, expected: new Set() };
  return holder[RegistryKey];
}

const nothing = (): void => undefined;

/** Called by the fetch wrapper when it is made. */
export function announceWrapper(): void {
  registry().wrappers += 1;
}

/**
 * Registers a message that is about to be sent.
 *
 * @returns to be called when the send has settled
 */
export function expectResponse(
  id: string | number,
  message: unknown,
  wire: { http: HttpEvidence | undefined },
): () => void {
  const { wrappers, expected: waiting } = registry();
  if (wrappers === 0) return nothing;
  const expected: Expected = { id: String(id), message, wire };
  waiting.add(expected);
  return () => waiting.delete(expected);
}

/** Tells the sender of a message what came back. Of equal messages in flight at once, the oldest one without news gets it. */
export function recordResponse(id: string | number, body: string, evidence: HttpEvidence): void {
  for (const { id: expected, message, wire } of registry().expected) {
    // The body tells as well: the response may be for a request of a client that nobody watches.
    if (expected !== String(id) || wire.http !== undefined || JSON.stringify(message) !== body) continue;
    wire.http = evidence;
    return;
  }
}

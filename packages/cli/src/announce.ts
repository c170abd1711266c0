import { ANNOUNCEMENT_KEY, type IdempotencyAnnouncement } from "@mcp-tx/core";
import { asBag, type Bag, type Message, type Request } from "./proxy-messages.js";

/** Of the wire contract. */
const VERSION = 1;
/** Where announcements are, in the handshake eras and in the stateless one. */
const PLACES = ["experimental", "extensions"] as const;

function withoutTheirs(capabilities: Bag): Record<string, unknown> {
  const plain: Record<string, unknown> = { ...capabilities };
  for (const place of PLACES) {
    const entries = asBag(plain[place]);
    if (entries === undefined || !(ANNOUNCEMENT_KEY in entries)) continue;
    const { [ANNOUNCEMENT_KEY]: _theirs, ...rest } = entries;
    if (Object.keys(rest).length === 0) delete plain[place];
    else plain[place] = rest;
  }
  return plain;
}

/**
 * The answer to a request that opens a session, with our announcement in the place of the server's: an aware host talks to us,
 * and what the server promises holds between it and us.
 */
export function announced(
  answer: Message,
  { method }: Request,
  idempotency: IdempotencyAnnouncement | undefined,
): Message {
  const result = asBag(answer.result);
  const theirs = asBag(result?.capabilities);
  if (theirs === undefined) return answer;
  const capabilities = withoutTheirs(theirs);
  const place = method === "initialize" ? "experimental" : "extensions";
  const announcement = { version: VERSION, ...(idempotency !== undefined && { idempotency }) };
  capabilities[place] = { ...asBag(capabilities[place]), [ANNOUNCEMENT_KEY]: announcement };
  return { ...answer, result: { ...result, capabilities } };
}

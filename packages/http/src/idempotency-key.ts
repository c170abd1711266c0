import { parseItem } from "structured-headers";
import { Refusal } from "./refusal.js";

/** Characters of a key. */
export const MAX_KEY_LENGTH = 255;
/** What a key may consist of: as a structured-field string may. */
const PRINTABLE = /^[\x20-\x7e]+$/;

function unfit(pointer: string, detail: string): Refusal {
  return new Refusal("bad_request", { errors: [{ pointer, detail }] });
}

/** Pointer to the header, which is no part of the body. */
const HEADER = "Idempotency-Key";

function parsed(text: string): string {
  if (!text.startsWith('"')) {
    // A comma, a quote or a semicolon stands for more than one, or for a string that is broken.
    if (/[",;\s]/.test(text))
      throw unfit(HEADER, "must be one structured-field string, or bare without , ; and quotes");
    return text;
  }
  try {
    const [item] = parseItem(text);
    if (typeof item === "string") return item;
  } catch {
    // Said below.
  }
  throw unfit(HEADER, "must be one structured-field string");
}

/** Checks a key, wherever it stands. @throws Refusal */
export function checkKey(key: unknown, pointer: string): string {
  if (typeof key !== "string" || key.length === 0 || key.length > MAX_KEY_LENGTH || !PRINTABLE.test(key)) {
    throw unfit(pointer, `must have from 1 to ${MAX_KEY_LENGTH} printable ASCII characters`);
  }
  return key;
}

/**
 * The key of the header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a structured-field string; bare keys are
 * taken too.
 *
 * @throws Refusal
 */
export function keyOfHeader(headers: Headers): string | undefined {
  const text = headers.get("idempotency-key")?.trim();
  return text === undefined ? undefined : checkKey(parsed(text), HEADER);
}

/** The one key of a request. @throws Refusal when header and body disagree */
export function agreedKey(header: string | undefined, body: string | undefined): string | undefined {
  if (header !== undefined && body !== undefined && header !== body) {
    throw unfit("#/idempotencyKey", "must be the same as the header Idempotency-Key");
  }
  return header ?? body;
}

import type { CallContext } from "@mcp-tx/core";

/** What a circuit is found by. Where the user makes keys there is no server, and the name is the whole key. */
export interface KeyParts {
  readonly server: string | undefined;
  readonly name: string;
}

/** The default key as a string. */
export function defaultKey({ server, name }: KeyParts): string {
  return JSON.stringify([server ?? null, name]);
}

/** What a default key is made of; `undefined` for a string that is none. */
export function partsOf(key: string): KeyParts | undefined {
  let parts: unknown;
  try {
    parts = JSON.parse(key);
  } catch {
    return undefined;
  }
  if (!Array.isArray(parts) || parts.length !== 2) return undefined;
  const [server, name]: readonly unknown[] = parts;
  if ((server !== null && typeof server !== "string") || typeof name !== "string") return undefined;
  return { server: server ?? undefined, name };
}

/**
 * The key that the user makes of a call.
 *
 * @throws TypeError when the function throws, or gives no string
 */
export function readKey(key: (ctx: CallContext) => string, ctx: CallContext): string {
  const problem = `circuitBreaker: key must return a string for tool "${ctx.tool}", `;
  let made: unknown;
  try {
    made = key(ctx);
  } catch (cause) {
    throw new TypeError(`${problem}but it threw; the call was not sent`, { cause });
  }
  if (typeof made === "string") return made;
  throw new TypeError(`${problem}got ${made === null ? "null" : typeof made}; the call was not sent`);
}

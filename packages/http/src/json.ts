import { Refusal } from "./refusal.js";

function malformed(detail: string): Refusal {
  return new Refusal("malformed_json", { detail: `${detail} Nothing was executed.` });
}

/** Names that become a prototype when somebody merges the object they are in. */
function pollutes(name: string, value: unknown): boolean {
  if (name === "__proto__") return true;
  return name === "constructor" && typeof value === "object" && value !== null && Object.hasOwn(value, "prototype");
}

interface Level {
  readonly value: object;
  readonly depth: number;
}

function isNested(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/**
 * Refuses what no client of good will sends: nesting that exhausts the stack of whoever walks it, and names that change prototypes.
 * Itself it walks without recursion.
 *
 * @throws Refusal
 */
export function checkJson(root: unknown, maxDepth: number): void {
  const open: Level[] = isNested(root) ? [{ value: root, depth: 1 }] : [];
  for (let level = open.pop(); level !== undefined; level = open.pop()) {
    const { value, depth } = level;
    if (depth > maxDepth) throw malformed(`The body is nested deeper than ${maxDepth} levels.`);
    const isList = Array.isArray(value);
    for (const [name, member] of Object.entries(value)) {
      if (!isList && pollutes(name, member)) throw malformed("The body names a member that could change a prototype.");
      if (isNested(member)) open.push({ value: member, depth: depth + 1 });
    }
  }
}

/** @throws Refusal */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed("The body is not JSON.");
  }
}

/** Text of a body. @throws Refusal for bytes that are no UTF-8 */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw malformed("The body is not UTF-8.");
  }
}

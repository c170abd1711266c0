/** Canonical JSON as RFC 8785 defines it: equal arguments give equal text, whatever the order of their keys. */

/** Nesting beyond this is refused: nobody's arguments, and a danger to the stack. */
const MAX_DEPTH = 1000;
/** Shallower than this no cycle is looked for: it comes round again soon enough. */
const CYCLE_DEPTH = 16;
/** From here on the engine's own sort is faster. */
const FEW_KEYS = 32;
const MAX_PATH = 12;

/** Anything but plain characters: what has to be escaped, and what may be half of a character. */
const DELICATE = /[^ !#-[\]-\ud7ff\ue000-\uffff]/;
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Where in the value the writer is. */
class Trail {
  depth = 0;
  readonly values: object[] = [];
  readonly keys: (string | number)[] = [];
  problem: TypeError | undefined;

  constructor(readonly root: string) {}

  /** The place as one would write it in code, shortened in the middle when it is deep. */
  get path(): string {
    const steps = this.keys
      .slice(0, this.depth)
      .map((key) => (typeof key === "number" ? `[${key}]` : /^[\w$]+$/.test(key) ? `.${key}` : `[${quoteAny(key)}]`));
    if (steps.length > MAX_PATH) steps.splice(MAX_PATH / 2, steps.length - MAX_PATH, "…");
    return `${this.root}${steps.join("")}`;
  }

  fail(what: string, cause?: unknown): TypeError {
    this.problem = new TypeError(`${this.path} ${what}`, cause === undefined ? undefined : { cause });
    return this.problem;
  }

  enter(value: object): void {
    if (this.depth >= CYCLE_DEPTH && this.values.includes(value)) throw this.fail("contains itself");
    if (this.depth >= MAX_DEPTH) throw this.fail(`is nested more than ${MAX_DEPTH} levels deep`);
    this.values.push(value);
    this.depth += 1;
  }

  leave(): void {
    this.values.pop();
    this.depth -= 1;
  }
}

/** For messages only, where a long key is cut. */
function quoteAny(key: string): string {
  return JSON.stringify(key.length > 40 ? `${key.slice(0, 40)}…` : key);
}

function quote(text: string, trail: Trail): string {
  if (!DELICATE.test(text)) return `"${text}"`;
  if (LONE_SURROGATE.test(text)) throw trail.fail("holds half of a surrogate pair, which is no text");
  return JSON.stringify(text);
}

/** Names of arguments come again and again: finding one here is faster than looking at its characters. */
const writtenKeys = new Map<string, string>();
const MAX_WRITTEN_KEYS = 1000;
const MAX_KEY_LENGTH = 64;

function writeKey(key: string, trail: Trail): string {
  const written = writtenKeys.get(key);
  if (written !== undefined) return written;
  const fresh = `${quote(key, trail)}:`;
  if (writtenKeys.size >= MAX_WRITTEN_KEYS) writtenKeys.clear();
  if (key.length <= MAX_KEY_LENGTH) writtenKeys.set(key, fresh);
  return fresh;
}

/** By UTF-16 code units, as the RFC wants it. */
function sorted(keys: string[]): string[] {
  if (keys.length > FEW_KEYS) return keys.sort();
  for (let index = 1; index < keys.length; index += 1) {
    const key = keys[index] as string;
    let place = index;
    while (place > 0 && (keys[place - 1] as string) > key) {
      keys[place] = keys[place - 1] as string;
      place -= 1;
    }
    keys[place] = key;
  }
  return keys;
}

/** Writes a value; `undefined` for what JSON leaves out. */
function write(value: unknown, trail: Trail): string | undefined {
  switch (typeof value) {
    case "string":
      return quote(value, trail);
    case "number":
      if (Number.isFinite(value)) return `${value}`;
      throw trail.fail(`is ${value}, which JSON has no number for`);
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      throw trail.fail("is a BigInt, which JSON cannot hold");
    case "object":
      return value === null ? "null" : writeObject(value, trail);
    default:
      return undefined;
  }
}

function writeObject(value: object, trail: Trail): string | undefined {
  const { toJSON } = value as { readonly toJSON?: unknown };
  if (typeof toJSON === "function") {
    const stand: unknown = toJSON.call(value, String(trail.keys[trail.depth - 1] ?? ""));
    // Asked once, as JSON does: what it returns may well have a toJSON again.
    return typeof stand === "object" && stand !== null ? writeMembers(stand, trail) : write(stand, trail);
  }
  return writeMembers(value, trail);
}

function writeMembers(value: object, trail: Trail): string | undefined {
  if (Array.isArray(value)) return writeArray(value, trail);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    const primitive = primitiveOf(value, trail);
    if (primitive !== value) return write(primitive, trail);
  }
  trail.enter(value);
  const level = trail.depth - 1;
  let text = "{";
  for (const key of sorted(Object.keys(value))) {
    trail.keys[level] = key;
    const member = write((value as Readonly<Record<string, unknown>>)[key], trail);
    if (member === undefined) continue;
    text += text.length === 1 ? writeKey(key, trail) : `,${writeKey(key, trail)}`;
    text += member;
  }
  trail.leave();
  return `${text}}`;
}

function writeArray(value: readonly unknown[], trail: Trail): string {
  trail.enter(value);
  const level = trail.depth - 1;
  let text = "[";
  for (let index = 0; index < value.length; index += 1) {
    trail.keys[level] = index;
    const member = write(value[index], trail) ?? "null";
    text += index === 0 ? member : `,${member}`;
  }
  trail.leave();
  return `${text}]`;
}

/** Kinds of objects whose contents JSON drops: two different ones would pass for the same. */
const OPAQUE: ReadonlySet<string> = new Set(
  [
    "Map",
    "Set",
    "WeakMap",
    "WeakSet",
    "Promise",
    "RegExp",
    "Error",
    "ArrayBuffer",
    "SharedArrayBuffer",
    "DataView",
  ].map((kind) => `[object ${kind}]`),
);

/** Whether JSON would write an object without what it holds. */
export function isOpaque(value: object): boolean {
  return OPAQUE.has(Object.prototype.toString.call(value));
}

/** What JSON takes a boxed primitive for; the object itself for any other. */
function primitiveOf(value: object, trail: Trail): unknown {
  const kind: string = Object.prototype.toString.call(value);
  if (OPAQUE.has(kind)) throw trail.fail(`is a ${kind.slice(8, -1)}, which JSON cannot hold`);
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return value.valueOf();
  return value;
}

/**
 * Writes a value as canonical JSON (RFC 8785). As `JSON.stringify` does, it asks `toJSON` and leaves out members that are
 * `undefined`, functions or symbols.
 *
 * @param root - what the value is called in messages: `"arguments"`
 * @throws TypeError naming the place of what JSON cannot hold: NaN, Infinity, BigInt, half a surrogate pair, a cycle, a Map or a
 * Set, more than 1000 levels, or a member that cannot be read
 */
export function canonicalJson(value: unknown, root: string): string {
  const trail = new Trail(root);
  let text: string | undefined;
  try {
    text = write(value, trail);
  } catch (error) {
    throw error === trail.problem ? error : trail.fail("cannot be read", error);
  }
  if (text === undefined) throw trail.fail("is nothing that JSON can hold");
  return text;
}

import type { OptionReader } from "@mcp-tx/core/options";

/** Reads every key of an object of type `T`. */
export type Fields<T> = { readonly [K in keyof T]-?: OptionReader<T[K] | undefined> };

const PLAIN_NAME = /^[A-Za-z_$][\w$]*$/;

/** The path of a member as one would write it: `config.tools["pay*"].retry`. At the root of a file it is the name alone. */
export function childPath(path: string, key: string): string {
  if (!PLAIN_NAME.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === "" ? key : `${path}.${key}`;
}

/** What was found in place of what was expected, for messages; strings are quoted, everything else is only named. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}

/** Levenshtein distance. */
function distance(from: string, to: string): number {
  let above = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const change = from[row - 1] === to[column - 1] ? 0 : 1;
      const replaced = (above[column - 1] ?? 0) + change;
      current.push(Math.min(replaced, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    above = current;
  }
  return above[to.length] ?? 0;
}

/** The letters alone: `max_attempts` and `maxAttempts` are the same mistake-free name. */
function bare(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
}

/** `retryPolicy` for `retry`, `timeout` for `timeoutMs`. */
function isPart(name: string, known: string): boolean {
  const [short, long] = name.length < known.length ? [name, known] : [known, name];
  return short.length > 3 && long.startsWith(short);
}

const LONGEST_NAME = 64;

/**
 * The known name that was probably meant: the one that differs least, if it is close enough, else one that is part of the name.
 *
 * @param most - letters that may be wrong; by default a third of them
 */
export function nearest(name: string, known: readonly string[], most?: number): string | undefined {
  // What is this long is no slip of the finger, and comparing takes the product of the lengths.
  if (name.length > LONGEST_NAME) return undefined;
  let best: { readonly name: string; readonly far: number } | undefined;
  for (const candidate of known) {
    const far = distance(bare(name), bare(candidate));
    if (far <= (most ?? Math.ceil(candidate.length / 3)) && (best === undefined || far < best.far))
      best = { name: candidate, far };
  }
  if (best !== undefined || most !== undefined) return best?.name;
  return known.find((candidate) => isPart(bare(name), bare(candidate)));
}

/** Refuses a name that nobody knows, and says which one was probably meant. */
export function unknownName(path: string, name: string, known: readonly string[]): TypeError {
  const meant = nearest(name, known);
  const hint = meant === undefined ? `known are ${known.join(", ")}` : `did you mean ${JSON.stringify(meant)}?`;
  return new TypeError(`${path} does not exist; ${hint}`);
}

/** A plain object, whose own members are all that counts. */
export function plainObject(value: unknown, path: string, what = "an object"): Readonly<Record<string, unknown>> {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject) throw new TypeError(`${path} must be ${what}, got ${describe(value)}`);
  return value as Readonly<Record<string, unknown>>;
}

/**
 * Reads an object with the given fields: every other key is refused. Only what is there is in the result, so that it can be laid
 * over another one.
 */
export function fields<T extends object>(readers: Fields<T>, what?: string): OptionReader<T | undefined> {
  const known = Object.keys(readers);
  return (value, path) => {
    if (value === undefined) return undefined;
    const given = plainObject(value, path, what);
    const read: Record<string, unknown> = {};
    for (const name of Object.keys(given)) {
      const at = childPath(path, name);
      if (!Object.hasOwn(readers, name)) throw unknownName(at, name, known);
      const found: unknown = readers[name as keyof T](given[name], at);
      if (found !== undefined) read[name] = found;
    }
    return read as T;
  };
}

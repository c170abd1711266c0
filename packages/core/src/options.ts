/** Checks options at construction, so that a mistake is found before the first call and its message names the option. */

/** Reads one option: returns its value or its default, or throws naming `path`. */
export type OptionReader<T> = (value: unknown, path: string) => T;

type Readers = { readonly [name: string]: OptionReader<unknown> };
type Read<R extends Readers> = { readonly [K in keyof R]: ReturnType<R[K]> };

function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}

/**
 * Reads every option of `owner`.
 *
 * @param owner - who is being configured, as the user wrote it: `"retry"`
 * @throws TypeError for something that is no options object, or for an option that does not exist
 */
export function readOptions<R extends Readers>(owner: string, options: unknown, readers: R): Read<R> {
  if (options !== undefined && (typeof options !== "object" || options === null || Array.isArray(options))) {
    throw new TypeError(`${owner}: options must be an object, got ${show(options)}`);
  }
  const given: Readonly<Record<string, unknown>> = { ...options };
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(readers, name)) {
      throw new TypeError(`${owner}: unknown option "${name}"; it takes ${Object.keys(readers).join(", ")}`);
    }
  }
  const read: Record<string, unknown> = {};
  for (const [name, reader] of Object.entries(readers)) read[name] = reader(given[name], `${owner}: ${name}`);
  return read as Read<R>;
}

interface NumberRange {
  readonly min: number;
  readonly max?: number | undefined;
  /** Whether `min` itself is out of range. */
  readonly above?: boolean | undefined;
  readonly integer?: boolean | undefined;
  readonly infinite?: boolean | undefined;
}

function describe({ min, max, above, integer, infinite }: NumberRange): string {
  const kind = integer === true ? "an integer" : "a number";
  const low = above === true ? `> ${min}` : `>= ${min}`;
  const high = max === undefined ? (infinite === true ? " (Infinity allowed)" : "") : ` and <= ${max}`;
  return `${kind} ${low}${high}`;
}

function inRange(value: number, { min, max, above, integer, infinite }: NumberRange): boolean {
  if (Number.isNaN(value) || (integer === true && value !== Infinity && !Number.isInteger(value))) return false;
  if (value === Infinity) return infinite === true;
  return (above === true ? value > min : value >= min) && value <= (max ?? Infinity);
}

/** A number in a range; `fallback` when absent. */
export function number<D>(range: NumberRange, fallback: D): OptionReader<number | D> {
  return (value, path) => {
    if (value === undefined) return fallback;
    if (typeof value !== "number") throw new TypeError(`${path} must be ${describe(range)}, got ${show(value)}`);
    if (!inRange(value, range)) throw new RangeError(`${path} must be ${describe(range)}, got ${value}`);
    return value;
  };
}

/** One of a few words; `fallback` when absent. */
export function oneOf<const T extends readonly string[]>(words: T, fallback: T[number]): OptionReader<T[number]> {
  return (value, path) => {
    if (value === undefined) return fallback;
    if (words.includes(value as string)) return value as T[number];
    throw new TypeError(`${path} must be one of ${words.map((word) => `"${word}"`).join(", ")}, got ${show(value)}`);
  };
}

/** A function, or absent. */
// biome-ignore lint/complexity/noBannedTypes: any function passes, its type is the caller's to state
export function callback<F extends Function>(): OptionReader<F | undefined> {
  return (value, path) => {
    if (value !== undefined && typeof value !== "function")
      throw new TypeError(`${path} must be a function, got ${show(value)}`);
    return value as F | undefined;
  };
}

/** `true` or `false`; `fallback` when absent. */
export function flag<D>(fallback: D): OptionReader<boolean | D> {
  return (value, path) => {
    if (value === undefined) return fallback;
    if (typeof value !== "boolean") throw new TypeError(`${path} must be true or false, got ${show(value)}`);
    return value;
  };
}

/** An object with the given methods, or absent. */
export function objectWith<T>(...methods: readonly (keyof T & string)[]): OptionReader<T | undefined> {
  return (value, path) => {
    if (value === undefined) return undefined;
    const object = value as Readonly<Record<string, unknown>> | null;
    const missing =
      typeof object === "object" && object !== null
        ? methods.find((name) => typeof object[name] !== "function")
        : methods[0];
    if (missing === undefined && typeof object === "object" && object !== null) return value as T;
    throw new TypeError(
      `${path} must be an object${missing === undefined ? "" : ` with a method ${missing}()`}, got ${show(value)}`,
    );
  };
}

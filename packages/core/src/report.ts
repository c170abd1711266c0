import type { CallReport } from "./contract.js";

/** What a stamp points at: something that can tell the report when it is asked for. */
export interface Reporter {
  report(): CallReport;
}

interface Stamps {
  set(target: object, reporter: Reporter): void;
  /** Stamps what has no stamp yet; returns the stamp that is there already. */
  add(target: object, reporter: Reporter): Reporter | undefined;
  get(target: object): Reporter | undefined;
}

/** Returns the object it is given instead of a new one, so that a subclass can add private fields to foreign objects. */
class Given {
  constructor(target: object) {
    // biome-ignore lint/correctness/noConstructorReturn: returning the target is the point
    return target;
  }
}

/**
 * A private field stamped on a foreign object: works on frozen objects, is invisible to `JSON.stringify` and to spreads, and
 * costs a fraction of a WeakMap entry or a property definition.
 */
class Stamp extends Given {
  #reporter: Reporter;

  constructor(target: object, reporter: Reporter) {
    super(target);
    this.#reporter = reporter;
  }
  static put(target: object, reporter: Reporter): void {
    if (#reporter in target) target.#reporter = reporter;
    else new Stamp(target, reporter);
  }
  static add(target: object, reporter: Reporter): Reporter | undefined {
    if (#reporter in target) return target.#reporter;
    new Stamp(target, reporter);
    return undefined;
  }
  static read(target: object): Reporter | undefined {
    return #reporter in target ? target.#reporter : undefined;
  }
}

/** One stamper per process, so that two copies of this package read each other's stamps. */
const registry: { [key: symbol]: Stamps | undefined } = globalThis as never;
const RegistryKey: symbol = Symbol.for("@mcp-tx/core.stamps.v1");
registry[RegistryKey] ??= { set: Stamp.put, add: Stamp.add, get: Stamp.read };
const stamps: Stamps = registry[RegistryKey];

function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

/**
 * Remembers whose call gave or threw a value.
 *
 * @returns the value to hand out: a result that another call handed out already is copied, so that both keep their report.
 */
export function stampResult<T>(value: T, reporter: Reporter): T {
  if (!isObject(value)) return value;
  // Nearly every result is new: one look at its stamp, where looking first and stamping then would take two.
  const earlier = stamps.add(value, reporter);
  if (earlier === undefined || earlier === reporter) return value;
  if (!isPlain(value)) {
    stamps.set(value, reporter);
    return value;
  }
  const copy = { ...value };
  stamps.set(copy, reporter);
  return copy;
}

/** As {@link stampResult} for errors and for values that are no ToolResults: these keep their identity, the latest call wins. */
export function stamp(value: unknown, reporter: Reporter): void {
  if (isObject(value)) stamps.set(value, reporter);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/**
 * The report of the call that returned or threw this value; `undefined` for anything no pipeline handed out, and for
 * primitives, which cannot be stamped (use `onReport`).
 */
export function reportOf(value: unknown): CallReport | undefined {
  return isObject(value) ? stamps.get(value)?.report() : undefined;
}

import { childPath } from "./config-path.js";
import type { ToolConfig } from "./config-types.js";
import { type Override, perTool, type ToolOverrides } from "./tool-overrides.js";

/** Names of the sections that a tool can have of its own. */
export type SectionName = "retry" | "idempotency" | "circuitBreaker" | "rateLimit" | "concurrency";

/** One part of the configuration, after everything that was said of it has been laid one over the other. */
export interface Section<T> {
  readonly isOn: boolean;
  readonly options: T;
  /** Where it was said last, for messages. */
  readonly path: string;
}

/** Lays a value over a section: `false` and `true` switch it, an object switches it on and changes the options it names. */
export function overlay<T extends object>(
  section: Section<T>,
  value: T | boolean | undefined,
  path: string,
): Section<T> {
  if (value === undefined) return section;
  if (typeof value === "boolean") return { ...section, isOn: value, path };
  return { isOn: true, options: { ...section.options, ...value }, path };
}

/** What an override says of a section. A limit that is a number is its `max`. */
function valueIn({ config }: Override, name: SectionName): object | boolean | undefined {
  const value = config[name];
  return typeof value === "number" ? { max: value } : value;
}

/** Lays what the overrides say of a section over what holds for all tools, one after the other. */
export function layered<T extends object>(base: Section<T>, name: SectionName, said: readonly Override[]): Section<T> {
  return said.reduce((section, override) => {
    // By the schema a section of a tool has the type of the same section of all tools, or less of it.
    const value = valueIn(override, name) as T | boolean | undefined;
    return overlay(section, value, childPath(override.path, name));
  }, base);
}

/** `circuitBreaker: window: minimumCalls must be ...`: whose option, which one, and what is wrong. */
const REFUSAL = /^\w+: ((?:\w+: )*)(\w+)(?= )/;

/** Runs what a package does with its options: what it refuses there is named by where it was configured. */
export function configuredAt<T>(path: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    const message = error.message.replace(
      REFUSAL,
      (_, groups: string, option: string) => `${path}.${groups.replaceAll(": ", ".")}${option}`,
    );
    const Kind = error instanceof RangeError ? RangeError : TypeError;
    throw new Kind(message, { cause: error });
  }
}

/** What each tool has in one place of the order. */
export interface PerTool<M> {
  /** What a tool has; `undefined` where there is nothing for it. */
  readonly of: (tool: string) => M | undefined;
  /** What tools have of which nothing is said. */
  readonly base: M | undefined;
  /** Whether all tools have the same. */
  readonly isUniform: boolean;
  /** Whether some tools have nothing. */
  readonly hasGaps: boolean;
  /** Everything made so far. */
  made(): readonly M[];
}

/** How the variants of one section come about. */
export interface VariantSpec<T, M> {
  readonly overrides: ToolOverrides;
  /** What stands before the name of a tool in the configuration. */
  readonly prefix: string;
  /** Whether an override matters here. */
  readonly concerns: (config: ToolConfig) => boolean;
  /** Makes the section of all tools to which the same overrides apply. */
  readonly combine: (said: readonly Override[]) => Section<T>;
  /** Makes what they have, for a section that is on. */
  readonly build: (section: Section<T>) => M;
}

/**
 * Makes one thing for each different way in which a section is configured: tools to which the same overrides apply share it, and
 * with it its state.
 *
 * @throws TypeError or RangeError naming the path, for options that do not go together
 */
export function variants<T, M>({ overrides, prefix, concerns, combine, build }: VariantSpec<T, M>): PerTool<M> {
  const known = new Map<string, M | undefined>();

  function variantFor(name: string): M | undefined {
    return variant(overrides.of(name).filter(({ config }) => concerns(config)));
  }

  function variant(said: readonly Override[]): M | undefined {
    const id = said.map(({ index }) => index).join();
    if (known.has(id)) return known.get(id);
    const section = combine(said);
    const made = section.isOn ? configuredAt(section.path, () => build(section)) : undefined;
    known.set(id, made);
    return made;
  }

  const base = variant([]);
  // Now, so that what is wrong is found before the first call.
  const all = [base, ...overrides.samples.map(variantFor)];
  const isUniform = known.size === 1;
  return {
    of: isUniform ? () => base : perTool((tool) => variantFor(prefix + tool)),
    base,
    isUniform,
    hasGaps: all.includes(undefined),
    made: () => [...new Set(known.values())].filter((made) => made !== undefined),
  };
}

import { childPath } from "./config-path.js";
import type { ToolConfig } from "./config-types.js";
import { compileGlob, isGlob } from "./tool-pattern.js";

/** What the configuration says of some tools. */
export interface Override {
  /** Its place among all overrides. */
  readonly index: number;
  /** Where it is in the configuration, for messages. */
  readonly path: string;
  readonly config: ToolConfig;
}

interface Glob extends Override {
  readonly matches: (name: string) => boolean;
}

/** The overrides of a configuration, and which of them a tool gets. */
export class ToolOverrides {
  /** All of them, in the order of the configuration. */
  readonly all: readonly Override[];
  /** For each of them a name that it applies to, so that what it says can be tried out. */
  readonly samples: readonly string[];
  readonly #exact = new Map<string, Override>();
  readonly #globs: Glob[] = [];

  constructor(tools: Readonly<Record<string, ToolConfig>>, root: string) {
    this.samples = Object.keys(tools);
    for (const [index, [name, config]] of Object.entries(tools).entries()) {
      const override = { index, path: childPath(childPath(root, "tools"), name), config };
      // A tool may really be called so: then it is meant, and not what looks like it.
      this.#exact.set(name, override);
      if (isGlob(name)) this.#globs.push({ ...override, matches: compileGlob(name, override.path) });
    }
    this.all = [...this.#exact.values()];
  }

  /** What applies to a tool, the weakest first: all globs that fit, in their order, and then its exact name. */
  of(name: string): readonly Override[] {
    const exact = this.#exact.get(name);
    const globs = this.#globs.filter((glob) => glob.index !== exact?.index && glob.matches(name));
    return exact === undefined ? globs : [...globs, exact];
  }
}

/** Names remembered. A server has a few hundred tools; what a caller makes up beyond that costs a look at the globs each time. */
const MAX_NAMES = 1000;
const LONGEST_NAME = 256;

/** Looks something up once for each tool's name; afterwards it is there. */
export function perTool<T>(find: (name: string) => T): (name: string) => T {
  // Boxed, because what is found may be nothing.
  const known = new Map<string, { readonly found: T }>();

  function remember(name: string): { readonly found: T } {
    const entry = { found: find(name) };
    if (name.length > LONGEST_NAME) return entry;
    const [oldest] = known.keys();
    if (known.size >= MAX_NAMES && oldest !== undefined) known.delete(oldest);
    known.set(name, entry);
    return entry;
  }

  return (name) => (known.get(name) ?? remember(name)).found;
}

import { resolve } from "node:path";
import { type ConfigFile, loadFile, searchFile } from "./config-file.js";
import type { ReliableConfig } from "./config-types.js";
import { FILE_VARIABLE, type Setting, settingsIn } from "./environment.js";
import { readConfig } from "./read-config.js";
import { createPreset } from "./standard-order.js";

/** Options of {@link loadConfig}. */
export interface LoadConfigOptions<S extends string = never> {
  /**
   * The file, relative to `cwd`.
   * @defaultValue what `MCP_TX_CONFIG` says, else the first of the usual places in `cwd` that has a configuration
   */
  readonly file?: string | undefined;
  /** @defaultValue the working directory of the process */
  readonly cwd?: string | undefined;
  /** @defaultValue `process.env` */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /**
   * Whether `file` may be JavaScript or TypeScript, which is run. A file that is looked for never is.
   * @defaultValue false
   */
  readonly allowCode?: boolean | undefined;
  /** Further keys that a file may have and that are somebody else's: they come back as they are. */
  readonly sections?: readonly S[] | undefined;
}

/** A configuration, with whatever a file had under the keys that were asked for. */
export type LoadedConfig<S extends string = never> = ReliableConfig & { readonly [K in S]?: unknown };

/** Where a configuration came from. */
export interface ConfigSource {
  /** The file, if there was one. */
  readonly file?: string | undefined;
  /** The environment variables that had a say. */
  readonly variables: readonly string[];
}

const sources = new WeakMap<object, ConfigSource>();

/** Where a configuration came from that {@link loadConfig} gave; `undefined` for any other. */
export function sourceOf(config: ReliableConfig): ConfigSource | undefined {
  return sources.get(config);
}

/** Runs a check whose messages begin with a path, and puts in front of them where the path is. */
function locating<T>(place: () => string | undefined, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    const where = place();
    if (where === undefined) throw error;
    const Kind = error instanceof RangeError ? RangeError : TypeError;
    throw new Kind(`${where}: ${error.message}`, { cause: error });
  }
}

function passes(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

/** A configuration that says one thing. */
function nested(path: readonly string[], value: unknown): Readonly<Record<string, unknown>> {
  const [key = "", ...rest] = path;
  return { [key]: rest.length === 0 ? value : nested(rest, value) };
}

/** @throws TypeError or RangeError naming the variable */
function checkSetting({ variable, path, value }: Setting): void {
  const at = path.join(".");
  try {
    readConfig(nested(path, value), "");
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    const Kind = error instanceof RangeError ? RangeError : TypeError;
    throw new Kind(error.message.replace(at, variable), { cause: error });
  }
}

type Bag = Readonly<Record<string, unknown>>;

/** A section as an object: a limit may be a number, and what is only switched has no options. */
function asOptions(section: unknown): Bag {
  if (typeof section === "number") return { max: section };
  return typeof section === "object" && section !== null ? (section as Bag) : {};
}

/** Lays a setting over a configuration. To say how a section works switches it on; to switch it on changes nothing else. */
function withSetting(config: Bag, { path, value }: Setting): Bag {
  const [key = "", option] = path;
  const present = config[key];
  if (option !== undefined) return { ...config, [key]: { ...asOptions(present), [option]: value } };
  return value === true && typeof present === "object" ? config : { ...config, [key]: value };
}

function split(
  content: ConfigFile["content"],
  sections: readonly string[],
): { readonly own: Bag; readonly others: Bag } {
  const entries = Object.entries(content);
  const isOther = ([key]: readonly [string, unknown]): boolean => sections.includes(key);
  return {
    own: Object.fromEntries(entries.filter((entry) => !isOther(entry))),
    others: Object.fromEntries(entries.filter(isOther)),
  };
}

/**
 * Loads a configuration from a file, JSON or YAML, and from the environment, which goes over the file.
 *
 * @remarks
 * Without a `file`, the first of these in `cwd` counts: `package.json` (key `mcp-tx`), `.mcp-txrc`, `.mcp-txrc.{json,yaml,yml}`,
 * `mcp-tx.config.{json,yaml,yml}`; without any, there is only the environment. Nothing is run.
 *
 * @throws TypeError or RangeError naming the file and the key, or the variable; Error for a file that cannot be read or parsed
 */
export async function loadConfig<S extends string = never>(
  options: LoadConfigOptions<S> = {},
): Promise<LoadedConfig<S>> {
  const { cwd = process.cwd(), env = process.env, allowCode = false, sections = [] } = options;
  const named = options.file ?? (env[FILE_VARIABLE]?.trim() || undefined);
  const found = named === undefined ? await searchFile(cwd) : await loadFile(resolve(cwd, named), allowCode);
  const { own, others } = split(found?.content ?? {}, sections);
  const settings = settingsIn(env);
  settings.forEach(checkSetting);

  const file = found?.file;
  const fromFile: Bag = {
    ...locating(
      () => file,
      () => readConfig(own, ""),
    ),
  };
  const config: ReliableConfig = settings.reduce(withSetting, fromFile);
  // What each of them says is right; whether it goes together shows when it is built.
  const build = (given: ReliableConfig): unknown => createPreset(given, { root: "" });
  const variables = settings.map(({ variable }) => variable);
  // A file that is right by itself was made wrong by what the variables say.
  locating(
    () => (passes(() => build(fromFile)) ? variables.join(", ") : file),
    () => build(config),
  );
  // Keys of others are what they are: unknown.
  const loaded = { ...config, ...others } as LoadedConfig<S>;
  sources.set(loaded, { file, variables });
  return loaded;
}

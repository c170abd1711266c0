import { readFile } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { defaultLoaders } from "cosmiconfig";
import { describe } from "./config-path.js";

/** Where a configuration is looked for, in this order. */
const PLACES: readonly string[] = [
  "package.json",
  ".mcp-txrc",
  ".mcp-txrc.json",
  ".mcp-txrc.yaml",
  ".mcp-txrc.yml",
  "mcp-tx.config.json",
  "mcp-tx.config.yaml",
  "mcp-tx.config.yml",
];
const PACKAGE_KEY = "mcp-tx";

/** A file with a configuration, as it is written there. */
export interface ConfigFile {
  readonly file: string;
  readonly content: Readonly<Record<string, unknown>>;
}

/** Reads a text; `undefined` when there is no such file. */
async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    const code = (cause as { readonly code?: unknown } | null)?.code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new Error(`loadConfig: ${file} cannot be read (${String(code)})`, { cause });
  }
}

/**
 * Only the loaders of cosmiconfig, not its search: that one first executes `.config/config.js` of the working directory, whatever
 * one looks for, because it takes it for a configuration of its own.
 */
async function parse(file: string, text: string, allowCode: boolean): Promise<unknown> {
  const extension = extname(basename(file));
  switch (extension) {
    case ".js":
    case ".mjs":
    case ".cjs":
    case ".ts":
      if (allowCode) return defaultLoaders[extension](file, text);
      throw new TypeError(`loadConfig: ${file} is code, which is not run unless allowCode is true`);
    case ".json":
      return text.trim() === "" ? undefined : defaultLoaders[".json"](file, text);
    case ".yaml":
    case ".yml":
    case "":
      return defaultLoaders[".yaml"](file, text);
    default:
      throw new TypeError(`loadConfig: ${file} must be a JSON or YAML file, not ${JSON.stringify(extension)}`);
  }
}

function contentOf(file: string, parsed: unknown): ConfigFile {
  if (parsed === undefined || parsed === null) return { file, content: {} };
  if (typeof parsed !== "object" || Array.isArray(parsed)) {
    throw new TypeError(`${file}: the configuration must be an object, got ${describe(parsed)}`);
  }
  return { file, content: parsed as ConfigFile["content"] };
}

async function fileAt(file: string, text: string, allowCode: boolean): Promise<ConfigFile | undefined> {
  const parsed = await parse(file, text, allowCode);
  if (basename(file) !== "package.json") return contentOf(file, parsed);
  const own = (parsed as { readonly [PACKAGE_KEY]?: unknown } | null | undefined)?.[PACKAGE_KEY];
  return own === undefined ? undefined : contentOf(`${file} ("${PACKAGE_KEY}")`, own);
}

/**
 * Reads one file.
 *
 * @throws Error for a file that is not there or cannot be read or parsed, TypeError for code that must not be run
 */
export async function loadFile(file: string, allowCode: boolean): Promise<ConfigFile> {
  const text = await textOf(file);
  if (text === undefined) throw new Error(`loadConfig: ${file} does not exist`);
  const found = await fileAt(file, text, allowCode);
  if (found === undefined) throw new TypeError(`${file} has no key "${PACKAGE_KEY}"`);
  return found;
}

/** The first file in a folder that has a configuration. */
export async function searchFile(folder: string): Promise<ConfigFile | undefined> {
  for (const place of PLACES) {
    const file = join(folder, place);
    const text = await textOf(file);
    const found = text === undefined ? undefined : await fileAt(file, text, false);
    if (found !== undefined) return found;
  }
  return undefined;
}

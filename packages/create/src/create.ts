import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Names, namesOf } from "./names.js";

/** Options of {@link createMiddlewarePackage}. */
export interface CreateOptions {
  /** The package's name, as `package.json` has it. */
  readonly name: string;
  /**
   * The folder to write to; it must be empty or not exist.
   * @defaultValue the last part of the name, in the working directory
   */
  readonly directory?: string | undefined;
}

/** What was written. */
export interface Created {
  readonly directory: string;
  /** Relative to the directory. */
  readonly files: readonly string[];
  readonly names: Names;
}

/** Lies beside `dist` and `src` alike. */
const TEMPLATE = fileURLToPath(new URL("../template", import.meta.url));
const SUFFIX = ".template";
/** What may be in a folder that is called empty. */
const HARMLESS: readonly string[] = [".git", ".DS_Store"];

async function isFree(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).every((name) => HARMLESS.includes(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw error;
  }
}

/** All packages share one version: that of this one tells which core the template was written for. */
async function coreRange(): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
  const { version } = manifest as { readonly version: string };
  const [major = 0] = version.split(".").map(Number);
  return `>=${version} <${major + 1}.0.0`;
}

function filled(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\{\{(\w+)\}\}/g, (_, key: string) => {
    const value = values[key];
    if (value === undefined) throw new Error(`the template asks for "${key}", which it is not given`);
    return value;
  });
}

/** `src/middleware.test.ts.template` becomes `src/mcp-audit.test.ts`, `gitignore.template` becomes `.gitignore`. */
function targetOf(source: string, { file }: Names): string {
  return source
    .slice(0, -SUFFIX.length)
    .replace(/^gitignore$/, ".gitignore")
    .replace(/^(src[\\/])middleware\./, `$1${file}.`);
}

/**
 * Writes a package with one middleware that passes the conformance suite, its tests and its build.
 *
 * @throws TypeError naming `name` or `directory`; nothing is written then, and no file is ever replaced
 */
export async function createMiddlewarePackage({ name, directory }: CreateOptions): Promise<Created> {
  const names = namesOf(name);
  const target = resolve(directory ?? names.file);
  if (!(await isFree(target))) throw new TypeError(`directory "${directory ?? names.file}" is not empty`);

  const values = { ...names, coreRange: await coreRange() };
  const sources = (await readdir(TEMPLATE, { recursive: true })).filter((path) => path.endsWith(SUFFIX)).sort();
  const files: string[] = [];
  for (const source of sources) {
    const text = filled(await readFile(join(TEMPLATE, source), "utf8"), values);
    const file = targetOf(source, names);
    await mkdir(dirname(join(target, file)), { recursive: true });
    await writeFile(join(target, file), text, { flag: "wx" });
    files.push(file);
  }
  return { directory: target, files, names };
}

import { mkdir, readFile, realpath } from "node:fs/promises";
import { dirname } from "node:path";
import writeFileAtomic from "write-file-atomic";
import { CliError, sayError } from "./exit-codes.js";

/** A file of a user's, read as it is: the text holds a byte order mark if the file does. */
export interface ConfigFile {
  /** As the host knows it. */
  readonly path: string;
  /** What it is when links are followed. */
  readonly realPath: string;
  readonly text: string;
}

const MAX_BYTES = 64 * 1024 * 1024;

function codeOf(error: unknown): unknown {
  return typeof error === "object" && error !== null ? (error as { readonly code?: unknown }).code : undefined;
}

/** Whether there is nothing at a path. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR";
}

function decoded(path: string, bytes: Uint8Array): string {
  if (bytes.length > MAX_BYTES) throw new CliError(`${path} is too large for a configuration`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new CliError(`${path} is not UTF-8 text; save it as UTF-8`);
  }
}

/**
 * Reads a file.
 *
 * @returns `undefined` when it is not there
 * @throws CliError when it cannot be read
 */
export async function readConfigFile(path: string): Promise<ConfigFile | undefined> {
  try {
    const realPath = await realpath(path);
    return { path, realPath, text: decoded(path, await readFile(realPath)) };
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (error instanceof CliError) throw error;
    throw new CliError(`${path} cannot be read: ${sayError(error)}`, undefined, { cause: error });
  }
}

/**
 * Replaces what is in a file, all of it or nothing, unless somebody else has written to it meanwhile. Links stay links, and the
 * file keeps its permissions.
 *
 * @throws CliError when it was not written
 */
export async function replaceConfigFile(file: ConfigFile, text: string): Promise<void> {
  const present = await readConfigFile(file.path);
  if (present?.text !== file.text) {
    throw new CliError(`${file.path} was changed while it was worked on; nothing was written. Run the command again`);
  }
  try {
    await writeFileAtomic(file.realPath, text);
  } catch (error) {
    throw new CliError(`${file.path} cannot be written: ${sayError(error)}`, undefined, { cause: error });
  }
}

/** Writes a file of our own that nobody else may read. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomic(path, text, { mode: 0o600 });
}

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type ConfigFile, isMissing, writePrivateFile } from "./config-file.js";
import { CliError } from "./exit-codes.js";
import { checksum } from "./jsonc.js";
import type { Surroundings } from "./surroundings.js";

/** An entry before and after it was wrapped, both as text. */
export interface WrittenEntry {
  readonly path: readonly string[];
  readonly original: string;
  readonly written: string;
}

/** What is needed to undo the changes to one file. */
export interface UndoRecord {
  readonly version: 1;
  readonly path: string;
  /** The whole file as it was. */
  readonly original: string;
  /** Of the file as it was left: whether somebody has edited it since. */
  readonly writtenSum: string;
  readonly entries: readonly WrittenEntry[];
}

/** In the folder of this tool, not beside the file: it holds a copy of whatever secrets the file holds. */
function recordPath({ stateFolder }: Surroundings, { realPath }: ConfigFile): string {
  return join(stateFolder, "undo", `${checksum(realPath).slice(0, 32)}.json`);
}

function isRecord(value: unknown): value is UndoRecord {
  const { version, original, writtenSum, entries } = (value ?? {}) as Partial<Record<keyof UndoRecord, unknown>>;
  return version === 1 && typeof original === "string" && typeof writtenSum === "string" && Array.isArray(entries);
}

/**
 * What is remembered of a file.
 *
 * @throws CliError when something is and cannot be read
 */
export async function readUndoRecord(where: Surroundings, file: ConfigFile): Promise<UndoRecord | undefined> {
  const path = recordPath(where, file);
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (isRecord(value)) return value;
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new CliError(`${path} is damaged; move it away, and only the entries of ${file.path} are undone, not the file`);
}

/** Remembers how to undo the changes to a file. Called before they are made. */
export async function writeUndoRecord(where: Surroundings, file: ConfigFile, record: UndoRecord): Promise<void> {
  await writePrivateFile(recordPath(where, file), `${JSON.stringify(record)}\n`);
}

export async function forgetUndoRecord(where: Surroundings, file: ConfigFile): Promise<void> {
  await rm(recordPath(where, file), { force: true });
}

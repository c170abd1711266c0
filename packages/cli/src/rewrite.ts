import { unwrapEdits } from "./entry-unwrap.js";
import { wrapEdits } from "./entry-wrap.js";
import { applyTextEdits, checksum, sourceOf, type TextEdit } from "./jsonc.js";
import { type ServerEntry, type Shape, serverEntries } from "./server-entry.js";
import type { UndoRecord, WrittenEntry } from "./undo-record.js";
import { type Launcher, NPX } from "./wrapped-command.js";

/** The text of a configuration before and after, and the entries that differ. */
export interface Rewrite {
  readonly text: string;
  readonly changed: readonly WrittenEntry[];
  /** Names of entries that could not be changed. */
  readonly failed: readonly string[];
}

/** Whether an entry is meant. */
export type Select = (entry: ServerEntry) => boolean;

const keyOf = (path: readonly string[]): string => JSON.stringify(path);

/** What became of some entries; every other one is as it was. */
function changesBetween(before: string, after: string, shape: Shape, meant: readonly ServerEntry[]): WrittenEntry[] {
  const present = new Map(serverEntries(after, shape).map(({ path, node }) => [keyOf(path), sourceOf(after, node)]));
  return meant.flatMap(({ path, node }) => {
    const original = sourceOf(before, node);
    const written = present.get(keyOf(path)) ?? original;
    return written === original ? [] : [{ path, original, written }];
  });
}

/**
 * Wraps servers.
 *
 * @throws JsoncError when the text cannot be read
 */
export function wrapServers(text: string, shape: Shape, select: Select, launcher: Launcher = NPX): Rewrite {
  const meant = serverEntries(text, shape).filter(select);
  const after = applyTextEdits(
    text,
    meant.flatMap((entry) => wrapEdits(text, entry, launcher)),
  );
  return { text: after, changed: changesBetween(text, after, shape, meant), failed: [] };
}

function editsOf(text: string, entry: ServerEntry, known: WrittenEntry | undefined): readonly TextEdit[] | undefined {
  if (known !== undefined && sourceOf(text, entry.node) === known.written) {
    return [{ offset: entry.node.offset, length: entry.node.length, text: known.original }];
  }
  return unwrapEdits(entry);
}

/**
 * Unwraps servers, each as it was before if it is known and nobody has edited it.
 *
 * @throws JsoncError when the text cannot be read
 */
export function unwrapServers(text: string, shape: Shape, record: UndoRecord | undefined, select: Select): Rewrite {
  const known = new Map((record?.entries ?? []).map((entry) => [keyOf(entry.path), entry]));
  const meant = serverEntries(text, shape).filter((entry) => entry.state.kind === "wrapped" && select(entry));
  const edits = meant.map((entry) => ({ entry, edits: editsOf(text, entry, known.get(keyOf(entry.path))) }));
  const after = applyTextEdits(
    text,
    edits.flatMap(({ edits: some }) => some ?? []),
  );
  const failed = edits.filter(({ edits: some }) => some === undefined).map(({ entry }) => entry.name);
  return { text: after, changed: changesBetween(text, after, shape, meant), failed };
}

/** Whether an entry was wrapped by us, as far as is remembered. */
export function isRecorded(record: UndoRecord): Select {
  const known = new Set(record.entries.map(({ path }) => keyOf(path)));
  return ({ path }) => known.has(keyOf(path));
}

/** The file as it would be had nothing been wrapped. What somebody wrapped by hand stays. */
function originalOf(before: string, shape: Shape, earlier: UndoRecord): string {
  if (checksum(before) === earlier.writtenSum) return earlier.original;
  return unwrapServers(before, shape, earlier, isRecorded(earlier)).text;
}

/** What is to be remembered when a file is wrapped once more, after an earlier time or none. */
export function nextRecord(
  path: string,
  before: string,
  rewrite: Rewrite,
  shape: Shape,
  earlier: UndoRecord | undefined,
): UndoRecord {
  const original = earlier === undefined ? before : originalOf(before, shape, earlier);
  const fresh = new Set(rewrite.changed.map((entry) => keyOf(entry.path)));
  const kept = (earlier?.entries ?? []).filter((entry) => !fresh.has(keyOf(entry.path)));
  return {
    version: 1,
    path,
    original,
    writtenSum: checksum(rewrite.text),
    entries: [...kept, ...rewrite.changed],
  };
}

/** What is still to be remembered when some of the servers are unwrapped again. */
export function remainingRecord(record: UndoRecord, before: string, rewrite: Rewrite): UndoRecord {
  const gone = new Set(rewrite.changed.map(({ path }) => keyOf(path)));
  const isUntouched = checksum(before) === record.writtenSum;
  return {
    ...record,
    // Of a file that somebody has edited since, the whole is nobody's any more.
    writtenSum: isUntouched ? checksum(rewrite.text) : "",
    entries: record.entries.filter(({ path }) => !gone.has(keyOf(path))),
  };
}

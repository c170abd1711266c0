import { maskEntry } from "./masking.js";
import type { WrittenEntry } from "./undo-record.js";

function linesOf(source: string): readonly string[] {
  const lines = maskEntry(source)
    .split(/\r\n|\r|\n/)
    .map((line) => line.trimEnd());
  const [first = "", ...rest] = lines;
  const indents = rest.filter((line) => line !== "").map((line) => /^\s*/.exec(line)?.[0].length ?? 0);
  // The last line closes the entry: its indentation is that of the entry in the file.
  const outer = Math.min(...indents, Number.MAX_SAFE_INTEGER);
  return [first, ...rest.map((line) => line.slice(outer))].filter((line) => line !== "");
}

function sharedStart(left: readonly string[], right: readonly string[]): number {
  const end = Math.min(left.length, right.length);
  let count = 0;
  while (count < end && left[count] === right[count]) count += 1;
  return count;
}

/** The change to one entry, for people: lines that go and lines that come, with secrets masked. */
export function entryDiff({ path, original, written }: WrittenEntry): readonly string[] {
  const before = linesOf(original);
  const after = linesOf(written);
  const start = sharedStart(before, after);
  const end = sharedStart(before.slice(start).toReversed(), after.slice(start).toReversed());
  return [
    `@@ ${path.map((key) => JSON.stringify(key)).join(" > ")}`,
    ...before.slice(start, before.length - end).map((line) => `-${line}`),
    ...after.slice(start, after.length - end).map((line) => `+${line}`),
  ];
}

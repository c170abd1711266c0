import { replaceConfigFile } from "./config-file.js";
import { entryDiff } from "./entry-diff.js";
import { CliError } from "./exit-codes.js";
import { eachFile, headingOf, type InitRequest, type OpenFile } from "./init.js";
import { isNamed } from "./init-selection.js";
import { checksum } from "./jsonc.js";
import { isRecorded, type Rewrite, remainingRecord, unwrapServers } from "./rewrite.js";
import type { Output, Surroundings } from "./surroundings.js";
import { forgetUndoRecord, readUndoRecord, type UndoRecord, writeUndoRecord } from "./undo-record.js";

/** What undoing comes to for one file. */
interface Plan {
  readonly text: string;
  readonly lines: readonly string[];
  readonly diff: readonly string[];
  /** What is still to be remembered; `undefined` for nothing. */
  readonly rest: UndoRecord | undefined;
  readonly failed: readonly string[];
}

/** The whole file, byte for byte: nobody has touched it since. */
function restore(record: UndoRecord): Plan {
  const diff = record.entries.flatMap(({ path, original, written }) =>
    entryDiff({ path, original: written, written: original }),
  );
  return { text: record.original, lines: ["restored, byte for byte"], diff, rest: undefined, failed: [] };
}

/** Why the file is not simply what it was before. */
function reasonForEdits(record: UndoRecord | undefined, isUntouched: boolean): readonly string[] {
  if (record === undefined) return ["nothing is remembered of how it was; unwrapped by what the entries say"];
  return isUntouched ? [] : ["edited since it was wrapped: only our entries are changed, the rest stays"];
}

function unwrap(request: InitRequest, open: OpenFile, record: UndoRecord | undefined, isUntouched: boolean): Plan {
  const { file, location, entries } = open;
  const isOurs = record === undefined ? (): boolean => true : isRecorded(record);
  const rewrite = unwrapServers(file.text, location.shape, record, (entry) => isOurs(entry) && isNamed(request, entry));
  const hasWork = rewrite.changed.length > 0 || rewrite.failed.length > 0;
  const names = rewrite.changed.map(({ path }) => `unwrapped ${path.at(-1)}`);
  const left = entries.some(({ state }) => state.kind === "wrapped")
    ? "none of its servers was wrapped by init"
    : "no server is wrapped";
  return {
    text: rewrite.text,
    lines: hasWork ? [...reasonForEdits(record, isUntouched), ...names] : [left],
    diff: rewrite.changed.flatMap(entryDiff),
    rest: record === undefined ? undefined : restOf(record, open, rewrite),
    failed: rewrite.failed,
  };
}

/** Of entries that are not wrapped any more, whoever has unwrapped them, there is nothing to remember. */
function restOf(record: UndoRecord, { file, entries }: OpenFile, rewrite: Rewrite): UndoRecord | undefined {
  const rest = remainingRecord(record, file.text, rewrite);
  const isLeft = isRecorded(rest);
  return entries.some((entry) => entry.state.kind === "wrapped" && isLeft(entry)) ? rest : undefined;
}

async function carryOut(where: Surroundings, { file }: OpenFile, plan: Plan): Promise<void> {
  if (plan.text !== file.text) await replaceConfigFile(file, plan.text);
  if (plan.rest === undefined) await forgetUndoRecord(where, file);
  else await writeUndoRecord(where, file, plan.rest);
}

async function undoFile(request: InitRequest, where: Surroundings, output: Output, open: OpenFile): Promise<void> {
  const record = await readUndoRecord(where, open.file);
  const isUntouched = record !== undefined && checksum(open.file.text) === record.writtenSum;
  const plan =
    isUntouched && request.servers.length === 0 ? restore(record) : unwrap(request, open, record, isUntouched);
  if (!request.isDryRun) await carryOut(where, open, plan);
  output.out(`${headingOf(open.location)}${request.isDryRun ? " (dry run)" : ""}`);
  for (const line of plan.lines) output.out(`  ${line}`);
  if (request.isDryRun) for (const line of plan.diff) output.out(`  ${line}`);
  if (plan.failed.length > 0) {
    throw new CliError(`it cannot be told what ${plan.failed.join(", ")} was before; edit it by hand`);
  }
}

/**
 * Takes the proxy away from the servers in the configurations of hosts.
 *
 * @returns the exit code
 * @throws CliError when there is nothing to do it to
 */
export function undo(request: InitRequest, where: Surroundings, output: Output): Promise<number> {
  return eachFile(request, where, output, (open) => undoFile(request, where, output, open));
}

import { parseArgs } from "node:util";
import type { Row } from "./harness/judge.js";
import { judge } from "./harness/judge.js";
import { peerVersions } from "./harness/peers.js";
import { listGroups, type Planned, sampleInProcesses } from "./harness/processes.js";
import { provenance } from "./harness/provenance.js";
import { mergedRows, readResults, type TableResults, writeResults } from "./harness/results.js";
import { table } from "./harness/table.js";

const { values } = parseArgs({
  options: {
    /** The rows and where they come from, as JSON. */
    json: { type: "boolean", default: false },
    /** Only files in `groups/` whose name holds this: the others are not even loaded. */
    file: { type: "string", default: "" },
    /** Only groups and rows whose name holds this, whatever the case. */
    only: { type: "string" },
    /** Processes for each group; more where they disagree. With 1 it is quick and less sure. */
    processes: { type: "string", default: "3" },
    /** Keeps the rows in `results/`; with `--only` or `--file`, in place of the same rows there. */
    save: { type: "boolean", default: false },
  },
});

function isWanted({ plan }: Planned): boolean {
  const { only } = values;
  if (only === undefined) return true;
  const texts = [plan.title, ...plan.targets.map(({ what }) => what ?? "")];
  return texts.some((text) => text.toLowerCase().includes(only.toLowerCase()));
}

async function measureAll(wanted: readonly Planned[]): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const planned of wanted) {
    process.stderr.write(`measuring: ${planned.plan.title}\n`);
    rows.push(...judge(planned.plan, await sampleInProcesses(planned, Number(values.processes))));
  }
  return rows;
}

const wanted = (await listGroups(values.file)).filter(isWanted);
if (wanted.length === 0) throw new Error(`no group matches --only "${values.only ?? ""}" --file "${values.file}"`);
const rows = await measureAll(wanted);
const misses = rows.filter(({ holds }) => holds === false);

if (values.save) {
  const isPartial = values.only !== undefined || values.file !== "";
  const before = isPartial ? (readResults<TableResults>("table")?.rows ?? []) : [];
  const results: TableResults = { ...provenance(), peers: peerVersions(), rows: mergedRows(before, rows) };
  writeResults("table", results);
}
if (values.json) {
  console.log(JSON.stringify({ ...provenance(), peers: peerVersions(), rows, misses: misses.length }, null, 2));
} else {
  console.log(`Node ${process.version}, ${provenance().platform}\n`);
  console.log(table(rows));
  const verdict = `${misses.length} of ${rows.length} rows miss their target.`;
  console.log(misses.length === 0 ? "\nEvery target holds." : `\n${verdict}`);
}
process.exitCode = misses.length === 0 ? 0 : 1;

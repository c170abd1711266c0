// Real calls, bare and through whole stacks: throughput and latencies. Usage: e2e.ts [--only TEXT] [--json] [--save]
import { parseArgs } from "node:util";
import type { Line, Link } from "./e2e/connect.js";
import { measureStacks, type StackFigures } from "./e2e/measure.js";
import { peerVersions } from "./harness/peers.js";
import { provenance } from "./harness/provenance.js";
import { type EndToEndResults, writeResults } from "./harness/results.js";
import { columns } from "./harness/table.js";

const { values } = parseArgs({
  options: {
    /** The figures as JSON. */
    json: { type: "boolean", default: false },
    /** Only connections whose name ("v1 in memory, 64 in flight") holds this. */
    only: { type: "string", default: "" },
    /** Keeps the figures in `results/`. */
    save: { type: "boolean", default: false },
  },
});

const LINES: readonly Line[] = ["v1", "v2"];
const LINKS: readonly Link[] = ["in memory", "stdio", "HTTP"];
const IN_FLIGHT = [1, 64];
const HEADER = [
  "SDK",
  "connection",
  "in flight",
  "stack",
  "calls/s",
  "p50 µs",
  "p90 µs",
  "p99 µs",
  "p99.9 µs",
  "to bare",
  "noise",
];

const cases = LINES.flatMap((line) =>
  LINKS.flatMap((link) =>
    IN_FLIGHT.map((inFlight) => ({ line, link, inFlight, name: `${line} ${link}, ${inFlight} in flight` })),
  ),
);

function cellsOf(row: StackFigures): readonly string[] {
  const latencies = [row.p50, row.p90, row.p99, row.p999].map((value) => value.toFixed(0));
  const noise = `±${(row.noise * 100).toFixed(1)} %`;
  return [
    row.line,
    row.link,
    String(row.inFlight),
    row.stack,
    row.perSecond.toFixed(0),
    ...latencies,
    `${row.ratio.toFixed(2)}x`,
    noise,
  ];
}

const figures: StackFigures[] = [];
for (const { line, link, inFlight, name } of cases.filter((each) => each.name.includes(values.only))) {
  process.stderr.write(`measuring: ${name}\n`);
  figures.push(...(await measureStacks(line, link, inFlight)));
}
if (figures.length === 0) throw new Error(`no connection matches "${values.only}"`);

const results: EndToEndResults = { ...provenance(), peers: peerVersions(), figures };
if (values.save) writeResults("e2e", results);
console.log(
  values.json
    ? JSON.stringify(results, null, 2)
    : columns([HEADER, ...figures.map(cellsOf)], (column) => column !== 3 && column > 1),
);

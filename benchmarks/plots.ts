// Writes the plots and the measured section of docs/performance.md from what is in results/. With --check it writes nothing and
// exits with 1 when the page or a plot does not belong to the results.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Measured, pageWith, picturesOf } from "./harness/report.js";
import { readResults } from "./harness/results.js";

const MAJORS = [20, 24];
const DOCS = fileURLToPath(new URL("../docs/", import.meta.url));
const PAGE = `${DOCS}performance.md`;
const FOLDER = `${DOCS}public/performance/`;

const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });

const measured = MAJORS.map(
  (major): Measured => ({
    major,
    table: readResults("table", major),
    endToEnd: readResults("e2e", major),
    scaling: readResults("scaling", major),
  }),
);

const files = new Map<string, string>([
  [PAGE, pageWith(readFileSync(PAGE, "utf8"), measured)],
  ...measured.flatMap(picturesOf).map(({ file, svg }): [string, string] => [`${FOLDER}${file}`, svg]),
]);

if (values.check) {
  const stale = [...files].filter(([file, text]) => !existsSync(file) || readFileSync(file, "utf8") !== text);
  for (const [file] of stale) console.error(`${file.replace(DOCS, "docs/")}: run pnpm bench:plots`);
  process.exitCode = stale.length === 0 ? 0 : 1;
} else {
  mkdirSync(FOLDER, { recursive: true });
  for (const [file, text] of files) writeFileSync(file, text);
  console.log([...files.keys()].map((file) => `wrote ${file.replace(DOCS, "docs/")}`).join("\n"));
}

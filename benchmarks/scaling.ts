// Costs against sizes, each file of curves in a process of its own. Usage: scaling.ts [--only FILE] [--json] [--save]
import { readdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { curvesInProcess } from "./harness/processes.js";
import { provenance } from "./harness/provenance.js";
import { readResults, type ScalingResults, writeResults } from "./harness/results.js";
import { type Curve, type Growth, judgeCurve } from "./harness/scaling.js";
import { columns } from "./harness/table.js";

const { values } = parseArgs({
  options: {
    /** The curves as JSON. */
    json: { type: "boolean", default: false },
    /** Only files in `scaling/` whose name holds this. */
    only: { type: "string", default: "" },
    /** Keeps the curves in `results/`; with `--only`, in place of the same ones there. */
    save: { type: "boolean", default: false },
  },
});

const HEADER = ["curve", "series", "expected", "from", "to", "growth", "at most", "exponent", ""];

function textOf(value: number): string {
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

function cellsOf(
  { curve, series, expectation, from, to, growth, maxGrowth, exponent, holds }: Growth,
  unit: string,
): readonly string[] {
  const point = ({ x, y }: Growth["from"]): string => `${textOf(y)} ${unit} at ${textOf(x)}`;
  const verdict = holds === undefined ? "" : holds ? "ok" : "MISS";
  const limit = holds === undefined ? "" : `<= ${maxGrowth}x`;
  return [
    curve,
    series,
    expectation,
    point(from),
    point(to),
    `${growth.toFixed(2)}x`,
    limit,
    exponent.toFixed(2),
    verdict,
  ];
}

const files = (await readdir(new URL("scaling/", import.meta.url))).filter((name) => name.endsWith(".ts")).sort();
const curves: Curve[] = [];
for (const file of files.filter((name) => name.includes(values.only))) {
  process.stderr.write(`measuring: scaling/${file}\n`);
  curves.push(...(await curvesInProcess(file)));
}
if (curves.length === 0) throw new Error(`no file in scaling/ matches "${values.only}", or what it needs is not there`);

if (values.save) {
  const again = new Set(curves.map(({ title }) => title));
  const before = values.only === "" ? [] : (readResults<ScalingResults>("scaling")?.curves ?? []);
  const results: ScalingResults = {
    ...provenance(),
    curves: [...before.filter(({ title }) => !again.has(title)), ...curves],
  };
  writeResults("scaling", results);
}

const judged = curves.map((curve) => ({ curve, growths: judgeCurve(curve) }));
const misses = judged.flatMap(({ growths }) => growths).filter(({ holds }) => holds === false);
if (values.json) console.log(JSON.stringify({ ...provenance(), curves, misses: misses.length }, null, 2));
else {
  console.log(`Node ${process.version}, ${provenance().platform}\n`);
  const lines = judged.flatMap(({ curve, growths }) => growths.map((growth) => cellsOf(growth, curve.unit)));
  console.log(columns([HEADER, ...lines], (column) => column >= 3 && column < 8));
}
process.exitCode = misses.length === 0 ? 0 : 1;

import type { StackFigures } from "../e2e/measure.js";
import type { Row } from "./judge.js";
import { latencyPictures, type Picture, scalingPicture } from "./pictures.js";
import type { EndToEndResults, Provenance, ScalingResults, TableResults } from "./results.js";
import { type Curve, judgeCurve } from "./scaling.js";
import { figureText, noiseText, verdictText } from "./table.js";

/** Everything that was measured on one version of Node. */
export interface Measured {
  readonly major: number;
  readonly table: TableResults | undefined;
  readonly endToEnd: EndToEndResults | undefined;
  readonly scaling: ScalingResults | undefined;
}

function markdownTable(header: readonly string[], lines: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [row(header), row(header.map(() => "---")), ...lines.map(row)].join("\n");
}

function rowCells(row: Row): readonly string[] {
  const target = row.target === undefined ? "" : `≤ ${figureText(row.target, row)}`;
  const ours = row.ours.name === row.what.replace(/^size: /, "") ? "" : row.ours.name;
  return [row.what, ours, row.peer?.name ?? "", figureText(row.figure, row), target, noiseText(row), verdictText(row)];
}

function tableSection({ rows, peers }: TableResults): string {
  const judged = rows.filter(({ holds }) => holds !== undefined);
  const misses = judged.filter(({ holds }) => holds === false);
  const versions = Object.entries(peers).map(([name, version]) => `${name} (${version})`);
  const header = ["What", "Ours", "Compared with", "Figure", "Target", "Noise", ""];
  return [
    `${judged.length - misses.length} of ${judged.length} targets hold. Rows without a target inform. Peers: ${versions.join(", ")}.`,
    markdownTable(header, rows.map(rowCells)),
  ].join("\n\n");
}

function stackCells(each: StackFigures): readonly string[] {
  const latencies = [each.p50, each.p90, each.p99, each.p999].map((value) => value.toFixed(0));
  const load = each.inFlight === 1 ? "one by one" : `${each.inFlight} in flight`;
  const ratio = `${each.ratio.toFixed(2)}x`;
  return [
    `${each.line}, ${each.link}, ${load}`,
    each.stack,
    each.perSecond.toFixed(0),
    ...latencies,
    ratio,
    `±${(each.noise * 100).toFixed(1)} %`,
  ];
}

function growthCells(curve: Curve): readonly (readonly string[])[] {
  return judgeCurve(curve).map((growth) => {
    const limit = growth.holds === undefined ? "" : `≤ ${growth.maxGrowth}x`;
    const verdict = growth.holds === undefined ? "" : growth.holds ? "ok" : "MISS";
    const point = ({ x, y }: { readonly x: number; readonly y: number }): string =>
      `${y.toFixed(0)} ${curve.unit} at ${x.toLocaleString("en")}`;
    const relative = curve.relativeTo !== undefined && growth.holds !== undefined ? ` of ${curve.relativeTo}'s` : "";
    return [
      growth.curve,
      growth.series,
      point(growth.from),
      point(growth.to),
      `${growth.growth.toFixed(2)}x${relative}`,
      limit,
      verdict,
    ];
  });
}

const image = ({ alt, file }: Picture): string => `![${alt}](./public/performance/${file})`;
const origin = ({ node, platform, cpu }: Provenance): string => `Measured on Node ${node}, ${platform}, ${cpu}.`;

/** The pictures of one version of Node. */
export function picturesOf({ major, endToEnd, scaling }: Measured): readonly Picture[] {
  return [
    ...(endToEnd === undefined ? [] : latencyPictures(endToEnd, major)),
    ...(scaling === undefined ? [] : [scalingPicture(scaling, major)]),
  ];
}

function sectionsOf({ major, table, endToEnd, scaling }: Measured): readonly string[] {
  const sections: string[] = [];
  if (table !== undefined) sections.push(`### Targets on Node ${major}`, origin(table), tableSection(table));
  if (endToEnd !== undefined) {
    const header = [
      "SDK, connection, load",
      "Stack",
      "calls/s",
      "p50 µs",
      "p90 µs",
      "p99 µs",
      "p99.9 µs",
      "Time to bare",
      "Noise",
    ];
    sections.push(`### Real calls on Node ${major}`, origin(endToEnd), ...latencyPictures(endToEnd, major).map(image));
    sections.push(markdownTable(header, endToEnd.figures.map(stackCells)));
  }
  if (scaling !== undefined) {
    const header = ["Curve", "Series", "From", "To", "Growth", "Limit", ""];
    sections.push(`### Cost against size on Node ${major}`, origin(scaling), image(scalingPicture(scaling, major)));
    sections.push(markdownTable(header, scaling.curves.flatMap(growthCells)));
  }
  return sections;
}

const BEGIN = "<!-- measured: written by pnpm bench:plots -->";
const END = "<!-- measured: end -->";

/** The page with the measured section that belongs to the results. */
export function pageWith(page: string, measured: readonly Measured[]): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`the page needs the lines "${BEGIN}" and "${END}"`);
  const section = measured.flatMap(sectionsOf).join("\n\n");
  return `${page.slice(0, begin + BEGIN.length)}\n\n${section}\n\n${page.slice(end)}`;
}

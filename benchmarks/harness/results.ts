import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { StackFigures } from "../e2e/measure.js";
import { nodeMajor } from "./group.js";
import type { Row } from "./judge.js";
import type { Curve } from "./scaling.js";

/** What every record of measurements begins with. */
export interface Provenance {
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
}

/** The rows of the table. */
export interface TableResults extends Provenance {
  readonly peers: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}

/** Real calls through whole stacks. */
export interface EndToEndResults extends Provenance {
  readonly peers: Readonly<Record<string, string>>;
  readonly figures: readonly StackFigures[];
}

/** Costs against sizes. */
export interface ScalingResults extends Provenance {
  readonly curves: readonly Curve[];
}

/** A kind of measurement that is kept. */
export type Kind = "table" | "e2e" | "scaling";

const FOLDER = fileURLToPath(new URL("../results/", import.meta.url));

function fileOf(kind: Kind, major: number): string {
  return `${FOLDER}${kind}-node${major}.json`;
}

/** What was measured last, if it was. */
export function readResults<T extends Provenance>(kind: Kind, major: number = nodeMajor): T | undefined {
  const file = fileOf(kind, major);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as T) : undefined;
}

/** Figures are kept with five digits: more is noise, and makes changes unreadable. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === "number" ? Number(value.toPrecision(5)) : value;
}

/** As text that the formatter of the repository leaves as it is. */
export function asJson(results: object): string {
  return `${JSON.stringify(results, rounded, 2)}\n`;
}

/** Keeps the results of this Node version, in place of those before. */
export function writeResults(kind: Kind, results: Provenance): void {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(fileOf(kind, nodeMajor), asJson(results));
}

/** Rows measured again take the place of those of the same groups; the order of the older ones stays. */
export function mergedRows(before: readonly Row[], measured: readonly Row[]): readonly Row[] {
  const again = new Set(measured.map(({ group }) => group));
  const known = new Set(before.map(({ group }) => group));
  const kept = before.flatMap((row, index) => {
    if (!again.has(row.group)) return [row];
    const isFirst = before.findIndex(({ group }) => group === row.group) === index;
    return isFirst ? measured.filter(({ group }) => group === row.group) : [];
  });
  return [...kept, ...measured.filter(({ group }) => !known.has(group))];
}

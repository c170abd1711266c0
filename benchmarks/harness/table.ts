import type { Row } from "./judge.js";

const COLUMNS = ["what", "ours", "", "peer", "", "figure", "target", "noise", ""] as const;
/** Columns of figures line up at the right. */
const RIGHT: ReadonlySet<number> = new Set([2, 4, 5, 6, 7]);

function quantity(value: number, unit: Row["unit"]): string {
  return `${value.toFixed(unit === "ms" ? 1 : 0)} ${unit}`;
}

function figureOf(value: number, row: Row): string {
  if (row.kind === "ratio") return `${value.toFixed(2)}x`;
  const sign = row.kind === "difference" && value >= 0 ? "+" : "";
  return `${sign}${quantity(value, row.unit)}`;
}

function noiseOf(row: Row): string {
  return row.kind === "ratio" ? `±${(row.noise * 100).toFixed(1)} %` : `±${quantity(row.noise, row.unit)}`;
}

const VERDICTS = { true: "ok", false: "MISS", undefined: "" } as const;

function cellsOf(row: Row): readonly string[] {
  return [
    row.what,
    row.ours.name,
    quantity(row.ours.value, row.unit),
    row.peer?.name ?? "",
    row.peer === undefined ? "" : quantity(row.peer.value, row.unit),
    figureOf(row.figure, row),
    row.target === undefined ? "" : `<= ${figureOf(row.target, row)}`,
    noiseOf(row),
    VERDICTS[`${row.holds}`],
  ];
}

/** The rows as text, one column below the other. */
export function table(rows: readonly Row[]): string {
  const lines: readonly (readonly string[])[] = [COLUMNS, ...rows.map(cellsOf)];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const pad = (cell: string, column: number): string => {
    const width = widths[column] ?? 0;
    return RIGHT.has(column) ? cell.padStart(width) : cell.padEnd(width);
  };
  return lines.map((line) => line.map(pad).join("  ").trimEnd()).join("\n");
}

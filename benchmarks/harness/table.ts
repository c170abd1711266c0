import type { Row } from "./judge.js";

const COLUMNS = ["what", "ours", "", "peer", "", "figure", "target", "noise", ""] as const;
/** Columns of figures line up at the right. */
const RIGHT: ReadonlySet<number> = new Set([2, 4, 5, 6, 7]);

function quantity(value: number, unit: Row["unit"]): string {
  return `${value.toFixed(unit === "ms" ? 1 : 0)} ${unit}`.trimEnd();
}

/** A judged figure, a target or a limit, as people read it. */
export function figureText(value: number, row: Row): string {
  if (row.kind === "ratio") return `${value.toFixed(2)}x`;
  if (row.kind === "share") return `${(value * 100).toFixed(2)} %`;
  const sign = row.kind === "difference" && value >= 0 ? "+" : "";
  return `${sign}${quantity(value, row.unit)}`;
}

/** The noise of a row, as people read it. */
export function noiseText(row: Row): string {
  const isRelative = row.kind === "ratio" || row.kind === "share";
  return isRelative ? `±${(row.noise * 100).toFixed(1)} %` : `±${quantity(row.noise, row.unit)}`;
}

/** Whether the target holds, in a word; nothing for a row that only informs. */
export function verdictText({ holds }: Row): string {
  if (holds === undefined) return "";
  return holds ? "ok" : "MISS";
}

function cellsOf(row: Row): readonly string[] {
  return [
    row.what,
    row.ours.name,
    quantity(row.ours.value, row.unit),
    row.peer?.name ?? "",
    row.peer === undefined ? "" : quantity(row.peer.value, row.unit),
    figureText(row.figure, row),
    row.target === undefined ? "" : `<= ${figureText(row.target, row)}`,
    noiseText(row),
    verdictText(row),
  ];
}

/** Lines of cells, one column below the other. */
export function columns(lines: readonly (readonly string[])[], isRight: (column: number) => boolean): string {
  const count = Math.max(...lines.map((line) => line.length));
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  const pad = (cell: string, column: number): string => {
    const width = widths[column] ?? 0;
    return isRight(column) ? cell.padStart(width) : cell.padEnd(width);
  };
  return lines.map((line) => line.map(pad).join("  ").trimEnd()).join("\n");
}

/** The rows as text. */
export function table(rows: readonly Row[]): string {
  return columns([COLUMNS, ...rows.map(cellsOf)], (column) => RIGHT.has(column));
}

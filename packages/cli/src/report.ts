import { callLogFolder } from "./call-log.js";
import { type CallStatistics, type Counts, readCallStatistics, type ToolCounts } from "./call-statistics.js";
import { EXIT_CODES } from "./exit-codes.js";
import type { Output, Surroundings } from "./surroundings.js";

/** What `report` is asked for. */
export interface ReportRequest {
  /** Milliseconds since the epoch; 0 for everything that is kept. */
  readonly since: number;
  readonly isJson: boolean;
}

const SHOWN = 20;
const COLUMNS: readonly (readonly [title: string, of: (counts: Counts) => number])[] = [
  ["calls", ({ calls }) => calls],
  ["completed", ({ completed }) => completed],
  ["failed", ({ failed }) => failed],
  ["retried", ({ retried }) => retried],
  ["deduplicated", ({ deduplicated }) => deduplicated],
  ["refused", ({ refused }) => refused],
  ["timed out", ({ timedOut }) => timedOut],
  ["cancelled", ({ cancelled }) => cancelled],
  ["unknown", ({ unknown }) => unknown],
];

/** Lines of cells, the first column to the left, all others to the right. */
function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_cell, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}

function cellsOf(title: string, counts: Counts): readonly string[] {
  return [title, ...COLUMNS.map(([, of]) => String(of(counts)))];
}

function overview({ totals, tools }: CallStatistics): readonly string[] {
  const rows = tools.map((tool: ToolCounts) => cellsOf(`${tool.server} ${tool.tool}`, tool));
  return table([["", ...COLUMNS.map(([title]) => title)], ...rows, cellsOf("total", totals)]);
}

function notableLines({ notable }: CallStatistics): readonly string[] {
  return notable.slice(-SHOWN).map(({ time, server, tool, status, attempts, duplicate, code }) => {
    const facts = [
      status,
      duplicate ? "answered from a record" : `${attempts} ${attempts === 1 ? "attempt" : "attempts"}`,
      ...(code === undefined ? [] : [code]),
    ];
    return `  ${new Date(time).toISOString()}  ${server} ${tool}: ${facts.join(", ")}`;
  });
}

function asText(statistics: CallStatistics): readonly string[] {
  if (statistics.totals.calls === 0) return ["No calls are on record."];
  const lines = notableLines(statistics);
  if (lines.length === 0) return overview(statistics);
  return [...overview(statistics), "", "Retried, deduplicated or not completed, the latest last:", ...lines];
}

/**
 * Tells what became of the calls of all proxies on this machine.
 *
 * @returns the exit code
 */
export async function report(request: ReportRequest, where: Surroundings, output: Output): Promise<number> {
  const statistics = await readCallStatistics(callLogFolder(where.stateFolder), request.since);
  if (request.isJson) {
    const since = request.since === 0 ? null : new Date(request.since).toISOString();
    output.out(JSON.stringify({ since, ...statistics }, undefined, 2));
  } else for (const line of asText(statistics)) output.out(line);
  return EXIT_CODES.ok;
}

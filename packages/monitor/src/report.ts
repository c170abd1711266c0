import type { OutcomeCode } from "@mcp-tx/core";
import type { AlertCounts } from "./delivery.js";
import type { Quantiles } from "./latency.js";
import type { Status } from "./window.js";

/** One tool in the window. */
export interface ToolReport {
  readonly tool: string;
  /** Finished calls. */
  readonly calls: number;
  /** Calls that have not ended, whenever they began. */
  readonly inFlight: number;
  /** Calls that succeeded or failed. */
  readonly samples: number;
  /** Share of the samples that succeeded, from 0 to 1; absent when there are none. */
  readonly successRate?: number | undefined;
  /** Calls by how they ended, as their reports say. */
  readonly outcomes: Readonly<Record<Status, number>>;
  /** Calls that did not complete, by the code of their outcome, as far as they have one. */
  readonly codes: Readonly<Partial<Record<OutcomeCode, number>>>;
  /** Hand-overs to the transport: all of them, and for each call that made any. */
  readonly attempts: { readonly total: number; readonly average?: number | undefined };
  /** Calls answered from a record. */
  readonly duplicates: number;
  /** Calls that waited in backoff or a limit, and for how long together. */
  readonly waits: { readonly calls: number; readonly totalMs: number };
  /**
   * Milliseconds from start to end, all attempts and waits included, of calls that succeeded or failed and were not refused;
   * each quantile within 1 % of the true one. Absent when there are none.
   */
  readonly latencyMs?: Quantiles | undefined;
  readonly alert: {
    readonly state: "ok" | "firing";
    /** Which one, while it fires. */
    readonly episode?: number | undefined;
    /** Milliseconds for which it has been firing. */
    readonly firingMs?: number | undefined;
  };
}

/** What a monitor saw in its window, as plain JSON. */
export interface MonitorReport {
  /** Milliseconds on the monotonic clock. */
  readonly at: number;
  /** Milliseconds since the epoch, for people. */
  readonly atWall: number;
  readonly windowMs: number;
  /** Tools with calls in the window or in flight, by name; the one named `_OTHER` stands for all that are not kept apart. */
  readonly tools: readonly ToolReport[];
  /** Since the monitor was made. */
  readonly alerts: AlertCounts;
}

const HEAD: readonly string[] = ["tool", "calls", "success", "attempts", "dup", "waited", "p50", "p90", "p99", "alert"];
const MAX_NAME = 40;

/** A name as it may be printed: no escape sequence reaches the terminal. */
function printable(name: string): string {
  const clean = name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
  return clean.length > MAX_NAME ? `${clean.slice(0, MAX_NAME - 1)}…` : clean;
}

function milliseconds(value: number | undefined): string {
  if (value === undefined) return "-";
  return value >= 10_000 ? `${(value / 1000).toFixed(1)} s` : `${Number(value.toPrecision(3))} ms`;
}

/** Rounded down: 100 % means that nothing failed. */
function percent(rate: number | undefined): string {
  return rate === undefined ? "-" : `${(Math.floor(rate * 10_000) / 100).toFixed(2)} %`;
}

function rowOf({ tool, calls, successRate, attempts, duplicates, waits, latencyMs, alert }: ToolReport): string[] {
  return [
    printable(tool),
    String(calls),
    percent(successRate),
    attempts.average === undefined ? "-" : attempts.average.toFixed(2),
    String(duplicates),
    milliseconds(waits.totalMs),
    milliseconds(latencyMs?.p50),
    milliseconds(latencyMs?.p90),
    milliseconds(latencyMs?.p99),
    alert.state,
  ];
}

/** A report as a table for a terminal, one line for each tool. */
export function formatReport(report: MonitorReport): string {
  const rows = [[...HEAD], ...report.tools.map(rowOf)];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lineOf = (row: readonly string[]) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ");
  return rows.map(lineOf).join("\n");
}

import { expect, test } from "vitest";
import { formatReport, type MonitorReport, type ToolReport } from "./report.js";

const OUTCOMES = { completed: 0, failed: 0, timeout: 0, unknown: 0, rejected: 0, cancelled: 0 };
const EMPTY: ToolReport = {
  tool: "idle",
  calls: 0,
  inFlight: 1,
  samples: 0,
  outcomes: OUTCOMES,
  codes: {},
  attempts: { total: 0 },
  duplicates: 0,
  waits: { calls: 0, totalMs: 0 },
  alert: { state: "ok" },
};

function reportOf(...tools: readonly ToolReport[]): MonitorReport {
  const alerts = { fired: 0, resolved: 0, failed: 0, pending: 0 };
  return { at: 0, atWall: 0, windowMs: 300_000, tools, alerts };
}

test("prints one line for each tool, in columns", () => {
  const busy: ToolReport = {
    ...EMPTY,
    tool: "search",
    calls: 2000,
    samples: 1999,
    successRate: 1999 / 2000,
    attempts: { total: 2200, average: 1.1 },
    duplicates: 7,
    waits: { calls: 2, totalMs: 12_345 },
    latencyMs: { p50: 12.3456, p90: 250, p99: 10_000, max: 20_000 },
    alert: { state: "firing", episode: 1, firingMs: 10 },
  };
  expect(formatReport(reportOf(busy, EMPTY)).split("\n")).toEqual([
    "tool    calls  success  attempts  dup  waited      p50     p90     p99   alert",
    "search   2000  99.95 %      1.10    7  12.3 s  12.3 ms  250 ms  10.0 s  firing",
    "idle        0        -         -    0    0 ms        -       -       -      ok",
  ]);
});

test("never rounds a failure away", () => {
  const text = formatReport(reportOf({ ...EMPTY, successRate: 999_999 / 1_000_000 }));
  expect(text).toContain("99.99 %");
});

test("prints the head of an empty report", () => {
  expect(formatReport(reportOf()).split("\n")).toHaveLength(1);
});

test("lets no control sequence and no endless name reach the terminal", () => {
  const names = ["\u001b[2Jgone\r\n", "a\u2028b\u202ec", "n".repeat(200)];
  const text = formatReport(reportOf(...names.map((tool) => ({ ...EMPTY, tool }))));
  expect(text.split("\n")).toHaveLength(4);
  expect(text.replaceAll("\n", "")).not.toMatch(/[\p{C}\u2028]/u);
  expect(text).toContain(`${"n".repeat(39)}…`);
});

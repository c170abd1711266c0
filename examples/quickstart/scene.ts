import type { CallReport } from "@mcp-tx/core";
import type { Stage } from "./stage.js";

/** What drives a call: a client of either SDK line, or nothing but a local function. */
export type Line = "SDK v1" | "SDK v2" | "local";

/** What happened in a call, in order: the outcome of each attempt, and the milliseconds of each wait. */
export type Trail = readonly (string | number)[];

/** What a scene claims about one call. All of it is printed, so all of it is checked. */
export interface Expected {
  readonly trail: Trail;
  /** The text that came back, or the name of the error. */
  readonly answer: string;
  /** `undefined` for a call that was refused before it began. */
  readonly report: Pick<CallReport, "status" | "execution" | "attempts" | "ack"> | undefined;
  /** When to call again, where the report says so. */
  readonly retryAfterMs?: number;
  /** Executions of this scene's job so far, counted by the tool itself; left out for servers that do not count. */
  readonly executions?: number;
  /** Longest time that the call may take. */
  readonly withinMs?: number;
}

/** One scene of the demo. */
export interface Scene {
  readonly title: string;
  /** Why it ends as it does. */
  readonly about: string;
  /** Played once with each of these, at the same time. */
  readonly lines: readonly Line[];
  play(stage: Stage): Promise<void>;
}

/** What was seen of one call. */
export interface Seen {
  /** The call, as one would write it. */
  readonly call: string;
  readonly trail: Trail;
  readonly answer: string;
  readonly report: CallReport | undefined;
  readonly value: unknown;
  readonly error: unknown;
  readonly elapsedMs: number;
}

/** What became of one expectation. */
export interface Verdict {
  readonly seen: Seen;
  readonly executions: number | undefined;
  readonly mismatches: readonly string[];
}

function compare(what: string, actual: unknown, expected: unknown): string[] {
  const [got, want] = [JSON.stringify(actual) ?? "nothing", JSON.stringify(expected) ?? "nothing"];
  return got === want ? [] : [`${what}: expected ${want}, got ${got}`];
}

function compareReports(actual: CallReport | undefined, expected: Expected["report"]): string[] {
  if (actual === undefined || expected === undefined) return compare("report", actual, expected);
  const { status, execution, attempts, ack } = expected;
  return [
    ...compare("status", actual.status, status),
    ...compare("execution", actual.execution, execution),
    ...compare("attempts", actual.attempts, attempts),
    ...compare("ack", actual.ack, ack),
    ...compare("duplicate", actual.duplicate, false),
  ];
}

/** The time waited is the sum of the waits: no less, unless the caller gave up meanwhile, and no more than the call took. */
function compareWaits({ report, trail, elapsedMs }: Seen): string[] {
  if (report === undefined) return [];
  const waits = trail.filter((step) => typeof step === "number");
  const scheduled = report.status === "cancelled" ? 0 : waits.reduce((sum, wait) => sum + wait, 0);
  const isRight = report.waitedMs >= scheduled && report.waitedMs <= (waits.length === 0 ? 0 : elapsedMs);
  return isRight ? [] : [`waitedMs: expected ${scheduled} or a little more, got ${report.waitedMs}`];
}

function compareTime(elapsedMs: number, limitMs: number | undefined): string[] {
  if (limitMs === undefined || elapsedMs <= limitMs) return [];
  return [`elapsed: expected at most ${limitMs} ms, got ${Math.round(elapsedMs)} ms`];
}

/** Compares what was seen with what the scene claims; an empty list means that all of it is true. */
export function mismatchesOf(seen: Seen, executions: number | undefined, expected: Expected): string[] {
  return [
    ...compare("trail", seen.trail, expected.trail),
    ...compare("answer", seen.answer, expected.answer),
    ...compareReports(seen.report, expected.report),
    ...compareWaits(seen),
    ...compare("retryAfterMs", seen.report?.error?.retryAfterMs, expected.retryAfterMs),
    ...compareTime(seen.elapsedMs, expected.withinMs),
    ...compare("executions", executions, expected.executions),
  ];
}

import type { SagaEntry, SagaRecord } from "@mcp-tx/core/stores";
import { TURN, type Turn } from "./interpreter.js";
import { type JournalLine, lineOf } from "./journal.js";
import type { SagaFailure } from "./outcome.js";

/** One thing that happened to a saga. */
export interface TimelineEvent {
  /** Milliseconds since the epoch, on the store's clock. */
  readonly at: number;
  /** `sent`: a call was about to leave. `ended`: it is known how it ended. `turned`: undoing began. `resumed`: an operator let it go on. */
  readonly type: "sent" | "ended" | "turned" | "resumed" | "remembered";
  readonly step?: string | undefined;
  readonly phase?: "action" | "compensation" | undefined;
  readonly tool?: string | undefined;
  /** Of a call that was sent: its number, from 1, over all processes that worked on the saga. */
  readonly call?: number | undefined;
  readonly status?: "completed" | "failed" | "unknown" | undefined;
  readonly attempts?: number | undefined;
  /** Milliseconds spent in backoff, queues and limits. */
  readonly waitedMs?: number | undefined;
  /** Whether the answer came from a record. */
  readonly duplicate?: boolean | undefined;
  readonly error?: SagaFailure | undefined;
}

/** What happened to one saga, in order. Plain data. */
export interface SagaTimeline {
  readonly id: string;
  readonly name: string;
  readonly status: SagaRecord["status"];
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Until when its present owner has it, on the store's clock; in the past when nobody has. */
  readonly leaseUntil: number;
  readonly events: readonly TimelineEvent[];
}

function placeOf(unit: string): { readonly step: string; readonly phase: "action" | "compensation" } {
  const path = JSON.parse(unit) as readonly string[];
  return { step: path.slice(0, -1).join("."), phase: path.at(-1) === "action" ? "action" : "compensation" };
}

function eventOf({ at }: SagaEntry, line: JournalLine): TimelineEvent {
  switch (line.type) {
    case "intent":
      return { at, type: "sent", ...placeOf(line.unit), call: line.calls };
    case "end": {
      const { status, report, error, tool } = line.end;
      return {
        at,
        type: "ended",
        ...placeOf(line.unit),
        tool,
        status,
        ...(report !== undefined && {
          attempts: report.attempts,
          waitedMs: report.waitedMs,
          duplicate: report.duplicate,
        }),
        ...(error !== undefined && { error }),
      };
    }
    case "resume":
      return { at, type: "resumed" };
    case "memory":
      return line.name === TURN
        ? { at, type: "turned", error: (line.value as Turn).error }
        : { at, type: "remembered" };
  }
}

/** Tells a saga's journal as a story. */
export function timelineOf(saga: SagaRecord, entries: readonly SagaEntry[]): SagaTimeline {
  const { id, name, status, createdAt, updatedAt, leaseUntil } = saga;
  const events = entries.map((entry) => eventOf(entry, lineOf(entry.body)));
  return { id, name, status, createdAt, updatedAt, leaseUntil, events };
}

function told({ type, step, phase, tool, status, attempts, waitedMs, duplicate, call, error }: TimelineEvent): string {
  const what = phase === "compensation" ? `undo ${step}` : step;
  if (type === "sent") return `${what}: call ${call} sent`;
  if (type === "turned") return `turned back: ${error?.message ?? ""}`;
  if (type === "resumed") return "resumed by an operator";
  if (type === "remembered") return "decided";
  const facts = [
    attempts === undefined ? "" : `${attempts} ${attempts === 1 ? "attempt" : "attempts"}`,
    waitedMs === undefined || waitedMs === 0 ? "" : `waited ${Math.round(waitedMs)} ms`,
    duplicate === true ? "from a record" : "",
    error === undefined ? "" : error.message,
  ].filter((fact) => fact !== "");
  return `${what}: ${status}, ${tool}${facts.length === 0 ? "" : ` (${facts.join(", ")})`}`;
}

/** The timeline as text, one line an event, with milliseconds since the saga began. */
export function formatTimeline(timeline: SagaTimeline): string {
  const { id, name, status, createdAt, events } = timeline;
  const lines = events.map((event) => `${String(Math.round(event.at - createdAt)).padStart(8)} ms  ${told(event)}`);
  return [`${name} ${id}: ${status}, begun ${new Date(createdAt).toISOString()}`, ...lines].join("\n");
}

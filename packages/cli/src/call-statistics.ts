import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { type CallEntry, callLogFiles } from "./call-log.js";
import { isMissing } from "./config-file.js";

/** How often what happened. */
export interface Counts {
  readonly calls: number;
  readonly completed: number;
  readonly failed: number;
  /** Sent more than once. */
  readonly retried: number;
  /** Answered from a record, without running the tool. */
  readonly deduplicated: number;
  /** Refused before they were sent: an open circuit, a limit, a conflict. */
  readonly refused: number;
  readonly timedOut: number;
  readonly cancelled: number;
  /** Nobody knows whether the tool ran. */
  readonly unknown: number;
}

/** The counts of one tool of one server. */
export interface ToolCounts extends Counts {
  readonly server: string;
  readonly serverId: string;
  readonly tool: string;
}

/** Everything that `report` tells. */
export interface CallStatistics {
  readonly totals: Counts;
  readonly tools: readonly ToolCounts[];
  /** The latest calls that were not simply answered, the newest last. */
  readonly notable: readonly CallEntry[];
}

const NONE: Counts = {
  calls: 0,
  completed: 0,
  failed: 0,
  retried: 0,
  deduplicated: 0,
  refused: 0,
  timedOut: 0,
  cancelled: 0,
  unknown: 0,
};
const MAX_NOTABLE = 100;

const STATUSES: readonly unknown[] = ["completed", "failed", "rejected", "cancelled", "timeout", "unknown"];

function isEntry(value: unknown): value is CallEntry {
  const entry = (value ?? {}) as Partial<Record<keyof CallEntry, unknown>>;
  return (
    typeof entry.time === "number" &&
    typeof entry.server === "string" &&
    typeof entry.serverId === "string" &&
    typeof entry.tool === "string" &&
    typeof entry.attempts === "number" &&
    STATUSES.includes(entry.status)
  );
}

/** A line; `undefined` for what a process left half written, or what is none of ours. */
function parseEntry(line: string): CallEntry | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isEntry(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

async function filesIn(folder: string): Promise<readonly string[]> {
  try {
    return await callLogFiles(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function* entriesOf(file: string): AsyncGenerator<CallEntry> {
  try {
    for await (const line of createInterface({ input: createReadStream(file, "utf8"), crlfDelay: Infinity })) {
      const entry = parseEntry(line);
      if (entry !== undefined) yield entry;
    }
  } catch (error) {
    // A proxy that needs the room has removed it.
    if (!isMissing(error)) throw error;
  }
}

function isNotable({ status, attempts, duplicate }: CallEntry): boolean {
  return status !== "completed" || attempts > 1 || duplicate === true;
}

const one = (condition: boolean): number => (condition ? 1 : 0);

function counted<C extends Counts>(counts: C, { status, attempts, duplicate }: CallEntry): C {
  return {
    ...counts,
    calls: counts.calls + 1,
    completed: counts.completed + one(status === "completed"),
    failed: counts.failed + one(status === "failed"),
    retried: counts.retried + one(attempts > 1),
    deduplicated: counts.deduplicated + one(duplicate === true),
    refused: counts.refused + one(status === "rejected"),
    timedOut: counts.timedOut + one(status === "timeout"),
    cancelled: counts.cancelled + one(status === "cancelled"),
    unknown: counts.unknown + one(status === "unknown"),
  };
}

/** Adds calls up. */
class Statistics {
  #totals = NONE;
  readonly #tools = new Map<string, ToolCounts>();
  #notable: CallEntry[] = [];

  add(entry: CallEntry): void {
    const { server, serverId, tool } = entry;
    const key = JSON.stringify([serverId, tool]);
    this.#totals = counted(this.#totals, entry);
    this.#tools.set(key, counted(this.#tools.get(key) ?? { ...NONE, server, serverId, tool }, entry));
    if (!isNotable(entry)) return;
    this.#notable.push(entry);
    if (this.#notable.length > 2 * MAX_NOTABLE) this.#trim();
  }

  #trim(): void {
    this.#notable = this.#notable.sort((left, right) => left.time - right.time).slice(-MAX_NOTABLE);
  }

  finish(): CallStatistics {
    this.#trim();
    const tools = [...this.#tools.values()].sort(
      (left, right) => left.server.localeCompare(right.server) || left.tool.localeCompare(right.tool),
    );
    return { totals: this.#totals, tools, notable: this.#notable };
  }
}

/** Reads what the proxies have written since a time; what cannot be read is left out. */
export async function readCallStatistics(folder: string, since: number): Promise<CallStatistics> {
  const statistics = new Statistics();
  for (const file of await filesIn(folder)) {
    for await (const entry of entriesOf(file)) if (entry.time >= since) statistics.add(entry);
  }
  return statistics.finish();
}

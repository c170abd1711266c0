import type { CallReport, OutcomeCode } from "@mcp-tx/core";
import { Latency } from "./latency.js";

/** How a call ended, in the words of its report. */
export type Status = CallReport["status"];

/** All of them, in the order of reports. */
export const STATUSES: readonly Status[] = ["completed", "failed", "timeout", "unknown", "rejected", "cancelled"];

/** What is kept of one finished call. */
export interface Sample {
  readonly status: Status;
  readonly code: OutcomeCode | undefined;
  readonly attempts: number;
  readonly duplicate: boolean;
  readonly waitedMs: number;
  readonly latencyMs: number;
}

/** Calls by how they ended. */
export type Outcomes = Record<Status, number>;

function noOutcomes(): Outcomes {
  return { completed: 0, failed: 0, timeout: 0, unknown: 0, rejected: 0, cancelled: 0 };
}

/** Whether a call says how fast the tool is: one that was refused or given up does not. */
function isMeasured(status: Status): boolean {
  return status !== "rejected" && status !== "cancelled";
}

/** The sums of some calls. */
export class Tally {
  readonly outcomes: Outcomes = noOutcomes();
  attempts = 0;
  /** Calls that made any attempt. */
  attempted = 0;
  duplicates = 0;
  /** Calls that waited. */
  waited = 0;
  waitedMs = 0;
  codes: Map<OutcomeCode, number> | undefined;
  latency: Latency | undefined;

  record({ status, code, attempts, duplicate, waitedMs, latencyMs }: Sample): void {
    this.outcomes[status] += 1;
    this.attempts += attempts;
    if (attempts > 0) this.attempted += 1;
    if (duplicate) this.duplicates += 1;
    if (waitedMs > 0) {
      this.waited += 1;
      this.waitedMs += waitedMs;
    }
    if (code !== undefined) this.#count(code, 1);
    if (!isMeasured(status)) return;
    this.latency ??= new Latency();
    this.latency.record(latencyMs);
  }

  merge(other: Tally): void {
    for (const status of STATUSES) this.outcomes[status] += other.outcomes[status];
    this.attempts += other.attempts;
    this.attempted += other.attempted;
    this.duplicates += other.duplicates;
    this.waited += other.waited;
    this.waitedMs += other.waitedMs;
    for (const [code, count] of other.codes ?? []) this.#count(code, count);
    if (other.latency === undefined) return;
    this.latency ??= new Latency();
    this.latency.merge(other.latency);
  }

  #count(code: OutcomeCode, count: number): void {
    this.codes ??= new Map();
    this.codes.set(code, (this.codes.get(code) ?? 0) + count);
  }
}

/**
 * The calls of the last so many milliseconds, in steps. The present step is one of them, so that nothing older than the window's
 * length ever counts. A step without calls takes no memory.
 */
export class Window {
  /** Finished calls in the window, as of the last `advance`. */
  readonly outcomes: Outcomes = noOutcomes();
  readonly #stepMs: number;
  readonly #steps: number;
  readonly #tallies: (Tally | undefined)[] = [];
  #step = Number.NEGATIVE_INFINITY;
  #stepEnd = Number.NEGATIVE_INFINITY;

  constructor(windowMs: number, steps: number) {
    this.#stepMs = windowMs / steps;
    this.#steps = steps;
  }

  get isEmpty(): boolean {
    return this.#tallies.length === 0;
  }

  record(sample: Sample, now: number): void {
    this.advance(now);
    const index = this.#indexOf(this.#step);
    const tally = this.#tallies[index] ?? new Tally();
    this.#tallies[index] = tally;
    tally.record(sample);
    this.outcomes[sample.status] += 1;
  }

  /** Forgets what is too old. A clock that goes back changes nothing. */
  advance(now: number): void {
    if (now < this.#stepEnd) return;
    const step = Math.floor(now / this.#stepMs);
    if (!this.isEmpty) this.#forget(Math.max(this.#step + 1, step - this.#steps + 1), step);
    this.#step = step;
    this.#stepEnd = (step + 1) * this.#stepMs;
  }

  /** The sums of all that is in the window, as of the last `advance`. */
  total(): Tally {
    const total = new Tally();
    for (const tally of this.#tallies) if (tally !== undefined) total.merge(tally);
    return total;
  }

  #forget(first: number, last: number): void {
    for (let step = first; step <= last; step += 1) {
      const index = this.#indexOf(step);
      const tally = this.#tallies[index];
      if (tally === undefined) continue;
      for (const status of STATUSES) this.outcomes[status] -= tally.outcomes[status];
      this.#tallies[index] = undefined;
    }
    if (this.#tallies.every((tally) => tally === undefined)) this.#tallies.length = 0;
  }

  /** Where a step's sums are; a clock may start below 0. */
  #indexOf(step: number): number {
    return ((step % this.#steps) + this.#steps) % this.#steps;
  }
}

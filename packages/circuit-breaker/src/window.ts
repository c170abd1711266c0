/** What a window knows of the calls in it. */
export interface Window {
  readonly calls: number;
  readonly failures: number;
  readonly slow: number;
  record(failed: boolean, slow: boolean, now: number): void;
}

/** How long a window is, and what makes the circuit open. */
export interface WindowSettings {
  readonly type: "count" | "time";
  /** Calls, or milliseconds. */
  readonly length: number;
  readonly failureRate: number;
  readonly minimumCalls: number;
  /** Infinity: no call is slow. */
  readonly slowCallMs: number;
  readonly slowCallRate: number;
}

const FAILED = 1;
const SLOW = 2;

/** The last so many calls: a ring that grows as they come. */
export class CountWindow implements Window {
  calls = 0;
  failures = 0;
  slow = 0;
  readonly #size: number;
  readonly #marks: number[] = [];
  #next = 0;

  constructor(size: number) {
    this.#size = size;
  }

  record(failed: boolean, slow: boolean): void {
    const mark = (failed ? FAILED : 0) + (slow ? SLOW : 0);
    const index = this.#next;
    const dropped = this.#marks[index];
    this.#next = index + 1 === this.#size ? 0 : index + 1;
    if (dropped === undefined) {
      this.#marks.push(mark);
      this.calls += 1;
    } else if (dropped !== mark) {
      this.#marks[index] = mark;
      this.#add(dropped, -1);
    }
    if (dropped !== mark) this.#add(mark, 1);
  }

  #add(mark: number, amount: number): void {
    if ((mark & FAILED) !== 0) this.failures += amount;
    if ((mark & SLOW) !== 0) this.slow += amount;
  }
}

const BUCKETS = 10;
const FIELDS = 3;

/**
 * The calls of the last so many milliseconds, in ten buckets. The present bucket is one of the ten, so that nothing older than
 * the window's length ever counts.
 */
export class TimeWindow implements Window {
  calls = 0;
  failures = 0;
  slow = 0;
  readonly #bucketMs: number;
  /** Calls, failures and slow calls of each bucket. */
  readonly #counts: number[] = new Array<number>(BUCKETS * FIELDS).fill(0);
  #bucket = Number.NEGATIVE_INFINITY;
  #present = 0;
  #presentEnd = Number.NEGATIVE_INFINITY;

  constructor(durationMs: number) {
    this.#bucketMs = durationMs / BUCKETS;
  }

  record(failed: boolean, slow: boolean, now: number): void {
    if (now >= this.#presentEnd) this.#advance(now);
    if (failed || slow) this.#add(this.#present, 1, failed ? 1 : 0, slow ? 1 : 0);
    else {
      this.calls += 1;
      this.#counts[this.#present] = (this.#counts[this.#present] ?? 0) + 1;
    }
  }

  /** Empties the buckets that time has passed over. */
  #advance(now: number): void {
    const bucket = Math.floor(now / this.#bucketMs);
    const first = Math.max(this.#bucket + 1, bucket - BUCKETS + 1);
    for (let passed = first; passed <= bucket; passed += 1) {
      const index = indexOf(passed);
      const [calls = 0, failures = 0, slow = 0] = this.#counts.slice(index, index + FIELDS);
      this.#add(index, -calls, -failures, -slow);
    }
    this.#bucket = bucket;
    this.#present = indexOf(bucket);
    this.#presentEnd = (bucket + 1) * this.#bucketMs;
  }

  #add(index: number, calls: number, failures: number, slow: number): void {
    const counts = this.#counts;
    counts[index] = (counts[index] ?? 0) + calls;
    counts[index + 1] = (counts[index + 1] ?? 0) + failures;
    counts[index + 2] = (counts[index + 2] ?? 0) + slow;
    this.calls += calls;
    this.failures += failures;
    this.slow += slow;
  }
}

/** Where a bucket's counts are; a clock may start below 0. */
function indexOf(bucket: number): number {
  return (((bucket % BUCKETS) + BUCKETS) % BUCKETS) * FIELDS;
}

/** An empty window. */
export function createWindow({ type, length }: WindowSettings): Window {
  return type === "count" ? new CountWindow(length) : new TimeWindow(length);
}

/** How far a quantile may be from the true one, as a share of it. */
const RELATIVE_ACCURACY = 0.01;
const GAMMA = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY);
const KEYS_PER_LOG = 1 / Math.log(GAMMA);
/** What a bin stands for is at most the relative accuracy away from both of its ends. */
const MIDDLE = 2 / (1 + GAMMA);
const MAX_MS = 2_147_483_647;
const PER_MS = 1000;
/** Bins by which a sketch grows: this many span a factor of 1.4. */
const CHUNK = 16;

/** Quantiles of durations, in milliseconds. */
export interface Quantiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  /** Exact. */
  readonly max: number;
}

/**
 * A DDSketch of durations (Masson, Rim, Lee, VLDB 2019): bin k counts what lies in (γ^(k-1), γ^k], so that every quantile is
 * within the relative accuracy, also of sketches that were merged. It counts microseconds: at most one is none.
 */
export class Latency {
  count = 0;
  #none = 0;
  #min = Infinity;
  #max = 0;
  /** The key of the first bin. */
  #first = 0;
  #bins: number[] = [];

  record(ms: number): void {
    const micros = Math.min(ms, MAX_MS) * PER_MS;
    this.count += 1;
    if (micros < this.#min) this.#min = micros;
    if (micros > this.#max) this.#max = micros;
    if (micros <= 1) this.#none += 1;
    else this.#add(Math.ceil(Math.log(micros) * KEYS_PER_LOG), 1);
  }

  merge(other: Latency): void {
    this.count += other.count;
    this.#none += other.#none;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
    for (const [index, count] of other.#bins.entries()) if (count > 0) this.#add(other.#first + index, count);
  }

  quantiles(): Quantiles | undefined {
    if (this.count === 0) return undefined;
    return { p50: this.#at(0.5), p90: this.#at(0.9), p99: this.#at(0.99), max: this.#max / PER_MS };
  }

  #add(key: number, count: number): void {
    if (key < this.#first || key >= this.#first + this.#bins.length) this.#cover(key);
    const index = key - this.#first;
    this.#bins[index] = (this.#bins[index] ?? 0) + count;
  }

  /** Makes room for a key. */
  #cover(key: number): void {
    const bins = this.#bins;
    const isNew = bins.length === 0;
    const low = isNew ? key : Math.min(key, this.#first);
    const high = isNew ? key : Math.max(key, this.#first + bins.length - 1);
    const first = Math.floor(low / CHUNK) * CHUNK;
    const covering = new Array<number>(Math.ceil((high + 1 - first) / CHUNK) * CHUNK).fill(0);
    for (const [index, count] of bins.entries()) covering[index + this.#first - first] = count;
    this.#first = first;
    this.#bins = covering;
  }

  #at(quantile: number): number {
    // Nothing lies outside of what was seen: this only brings an estimate nearer.
    return Math.min(this.#max, Math.max(this.#min, this.#estimate(quantile))) / PER_MS;
  }

  #estimate(quantile: number): number {
    const rank = Math.floor(quantile * (this.count - 1));
    let passed = this.#none;
    if (rank < passed) return 0;
    for (const [index, count] of this.#bins.entries()) {
      passed += count;
      if (rank < passed) return MIDDLE * GAMMA ** (this.#first + index);
    }
    return this.#max;
  }
}

/** Bounds and temper of a {@link GradientLimit}. */
export interface GradientTerms {
  readonly min: number;
  readonly max: number;
  readonly initial: number;
  /** How many times the baseline a latency may be before it counts as queueing. */
  readonly tolerance: number;
  /** What is left of the limit after an overload. */
  readonly backoffRatio: number;
}

/** Answers by which a window is judged. */
const SAMPLES_PER_WINDOW = 20;
/** Windows after which the baseline is measured again, to renew it, or while each time makes it better. */
const WINDOWS_TO_RENEW = 20;
const WINDOWS_TO_BETTER = 4;
/** However slow a window was, it takes no more than half of the limit. */
const STEEPEST = 0.5;
const SAME_THROUGHPUT = 0.85;

/**
 * A concurrency limit that follows latency.
 *
 * @remarks
 * The gradient of Netflix's concurrency-limits (`GradientLimit`) and of Envoy's adaptive concurrency filter, judged once for each
 * window of 20 answers:
 *
 *     gradient = max(0.5, min(1, tolerance * baseline / median of the window))
 *     limit    = gradient < 1 ? limit * gradient : limit + sqrt(limit)
 *
 * Unlike there, a window that queues gets no headroom, so that the limit settles a little above what the server does at once.
 * While less than half of it is in use it does not grow.
 *
 * The baseline is a median too. Now and then, and when the limit has lost half or is at its least, it is measured anew by a
 * window at half of what ran at once, where nothing should queue; in between it only follows what is clearly faster. If that
 * half gets as much through, the rest only queued (Little's law), and the limit stays there.
 *
 * Only calls that began in the present window count: they ran under the present limit, and a round of bad news is acted upon
 * once.
 */
export class GradientLimit {
  /** Calls at once; an integer. */
  limit: number;
  /** Number of the present window. */
  window = 0;
  readonly #terms: GradientTerms;
  #exact: number;
  #baselineMs = Infinity;
  /** Where the limit goes back to after the baseline is measured; `undefined` in an ordinary window. */
  #resumeAt: number | undefined;
  /** The limit for which the baseline was measured. */
  #measuredFor: number;
  #windowsLeft = WINDOWS_TO_BETTER;
  /** What ran at once and got through before the load was halved. */
  #loaded = { calls: 0, perMs: 0 };
  #latencies: number[] = [];
  #peak = 0;

  constructor(terms: GradientTerms) {
    this.#terms = terms;
    this.#exact = terms.initial;
    this.limit = terms.initial;
    this.#measuredFor = terms.initial;
  }

  /** A call begins, as one of `running`. Returns the window it belongs to. */
  begin(running: number): number {
    if (running > this.#peak) this.#peak = running;
    return this.window;
  }

  /** A call of that window was answered. */
  answered(window: number, latencyMs: number): void {
    if (window !== this.window) return;
    this.#latencies.push(latencyMs);
    if (this.#latencies.length < SAMPLES_PER_WINDOW) return;
    const typicalMs = medianOf(this.#latencies);
    if (this.#resumeAt === undefined) this.#judge(typicalMs);
    else this.#measured(typicalMs, this.#resumeAt);
  }

  /** A call of that window was turned away because there were too many. */
  throttled(window: number): void {
    if (window !== this.window) return;
    this.#resumeAt = undefined;
    this.#open(this.#exact * this.#terms.backoffRatio);
  }

  /** A call of that window got no answer in time. Where answers take longer than that anyway, it says nothing. */
  timedOut(window: number, latencyMs: number): void {
    if (this.#baselineMs === Infinity || latencyMs > this.#baselineMs * this.#terms.tolerance) this.throttled(window);
  }

  #judge(typicalMs: number): void {
    if (this.#isFaster(typicalMs)) this.#baselineMs = typicalMs;
    const next = this.#bounded(this.#following(typicalMs));
    if (!this.#isHardlyUsed) this.#windowsLeft -= 1;
    const isExhausted = next * 2 <= this.#measuredFor || next <= this.#terms.min;
    if (this.#windowsLeft > 0 && !isExhausted) {
      this.#open(next);
      return;
    }
    this.#resumeAt = next;
    this.#loaded = { calls: this.#peak, perMs: this.#peak / typicalMs };
    this.#open(Math.min(next, this.#peak) / 2);
  }

  #following(typicalMs: number): number {
    const gradient = Math.max(STEEPEST, (this.#terms.tolerance * this.#baselineMs) / typicalMs);
    if (gradient < 1) return this.#exact * gradient;
    return this.#isHardlyUsed ? this.#exact : this.#exact + Math.sqrt(this.#exact);
  }

  #measured(typicalMs: number, resumeAt: number): void {
    const { calls, perMs } = this.#loaded;
    // By Little's law: as much gets through with fewer at once, so that the others only queued.
    const isSaturated = this.limit < calls && this.limit / typicalMs > perMs * SAME_THROUGHPUT;
    this.#windowsLeft = this.#isFaster(typicalMs) || isSaturated ? WINDOWS_TO_BETTER : WINDOWS_TO_RENEW;
    this.#baselineMs = typicalMs;
    this.#measuredFor = isSaturated ? this.limit : resumeAt;
    this.#resumeAt = undefined;
    this.#open(this.#measuredFor);
  }

  /** Whether it is below the baseline by more than chance. */
  #isFaster(typicalMs: number): boolean {
    return typicalMs * this.#terms.tolerance < this.#baselineMs;
  }

  get #isHardlyUsed(): boolean {
    return this.#peak * 2 < this.limit;
  }

  #bounded(limit: number): number {
    return Math.min(this.#terms.max, Math.max(this.#terms.min, limit));
  }

  /** Opens the next window. */
  #open(limit: number): void {
    this.#exact = this.#bounded(limit);
    this.limit = Math.floor(this.#exact);
    this.window += 1;
    this.#peak = 0;
    this.#latencies = [];
  }
}

/** The middle of them, the lower one of two: a few slow answers do not move it. */
function medianOf(values: number[]): number {
  values.sort((left, right) => left - right);
  return values[(values.length - 1) >> 1] ?? 0;
}

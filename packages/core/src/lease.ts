import type { Runtime } from "./contract.js";
import { startTimer } from "./runtime.js";

/** A moment on both clocks. */
export interface Moment {
  readonly now: number;
  readonly wall: number;
}

/** The present moment of a runtime. */
export function momentOf(runtime: Runtime): Moment {
  return { now: runtime.now(), wall: runtime.wallNow() };
}

/** How often a lease is prolonged while it lasts: one lost message must not end it. */
const BEATS = 3;

/** What a lease is made of. */
export interface LeaseTerms {
  readonly runtime: Runtime;
  readonly leaseMs: number;
  /** Prolongs it in the store; `false` when it is no longer ours. */
  readonly extend: () => Promise<boolean>;
}

/** A right that lasts for a while and is kept up by a heartbeat: to run a call, to carry on a saga. */
export class Lease {
  readonly #terms: LeaseTerms;
  #since: Moment;
  #isLost = false;
  #isStopped = false;
  #cancelTimer: (() => void) | undefined;

  /** @param since - before the claim was sent: the store's lease began later */
  constructor(terms: LeaseTerms, since: Moment) {
    this.#terms = terms;
    this.#since = since;
    // The store's answer may have taken its time.
    this.#schedule(terms.runtime.now() - since.now);
  }

  /**
   * Whether somebody else may have the right by now. Both clocks count: the monotonic one stops while a machine is suspended,
   * and the wall clock may be set back.
   */
  get isOver(): boolean {
    return this.#isLost || this.leftMs <= 0;
  }

  /** Milliseconds that are left for certain. */
  get leftMs(): number {
    const { runtime, leaseMs } = this.#terms;
    const { now, wall } = momentOf(runtime);
    return leaseMs - Math.max(now - this.#since.now, wall - this.#since.wall);
  }

  /** Ends the heartbeat. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer?.();
  }

  #schedule(passedMs: number): void {
    const { runtime, leaseMs } = this.#terms;
    // From beat to beat, not from answer to beat: one that got no answer must not cost the next one as well.
    this.#cancelTimer = startTimer(runtime, Math.max(0, leaseMs / BEATS - passedMs), () => {
      void this.#beat();
    });
  }

  async #beat(): Promise<void> {
    const { runtime, extend } = this.#terms;
    const sent = momentOf(runtime);
    try {
      if (await extend()) this.#since = sent;
      else this.#isLost = true;
    } catch {
      // The store may be back at the next beat; until then the lease grows older.
    }
    if (!this.#isStopped && !this.#isLost) this.#schedule(runtime.now() - sent.now);
  }
}

import type { AlertRules } from "./options.js";

/** A tool's success rate fell below its threshold, or that is over. */
export interface Alert {
  readonly state: "firing" | "resolved";
  readonly tool: string;
  /** Counts the alerts of this monitor from 1: `firing` and its `resolved` have the same. */
  readonly episode: number;
  /**
   * `below-threshold`: why it fires. `recovered`: the success rate is at `recoverAt` or above. `idle`: the window holds no call
   * any more that succeeded or failed.
   */
  readonly reason: "below-threshold" | "recovered" | "idle";
  /** From 0 to 1; absent when there is no sample. */
  readonly successRate?: number | undefined;
  /** Calls in the window that succeeded or failed. */
  readonly samples: number;
  readonly threshold: number;
  readonly recoverAt: number;
  /** Milliseconds on the monotonic clock. */
  readonly at: number;
  /** Milliseconds since the epoch, for people: no decision depends on it. */
  readonly atWall: number;
  /** Milliseconds for which it had been firing, when it resolved. */
  readonly firingMs?: number | undefined;
}

/** What a window says of a tool's health. */
export interface Health {
  readonly succeeded: number;
  /** Calls that succeeded or failed. */
  readonly samples: number;
}

/** The share of calls that succeeded; `undefined` when there are none. */
export function successRate({ succeeded, samples }: Health): number | undefined {
  return samples === 0 ? undefined : succeeded / samples;
}

/** Fires when the success rate is too low, resolves when it is high enough again; between the two it stays what it is. */
export class AlertState {
  isFiring = false;
  /** When it fired last. */
  firedAt = 0;
  /** Which alert that was. */
  episode = 0;
  #quietUntil = Number.NEGATIVE_INFINITY;

  /** Whether it is as if it had never fired. */
  isCalm(now: number): boolean {
    return !this.isFiring && now >= this.#quietUntil;
  }

  /** What a call changes: it fires or resolves. */
  next(rules: AlertRules, health: Health, now: number): Alert["reason"] | undefined {
    if (this.isFiring) return this.end(rules, health, now);
    const { threshold, minSamples } = rules;
    if (health.samples < minSamples || now < this.#quietUntil) return undefined;
    if (health.succeeded / health.samples >= threshold) return undefined;
    this.isFiring = true;
    this.firedAt = now;
    return "below-threshold";
  }

  /** What time alone changes: it can only resolve. */
  end({ recoverAt, cooldownMs }: AlertRules, health: Health, now: number): "recovered" | "idle" | undefined {
    if (!this.isFiring) return undefined;
    const rate = successRate(health);
    if (rate !== undefined && rate < recoverAt) return undefined;
    this.isFiring = false;
    this.#quietUntil = now + cooldownMs;
    return rate === undefined ? "idle" : "recovered";
  }
}

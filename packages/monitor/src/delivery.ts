import type { Alert } from "./alert.js";

/** What became of the alerts since the monitor was made. */
export interface AlertCounts {
  readonly fired: number;
  readonly resolved: number;
  /** Calls of `onAlert` that threw or rejected. */
  readonly failed: number;
  /** Calls of `onAlert` that are not over. */
  readonly pending: number;
}

/** Hands alerts to `onAlert`, in their order, without waiting for it. */
export class Delivery {
  readonly #onAlert: ((alert: Alert) => unknown) | undefined;
  readonly #counts: { -readonly [K in keyof AlertCounts]: AlertCounts[K] } = {
    fired: 0,
    resolved: 0,
    failed: 0,
    pending: 0,
  };

  constructor(onAlert: ((alert: Alert) => unknown) | undefined) {
    this.#onAlert = onAlert;
  }

  get counts(): AlertCounts {
    return { ...this.#counts };
  }

  send(alert: Alert): void {
    const counts = this.#counts;
    if (alert.state === "firing") counts.fired += 1;
    else counts.resolved += 1;
    if (this.#onAlert === undefined) return;
    counts.pending += 1;
    // Later: what it calls, this monitor included, finds everything in order, and what it throws is a rejection.
    Promise.resolve(alert)
      .then(this.#onAlert)
      .then(
        () => {
          counts.pending -= 1;
        },
        () => {
          counts.pending -= 1;
          counts.failed += 1;
        },
      );
  }
}

import { number, readOptions } from "@mcp-tx/core/options";

/** Options of {@link retryBudget}. */
export interface RetryBudgetOptions {
  /**
   * Repetitions allowed per successful call, 0 to 1000.
   * @defaultValue 0.2
   */
  readonly ratio?: number | undefined;
  /**
   * Repetitions per second that are allowed whatever the ratio says.
   * @defaultValue 10
   */
  readonly minPerSecond?: number | undefined;
  /**
   * Milliseconds for which successes and repetitions count.
   * @defaultValue 10000
   */
  readonly ttlMs?: number | undefined;
}

/** Limits repetitions to a share of the traffic, so that retries do not finish off a server that is already failing. */
export interface RetryBudget {
  /** Books a success, which pays for later repetitions. */
  deposit(now: number): void;
  /** Takes one repetition; `false` when the budget is used up. */
  withdraw(now: number): boolean;
  /** Repetitions left at present. */
  remaining(now: number): number;
}

/** Books a success. A budget of the user's own that throws must not replace what the call came to. */
export function deposit(budget: RetryBudget | undefined, now: number): void {
  try {
    budget?.deposit(now);
  } catch {
    // It has not booked it.
  }
}

/** Takes one repetition; one that throws allows none. */
export function withdraws(budget: RetryBudget | undefined, now: number): boolean {
  try {
    return budget?.withdraw(now) !== false;
  } catch {
    return false;
  }
}

const SLOTS = 10;

/**
 * Makes a budget to be shared between `retry` and `hedge` middlewares: one for each server, as a rule.
 *
 * @remarks A sliding window of ten slots; the floor is `minPerSecond` times the window's length.
 */
export function retryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  const { ratio, minPerSecond, ttlMs } = readOptions("retryBudget", options, {
    ratio: number({ min: 0, max: 1000 }, 0.2),
    minPerSecond: number({ min: 0 }, 10),
    ttlMs: number({ min: 1 }, 10_000),
  });
  const slotMs = ttlMs / SLOTS;
  const floor = (minPerSecond * ttlMs) / 1000;
  const balances = new Float64Array(SLOTS);
  let current = Number.NaN;

  /** Clears the slots that time has passed over. A clock that goes back changes nothing. */
  function advance(now: number): void {
    const slot = Math.floor(now / slotMs);
    if (Number.isNaN(current)) current = slot;
    const steps = Math.min(slot - current, SLOTS);
    for (let step = 1; step <= steps; step += 1) balances[(current + step) % SLOTS] = 0;
    current = Math.max(current, slot);
  }

  function book(amount: number): void {
    const index = current % SLOTS;
    balances[index] = (balances[index] ?? 0) + amount;
  }

  function remaining(now: number): number {
    advance(now);
    return floor + balances.reduce((sum, balance) => sum + balance, 0);
  }

  return {
    deposit(now) {
      advance(now);
      book(ratio);
    },
    withdraw(now) {
      if (remaining(now) < 1 - 1e-9) return false;
      book(-1);
      return true;
    },
    remaining,
  };
}

/** How delays are spread. See {@link backoff} for the formulas. */
export type Jitter = "full" | "equal" | "decorrelated" | "none";

/** What a sequence of delays is made from. All durations in milliseconds. */
export interface BackoffOptions {
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  readonly multiplier: number;
  readonly jitter: Jitter;
}

/** The delay before the n-th repetition, n from 1. */
export type Backoff = (repetition: number) => number;

/** Exponential growth, capped; the cap also holds where the power overflows. */
function capped({ baseDelayMs, maxDelayMs, multiplier }: BackoffOptions, repetition: number): number {
  if (baseDelayMs === 0) return 0;
  return Math.min(maxDelayMs, baseDelayMs * multiplier ** (repetition - 1));
}

/** Polly's decorrelated jitter v2: the median grows as `2^t`, flattened near 0 by `tanh(sqrt(4t))`. */
function decorrelated({ baseDelayMs, maxDelayMs }: BackoffOptions, random: () => number): Backoff {
  const scale = 1 / 1.4;
  let previous = 0;
  return (repetition) => {
    const t = repetition - 1 + random();
    const current = 2 ** t * Math.tanh(Math.sqrt(4 * t));
    const delay = (current - previous) * scale * baseDelayMs;
    previous = current;
    // Past 2^1023 both terms overflow, and their difference is no number.
    return Number.isFinite(delay) ? Math.min(maxDelayMs, Math.max(0, delay)) : maxDelayMs;
  };
}

/**
 * Makes the delays of one call. With `x = min(maxDelayMs, baseDelayMs * multiplier^(n-1))`:
 * full `U(0, x)`, equal `x/2 + U(0, x/2)`, none `x`. Jitter is applied after the cap and never exceeds it.
 *
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ for full and equal
 */
export function backoff(options: BackoffOptions, random: () => number): Backoff {
  switch (options.jitter) {
    case "full":
      return (repetition) => random() * capped(options, repetition);
    case "equal":
      return (repetition) => {
        const x = capped(options, repetition);
        return Math.min(x, x / 2 + random() * (x / 2));
      };
    case "decorrelated":
      return decorrelated(options, random);
    case "none":
      return (repetition) => capped(options, repetition);
  }
}

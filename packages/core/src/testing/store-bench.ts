/** What the contract suites of all stores share. */

/** Milliseconds that no case takes. */
export const LONG_MS = 600_000;
/** A time to live or a lease that is certainly over after {@link PASS_MS}. */
export const SHORT_MS = 10;
export const PASS_MS = 50;

/** @throws Error when a store is not what it should be */
export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`the store breaks its contract: ${message}`);
}

/** A value as it stands in messages. */
export function show(value: unknown): string {
  const text = JSON.stringify(value, (_, part: unknown) => (part === Infinity ? "Infinity" : part)) ?? String(value);
  return text.length > 300 ? `${text.slice(0, 300)}...` : text;
}

/** @throws Error naming both when they differ */
export function equal(actual: unknown, expected: unknown, what: string): void {
  check(Object.is(actual, expected), `${what}: expected ${show(expected)}, got ${show(actual)}`);
}

let tokens = 0;

/** A token that nobody else of this run has. */
export function newToken(): string {
  tokens += 1;
  return `token-${tokens}`;
}

/** A moment on both clocks that a store may be on, one that is advanced and one that goes on; which it is nobody says. */
export type Moment = readonly [advanced: number, real: number];

/** Milliseconds between two moments, on whichever clock it is more. */
export function between(from: Moment, to: Moment): number {
  return Math.max(to[0] - from[0], to[1] - from[1]);
}

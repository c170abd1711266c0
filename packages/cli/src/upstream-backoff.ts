/** How long a new connection waits after failures in a row, in milliseconds. */
export const RESTART = { baseDelayMs: 200, maxDelayMs: 5_000 } as const;

/** After so many failures in a row nothing is tried any more until somebody asks for the server. */
export const MAX_FAILURES = 5;

/** Half of the delay is random, so that proxies of one server do not return in step. The first failure costs no wait. */
export function restartDelayMs(failures: number, random: () => number): number {
  if (failures === 0) return 0;
  const full = Math.min(RESTART.maxDelayMs, RESTART.baseDelayMs * 2 ** (failures - 1));
  return full / 2 + (random() * full) / 2;
}

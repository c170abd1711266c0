/** Runs an observer; whatever it throws changes nothing. */
export function quietly<T>(observe: () => T): T | undefined {
  try {
    return observe();
  } catch {
    return undefined;
  }
}

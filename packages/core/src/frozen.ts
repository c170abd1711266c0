/**
 * Freezes a constant that is handed out. Unlike of `Object.freeze` itself, a bundler is told that this does nothing else: it
 * drops the constants that nobody uses.
 *
 * @__NO_SIDE_EFFECTS__
 */
export function frozen<const T>(constant: T): T {
  return Object.freeze(constant);
}

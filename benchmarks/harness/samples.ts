/** Name of the reference's second run. */
export const AGAIN = "(the reference again)";

/** Samples of every contender, one per round, in the same order of rounds. */
export type Samples = ReadonlyMap<string, readonly number[]>;

/** One after the other: rounds of several processes. */
export function joined(parts: readonly Samples[]): Samples {
  const names = [...(parts[0]?.keys() ?? [])];
  return new Map(names.map((name) => [name, parts.flatMap((part) => part.get(name) ?? [])]));
}

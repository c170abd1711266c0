/** The value at a fraction of the sorted sample, interpolated. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * fraction;
  const low = sorted[Math.floor(position)] ?? Number.NaN;
  const high = sorted[Math.ceil(position)] ?? Number.NaN;
  return low + (high - low) * (position - Math.floor(position));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Combines two samples round by round: what ran next to each other is compared with each other. */
export function paired(
  ours: readonly number[],
  peers: readonly number[],
  combine: (ours: number, peer: number) => number,
): number[] {
  return ours.map((value, round) => combine(value, peers[round] ?? Number.NaN));
}

/**
 * Half the width of a 95 % interval of the median: 1.96 standard errors, each 1.253 standard deviations by the root of the
 * sample's size, and the deviation taken as the interquartile range by 1.349, which outliers do not move.
 */
function uncertainty(values: readonly number[]): number {
  const range = quantile(values, 0.75) - quantile(values, 0.25);
  return (1.96 * 1.253 * (range / 1.349)) / Math.sqrt(values.length);
}

/**
 * How far the medians of two runs of the same thing may be apart: what these two were, or what their rounds make likely.
 *
 * @param values - the two runs compared round by round
 * @param ideal - what two equal runs give: 1 for ratios, 0 for differences
 */
export function noiseOf(values: readonly number[], ideal: number): number {
  return Math.max(Math.abs(median(values) - ideal), uncertainty(values));
}

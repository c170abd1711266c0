import type { Task } from "./group.js";
import { sampleGroup } from "./sample.js";
import { median } from "./statistics.js";

/** One measurement: the cost `y` at the size `x`. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** One line of a plot. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** A line to compare with, such as a bare `Map` or the raw driver: it is drawn and not judged. */
  readonly isReference?: boolean | undefined;
}

/** How the cost of one call grows with one size. */
export interface Curve {
  readonly title: string;
  readonly xLabel: string;
  readonly unit: "ns" | "µs" | "ms" | "B";
  /** What the cost is expected to do while the size grows. */
  readonly expectation: "flat" | "logarithmic" | "linear";
  /**
   * The most that the cost may grow: y at the largest x over y at the smallest non-trivial x. For `linear`, the same of y per x.
   */
  readonly maxGrowth: number;
  /**
   * The smallest non-trivial x.
   * @defaultValue the smallest x above 0
   */
  readonly from?: number | undefined;
  /**
   * Name of a reference that needs as much memory at each size. The others are judged by y over its y: what the misses of the
   * processor's caches and the garbage collector cost everybody is not theirs.
   */
  readonly relativeTo?: string | undefined;
  readonly series: readonly Series[];
}

/** What a file in `scaling/` exports as default. */
export type CurveFactory = () => Promise<readonly Curve[]>;

/** What a series was judged to do. */
export interface Growth {
  readonly curve: string;
  readonly series: string;
  readonly expectation: Curve["expectation"];
  readonly from: Point;
  readonly to: Point;
  /** Relative to the reference that the curve names, if it names one. */
  readonly growth: number;
  readonly maxGrowth: number;
  /** Exponent of the power law that fits best: near 0 is flat or logarithmic, 1 is linear. */
  readonly exponent: number;
  /** `undefined` for a reference. */
  readonly holds: boolean | undefined;
}

/** Slope of log y over log x by least squares, from the smallest non-trivial x on. */
function exponentOf(points: readonly Point[]): number {
  const xs = points.map(({ x }) => Math.log(x));
  const ys = points.map(({ y }) => Math.log(y));
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(xs), mean(ys)];
  const covariance = xs.reduce((sum, x, index) => sum + (x - meanX) * ((ys[index] ?? meanY) - meanY), 0);
  const variance = xs.reduce((sum, x) => sum + (x - meanX) ** 2, 0);
  return covariance / variance;
}

/** 1 where there is nothing to compare with; a reference that gets cheaper asks nothing of others. */
function growthOfReference(curve: Curve, series: Series, from: number, to: number): number {
  if (curve.relativeTo === undefined || series.isReference === true) return 1;
  const points = curve.series.find(({ name }) => name === curve.relativeTo)?.points;
  const at = (size: number): number => points?.find(({ x }) => x === size)?.y ?? Number.NaN;
  return Math.max(1, at(to) / at(from));
}

function growthOf(curve: Curve, series: Series): Growth {
  const smallest = curve.from ?? Number.MIN_VALUE;
  const counted = series.points.filter(({ x }) => x >= smallest).sort((a, b) => a.x - b.x);
  const [from, to] = [counted[0], counted.at(-1)];
  if (from === undefined || to === undefined || from === to) {
    throw new TypeError(`${curve.title}: the series "${series.name}" needs at least two points`);
  }
  const ratio = to.y / from.y / growthOfReference(curve, series, from.x, to.x);
  const growth = curve.expectation === "linear" ? ratio / (to.x / from.x) : ratio;
  return {
    curve: curve.title,
    series: series.name,
    expectation: curve.expectation,
    from,
    to,
    growth,
    maxGrowth: curve.maxGrowth,
    exponent: exponentOf(counted),
    // A figure that is no number holds nothing.
    holds: series.isReference === true ? undefined : growth <= curve.maxGrowth,
  };
}

/** What the points say about the expectation of the curve. */
export function judgeCurve(curve: Curve): readonly Growth[] {
  return curve.series.map((series) => growthOf(curve, series));
}

/**
 * Times a task for every size, all of them in turn in every round, so that a machine that slows down slows down all points.
 * For operations so short that a loop over them is needed, in nanoseconds; what is slower or has an order of its own (a
 * database that is filled between points) measures its points itself.
 */
export async function timePoints(title: string, tasks: ReadonlyMap<number, Task>): Promise<readonly Point[]> {
  const names = [...tasks.keys()].map(String);
  const samples = await sampleGroup({
    title,
    measure: "time",
    contenders: Object.fromEntries([...tasks].map(([x, task]) => [String(x), task])),
    reference: names[0] ?? "",
    targets: [],
  });
  return [...tasks.keys()].map((x) => ({ x, y: median(samples.get(String(x)) ?? []) }));
}

import type { GroupPlan, Measure, Target, Unit } from "./group.js";
import { AGAIN, type Samples } from "./samples.js";
import { median, noiseOf, paired } from "./statistics.js";

/** One line of the table. */
export interface Row {
  readonly group: string;
  readonly what: string;
  readonly unit: Unit;
  readonly ours: { readonly name: string; readonly value: number };
  readonly peer: { readonly name: string; readonly value: number } | undefined;
  readonly kind: "ratio" | "difference" | "share" | "absolute";
  /** The figure that is judged: the ratio, the difference, the share, or ours itself. */
  readonly figure: number;
  readonly target: number | undefined;
  /** In the unit of the figure; for ratios and shares, relative. */
  readonly noise: number;
  /** `undefined` for a row that only informs. */
  readonly holds: boolean | undefined;
}

const UNITS: Readonly<Record<Exclude<Measure, "value">, Unit>> = { time: "ns", bytes: "B", spawn: "ms" };

function ratio(ours: number, peer: number): number {
  return ours / peer;
}

function difference(ours: number, peer: number): number {
  return ours - peer;
}

function samplesOf(samples: Samples, group: GroupPlan, name: string): readonly number[] {
  const values = samples.get(name);
  if (values === undefined) throw new TypeError(`${group.title}: no contender is called "${name}"`);
  return values;
}

const isRelative = (kind: Row["kind"]): boolean => kind === "ratio" || kind === "share";

function groupNoise(samples: Samples, group: GroupPlan, kind: Row["kind"]): number {
  const reference = samplesOf(samples, group, group.reference);
  const again = samplesOf(samples, group, AGAIN);
  // A count of 0 is no ratio.
  const combine = isRelative(kind) && reference.every((value) => value > 0) ? ratio : difference;
  return noiseOf(paired(again, reference, combine), combine === ratio ? 1 : 0);
}

/** A ratio, like a difference, misses only by more than the noise. What is no number misses. */
function holds(figure: number, target: number, noise: number, kind: Row["kind"]): boolean {
  return figure <= (isRelative(kind) ? target * (1 + noise) : target + noise);
}

/** Paired by round rather than one median over the other: a machine that slows down slows both down. */
function figureOf(group: GroupPlan, target: Target, kind: Row["kind"], samples: Samples): number {
  const ours = samplesOf(samples, group, target.ours);
  if (target.peer === undefined) return median(ours);
  const peer = samplesOf(samples, group, target.peer);
  if (kind === "difference") return median(paired(ours, peer, difference));
  if (kind !== "share" || target.less === undefined) return median(paired(ours, peer, ratio));
  return median(paired(paired(ours, samplesOf(samples, group, target.less), difference), peer, ratio));
}

function rowOf(group: GroupPlan, target: Target, samples: Samples): Row {
  const kind = target.peer === undefined ? "absolute" : (target.kind ?? "ratio");
  const figure = figureOf(group, target, kind, samples);
  const noise = groupNoise(samples, group, kind);
  const summaryOf = (name: string): { readonly name: string; readonly value: number } => ({
    name,
    value: median(samplesOf(samples, group, name)),
  });
  return {
    group: group.title,
    what: target.what ?? group.title,
    unit: group.measure === "value" ? (group.unit ?? "") : UNITS[group.measure],
    ours: summaryOf(target.ours),
    peer: target.peer === undefined ? undefined : summaryOf(target.peer),
    kind,
    figure,
    target: target.atMost,
    noise,
    holds: target.atMost === undefined ? undefined : holds(figure, target.atMost, noise, kind),
  };
}

/** What the samples say about each target of the group. */
export function judge(group: GroupPlan, samples: Samples): readonly Row[] {
  return group.targets.map((target) => rowOf(group, target, samples));
}

import type { Group, Measure, Target } from "./group.js";
import { AGAIN, type Samples } from "./sample.js";
import { median, noiseOf, paired } from "./statistics.js";

/** One line of the table. */
export interface Row {
  readonly group: string;
  readonly what: string;
  readonly unit: "ns" | "B" | "ms";
  readonly ours: { readonly name: string; readonly value: number };
  readonly peer: { readonly name: string; readonly value: number } | undefined;
  readonly kind: "ratio" | "difference" | "absolute";
  /** The figure that is judged: the ratio, the difference, or ours itself. */
  readonly figure: number;
  readonly target: number | undefined;
  /** In the unit of the figure; for ratios, relative. */
  readonly noise: number;
  /** `undefined` for a row that only informs. */
  readonly holds: boolean | undefined;
}

const UNITS: Readonly<Record<Measure, Row["unit"]>> = { time: "ns", bytes: "B", spawn: "ms" };

function ratio(ours: number, peer: number): number {
  return ours / peer;
}

function difference(ours: number, peer: number): number {
  return ours - peer;
}

function samplesOf(samples: Samples, group: Group, name: string): readonly number[] {
  const values = samples.get(name);
  if (values === undefined) throw new TypeError(`${group.title}: no contender is called "${name}"`);
  return values;
}

function groupNoise(samples: Samples, group: Group, kind: Row["kind"]): number {
  const reference = samplesOf(samples, group, group.reference);
  const again = samplesOf(samples, group, AGAIN);
  if (kind === "ratio") return noiseOf(paired(again, reference, ratio), 1);
  return noiseOf(paired(again, reference, difference), 0);
}

/** A ratio, like a difference, misses only by more than the noise. */
function holds(figure: number, target: number, noise: number, kind: Row["kind"]): boolean {
  return figure <= (kind === "ratio" ? target * (1 + noise) : target + noise);
}

function rowOf(group: Group, target: Target, samples: Samples): Row {
  const ours = samplesOf(samples, group, target.ours);
  const peer = target.peer === undefined ? undefined : samplesOf(samples, group, target.peer);
  const kind = peer === undefined ? "absolute" : (target.kind ?? "ratio");
  // Paired by round rather than one median over the other: a machine that slows down slows both down.
  const figure =
    peer === undefined ? median(ours) : median(paired(ours, peer, kind === "difference" ? difference : ratio));
  const noise = groupNoise(samples, group, kind);
  return {
    group: group.title,
    what: target.what ?? group.title,
    unit: UNITS[group.measure],
    ours: { name: target.ours, value: median(ours) },
    peer: peer === undefined || target.peer === undefined ? undefined : { name: target.peer, value: median(peer) },
    kind,
    figure,
    target: target.atMost,
    noise,
    holds: target.atMost === undefined ? undefined : holds(figure, target.atMost, noise, kind),
  };
}

/** What the samples say about each target of the group. */
export function judge(group: Group, samples: Samples): readonly Row[] {
  return group.targets.map((target) => rowOf(group, target, samples));
}

/** Node's major version. */
export const nodeMajor: number = Number(process.versions.node.split(".", 1)[0]);

/** One way of doing the job. Everything that can be prepared is prepared outside of it. */
export type Task = () => unknown;

/**
 * What is compared: median time of one call, bytes allocated by one call, wall time of a spawned process, or the number that the
 * task itself gives, in the group's unit.
 */
export type Measure = "time" | "bytes" | "spawn" | "value";

/** What figures are in; `""` for plain counts. */
export type Unit = "ns" | "B" | "ms" | "";

/** A ratio (or a difference, a share, or an absolute figure) that must hold. */
export interface Target {
  /** What the row is about; the group's title when absent. */
  readonly what?: string | undefined;
  /** Name of the contender that is judged. */
  readonly ours: string;
  /** Name of the contender it is compared with; absent for an absolute limit. */
  readonly peer?: string | undefined;
  /** For `share`: name of the contender whose figure is taken off ours first. */
  readonly less?: string | undefined;
  /**
   * `ratio`: ours / peer. `difference`: ours - peer. `share`: (ours - less) / peer. `absolute`: ours.
   * @defaultValue "ratio"
   */
  readonly kind?: "ratio" | "difference" | "share" | "absolute" | undefined;
  /** The most it may be; absent for a row that only informs. */
  readonly atMost?: number | undefined;
}

/** What is known of a group without running it. */
export interface GroupPlan {
  readonly title: string;
  readonly measure: Measure;
  /**
   * Unit of `value`; the other measures have their own.
   * @defaultValue ""
   */
  readonly unit?: Unit | undefined;
  /** The contender that runs twice (the A/A pair): how far its two runs are apart is the group's noise. */
  readonly reference: string;
  readonly targets: readonly Target[];
}

/** Contenders that do the same job, and what must hold between them. */
export interface Group extends GroupPlan {
  /**
   * The contenders. Each name's task runs in a timing loop of its own; for `spawn`, the value is the file to run.
   */
  readonly contenders: Readonly<Record<string, Task>> | Readonly<Record<string, string>>;
  /** Released after the groups of the file have run. */
  readonly close?: (() => void | Promise<void>) | undefined;
}

/** What a file in `groups/` exports as default: it is asked in every process that measures one of its groups. */
export type GroupFactory = () => Promise<readonly Group[]> | readonly Group[];

/** The limit for the Node version that runs: the entry of the highest version that is not newer. */
export function byNode(limits: Readonly<Record<number, number>>): number {
  const versions = Object.keys(limits).map(Number);
  const applicable = versions.filter((version) => version <= nodeMajor);
  const limit = limits[applicable.length === 0 ? Math.min(...versions) : Math.max(...applicable)];
  if (limit === undefined) throw new TypeError("byNode: needs at least one version");
  return limit;
}

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { judge } from "../benchmarks/harness/judge.ts";
import { mergedRows } from "../benchmarks/harness/results.ts";
import { AGAIN } from "../benchmarks/harness/samples.ts";
import { judgeCurve } from "../benchmarks/harness/scaling.ts";
import { median, noiseOf, quantile } from "../benchmarks/harness/statistics.ts";
import { figureText } from "../benchmarks/harness/table.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const execute = promisify(execFile);

/** @typedef {import("../benchmarks/harness/judge.ts").Row} Row */

/**
 * @param {object} target
 * @param {import("../benchmarks/harness/group.ts").Measure} [measure]
 * @returns {import("../benchmarks/harness/group.ts").GroupPlan}
 */
function plan(target, measure = "time") {
  return { title: "group", measure, reference: "floor", targets: [{ ours: "ours", ...target }] };
}

/**
 * Nine rounds of each, with a second run of the floor that was `apart` times as slow.
 *
 * @param {number} ours
 * @param {number} floor
 */
function samples(ours, floor, apart = 1) {
  const rounds = (value) => Array.from({ length: 9 }, () => value);
  return new Map([
    ["ours", rounds(ours)],
    ["floor", rounds(floor)],
    [AGAIN, rounds(floor * apart)],
  ]);
}

/** @param {readonly Row[]} rows */
function single(rows) {
  const [row] = rows;
  if (row === undefined || rows.length !== 1) throw new Error(`expected one row, got ${rows.length}`);
  return row;
}

describe("judge", () => {
  test("a ratio beyond the target misses", () => {
    expect(single(judge(plan({ peer: "floor", atMost: 1.2 }), samples(125, 100)))).toMatchObject({
      kind: "ratio",
      figure: 1.25,
      noise: 0,
      holds: false,
    });
  });

  test("a ratio beyond the target by no more than the noise holds, and by more misses", () => {
    const limit = plan({ peer: "floor", atMost: 1.2 });
    expect(single(judge(limit, samples(125, 100, 1.05))).holds).toBe(true);
    expect(single(judge(limit, samples(127, 100, 1.05))).holds).toBe(false);
  });

  test("a difference, a share and an absolute figure miss beyond their limits", () => {
    const shared = new Map([...samples(130, 1000), ["stub", Array.from({ length: 9 }, () => 100)]]);
    const share = { peer: "floor", less: "stub", kind: "share" };
    expect(single(judge(plan({ peer: "floor", kind: "difference", atMost: 24 }), samples(125, 100))).holds).toBe(false);
    expect(single(judge(plan({ peer: "floor", kind: "difference", atMost: 25 }), samples(125, 100))).holds).toBe(true);
    expect(single(judge(plan({ ...share, atMost: 0.029 }), shared)).holds).toBe(false);
    expect(single(judge(plan({ ...share, atMost: 0.031 }), shared)).holds).toBe(true);
    expect(single(judge(plan({ atMost: 124 }), samples(125, 100))).holds).toBe(false);
    expect(single(judge(plan({ atMost: 125 }), samples(125, 100))).holds).toBe(true);
  });

  test("one inversion misses a limit of none, although zero can be no ratio", () => {
    const counted = plan({ atMost: 0 }, "value");
    expect(single(judge(counted, samples(1, 0)))).toMatchObject({ noise: 0, holds: false });
    expect(single(judge(counted, samples(0, 0)))).toMatchObject({ noise: 0, holds: true });
  });

  test("the noise of a reference that is zero is a number", () => {
    expect(single(judge(plan({ peer: "floor" }, "value"), samples(0, 0))).noise).toBe(0);
  });

  test("a figure that is no number misses", () => {
    expect(single(judge(plan({ peer: "floor", atMost: 1.2 }), samples(Number.NaN, 100))).holds).toBe(false);
  });

  test("a row without a target informs", () => {
    expect(single(judge(plan({ peer: "floor" }), samples(500, 100))).holds).toBeUndefined();
  });

  test("a contender that is not there is named", () => {
    expect(() => judge(plan({ peer: "nobody" }), samples(1, 1))).toThrow('group: no contender is called "nobody"');
  });

  test("a machine that slows down for everybody changes no ratio", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.5, max: 50, noNaN: true }), { minLength: 3, maxLength: 20 }),
        (speeds) => {
          const of = (value) => speeds.map((speed) => value * speed);
          const drifting = new Map([
            ["ours", of(120)],
            ["floor", of(100)],
            [AGAIN, of(100)],
          ]);
          const row = single(judge(plan({ peer: "floor", atMost: 1.19 }), drifting));
          expect(row.figure).toBeCloseTo(1.2, 10);
          expect(row.holds).toBe(false);
        },
      ),
    );
  });
});

describe("statistics", () => {
  test("quantiles interpolate and do not depend on the order", () => {
    expect(quantile([40, 10, 30, 20], 0.5)).toBe(25);
    expect(quantile([40, 10, 30, 20], 1)).toBe(40);
    expect(median([3, 1, 2])).toBe(2);
  });

  test("the noise is at least how far the medians of the two runs are apart, and grows with the spread", () => {
    expect(noiseOf([1.1, 1.1, 1.1], 1)).toBeCloseTo(0.1, 10);
    expect(noiseOf([0.8, 0.9, 1, 1.1, 1.2], 1)).toBeGreaterThan(noiseOf([0.98, 0.99, 1, 1.01, 1.02], 1));
  });
});

describe("scaling", () => {
  const line = (name, power, isReference = false) => ({
    name,
    isReference,
    points: [1, 10, 100, 1000].map((x) => ({ x, y: 100 * x ** power })),
  });
  const curve = (over) => ({
    title: "curve",
    xLabel: "keys",
    unit: "ns",
    expectation: "flat",
    maxGrowth: 2,
    series: [],
    ...over,
  });
  const holds = (over) => judgeCurve(curve(over)).map((growth) => growth.holds);

  test("a cost that grows with the size misses where it is to be flat, and holds where it is to be linear", () => {
    expect(holds({ series: [line("flat", 0), line("linear", 1)] })).toEqual([true, false]);
    expect(holds({ expectation: "linear", series: [line("linear", 1), line("square", 2)] })).toEqual([true, false]);
    expect(judgeCurve(curve({ series: [line("linear", 1)] }))[0]?.exponent).toBeCloseTo(1, 10);
  });

  test("a cost is judged by its distance from the reference that the curve names", () => {
    const series = [line("ours", 0.3), line("worse", 0.8), line("map", 0.3, true)];
    expect(holds({ relativeTo: "map", series })).toEqual([true, false, undefined]);
    expect(holds({ relativeTo: "nobody", series })).toEqual([false, false, undefined]);
  });
});

test("rows measured again take the place of the old ones and leave the others", () => {
  const row = (group, figure) => ({
    ...single(judge(plan({ peer: "floor" }), samples(1, 1))),
    group,
    figure,
  });
  const merged = mergedRows([row("a", 1), row("b", 1), row("b", 2), row("c", 1)], [row("b", 3), row("d", 1)]);
  expect(merged.map(({ group, figure }) => `${group}${figure}`)).toEqual(["a1", "b3", "c1", "d1"]);
});

test("the command measures one row and prints it as JSON", async () => {
  const main = ["--expose-gc", "--import", "tsx", "benchmarks/main.ts"];
  const options = ["--processes", "1", "--file", "concurrency", "--only", "order inversions", "--json"];
  const { stdout } = await execute(process.execPath, [...main, ...options], { cwd: ROOT });
  const { node, rows, misses } = JSON.parse(stdout);
  expect(node).toBe(process.version);
  expect(misses).toBe(0);
  const ours = rows.find((row) => row.ours.name === "concurrencyLimit()");
  expect(ours).toMatchObject({ figure: 0, target: 0, holds: true });
  expect(ours && figureText(ours.figure, ours)).toBe("0");
});

test("the page and the plots belong to what is in results", async () => {
  await expect(
    execute(process.execPath, ["--import", "tsx", "benchmarks/plots.ts", "--check"], { cwd: ROOT }),
  ).resolves.toMatchObject({ stderr: "" });
});

import { spawnSync } from "node:child_process";
import { do_not_optimize } from "mitata";
import type { Group, Measure, Task } from "./group.js";

/**
 * The timing loop is our own because the targets are ratios of medians over rounds whose order rotates, and mitata's `measure`
 * runs one contender to its end, compiling a fresh loop each time. Ours is compiled once for each contender, from source, so
 * that no contender shares a call site, and with it type feedback, with another.
 */
type Loop = (iterations: number) => Promise<void>;

const AsyncFunction = (async () => undefined).constructor as new (
  ...parameters: string[]
) => (...given: unknown[]) => Promise<void>;

let compiled = 0;

function loopOf(task: Task): Loop {
  compiled += 1;
  // The number makes each source different, else the engine's cache would hand out one function.
  const source = `/* ${compiled} */
    for (let index = 0; index < iterations; index += 1) keep(await task());`;
  const loop = new AsyncFunction("task", "keep", "iterations", source);
  return (iterations) => loop(task, do_not_optimize, iterations);
}

function collectGarbage(): void {
  if (globalThis.gc === undefined) throw new Error("run with node --expose-gc (pnpm bench does)");
  globalThis.gc();
}

/** Takes one sample of one contender. */
export interface Sampler {
  /** Brings the contender to its steady state. */
  warmUp(): Promise<void>;
  sample(): Promise<number>;
}

const WARM_UP_MS = 250;
/** A sample is the fastest of a few slices: what else the machine does meanwhile rarely hits all of them. */
const SLICES = 5;
const SLICE_MS = 6;

/** Nanoseconds per call. */
function timeSampler(task: Task): Sampler {
  const loop = loopOf(task);
  let iterations = 64;

  async function elapsedMs(): Promise<number> {
    const start = performance.now();
    await loop(iterations);
    return performance.now() - start;
  }

  return {
    async warmUp() {
      const end = performance.now() + WARM_UP_MS;
      while (performance.now() < end) {
        const ms = await elapsedMs();
        iterations = Math.max(16, Math.ceil((iterations * SLICE_MS) / Math.max(ms, 0.01)));
      }
    },
    async sample() {
      let fastestMs = Infinity;
      for (let slice = 0; slice < SLICES; slice += 1) fastestMs = Math.min(fastestMs, await elapsedMs());
      return (fastestMs * 1e6) / iterations;
    },
  };
}

/** Few enough that no collection falls into a sample: the young generation starts at 1 MiB. */
const COUNTED_CALLS = 100;

/** Bytes allocated per call, the promises that the caller's own `await` needs included. */
function bytesSampler(task: Task): Sampler {
  const loop = loopOf(task);
  return {
    async warmUp() {
      const end = performance.now() + WARM_UP_MS;
      while (performance.now() < end) await loop(1000);
    },
    async sample() {
      for (let tries = 0; tries < 10; tries += 1) {
        collectGarbage();
        const before = process.memoryUsage().heapUsed;
        await loop(COUNTED_CALLS);
        const bytes = process.memoryUsage().heapUsed - before;
        if (bytes > 0) return bytes / COUNTED_CALLS;
      }
      throw new Error("a garbage collection fell into every sample");
    },
  };
}

/** Milliseconds of wall time of a Node process that runs one file. */
function spawnSampler(file: string): Sampler {
  function runOnce(): number {
    const start = performance.now();
    const { status, stderr } = spawnSync(process.execPath, [file], { encoding: "utf8" });
    const elapsedMs = performance.now() - start;
    if (status !== 0) throw new Error(`${file} exited with ${status}: ${stderr}`);
    return elapsedMs;
  }
  return {
    async warmUp() {
      // Brings the files into the system's cache.
      for (let runs = 0; runs < 3; runs += 1) runOnce();
    },
    async sample() {
      return runOnce();
    },
  };
}

/** Milliseconds vary more from process to process than nanoseconds from loop to loop. */
const ROUNDS: Readonly<Record<Measure, number>> = { time: 15, bytes: 9, spawn: 41 };

function samplerOf(contender: Task | string): (measure: Measure) => Sampler {
  return (measure) => {
    if (typeof contender === "string") return spawnSampler(contender);
    return measure === "bytes" ? bytesSampler(contender) : timeSampler(contender);
  };
}

/** Name of the reference's second run. */
export const AGAIN = "(the reference again)";

/** Samples of every contender, one per round, in the same order of rounds. */
export type Samples = ReadonlyMap<string, readonly number[]>;

/** Runs a group: everybody warms up, then everybody runs once per round, each round starting with the next one. */
export async function sampleGroup(group: Group): Promise<Samples> {
  const contenders: Readonly<Record<string, Task | string>> = group.contenders;
  const reference = contenders[group.reference];
  if (reference === undefined) throw new TypeError(`${group.title}: no contender is called "${group.reference}"`);
  const field = [...Object.entries(contenders), [AGAIN, reference] as const].map(([name, contender]) => ({
    name,
    sampler: samplerOf(contender)(group.measure),
    values: [] as number[],
  }));
  // Once, before anybody is warm: a full collection also drops hidden classes nobody holds, and optimised code with them.
  collectGarbage();
  for (const { sampler } of field) await sampler.warmUp();
  for (let round = 0; round < ROUNDS[group.measure]; round += 1) {
    const first = round % field.length;
    for (const { sampler, values } of [...field.slice(first), ...field.slice(0, first)]) {
      values.push(await sampler.sample());
    }
  }
  return new Map(field.map(({ name, values }) => [name, values]));
}

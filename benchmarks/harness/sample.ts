import { spawnSync } from "node:child_process";
import { do_not_optimize } from "mitata";
import type { Group, Measure, Task } from "./group.js";
import { AGAIN, type Samples } from "./samples.js";

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

/**
 * Clears the young generation, so that nobody pays for the garbage of the one before him. A full collection would also drop
 * hidden classes nobody holds just then, and optimised code with them.
 */
function collectYoung(): void {
  (globalThis.gc as unknown as ((options: { readonly type: "minor" }) => void) | undefined)?.({ type: "minor" });
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
/** A slice holds some calls, however slow, so that each task pays for collecting what it allocates, and not one lucky call. */
const LEAST_CALLS = 12;
/** Slices as long as these are fewer. */
const LONG_SLICE_MS = 30;
const LONG_SLICES = 2;

/** Nanoseconds per call. */
function timeSampler(task: Task): Sampler {
  const loop = loopOf(task);
  let iterations = 1;
  let slices = SLICES;

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
        const callMs = ms / iterations;
        iterations = Math.max(LEAST_CALLS, Math.ceil(SLICE_MS / Math.max(callMs, 1e-5)));
        slices = iterations * callMs > LONG_SLICE_MS ? LONG_SLICES : SLICES;
      }
    },
    async sample() {
      let fastestMs = Infinity;
      for (let slice = 0; slice < slices; slice += 1) {
        collectYoung();
        fastestMs = Math.min(fastestMs, await elapsedMs());
      }
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

/** What the task itself gives, which it counts or weighs. */
function valueSampler(task: Task): Sampler {
  return {
    warmUp: async () => undefined,
    async sample() {
      const value = await task();
      if (typeof value !== "number")
        throw new TypeError(`a task of measure "value" must give a number, got ${typeof value}`);
      return value;
    },
  };
}

/** Rounds altogether. Milliseconds vary more from process to process than nanoseconds from loop to loop. */
export const ROUNDS: Readonly<Record<Measure, number>> = { time: 15, bytes: 9, spawn: 42, value: 9 };

function samplerOf(contender: Task | string, measure: Measure): Sampler {
  if (typeof contender === "string") return spawnSampler(contender);
  if (measure === "value") return valueSampler(contender);
  return measure === "bytes" ? bytesSampler(contender) : timeSampler(contender);
}

/**
 * Runs a group: everybody warms up, then everybody runs once per round, each round starting with the next one
 * and every other round going backwards.
 *
 * @param firstRound - how many rounds have gone before, in other processes: whose turn it is to start
 */
export async function sampleGroup(
  group: Group,
  rounds: number = ROUNDS[group.measure],
  firstRound = 0,
): Promise<Samples> {
  const contenders: Readonly<Record<string, Task | string>> = group.contenders;
  const reference = contenders[group.reference];
  if (reference === undefined) throw new TypeError(`${group.title}: no contender is called "${group.reference}"`);
  const field = [...Object.entries(contenders), [AGAIN, reference] as const].map(([name, contender]) => ({
    name,
    sampler: samplerOf(contender, group.measure),
    values: [] as number[],
  }));
  // Once, before anybody is warm: a full collection also drops hidden classes nobody holds, and optimised code with them.
  collectGarbage();
  for (const { sampler } of field) await sampler.warmUp();
  for (let round = 0; round < rounds; round += 1) {
    const first = (firstRound + round) % field.length;
    const order = [...field.slice(first), ...field.slice(0, first)];
    // Backwards every other time, else everybody would always come after the same one and find what that one left behind.
    if ((firstRound + round) % 2 === 1) order.reverse();
    for (const { sampler, values } of order) {
      values.push(await sampler.sample());
    }
  }
  return new Map(field.map(({ name, values }) => [name, values]));
}

import type { Task } from "../harness/group.js";

/** Latencies of all calls in milliseconds, and the time that they took together. */
export interface Load {
  readonly latencies: readonly number[];
  readonly elapsedMs: number;
}

/** Makes a number of calls with so many of them in flight: as soon as one has its answer the next one goes out. */
export async function load(task: Task, calls: number, inFlight: number): Promise<Load> {
  const latencies: number[] = [];
  let left = calls;
  async function caller(): Promise<void> {
    while (left > 0) {
      left -= 1;
      const start = performance.now();
      await task();
      latencies.push(performance.now() - start);
    }
  }
  const start = performance.now();
  await Promise.all(Array.from({ length: inFlight }, caller));
  return { latencies, elapsedMs: performance.now() - start };
}

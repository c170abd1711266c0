import type { Runtime } from "@mcp-tx/core";

const clocks = new WeakMap<Runtime, () => number>();

/**
 * The wall clock, which processes share, except that it never runs backwards within the process: set back, it goes on from where it
 * was. One per runtime, so that all stores of a process agree.
 */
export function clockOf(runtime: Runtime): () => number {
  const known = clocks.get(runtime);
  if (known !== undefined) return known;
  let offset = runtime.wallNow() - runtime.now();
  const clock = (): number => {
    const steady = runtime.now();
    const wall = runtime.wallNow();
    if (wall > steady + offset) offset = wall - steady;
    return steady + offset;
  };
  clocks.set(runtime, clock);
  return clock;
}

/** Thrown where a run is meant to die. */
export class SimulatedCrash extends Error {
  constructor(
    /** The point it died at. */
    readonly point: string,
  ) {
    super(`simulated crash at "${point}"`);
    this.name = "SimulatedCrash";
  }
}

/** Named places at which a process may die. */
export interface CrashPoints {
  /** Marks a place; throws there, and at every later one, when it is this run's turn to die. */
  point(name: string): void;
  /** The places reached so far, in order. */
  readonly visited: readonly string[];
  /** Where this run died; `undefined` while it lives. */
  readonly crashedAt: string | undefined;
}

/**
 * Makes the points of one run.
 *
 * @param crashAt - number of the point to die at, from 1
 * @defaultValue Infinity: the run lives, and its points are listed
 */
export function crashPoints(crashAt: number = Infinity): CrashPoints {
  const visited: string[] = [];
  let crashedAt: string | undefined;
  return {
    visited,
    get crashedAt() {
      return crashedAt;
    },
    point(name) {
      if (crashedAt === undefined) {
        visited.push(name);
        if (visited.length < crashAt) return;
        crashedAt = name;
      }
      // A dead process reaches nothing: code that swallowed the crash must not get any further.
      throw new SimulatedCrash(crashedAt);
    },
  };
}

/** What is known of a run that died. */
export interface CrashInfo {
  readonly point: string;
  /** Number of the point, from 1. */
  readonly index: number;
}

const MAX_RUNS = 10_000;

/**
 * Runs a scenario once for each point it reaches, dying there, until a run gets through.
 *
 * @param scenario - starts afresh each time; calls `crash.point(name)` wherever a process might die
 * @param options - `onCrash` is called after each run that died: recover there, and check what must hold
 * @returns the points of the run that got through
 * @throws whatever else the scenario throws, and what `onCrash` throws
 */
export async function forEachCrashPoint(
  scenario: (crash: CrashPoints) => Promise<unknown> | unknown,
  options: { readonly onCrash?: ((crash: CrashInfo) => Promise<unknown> | unknown) | undefined } = {},
): Promise<readonly string[]> {
  for (let index = 1; index <= MAX_RUNS; index += 1) {
    const crash = crashPoints(index);
    try {
      await scenario(crash);
    } catch (error) {
      if (crash.crashedAt === undefined) throw error;
    }
    if (crash.crashedAt === undefined) return crash.visited;
    await options.onCrash?.({ point: crash.crashedAt, index });
  }
  throw new Error(`forEachCrashPoint: no run got through within ${MAX_RUNS} points; does the scenario loop?`);
}

let reached = 0;

/**
 * Marks a place at which a real process dies by SIGKILL, when the environment variable `MCP_TX_CRASH_AT` holds its name or the
 * number, from 1, of the place in the order in which the process reaches them. Does nothing without the variable.
 */
export function crashAt(name: string): void {
  const wanted = globalThis.process?.env.MCP_TX_CRASH_AT;
  if (wanted === undefined || wanted === "") return;
  reached += 1;
  if (wanted === name || wanted === String(reached)) process.kill(process.pid, "SIGKILL");
}

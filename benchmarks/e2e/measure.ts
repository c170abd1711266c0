import { AGAIN } from "../harness/samples.js";
import { median, noiseOf, paired, quantile } from "../harness/statistics.js";
import { type Line, type Link, openSite } from "./connect.js";
import { type Load, load } from "./load.js";
import { bare, peerStacks, type Stack, standardStack } from "./stacks.js";

/** What calls through one stack cost; latencies in microseconds. */
export interface StackFigures {
  readonly line: Line;
  readonly link: Link;
  readonly inFlight: number;
  readonly stack: string;
  readonly calls: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  /** Time per call over that of the bare SDK call, round by round. */
  readonly ratio: number;
  /** How far two runs of the bare call were apart. */
  readonly noise: number;
}

/** Rounds in which everybody takes a turn. */
const ROUNDS = 9;
const WARM_UP_CALLS = 500;
/** All rounds of one stack together. */
const STACK_MS = 1800;

interface Contender {
  readonly name: string;
  readonly task: () => unknown;
  readonly loads: Load[];
}

const perCall = ({ latencies, elapsedMs }: Load): number => elapsedMs / latencies.length;

function figuresOf(
  contender: Contender,
  reference: Contender,
  again: Contender,
): Omit<StackFigures, "line" | "link" | "inFlight"> {
  const latencies = contender.loads.flatMap((each) => each.latencies);
  const microseconds = (fraction: number): number => quantile(latencies, fraction) * 1000;
  const compared = (one: Contender): number[] =>
    paired(one.loads.map(perCall), reference.loads.map(perCall), (ours, theirs) => ours / theirs);
  return {
    stack: contender.name,
    calls: latencies.length,
    perSecond: 1000 / median(contender.loads.map(perCall)),
    p50: microseconds(0.5),
    p90: microseconds(0.9),
    p99: microseconds(0.99),
    p999: microseconds(0.999),
    ratio: median(compared(contender)),
    noise: noiseOf(compared(again), 1),
  };
}

/** Measures all stacks on one kind of connection with so many calls in flight, in turn. */
export async function measureStacks(line: Line, link: Link, inFlight: number): Promise<readonly StackFigures[]> {
  const site = await openSite(line, link);
  try {
    const stacks: readonly Stack[] = [bare, standardStack, ...peerStacks(), { ...bare, name: AGAIN }];
    const contenders: Contender[] = [];
    for (const { name, over } of stacks) contenders.push({ name, task: over(await site.connect()), loads: [] });
    let slowestMs = 0;
    for (const { task } of contenders) {
      slowestMs = Math.max(slowestMs, perCall(await load(task, WARM_UP_CALLS, inFlight)));
    }
    const calls = Math.max(inFlight * 2, Math.ceil(STACK_MS / ROUNDS / slowestMs));
    for (let round = 0; round < ROUNDS; round += 1) {
      const first = round % contenders.length;
      for (const { task, loads } of [...contenders.slice(first), ...contenders.slice(0, first)]) {
        loads.push(await load(task, calls, inFlight));
      }
    }
    const [reference, again] = [contenders[0], contenders.at(-1)];
    if (reference === undefined || again === undefined) throw new Error("nothing was measured");
    return contenders
      .filter((contender) => contender !== again)
      .map((contender) => ({ line, link, inFlight, ...figuresOf(contender, reference, again) }));
  } finally {
    await site.close();
  }
}

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { GroupPlan } from "./group.js";
import { ROUNDS } from "./sample.js";
import { joined, type Samples } from "./samples.js";
import type { Curve } from "./scaling.js";
import { median, paired } from "./statistics.js";

/** A group, and the file in `groups/` that makes it. */
export interface Planned {
  readonly file: string;
  readonly plan: GroupPlan;
}

/** What a worker sends. */
export interface WorkerAnswer {
  readonly planned?: readonly Planned[] | undefined;
  readonly curves?: readonly Curve[] | undefined;
  readonly samples?: readonly (readonly [name: string, values: readonly number[]])[] | undefined;
}

const WORKER = fileURLToPath(new URL("../worker.ts", import.meta.url));

/** Resolves with the answer once the worker has ended. */
function ask(...words: readonly string[]): Promise<WorkerAnswer> {
  return new Promise((resolve, reject) => {
    // The loader and the flags are those of this process; the table alone goes to the standard output.
    const worker = fork(WORKER, words, { stdio: ["ignore", process.stderr, "inherit", "ipc"] });
    let answer: WorkerAnswer | undefined;
    worker.on("message", (message) => {
      answer = message as WorkerAnswer;
    });
    worker.on("error", reject);
    worker.on("exit", (code) => {
      if (code === 0 && answer !== undefined) resolve(answer);
      else reject(new Error(`the process for "${words.join(" ")}" ended with ${code}`));
    });
  });
}

/** All groups of the files in `groups/` whose name holds a text. */
export async function listGroups(file: string): Promise<readonly Planned[]> {
  return (await ask("list", file)).planned ?? [];
}

/** The curves of a file in `scaling/`. */
export async function curvesInProcess(file: string): Promise<readonly Curve[]> {
  return (await ask("curves", file)).curves ?? [];
}

async function sampleOnce({ file, plan }: Planned, rounds: number, firstRound: number): Promise<Samples> {
  return new Map((await ask("run", file, plan.title, String(rounds), String(firstRound))).samples ?? []);
}

/** Processes whose medians of some judged ratio are further apart than this disagree. */
const DISAGREEMENT = 0.05;
function medianRatio(samples: Samples, ours: string, peer: string): number {
  return median(paired(samples.get(ours) ?? [], samples.get(peer) ?? [], (mine, theirs) => mine / theirs));
}

/**
 * Whether the engine came to different decisions (what to inline, what to optimise first) in different processes, so that one
 * more or less would turn the median over.
 */
export function disagree({ targets, measure }: GroupPlan, parts: readonly Samples[]): boolean {
  if (measure !== "time") return false;
  return targets.some(({ ours, peer, atMost }) => {
    if (peer === undefined || atMost === undefined) return false;
    const ratios = parts.map((part) => medianRatio(part, ours, peer));
    return Math.max(...ratios) > Math.min(...ratios) * (1 + DISAGREEMENT);
  });
}

/**
 * The samples of a group from several processes, some rounds in each. Where the processes disagree there are twice as many; every
 * sample of every process counts.
 */
export async function sampleInProcesses(planned: Planned, processes: number): Promise<Samples> {
  const rounds = Math.ceil(ROUNDS[planned.plan.measure] / processes);
  const parts: Samples[] = [];
  async function measure(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      parts.push(await sampleOnce(planned, rounds, parts.length * rounds));
    }
  }
  await measure(processes);
  if (processes > 1 && disagree(planned.plan, parts)) await measure(processes);
  return joined(parts);
}

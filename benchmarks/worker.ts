// A process of its own for one group: what other groups taught the engine about shared code is forgotten here.
// Usage: worker.ts list PART_OF_FILE | worker.ts run FILE TITLE ROUNDS FIRST_ROUND | worker.ts curves FILE. Answers over the channel to its parent.
import { readdir } from "node:fs/promises";
import type { Group, GroupFactory } from "./harness/group.js";
import type { Planned, WorkerAnswer } from "./harness/processes.js";
import { sampleGroup } from "./harness/sample.js";
import type { CurveFactory } from "./harness/scaling.js";

const directory = new URL("groups/", import.meta.url);
/** What may still be open after everything was closed is not waited for longer than this. */
const CLOSES_WITHIN_MS = 5000;

async function load(file: string): Promise<readonly Group[]> {
  const { default: make }: { default: GroupFactory } = await import(new URL(file, directory).href);
  return make();
}

async function closeAll(groups: readonly Group[]): Promise<void> {
  for (const { close } of groups) await close?.();
}

async function list(part: string): Promise<readonly Planned[]> {
  const files = (await readdir(directory)).filter((name) => name.endsWith(".ts") && name.includes(part)).sort();
  const planned: Planned[] = [];
  for (const file of files) {
    const groups = await load(file);
    planned.push(...groups.map(({ contenders: _, close: __, ...plan }) => ({ file, plan })));
    await closeAll(groups);
  }
  return planned;
}

async function run(file: string, title: string, rounds: number, firstRound: number): Promise<WorkerAnswer["samples"]> {
  const groups = await load(file);
  const group = groups.find((candidate) => candidate.title === title);
  if (group === undefined) throw new TypeError(`${file} has no group "${title}"`);
  const samples = await sampleGroup(group, rounds, firstRound);
  await closeAll(groups);
  return [...samples];
}

async function curves(file: string): Promise<WorkerAnswer["curves"]> {
  const { default: make }: { default: CurveFactory } = await import(new URL(`scaling/${file}`, import.meta.url).href);
  return make();
}

async function answerTo([
  command,
  file = "",
  title = "",
  rounds,
  firstRound,
]: readonly string[]): Promise<WorkerAnswer> {
  if (command === "list") return { planned: await list(file) };
  if (command === "curves") return { curves: await curves(file) };
  return { samples: await run(file, title, Number(rounds), Number(firstRound)) };
}

const answer = await answerTo(process.argv.slice(2));
process.send?.(answer, () => process.disconnect());
setTimeout(() => process.exit(), CLOSES_WITHIN_MS).unref();

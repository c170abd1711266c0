// Load on the HTTP front, with duplicates and failures among it, held against what the MCP server itself has counted:
//   npx tsx packages/integration/http-load.ts [--over memory-v1|memory-v2|stdio] [--connections 50] [--seconds 10]
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type LoadOrder, type LoadOutcome, type LoadRow, mistakes, rowsOf } from "./fixtures/http-load-judge.js";
import { growth, type Level, measure } from "./fixtures/http-load-memory.js";
import type { Over } from "./fixtures/http-load-sessions.js";
import { startLoadWorld } from "./fixtures/http-load-world.js";

const CLIENT = fileURLToPath(new URL("fixtures/http-load-client.mjs", import.meta.url));

/** A load run. */
export interface LoadSpec {
  readonly over: Over;
  readonly connections: number;
  /** Requests before anything is measured: code must be compiled, and caches fill. */
  readonly warmUp: number;
  /** Requests in all; or `seconds` of them. */
  readonly amount?: number | undefined;
  readonly seconds?: number | undefined;
}

/** What came of it. */
export interface LoadReport {
  /** Everything that is wrong. At best nothing. */
  readonly mistakes: readonly string[];
  readonly rows: readonly LoadRow[];
  readonly requestsPerSecond: number;
  readonly executions: number;
  /** Connections to the MCP server, which is lost again and again. */
  readonly connections: number;
  /** Megabytes of JavaScript objects before and after. */
  readonly heapMb: readonly [before: number, after: number];
}

/** Listeners pile up somewhere; of those for `drain` the SDK's stdio transport has one for each message that waits. */
function isPile(warning: Error & { readonly type?: unknown }): boolean {
  return warning.name === "MaxListenersExceededWarning" && warning.type !== "drain";
}

/** Puts whatever nobody handles into `faults`, and listeners that pile up. */
function watchFaults(faults: string[]): () => void {
  const note = (what: string) => (error: Error) => {
    if (what !== "warning" || isPile(error)) faults.push(`${what}: ${String(error)}`);
  };
  const watches = ["unhandledRejection", "uncaughtException", "warning"].map((event) => ({
    event,
    listener: note(event),
  }));
  for (const { event, listener } of watches) process.on(event, listener);
  return () => {
    for (const { event, listener } of watches) process.off(event, listener);
  };
}

/** Runs the client in a process of its own. What it prints stays outside of the heap, which is to be measured. */
async function drive(order: LoadOrder): Promise<Buffer> {
  const client = spawn(process.execPath, [CLIENT, JSON.stringify(order)], { stdio: ["ignore", "pipe", "inherit"] });
  const chunks: Buffer[] = [];
  client.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = await once(client, "close");
  if (code !== 0) throw new Error(`the client ended with ${code}`);
  return Buffer.concat(chunks);
}

/** Objects and handles that come and go by themselves. */
const SPARE = 5;
/** Milliseconds for the last of a run to go away. */
const PATIENCE_MS = 30_000;

/** What is left after a run. */
async function levelAfter(before: Level): Promise<Level> {
  const until = Date.now() + PATIENCE_MS;
  let level = await measure();
  // What was under way when its client went ends when it ends.
  while (growth(before, level, SPARE).length > 0 && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    level = await measure();
  }
  return level;
}

/** Puts load on a front, and judges what it did. */
export async function runLoad({ over, warmUp, ...how }: LoadSpec): Promise<LoadReport> {
  const faults: string[] = [];
  const unwatch = watchFaults(faults);
  const world = await startLoadWorld(over);
  try {
    const { url } = world;
    await drive({ connections: how.connections, amount: warmUp, url, run: "warm-up" });
    await world.forget();
    const before = await measure();
    const printed = await drive({ ...how, url, run: "load" });
    await world.forget();
    const after = await levelAfter(before);
    const outcome: LoadOutcome = JSON.parse(printed.toString());
    const executions = world.executions();
    return {
      mistakes: [...faults, ...mistakes(outcome, executions), ...growth(before, after, SPARE)],
      rows: rowsOf(outcome),
      requestsPerSecond: Math.round(outcome.answers.length / outcome.seconds),
      executions: executions.length,
      connections: world.connections(),
      heapMb: [before.heapMb, after.heapMb],
    };
  } finally {
    await world.close();
    unwatch();
  }
}

/** As many as take a few seconds: by then everything hot is compiled. */
const WARM_UP = 5000;
/** Megabytes by which the heap may be larger afterwards. */
const MAX_GROWTH_MB = 2;

function print(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      over: { type: "string", default: "memory-v2" },
      connections: { type: "string", default: "50" },
      seconds: { type: "string", default: "10" },
    },
  });
  const {
    rows,
    mistakes: wrong,
    heapMb,
    ...figures
  } = await runLoad({
    over: values.over as Over,
    connections: Number(values.connections),
    warmUp: WARM_UP,
    seconds: Number(values.seconds),
  });
  const grownMb = heapMb[1] - heapMb[0];
  for (const row of rows) print(row);
  print({ ...figures, heapMb: heapMb.map((size) => Math.round(size * 10) / 10), mistakes: wrong.length });
  for (const mistake of wrong.slice(0, 20)) print(mistake);
  process.exitCode = wrong.length > 0 || grownMb > MAX_GROWTH_MB ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();

// 1,000 calls of 8 hosts while their servers are killed, over each way to the proxy: `tsx proxy-chaos.ts [seed]`, after a build.
// Exits with 1 when a call ran twice, was not answered, or was answered wrongly, or when recovery takes too long.
import { bareStartMs, type ChaosReport, chaos } from "./fixtures/proxy-chaos.js";

const CALLS = 1000;
const CLIENTS = 8;
const RECOVERED_WITHIN_MS = 1000;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function isGood({ unanswered, ranTwice, lies, recoveriesMs }: ChaosReport): boolean {
  return unanswered.length + ranTwice.length + lies.length === 0 && median(recoveriesMs) < RECOVERED_WITHIN_MS;
}

const seed = Number(process.argv[2] ?? Date.now() % 1_000_000);
for (const way of ["stdio", "http"] as const) {
  const starts: number[] = [];
  for (let count = 0; count < 5; count += 1) starts.push(await bareStartMs());
  const startMs = median(starts);
  const report = await chaos({ calls: CALLS, clients: CLIENTS, seed, way });
  const recovery = `${Math.round(median(report.recoveriesMs))} ms median of ${report.recoveriesMs.length}`;
  const { kills, succeeded, failed, unanswered, ranTwice, lies } = report;
  process.stdout.write(
    `${way}, seed ${seed}: ${CALLS} calls, ${kills} kills, ${succeeded} succeeded, ${failed.length} refused or unknown, ` +
      `${unanswered.length} unanswered, ${ranTwice.length} ran twice, ${lies.length} told wrongly; recovery ${recovery}, a bare server starts in ${Math.round(startMs)} ms\n`,
  );
  for (const line of [...unanswered, ...ranTwice, ...lies]) process.stdout.write(`  ${line}\n`);
  if (!isGood(report)) process.exitCode = 1;
}

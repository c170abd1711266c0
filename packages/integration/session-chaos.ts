// 1,000 calls of 8 callers over one session while its server is killed: `tsx session-chaos.ts [seed]`, after a build.
// Exits with 1 when a call ran twice or was not answered truly, or when the median recovery takes a second or more.
import { sessionChaos } from "./fixtures/session-chaos.js";

const CALLS = 1000;
const RECOVERED_WITHIN_MS = 1000;

const seed = Number(process.argv[2] ?? Date.now() % 1_000_000);
const { kills, completed, unknown, notExecuted, ranTwice, lies, recoveriesMs } = await sessionChaos({
  calls: CALLS,
  callers: 8,
  seed,
});
const sorted = [...recoveriesMs].sort((left, right) => left - right);
const median = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
process.stdout.write(
  `seed ${seed}: ${CALLS} calls, ${kills} kills, ${completed} completed, ${unknown} unknown, ${notExecuted} not executed, ` +
    `${ranTwice.length} ran twice, ${lies.length} told wrongly; recovery ${Math.round(median)} ms median of ${sorted.length}\n`,
);
const isGood = completed + unknown + notExecuted === CALLS && ranTwice.length + lies.length === 0;
if (!isGood || !(median < RECOVERED_WITHIN_MS)) process.exitCode = 1;

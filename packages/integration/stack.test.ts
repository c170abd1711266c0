import { circuitBreaker, type StateChange } from "@mcp-tx/circuit-breaker";
import { type CallReport, type Middleware, pipeline, reportOf, run, type ToolResult } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { retry } from "@mcp-tx/retry";
import { expect, test } from "vitest";

const CALLERS = 200;
const DOWN_MS = 3000;
const TOOL_MS = 7;
const OK: ToolResult = { content: [{ type: "text", text: "ok" }] };

/** 200 callers at once, through retry outside breaker outside limiter, to a tool that fails for the first three seconds. */
async function storm(inner: readonly Middleware[] = []) {
  const time = virtualTime();
  const arrivals: number[] = [];
  const changes: StateChange[] = [];
  const breaker = circuitBreaker({ consecutiveFailures: 5, recoveryTimeoutMs: 1000 });
  breaker.onStateChange((change) => changes.push(change));
  const again = retry({ maxAttempts: 4, baseDelayMs: 1000, multiplier: 2, jitter: "none", retryOn: retriesAll });
  const handler = pipeline([again, breaker, rateLimit({ rate: 100, burst: 20 }), ...inner], async (ctx) => {
    const { runtime } = ctx.call;
    arrivals.push(time.now());
    await runtime.sleep(TOOL_MS);
    if (time.now() < DOWN_MS) throw new Error("down");
    return OK;
  });
  const call = (index: number) => run(handler, { tool: "api", args: { index } }, { runtime: time.runtime });
  const ends = await time.run(
    Promise.all(Array.from({ length: CALLERS }, (_, index) => call(index).catch((error: unknown) => error))),
  );
  return { arrivals, ends, changes: changes.map(({ from, to, at }) => `${at} ${from} -> ${to}`), breaker, time };
}

/** What a local tool throws has run; here it may run again. */
const retriesAll = () => true;

/** How many there are of each. */
function tally<T>(values: readonly T[]): ReadonlyMap<T, number> {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

const reports = (ends: readonly unknown[]): readonly CallReport[] =>
  ends.map((end) => reportOf(end)).filter((report) => report !== undefined);

test("200 callers and a tool that is down for 3 s: calls that reach it, state changes and outcomes are exact", async () => {
  const { arrivals, ends, changes } = await storm();
  expect(changes).toEqual([
    // 20 calls had a token; five of their failures are enough. The 180 that wait for a token are refused at once.
    "7 closed -> open",
    // All come back after 1 s. One tries, the others are refused; it fails.
    "1007 open -> half-open",
    "1014 half-open -> open",
    // After another 2 s those come back that were refused then; the first of them tries, and succeeds.
    "3007 open -> half-open",
    "3014 half-open -> closed",
  ]);
  expect(arrivals.filter((at) => at < DOWN_MS)).toEqual([...Array<number>(20).fill(0), 1007]);
  expect(arrivals[21]).toBe(3007);
  // The one that tried at 1007 comes back at 3014, while the successful try is still under way. It and the 198 that were refused
  // at 3007 have their last attempt 4 s later: 20 at once, then one every 10 ms.
  const late = Array.from({ length: 199 }, (_, index) => 7007 + Math.max(0, index - 19) * 10);
  expect(arrivals.slice(22)).toEqual(late);
  expect(tally(reports(ends).map(({ status, execution }) => `${status} ${execution}`))).toEqual(
    new Map([["completed executed", CALLERS]]),
  );
  const handOvers = reports(ends).reduce((sum, { attempts }) => sum + attempts, 0);
  expect(handOvers).toBe(arrivals.length);
});

test("a limit of slots inside changes when calls arrive, and neither how many nor how they end", async () => {
  const { arrivals, ends, changes } = await storm([concurrencyLimit({ max: 20 })]);
  expect(changes).toHaveLength(5);
  expect(arrivals).toHaveLength(20 + 1 + 1 + 199);
  expect(tally(reports(ends).map(({ status }) => status))).toEqual(new Map([["completed", CALLERS]]));
});

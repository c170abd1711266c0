import { type ClientLike, wrapClient } from "@mcp-tx/core";
import { type ReliableConfig, standardOrder, wrapOptions } from "mcp-tx";
import pLimit from "p-limit";
import { RateLimiterMemory } from "rate-limiter-flexible";
import type { Task } from "../harness/group.js";
import { cockatiels, opossums, pRetries } from "../harness/peers.js";
import type { BenchClient } from "./connect.js";

/** Everybody has the same: three attempts, five failures in a row, as many slots and tokens as are never short, 30 s. */
const ATTEMPTS = 3;
const FAILURES = 5;
const SLOTS = 64;
const RATE = 1e9;
const TIMEOUT_MS = 30_000;

const CALL = Object.freeze({ name: "echo", arguments: {} });

/** A way to make reliable calls through a client. */
export interface Stack {
  readonly name: string;
  /** Makes one call. */
  over(client: Pick<BenchClient, "callTool">): Task;
}

/** The SDK by itself, which has a timer for each request. */
export const bare: Stack = { name: "bare SDK call", over: (client) => () => client.callTool(CALL) };

const CONFIG: ReliableConfig = {
  timeoutMs: TIMEOUT_MS,
  retry: { maxAttempts: ATTEMPTS },
  circuitBreaker: { consecutiveFailures: FAILURES },
  rateLimit: { rate: RATE },
  concurrency: SLOTS,
};

/** The standard order: idempotency, retries with a budget, breaker, rate limit, concurrency limit, time limits, and reports. */
export const standardStack: Stack = {
  name: "standard stack",
  over(client) {
    const wrapped = wrapClient(client as unknown as ClientLike, standardOrder(CONFIG), wrapOptions(CONFIG));
    const caller = wrapped as unknown as Pick<BenchClient, "callTool">;
    return () => caller.callTool(CALL);
  },
};

/**
 * cockatiel's policies, wrapped in the same order, and a limiter within them, as cockatiel has none. It repeats after every error,
 * whether or not the tool may have run; it keeps no report and has no idempotency. Its timeout races the call, which costs it
 * less than a signal handed on to the SDK.
 */
const cockatielStacks: readonly Stack[] = cockatiels.map(({ name, api }) => ({
  name,
  over(client) {
    const policy = api.wrap(
      api.timeout(TIMEOUT_MS, api.TimeoutStrategy.Aggressive),
      api.retry(api.handleAll, { maxAttempts: ATTEMPTS - 1, backoff: new api.ExponentialBackoff() }),
      api.circuitBreaker(api.handleAll, { halfOpenAfter: 60_000, breaker: new api.ConsecutiveBreaker(FAILURES) }),
      api.bulkhead(SLOTS, 1000),
    );
    const limiter = new RateLimiterMemory({ points: RATE, duration: 1 });
    const attempt = async () => {
      await limiter.consume("server");
      return await client.callTool(CALL);
    };
    return () => policy.execute(attempt);
  },
}));

/**
 * One library for each job. opossum has the timeout, and opens at a share of failures, as it has no count in a row; p-retry reads
 * its options on every call.
 */
const librariesStack = ([pRetry, opossum]: readonly [(typeof pRetries)[number], (typeof opossums)[number]]): Stack => ({
  name: `p-limit + ${pRetry.name} + ${opossum.name}`,
  over(client) {
    const limited = pLimit(SLOTS);
    const limiter = new RateLimiterMemory({ points: RATE, duration: 1 });
    const attempt = async () => {
      await limiter.consume("server");
      return await client.callTool(CALL);
    };
    const circuit = new opossum.api(() => limited(attempt), { timeout: TIMEOUT_MS });
    const fire = () => circuit.fire();
    const options = { retries: ATTEMPTS - 1 };
    return () => pRetry.api(fire, options);
  },
});

/** The stacks built from peers: each with the newest major that this Node runs. */
export function peerStacks(): readonly Stack[] {
  const [cockatiel, pRetry, opossum] = [cockatielStacks.at(-1), pRetries.at(-1), opossums.at(-1)];
  if (cockatiel === undefined || pRetry === undefined || opossum === undefined) throw new Error("a peer is missing");
  return [cockatiel, librariesStack([pRetry, opossum])];
}

import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { type CallContext, type Handler, type Middleware, pipeline, type ToolResult, wrapTool } from "@mcp-tx/core";
import { concurrencyLimit } from "@mcp-tx/rate-limit";
import { retry } from "@mcp-tx/retry";
import type { IPolicy } from "cockatiel";
import pLimit from "p-limit";
import { readyContext } from "../harness/context.js";
import type { Group, Target, Task } from "../harness/group.js";
import { cockatiels, opossums, pRetries } from "../harness/peers.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const SLOTS = 8;
const TIMEOUT_MS = 30_000;
const OURS = "retry + breaker + concurrency";
const LOCAL = "wrapTool, with report and timer";

const layers = (): readonly Middleware[] => [retry(), circuitBreaker(), concurrencyLimit({ max: SLOTS })];

type Cockatiel = (typeof cockatiels)[number]["api"];

function policies(api: Cockatiel): [IPolicy, IPolicy, IPolicy] {
  return [
    api.retry(api.handleAll, { maxAttempts: 2, backoff: new api.ExponentialBackoff() }),
    api.circuitBreaker(api.handleAll, { halfOpenAfter: 60_000, breaker: new api.ConsecutiveBreaker(5) }),
    api.bulkhead(SLOTS, 1000),
  ];
}

/** cockatiel's policies, wrapped once, in each major. */
function wrapped(ctx: CallContext, policyOf: (api: Cockatiel) => IPolicy): Readonly<Record<string, Task>> {
  const tasks = cockatiels.map(({ name, api }): [string, Task] => {
    const tool: Handler = async () => RESULT;
    const execute = () => tool(ctx);
    const policy = policyOf(api);
    return [name, () => policy.execute(execute)];
  });
  return Object.fromEntries(tasks);
}

const untimed = (api: Cockatiel): IPolicy => api.wrap(...policies(api));

/** Its timeout makes an abort controller for each call, whichever strategy it has. */
const timed = (api: Cockatiel): IPolicy =>
  api.wrap(...policies(api), api.timeout(TIMEOUT_MS, api.TimeoutStrategy.Aggressive));

/** Three libraries, each for what it does best: opossum has the timeout. */
function threeLibraries(ctx: CallContext): Readonly<Record<string, Task>> {
  const tasks = pRetries.map((pRetry, index): [string, Task] => {
    const opossum = opossums[index];
    if (opossum === undefined) throw new Error("a major of opossum is missing");
    const tool: Handler = async () => RESULT;
    const limited = pLimit(SLOTS);
    const circuit = new opossum.api((given: CallContext) => limited(() => tool(given)), { timeout: TIMEOUT_MS });
    const attempt = () => circuit.fire(ctx);
    const options = { retries: 2 };
    return [`p-limit + ${pRetry.name} + ${opossum.name}`, () => pRetry.api(attempt, options)];
  });
  return Object.fromEntries(tasks);
}

function against(ours: string, peers: object, atMost?: number): readonly Target[] {
  return Object.keys(peers).map((peer) => ({ ours, peer, atMost }));
}

export default async (): Promise<readonly Group[]> => {
  const ctx = await readyContext();
  const reference = cockatiels[0]?.name ?? "";
  const plain = pipeline(layers(), async () => RESULT);
  const [plainPeers, timedPeers, localPeers] = [wrapped(ctx, untimed), wrapped(ctx, timed), wrapped(ctx, timed)];
  // The attempt timeout travels in the context to the terminal, which hands it to the SDK's own `timeout`: the SDK has a timer for
  // every request anyway, so that no second one is armed. The row below has a timer of our own, as a local tool needs it.
  const withTimeout = { ...ctx, options: { attemptTimeoutMs: TIMEOUT_MS } };
  const delegating = pipeline(layers(), async () => RESULT);
  const libraries = threeLibraries(ctx);
  const tool = wrapTool("bench", async () => RESULT, layers(), { attemptTimeoutMs: TIMEOUT_MS });
  return [
    {
      title: "stack: retry + breaker + concurrency",
      measure: "time",
      contenders: { [OURS]: () => plain(ctx), ...plainPeers },
      reference,
      targets: against(OURS, plainPeers, 0.45),
    },
    {
      title: "stack: the same with a timeout, which the SDK keeps",
      measure: "time",
      contenders: { [OURS]: () => delegating(withTimeout), ...timedPeers, ...libraries },
      reference,
      targets: [...against(OURS, timedPeers, 0.15), ...against(OURS, libraries, 0.5)],
    },
    {
      title: "stack: a local tool with a timer of ours, its report included",
      measure: "time",
      contenders: { [LOCAL]: () => tool({}), ...localPeers },
      reference,
      targets: against(LOCAL, localPeers),
    },
  ];
};

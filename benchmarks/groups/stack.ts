import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  type CallContext,
  type Handler,
  type Middleware,
  pipeline,
  type ToolResult,
  wrapClient,
  wrapTool,
} from "@mcp-tx/core";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { retry } from "@mcp-tx/retry";
import { Client, InMemoryTransport } from "@modelcontextprotocol/client";
import { McpServer } from "@modelcontextprotocol/server";
import {
  bulkhead,
  ConsecutiveBreaker,
  circuitBreaker as cockatielBreaker,
  retry as cockatielRetry,
  ExponentialBackoff,
  handleAll,
  type IPolicy,
  TimeoutStrategy,
  timeout,
  wrap,
} from "cockatiel";
import CircuitBreaker from "opossum";
import pLimit from "p-limit";
import pRetry from "p-retry";
import { readyContext } from "../harness/context.js";
import type { Group, Task } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const SLOTS = 8;
const TIMEOUT_MS = 30_000;

const layers = (): readonly Middleware[] => [retry(), circuitBreaker(), concurrencyLimit({ max: SLOTS })];

function policies(): readonly [IPolicy, IPolicy, IPolicy] {
  return [
    cockatielRetry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff() }),
    cockatielBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(5) }),
    bulkhead(SLOTS, 1000),
  ];
}

function cockatiel(policy: IPolicy, ctx: CallContext): Task {
  const tool: Handler = async () => RESULT;
  const execute = () => tool(ctx);
  return () => policy.execute(execute);
}

/** Three libraries, each for what it does best. */
function threeLibraries(ctx: CallContext): Task {
  const tool: Handler = async () => RESULT;
  const limited = pLimit(SLOTS);
  const circuit = new CircuitBreaker((given: CallContext) => limited(() => tool(given)), { timeout: TIMEOUT_MS });
  const attempt = () => circuit.fire(ctx);
  const options = { retries: 2 };
  return () => pRetry(attempt, options);
}

/**
 * The attempt timeout travels in the context to the terminal, which hands it to the SDK's own `timeout`: the SDK has a timer for
 * every request anyway, so that no second one is armed. The row below is with a timer of our own, as for a local tool.
 */
function withTimeout(ctx: CallContext): Readonly<Record<string, Task>> {
  const timed = { ...ctx, options: { attemptTimeoutMs: TIMEOUT_MS } };
  const ours = pipeline(layers(), async () => RESULT);
  const [again, breaker, slots] = policies();
  return {
    "retry + breaker + concurrency": () => ours(timed),
    cockatiel: cockatiel(wrap(again, breaker, slots, timeout(TIMEOUT_MS, TimeoutStrategy.Aggressive)), ctx),
    "p-limit + p-retry + opossum": threeLibraries(ctx),
  };
}

function localTool(ctx: CallContext): Readonly<Record<string, Task>> {
  const tool = wrapTool("bench", async () => RESULT, layers(), { attemptTimeoutMs: TIMEOUT_MS });
  const [again, breaker, slots] = policies();
  return {
    "wrapTool, with report and timer": () => tool({}),
    cockatiel: cockatiel(wrap(again, breaker, slots, timeout(TIMEOUT_MS, TimeoutStrategy.Aggressive)), ctx),
  };
}

async function connected(): Promise<Client> {
  const server = new McpServer({ name: "bench", version: "1.0.0" });
  server.registerTool("echo", {}, () => ({ content: [{ type: "text", text: "hello" }] }));
  const client = new Client({ name: "bench", version: "1.0.0" });
  const [near, far] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(far), client.connect(near)]);
  return client;
}

/** A real call of SDK v2 in memory, and the same through everything that there is by now. */
async function realCall(): Promise<Readonly<Record<string, Task>>> {
  const [bare, guarded] = [await connected(), await connected()];
  const all = [retry(), circuitBreaker(), rateLimit({ rate: 1e9, burst: 1e9 }), concurrencyLimit({ max: SLOTS })];
  const reliable = wrapClient(guarded, all, { attemptTimeoutMs: TIMEOUT_MS });
  const params = { name: "echo", arguments: {} };
  return {
    "bare SDK call": () => bare.callTool(params),
    "with the stack": () => reliable.callTool(params),
  };
}

export default async (): Promise<readonly Group[]> => {
  const ctx = await readyContext();
  const [again, breaker, slots] = policies();
  const ours = pipeline(layers(), async () => RESULT);
  return [
    {
      title: "stack: retry + breaker + concurrency",
      measure: "time",
      contenders: {
        "retry + breaker + concurrency": () => ours(ctx),
        cockatiel: cockatiel(wrap(again, breaker, slots), ctx),
      },
      reference: "cockatiel",
      targets: [{ ours: "retry + breaker + concurrency", peer: "cockatiel", atMost: 0.45 }],
    },
    {
      title: "stack: the same with a timeout, which the SDK keeps",
      measure: "time",
      contenders: withTimeout(ctx),
      reference: "cockatiel",
      targets: [
        { ours: "retry + breaker + concurrency", peer: "cockatiel", atMost: 0.15 },
        { ours: "retry + breaker + concurrency", peer: "p-limit + p-retry + opossum", atMost: 0.5 },
      ],
    },
    {
      title: "stack: a local tool with a timer of ours, its report included",
      measure: "time",
      contenders: localTool(ctx),
      reference: "cockatiel",
      targets: [{ ours: "wrapTool, with report and timer", peer: "cockatiel" }],
    },
    {
      title: "stack: round a real call of SDK v2 in memory",
      measure: "time",
      contenders: await realCall(),
      reference: "bare SDK call",
      targets: [{ ours: "with the stack", peer: "bare SDK call", atMost: 1.1 }],
    },
  ];
};

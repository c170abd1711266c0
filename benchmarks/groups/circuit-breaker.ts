import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import {
  ConsecutiveBreaker,
  CountBreaker,
  circuitBreaker as cockatielBreaker,
  handleAll,
  type IPolicy,
  SamplingBreaker,
} from "cockatiel";
import CircuitBreaker from "opossum";
import { readyContext } from "../harness/context.js";
import type { Group, Task } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const WINDOW_MS = 10_000;
const SIZE = 100;

/** What wrapping a call costs at least. */
function wrapped(): Task {
  const next: Handler = async () => RESULT;
  const wrapper: Handler = async (ctx) => await next(ctx);
  return () => wrapper(CONTEXT);
}

const CONTEXT: CallContext = await readyContext();

function ours(options?: Parameters<typeof circuitBreaker>[0]): Task {
  const handler = pipeline(circuitBreaker(options), async () => RESULT);
  return () => handler(CONTEXT);
}

/** One policy for all calls, as cockatiel's documentation shows. */
function cockatiel(policy: IPolicy): Task {
  const tool: Handler = async () => RESULT;
  const execute = () => tool(CONTEXT);
  return () => policy.execute(execute);
}

const halfOpenAfter = 60_000;
const rates = { failureRate: 0.5, minimumCalls: 10 };

function closed(title: string, mine: Task, peer: Task, atMost: number): Group {
  return {
    title: `breaker closed: ${title}`,
    measure: "time",
    contenders: { "async wrapper": wrapped(), "circuitBreaker()": mine, cockatiel: peer },
    reference: "async wrapper",
    targets: [
      { ours: "circuitBreaker()", peer: "async wrapper", atMost: 1.2 },
      { ours: "circuitBreaker()", peer: "cockatiel", atMost },
    ],
  };
}

/** The rejection as the caller sees it. */
function refused(task: Task): Task {
  return () => (task() as Promise<unknown>).then(undefined, (error: unknown) => error);
}

async function openContenders(): Promise<Readonly<Record<string, Task>>> {
  const breaker = circuitBreaker({ recoveryTimeoutMs: 3_600_000 });
  for (let failure = 0; failure < 5; failure += 1) {
    await pipeline(breaker, () => Promise.reject(new Error("down")))({ ...CONTEXT, side: "local" }).catch(
      () => undefined,
    );
  }
  const handler = pipeline(breaker, async () => RESULT);
  const policy = cockatielBreaker(handleAll, { halfOpenAfter: 3_600_000, breaker: new ConsecutiveBreaker(5) });
  const fail = () => Promise.reject(new Error("down"));
  for (let failure = 0; failure < 5; failure += 1) await policy.execute(fail).catch(() => undefined);
  const circuit = new CircuitBreaker(async () => RESULT, { timeout: false });
  circuit.open();
  return {
    "circuitBreaker()": refused(() => handler(CONTEXT)),
    cockatiel: refused(() => policy.execute(fail)),
    opossum: refused(() => circuit.fire()),
  };
}

export default async (): Promise<readonly Group[]> => [
  closed(
    "consecutive failures",
    ours(),
    cockatiel(cockatielBreaker(handleAll, { halfOpenAfter, breaker: new ConsecutiveBreaker(5) })),
    0.8,
  ),
  closed(
    "count window",
    ours({ window: { type: "count", size: SIZE, ...rates } }),
    cockatiel(
      cockatielBreaker(handleAll, {
        halfOpenAfter,
        breaker: new CountBreaker({ size: SIZE, threshold: 0.5, minimumNumberOfCalls: 10 }),
      }),
    ),
    0.8,
  ),
  closed(
    "time window",
    ours({ window: { type: "time", durationMs: WINDOW_MS, ...rates } }),
    cockatiel(
      cockatielBreaker(handleAll, {
        halfOpenAfter,
        breaker: new SamplingBreaker({ duration: WINDOW_MS, threshold: 0.5, minimumRps: 1 }),
      }),
    ),
    0.85,
  ),
  {
    title: "breaker open: rejection",
    measure: "time",
    contenders: await openContenders(),
    reference: "cockatiel",
    targets: [
      { ours: "circuitBreaker()", peer: "cockatiel", atMost: 0.35 },
      { ours: "circuitBreaker()", peer: "opossum", atMost: 0.35 },
    ],
  },
];

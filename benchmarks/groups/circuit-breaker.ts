import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import type { IBreaker } from "cockatiel";
import { readyContext } from "../harness/context.js";
import type { Group, Task } from "../harness/group.js";
import { cockatiels, opossums } from "../harness/peers.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const WINDOW_MS = 10_000;
const SIZE = 100;

/** What wrapping a call costs at least. */
function wrapped(): Task {
  const next: Handler = async () => RESULT;
  const wrapper: Handler = async (ctx) => await next(ctx);
  return () => wrapper(CONTEXT);
}

/** The same, when it has to know when a call ended: a time window cannot book it otherwise. */
function timed(): Task {
  const next: Handler = async () => RESULT;
  const wrapper: Handler = async (ctx) => {
    const result = await next(ctx);
    endedAt = performance.now();
    return result;
  };
  return () => wrapper(CONTEXT);
}

let endedAt = 0;
/** Keeps the reading from being taken for unused. */
export const lastEnd = (): number => endedAt;

const CONTEXT: CallContext = await readyContext();

function ours(options?: Parameters<typeof circuitBreaker>[0]): Task {
  const handler = pipeline(circuitBreaker(options), async () => RESULT);
  return () => handler(CONTEXT);
}

type Cockatiel = (typeof cockatiels)[number]["api"];

/** One policy for all calls, as cockatiel's documentation shows, in each major. */
function policies(breakerOf: (api: Cockatiel) => IBreaker): Readonly<Record<string, Task>> {
  const tasks = cockatiels.map(({ name, api }): [string, Task] => {
    const policy = api.circuitBreaker(api.handleAll, { halfOpenAfter, breaker: breakerOf(api) });
    const tool: Handler = async () => RESULT;
    const execute = () => tool(CONTEXT);
    return [name, () => policy.execute(execute)];
  });
  return Object.fromEntries(tasks);
}

const halfOpenAfter = 60_000;
const rates = { failureRate: 0.5, minimumCalls: 10 };

function closed(title: string, mine: Task, peers: Readonly<Record<string, Task>>, atMost: number): Group {
  return {
    title: `breaker closed: ${title}`,
    measure: "time",
    contenders: { "async wrapper": wrapped(), "circuitBreaker()": mine, ...peers },
    reference: "async wrapper",
    targets: [
      { ours: "circuitBreaker()", peer: "async wrapper", atMost: 1.2 },
      ...Object.keys(peers).map((peer) => ({ ours: "circuitBreaker()", peer, atMost })),
    ],
  };
}

const CLOCK = "async wrapper that reads the clock";

/** What one reading of the clock costs, and what is left beside it. */
function withClock(group: Group): Group {
  const contenders = { ...(group.contenders as Readonly<Record<string, Task>>), [CLOCK]: timed() };
  const targets = [...group.targets, { ours: CLOCK, peer: "async wrapper" }, { ours: "circuitBreaker()", peer: CLOCK }];
  return { ...group, contenders, targets };
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
  return { "circuitBreaker()": refused(() => handler(CONTEXT)), ...(await openPolicies()), ...openCircuits() };
}

/** cockatiel makes a new error, stack included, for each rejection; there is no setting that spares it. */
async function openPolicies(): Promise<Readonly<Record<string, Task>>> {
  const tasks: [string, Task][] = [];
  for (const { name, api } of cockatiels) {
    const breaker = new api.ConsecutiveBreaker(5);
    const policy = api.circuitBreaker(api.handleAll, { halfOpenAfter: 3_600_000, breaker });
    const fail = () => Promise.reject(new Error("down"));
    for (let failure = 0; failure < 5; failure += 1) await policy.execute(fail).catch(() => undefined);
    tasks.push([name, refused(() => policy.execute(fail))]);
  }
  return Object.fromEntries(tasks);
}

/** opossum makes a new error each time as well, emits an event for it, and keeps rolling statistics, which ours does not. */
function openCircuits(): Readonly<Record<string, Task>> {
  const tasks = opossums.map(({ name, api }): [string, Task] => {
    const circuit = new api(async () => RESULT, { timeout: false });
    circuit.open();
    return [name, refused(() => circuit.fire())];
  });
  return Object.fromEntries(tasks);
}

export default async (): Promise<readonly Group[]> => [
  closed(
    "consecutive failures",
    ours(),
    policies((api) => new api.ConsecutiveBreaker(5)),
    0.8,
  ),
  closed(
    "count window",
    ours({ window: { type: "count", size: SIZE, ...rates } }),
    policies((api) => new api.CountBreaker({ size: SIZE, threshold: 0.5, minimumNumberOfCalls: 10 })),
    0.8,
  ),
  // cockatiel's window is a tenth of the duration coarse, and its least traffic is a rate: 1 a second is 10 in the window.
  withClock(
    closed(
      "time window",
      ours({ window: { type: "time", durationMs: WINDOW_MS, ...rates } }),
      policies((api) => new api.SamplingBreaker({ duration: WINDOW_MS, threshold: 0.5, minimumRps: 1 })),
      0.85,
    ),
  ),
  {
    title: "breaker open: rejection",
    measure: "time",
    contenders: await openContenders(),
    reference: cockatiels[0]?.name ?? "",
    targets: [...cockatiels, ...opossums].map(({ name }) => ({ ours: "circuitBreaker()", peer: name, atMost: 0.35 })),
  },
];

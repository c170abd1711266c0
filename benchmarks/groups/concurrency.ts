import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import { concurrencyLimit } from "@mcp-tx/rate-limit";
import { Sema } from "async-sema";
import pLimit from "p-limit";
import { readyContext } from "../harness/context.js";
import type { Group, Target, Task } from "../harness/group.js";
import { cockatiels } from "../harness/peers.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const WAITERS = 10_000;
const SLOTS = 8;
const OURS = "concurrencyLimit()";

/** Lets one call through the limiter of its kind. */
type Guarded = (tool: () => Promise<unknown>) => Promise<unknown>;

/** What a tool does at least: it answers later. */
const later = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve, RESULT));

/** Starts everything at once and waits for all of it. */
function atOnce(start: (index: number) => Promise<unknown>): Promise<unknown> {
  return Promise.all(Array.from({ length: WAITERS }, (_, index) => start(index)));
}

/** The semaphore takes and gives a slot and runs nothing: what one writes round it is counted with it. */
function semaphore(): Guarded {
  const slots = new Sema(SLOTS, { capacity: WAITERS });
  return async (tool) => {
    await slots.acquire();
    try {
      return await tool();
    } finally {
      slots.release();
    }
  };
}

/** The queues of the peers: cockatiel's has a bound that must be given, p-limit's and the semaphore's have none. */
function peers(): ReadonlyMap<string, Guarded> {
  const bulkheads = cockatiels.map(({ name, api }): [string, Guarded] => {
    const policy = api.bulkhead(SLOTS, WAITERS);
    return [`${name} bulkhead`, (tool) => policy.execute(tool)];
  });
  return new Map([...bulkheads, ["p-limit", pLimit(SLOTS)], ["async-sema", semaphore()]]);
}

function contended(ctx: CallContext, make: () => () => Promise<unknown>): Readonly<Record<string, Task>> {
  const ours = pipeline(concurrencyLimit({ max: SLOTS, maxQueue: WAITERS }), make() as Handler);
  const tasks = [...peers()].map(([name, guarded]): [string, Task] => {
    const tool = make();
    return [name, () => atOnce(() => guarded(tool))];
  });
  return { [OURS]: () => atOnce(() => ours(ctx)), ...Object.fromEntries(tasks) };
}

/** Counts pairs of neighbours that started the other way round than they came. */
function inversions(starts: readonly number[]): number {
  return starts.filter((place, index) => place < (starts[index - 1] ?? -1)).length;
}

/** Starts a call with the place it has in the queue, which the tool notes when it runs. */
type Enter = (place: number, note: (place: number) => void) => Promise<unknown>;

/** The order in which 10 000 waiters get their slots, while calls take a turn of the event loop. */
function ordered(ctx: CallContext): Readonly<Record<string, Task>> {
  const count =
    (enter: Enter): Task =>
    async () => {
      const starts: number[] = [];
      await atOnce((place) => enter(place, (started) => starts.push(started)));
      if (starts.length !== WAITERS) throw new Error(`${starts.length} of ${WAITERS} calls started`);
      return inversions(starts);
    };
  let noteOfOurs: ((place: number) => void) | undefined;
  const ours = pipeline(concurrencyLimit({ max: SLOTS, maxQueue: WAITERS }), ({ args }) => {
    noteOfOurs?.(Number(args["place"]));
    return later() as Promise<ToolResult>;
  });
  const tasks = [...peers()].map(([name, guarded]): [string, Task] => [
    name,
    count((place, note) =>
      guarded(() => {
        note(place);
        return later();
      }),
    ),
  ]);
  return {
    [OURS]: count((place, note) => {
      noteOfOurs = note;
      return ours({ ...ctx, args: { place } });
    }),
    ...Object.fromEntries(tasks),
  };
}

function free(ctx: CallContext): Readonly<Record<string, Task>> {
  const ours = pipeline(concurrencyLimit({ max: SLOTS }), async () => RESULT);
  const tasks = cockatiels.map(({ name, api }): [string, Task] => {
    const policy = api.bulkhead(SLOTS);
    const tool: Handler = async () => RESULT;
    return [`${name} bulkhead`, () => policy.execute(() => tool(ctx))];
  });
  return { [OURS]: () => ours(ctx), ...Object.fromEntries(tasks) };
}

function against(contenders: object, limitOf: (peer: string) => number | undefined): readonly Target[] {
  const others = Object.keys(contenders).filter((name) => name !== OURS);
  return others.map((peer) => ({ ours: OURS, peer, atMost: limitOf(peer) }));
}

function limitOf(peer: string): number {
  if (peer === "p-limit") return 0.6;
  return peer === "async-sema" ? 1 : 0.75;
}

const none = (): undefined => undefined;

export default async (): Promise<readonly Group[]> => {
  const ctx = await readyContext();
  const [instant, turning, slots, places] = [
    contended(ctx, () => async () => RESULT),
    contended(ctx, () => later),
    free(ctx),
    ordered(ctx),
  ];
  return [
    {
      title: `concurrency: ${WAITERS} calls at once, ${SLOTS} slots`,
      measure: "time",
      contenders: instant,
      reference: OURS,
      targets: against(instant, limitOf),
    },
    {
      title: `concurrency: order inversions among ${WAITERS} waiters`,
      measure: "value",
      contenders: places,
      reference: OURS,
      targets: [
        { ours: OURS, atMost: 0 },
        ...Object.keys(places)
          .filter((name) => name !== OURS)
          .map((name) => ({ ours: name })),
      ],
    },
    {
      title: "concurrency: the same with calls that take a turn of the event loop",
      measure: "time",
      contenders: turning,
      reference: OURS,
      targets: against(turning, none),
    },
    {
      title: "concurrency: a slot is free",
      measure: "time",
      contenders: slots,
      reference: OURS,
      targets: against(slots, none),
    },
  ];
};

import type { SagaStore } from "@mcp-tx/core/stores";
import { type CrashPoints, crashPoints, forEachCrashPoint, SimulatedCrash } from "@mcp-tx/core/testing";
import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import { SagaInterruptedError } from "./errors.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { type Mortal, mortal } from "./mortal.fixture.js";
import type { SagaOutcome } from "./outcome.js";
import { createSagaRunner } from "./runner.js";
import { type World, world } from "./world.fixture.js";

const UNDO = { reserve: "release", label: "unlabel", invoice: "void", charge: "refund" } as const;
const ACTIONS = ["reserve", "label", "invoice", "charge"] as const;
const LEASE_MS = 1000;

const order = defineSaga<{ sku: string }>("order")
  .step({ name: "reserve", tool: "reserve", args: (s) => ({ sku: s.input.sku }), compensate: { tool: "release" } })
  .parallel([
    { name: "label", tool: "label", compensate: { tool: "unlabel" } },
    { name: "invoice", tool: "invoice", compensate: { tool: "void" } },
  ])
  .step({ name: "charge", tool: "charge", compensate: { tool: "refund" } })
  .step({ name: "ship", tool: "ship", compensate: { tool: "return" } });

/** What the tools do when they are asked twice, and whether one can find out what became of a call. */
const BOXES = {
  "tools that keep records": { announces: true },
  "plain tools that can be asked": { verifies: true },
  "plain tools": {},
};
type Box = keyof typeof BOXES;

interface Scene {
  readonly tools: World;
  readonly store: SagaStore;
}

function scene(box: Box): Scene {
  const charge = (): never => {
    throw new Error("the card is refused");
  };
  const names = [...ACTIONS, ...Object.values(UNDO), "ship", "return"];
  const tools = world({ names, tools: { charge }, ...BOXES[box] });
  return { tools, store: memorySagaStore({ runtime: tools.time.runtime }) };
}

/** What every process does when it starts: carries on what was left, then asks for its saga. */
async function work({ tools, store }: Scene, process: Mortal): Promise<SagaOutcome> {
  const { runtime } = tools.time;
  const caller = tools.caller({ wire: process.wire });
  const runner = createSagaRunner({ caller, store: process.over(store), sagas: [order], runtime, leaseMs: LEASE_MS });
  await runner.recover();
  return runner.run(order, { sku: "ABC" }, { id: "1" });
}

/** One process of a scene, until it is done or stops; what comes later finds its lease over. */
async function live(given: Scene, crash: CrashPoints, process: Mortal = mortal(crash)): Promise<void> {
  const { time } = given.tools;
  try {
    await time.run(Promise.race([work(given, process), process.stopped]));
  } finally {
    if (crash.crashedAt !== undefined) await time.advance(LEASE_MS + 1);
  }
}

/** Carries a scene to its end and checks it by the tools' own log. */
async function check(given: Scene, box: Box): Promise<void> {
  const outcome = await given.tools.time.run(work(given, mortal(crashPoints())));
  expect(await given.store.list({ status: "running", limit: 1 })).toEqual([]);
  checkLog(given.tools.log, outcome);
  if (box === "plain tools") return;
  expect(outcome).toMatchObject({ status: "compensated", unknown: [], failedCompensations: [] });
  expect(given.tools.log).toHaveLength(8);
}

function checkLog(log: readonly string[], outcome: SagaOutcome): void {
  const { compensated, failedCompensations, unknown, status } = outcome;
  const count = (tool: string): number => log.filter((other) => other === tool).length;
  for (const tool of new Set(log)) expect(`${tool} ${count(tool)}`).toBe(`${tool} 1`);
  expect(log).not.toContain("ship");
  for (const step of ACTIONS) {
    const isReported = unknown.includes(step) || failedCompensations.includes(step);
    if (!isReported) expect(`${step} done ${count(step)}`).toBe(`${step} done ${count(UNDO[step])}`);
    if (compensated.includes(step)) expect(log).toContain(UNDO[step]);
  }
  if (status === "compensated") expect([...unknown, ...failedCompensations]).toEqual([]);
  else expect(status).toBe("stuck");
  // The reverse of the order in which they were done; the two of the group in either order.
  const undone = log.filter((tool) => Object.values<string>(UNDO).includes(tool));
  const rank = (tool: string): number =>
    ["refund", "void", "unlabel", "release"].indexOf(tool.replace("unlabel", "void"));
  expect(undone.map(rank)).toEqual(undone.map(rank).sort((one, other) => one - other));
}

const boxes = Object.keys(BOXES) as Box[];

describe.each(boxes)("a saga over %s", (box) => {
  it("does and undoes everything once, or reports it, wherever its process dies", async () => {
    let present = scene(box);
    const points = await forEachCrashPoint(
      async (crash) => {
        present = scene(box);
        await live(present, crash);
      },
      { onCrash: () => check(present, box) },
    );
    await check(present, box);
    expect(points.length).toBeGreaterThan(40);
  });

  it("does so wherever the process dies that carries it on", { timeout: 120_000 }, async () => {
    let present = scene(box);
    const liveOn = (given: Scene, crash: CrashPoints): Promise<void> =>
      live(given, crash, mortal(crash, { at: "writes" }));
    await forEachCrashPoint((crash) => liveOn(scene(box), crash), {
      onCrash: ({ index }) =>
        forEachCrashPoint(
          async (second) => {
            present = scene(box);
            await liveOn(present, crashPoints(index)).catch(passCrash);
            await liveOn(present, second);
          },
          { onCrash: () => check(present, box) },
        ).then(() => check(present, box)),
    });
  });
});

function passCrash(error: unknown): void {
  if (!(error instanceof SimulatedCrash)) throw error;
}

it("writes nothing and runs nothing again in a process that wakes up after another has taken over", async () => {
  let present = scene("tools that keep records");
  let stopped = mortal(crashPoints());
  let late: Promise<SagaOutcome> | undefined;
  await forEachCrashPoint(
    async (crash) => {
      present = scene("tools that keep records");
      stopped = mortal(crash, { ending: "sleeps" });
      const { time } = present.tools;
      late = work(present, stopped);
      late.catch(() => undefined);
      await time.run(Promise.race([late, stopped.stopped])).finally(() => time.advance(LEASE_MS + 1));
    },
    {
      onCrash: async ({ point }) => {
        await check(present, "tools that keep records");
        const before = JSON.stringify([
          await present.store.get("1"),
          await present.store.entries("1"),
          present.tools.log,
        ]);
        stopped.wake();
        const ended = await present.tools.time.run(Promise.allSettled([late]));
        const after = JSON.stringify([
          await present.store.get("1"),
          await present.store.entries("1"),
          present.tools.log,
        ]);
        expect(after).toBe(before);
        const [end] = ended;
        if (end?.status === "rejected")
          expect(`${point}: ${SagaInterruptedError.isInstance(end.reason)}`).toBe(`${point}: true`);
      },
    },
  );
});

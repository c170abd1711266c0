import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { judge } from "./fixtures/saga-crash-judge.js";
import {
  type Ending,
  type Fate,
  openSagaWorld,
  type SagaWorld,
  type SagaWorldSpec,
  type ServerKind,
} from "./fixtures/saga-crash-world.js";

/** For those who wait for its end: long enough not to be lost on a busy machine. */
const LEASE_MS = 6000;
const TIMEOUT_MS = 120_000;

const folder = mkdtempSync(join(tmpdir(), "saga-recovery-"));
let stores = 0;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function inWorld<T>(
  spec: Pick<SagaWorldSpec, "server"> & Partial<SagaWorldSpec>,
  work: (world: SagaWorld) => Promise<T>,
): Promise<T> {
  stores += 1;
  const store = { kind: "sqlite", path: join(folder, `store-${stores}.db`) } as const;
  const world = await openSagaWorld({ store, records: false, fails: true, ...spec });
  try {
    return await work(world);
  } finally {
    await world.close();
  }
}

function judged(world: SagaWorld, { id }: Fate, ending: Ending | undefined): readonly string[] {
  const given = { id, ...world.spec, point: "some point", deaths: 1, lastOfTwo: undefined };
  return judge(given, world.ledger(), ending);
}

/** Lets sagas die, and several processes look for them at the same moment. */
async function recoverAtOnce(world: SagaWorld, sagas: readonly Fate[], processes: number) {
  const { crashes } = await world.play("run", sagas);
  const living = sagas.map(({ id }) => ({ id }));
  const workers = Array.from({ length: processes }, () => world.start("recover", living));
  await Promise.all(workers.map((worker) => worker.ready()));
  for (const worker of workers) worker.go();
  const said = await Promise.all(workers.map((worker) => worker.said));
  const endings = said.flatMap((one) => one?.endings ?? []);
  const violations = sagas.flatMap((saga) =>
    judged(
      world,
      saga,
      endings.find(({ id }) => id === saga.id),
    ),
  );
  const started = said.flatMap((one) => one?.started ?? []);
  return { died: crashes.size, endings, started, violations };
}

/** Sagas that die at points from the creation to the middle of their way back. */
const sagasDying = (count: number): readonly Fate[] =>
  Array.from({ length: count }, (_, index) => ({ id: `saga-${index}`, crashAt: 4 + (index % 70) }));

describe("recover", () => {
  test(
    "in 8 processes at once carries each of 200 sagas on in exactly one",
    async () => {
      await inWorld({ server: "dedup" }, async (world) => {
        const found = await recoverAtOnce(world, sagasDying(200), 8);
        expect(found.died).toBe(200);
        expect(found.violations).toEqual([]);
        expect(found.started).toHaveLength(200);
        expect(new Set(found.started).size).toBe(200);
        expect(found.endings).toHaveLength(200);
        const keys = world.ledger().map(({ key }) => key);
        expect(keys).not.toContain(undefined);
        expect(new Set(keys).size).toBe(keys.length);
      });
    },
    TIMEOUT_MS,
  );

  test(
    "would be found out if a store let two processes own one saga",
    async () => {
      await inWorld({ server: "plain", mutant: "two owners" }, async (world) => {
        const { violations } = await recoverAtOnce(world, sagasDying(12), 3);
        expect(violations.join("\n")).toMatch(/had its effect twice/);
      });
    },
    TIMEOUT_MS,
  );
});

/** What becomes of a process that stands still there, and of its saga, which another one carries on meanwhile. */
async function sleepsThrough(world: SagaWorld, stopAt: string) {
  const saga = { id: "zombie", stopAt };
  const zombie = world.start("run", [saga]);
  await world.standstill(zombie, saga.id);
  const { said } = await world.play("finish", [{ id: saga.id }]);
  zombie.kill("SIGCONT");
  const late = await zombie.said;
  return { violations: judged(world, saga, said?.endings[0]), outcome: said?.endings[0]?.outcome, late };
}

/** Right before a request leaves, and with its answer in hand. */
const SLEEPS = ["after intent charge", "answer of charge arrives"];
const ASLEEP: readonly { readonly server: ServerKind; readonly stopAt: string }[] = [
  ...SLEEPS.map((stopAt) => ({ server: "dedup" as const, stopAt })),
  ...SLEEPS.map((stopAt) => ({ server: "plain" as const, stopAt })),
  ...SLEEPS.map((stopAt) => ({ server: "plain with verify" as const, stopAt })),
  { server: "dedup", stopAt: "after intent undo label" },
  { server: "plain", stopAt: "after intent undo label" },
];

describe.concurrent("a process that stands still past its lease while another one carries its saga on", () => {
  test.each(ASLEEP)(
    "does nothing twice: $server server, stopped $stopAt",
    async ({ server, stopAt }) => {
      await inWorld({ server, leaseMs: LEASE_MS }, async (world) => {
        const { violations, outcome, late } = await sleepsThrough(world, stopAt);
        expect(violations).toEqual([]);
        expect(late?.endings[0]?.error).toMatch(/SagaInterruptedError/);
        expect(outcome?.status).toBe(server === "plain" ? "stuck" : "compensated");
      });
    },
    TIMEOUT_MS,
  );
});

/** Points that only some sagas pass. */
describe.concurrent("a saga whose process is killed", () => {
  const deaths = (what: string): readonly string[] => [`before ${what}`, `${what} is sent`, `after ${what}`];

  test(
    "at a heartbeat is carried on",
    async () => {
      await inWorld({ server: "dedup", leaseMs: LEASE_MS }, async (world) => {
        const sagas = deaths("extend").map((crashAt, index) => ({ id: `slow-${index}`, crashAt }));
        const { crashes } = await world.play("run", sagas);
        expect([...crashes.values()].map(({ name }) => name).sort()).toEqual(deaths("extend").toSorted());
        const { said } = await world.play(
          "finish",
          sagas.map(({ id }) => ({ id })),
        );
        expect(said?.endings.flatMap((ending) => judged(world, ending, ending))).toEqual([]);
        expect(said?.endings).toHaveLength(3);
      });
    },
    TIMEOUT_MS,
  );

  test(
    "while its runner is closed is carried on",
    async () => {
      await inWorld({ server: "plain" }, async (world) => {
        const sagas = deaths("release").map((crashAt, index) => ({ id: `closed-${index}`, crashAt }));
        const { crashes } = await world.play("run", sagas, { closesAfter: "reserve" });
        expect([...crashes.values()].map(({ name }) => name).sort()).toEqual(deaths("release").toSorted());
        const { said } = await world.play(
          "finish",
          sagas.map(({ id }) => ({ id })),
        );
        expect(said?.endings.flatMap((ending) => judged(world, ending, ending))).toEqual([]);
        expect(said?.endings.map(({ outcome }) => outcome?.status)).toEqual(sagas.map(() => "compensated"));
      });
    },
    TIMEOUT_MS,
  );
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SagaOutcome } from "@mcp-tx/saga";
import { afterAll, describe, expect, test } from "vitest";
import { enumerate } from "./fixtures/saga-crash-enumeration.js";
import { type Case, judge } from "./fixtures/saga-crash-judge.js";
import type { Effect, Mutant, StoreSpec } from "./fixtures/saga-crash-parts.mjs";
import { openSagaWorld, type SagaWorld, type SagaWorldSpec, type ServerKind } from "./fixtures/saga-crash-world.js";

const TIMEOUT_MS = 120_000;

const folder = mkdtempSync(join(tmpdir(), "saga-crash-stores-"));
let stores = 0;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** An empty store. */
function newStore(): StoreSpec {
  stores += 1;
  return { kind: "sqlite", path: join(folder, `store-${stores}.db`) };
}

async function inWorld<T>(
  spec: Pick<SagaWorldSpec, "server"> & Partial<SagaWorldSpec>,
  work: (world: SagaWorld) => Promise<T>,
): Promise<T> {
  const world = await openSagaWorld({ store: newStore(), records: false, fails: true, ...spec });
  try {
    return await work(world);
  } finally {
    await world.close();
  }
}

const AROUND_ACTION = (step: string): readonly string[] => [
  `before intent ${step}`,
  `after intent ${step}`,
  `before ${step} is sent`,
  `after ${step} is sent`,
  `answer of ${step} arrives`,
  `before end ${step}`,
  `after end ${step}`,
];
const UNDONE_BY: Readonly<Record<string, string>> = {
  charge: "refund",
  label: "unlabel",
  invoice: "void",
  reserve: "release",
};
const AROUND_COMPENSATION = Object.entries(UNDONE_BY).flatMap(([step, tool]) => [
  `before intent undo ${step}`,
  `after intent undo ${step}`,
  `before ${tool} is sent`,
  `after ${tool} is sent`,
  `answer of ${tool} arrives`,
  `before end undo ${step}`,
  `after end undo ${step}`,
]);
const OF_OWNER = ["before create", "after create", "before entries", "after entries", "before end", "after end"];
const FORWARD = ["reserve", "label", "invoice", "charge", "ship"].flatMap(AROUND_ACTION);
/** Every point that is passed by a saga that turns back, and by one that gets through. */
const BACK = [...OF_OWNER, ...FORWARD, "before memory", "after memory", ...AROUND_COMPENSATION];
const THROUGH = [...OF_OWNER, ...FORWARD, ...AROUND_ACTION("notify")];

/** Units that run alone, and their tools. */
const ALONE = { reserve: "reserve", charge: "charge", ship: "ship" };
const ALONE_BACK = { ...ALONE, "undo charge": "refund", "undo reserve": "release" };

/** What was on its way to the store, it knows or not; of parallel steps the other one may be what is unknown. */
function isEither(point: string): boolean {
  return !/^(before|after|answer)/.test(point) || /label|invoice|void/.test(point);
}

/**
 * After which crashes nobody knows what became of a step, on a server that cannot be asked: those between its intent and its end.
 * With records of the calls, those between the claim of a record and its settlement.
 */
function unknownAt(server: ServerKind, records: boolean, fails: boolean): readonly string[] {
  if (server !== "plain") return [];
  const units = Object.entries(fails ? ALONE_BACK : { ...ALONE, notify: "notify" });
  const points = units.flatMap(([unit, tool]) => [
    ...(records ? [`after claim of ${unit}`, `before intent ${unit}`] : []),
    `after intent ${unit}`,
    `before ${tool} is sent`,
    `after ${tool} is sent`,
    `answer of ${tool} arrives`,
    records ? `before settle of ${unit}` : `before end ${unit}`,
  ]);
  return points.sort();
}

const WORLDS: readonly {
  readonly server: ServerKind;
  readonly records: boolean;
  readonly fails: boolean;
  readonly passes: readonly string[];
}[] = [
  { server: "dedup", records: false, fails: true, passes: BACK },
  { server: "plain", records: true, fails: true, passes: BACK },
  { server: "plain with verify", records: false, fails: true, passes: BACK },
  { server: "plain", records: false, fails: false, passes: THROUGH },
];

describe.concurrent("a saga on SQLite whose process is killed", () => {
  test.each(WORLDS)(
    "$server server, records $records, fails $fails: does everything once, or undoes it, or reports it, wherever that is",
    async ({ server, records, fails, passes }) => {
      const found = await inWorld({ server, records, fails }, (world) => enumerate(world));
      expect(found.violations).toEqual([]);
      expect(found.points).toEqual(expect.arrayContaining([...passes]));
      expect(found.alive).toEqual([]);
      expect(found.stuck.filter((point) => !isEither(point)).sort()).toEqual(unknownAt(server, records, fails));
    },
    TIMEOUT_MS,
  );
});

/** Stores that lack one thing, and one who looks and lies: what the harness finds. */
const MUTANTS: readonly { readonly mutant: Mutant; readonly server: ServerKind; readonly finds: RegExp }[] = [
  { mutant: "no intents", server: "plain", finds: /charge had its effect twice/ },
  { mutant: "no ends", server: "plain", finds: /label: done 1, undone 0, not reported/ },
  { mutant: "forgets sagas", server: "dedup", finds: /lost/ },
  { mutant: "verify lies", server: "plain with verify", finds: /charge had its effect twice/ },
];

describe.concurrent("a crash harness", () => {
  test.each(MUTANTS)(
    "finds out: $mutant",
    async ({ mutant, server, finds }) => {
      const at = ["after charge is sent", "answer of charge arrives", "after end charge"];
      const { violations } = await inWorld({ server, mutant }, (world) => enumerate(world, { at }));
      expect(violations.join("\n")).toMatch(finds);
    },
    TIMEOUT_MS,
  );
});

const CASE: Case = { id: "1", server: "plain", fails: true, point: "x", deaths: 1, lastOfTwo: "label" };
const RECEIPTS: Readonly<Record<string, string>> = {
  release: "reserve",
  unlabel: "label",
  void: "invoice",
  refund: "charge",
  unship: "ship",
};
const effect = (tool: string): Effect => ({
  saga: "1",
  tool,
  receipt: tool,
  args: { of: RECEIPTS[tool], reservation: "reserve" },
});
const ledgerOf = (text: string): readonly Effect[] => text.split(" ").map(effect);
function outcomeOf(status: SagaOutcome["status"], lists: Partial<SagaOutcome> = {}): SagaOutcome {
  const error = { name: "Error", message: "out of stock" };
  const common = { id: "1", name: "order", steps: [], failedCompensations: [], unknown: [], results: {}, error };
  // The judge reads only the lists and the status.
  return { ...common, compensated: ["charge", "label", "invoice", "reserve"], ...lists, status } as SagaOutcome;
}
const SOUND = "reserve invoice label charge refund unlabel void release";

/** What no crash may leave behind. */
const WRONG: readonly { readonly ledger: string; readonly outcome: SagaOutcome; readonly finds: RegExp }[] = [
  { ledger: `${SOUND} charge`, outcome: outcomeOf("compensated"), finds: /charge had its effect twice/ },
  { ledger: `${SOUND} release`, outcome: outcomeOf("compensated"), finds: /release had its effect twice/ },
  {
    ledger: "reserve invoice label charge refund void unlabel release",
    outcome: outcomeOf("compensated", { compensated: ["charge", "invoice", "label", "reserve"] }),
    finds: /undid parallel steps in the order in which they were done/,
  },
  {
    ledger: "reserve invoice label charge unlabel void refund release",
    outcome: outcomeOf("compensated", { compensated: ["label", "invoice", "charge", "reserve"] }),
    finds: /in another order than in reverse/,
  },
  {
    ledger: "reserve invoice label charge refund unlabel void",
    outcome: outcomeOf("compensated"),
    finds: /reserve: done 1, undone 0, not reported/,
  },
  {
    ledger: "reserve invoice label charge refund unlabel void",
    outcome: outcomeOf("stuck", { unknown: ["charge"] }),
    finds: /reserve: done 1, undone 0, not reported/,
  },
  { ledger: SOUND, outcome: outcomeOf("stuck"), finds: /is stuck, and reports this/ },
  { ledger: SOUND, outcome: outcomeOf("completed"), finds: /completed though a step fails/ },
  { ledger: `${SOUND} notify`, outcome: outcomeOf("compensated"), finds: /notify: done 1, undone 0/ },
  {
    ledger: SOUND,
    outcome: outcomeOf("stuck", { unknown: ["charge", "reserve"] }),
    finds: /reports more than can have been under way/,
  },
];

describe("the judge", () => {
  test("has nothing against a saga that was undone", () => {
    expect(judge(CASE, ledgerOf(SOUND), { id: "1", outcome: outcomeOf("compensated") })).toEqual([]);
  });

  test.each(WRONG)("finds $finds", ({ ledger, outcome, finds }) => {
    expect(judge(CASE, ledgerOf(ledger), { id: "1", outcome }).join("\n")).toMatch(finds);
  });

  test("finds a saga that did not end", () => {
    expect(judge(CASE, ledgerOf(SOUND), undefined).join("\n")).toMatch(/lost/);
  });

  test("lets no saga be stuck where the server knows", () => {
    const outcome = outcomeOf("stuck", { unknown: ["ship"] });
    const violations = judge({ ...CASE, server: "dedup" }, ledgerOf(SOUND), { id: "1", outcome });
    expect(violations.join("\n")).toMatch(/is stuck though the server knows/);
  });
});

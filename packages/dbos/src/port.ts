import { DBOS, Error as DbosErrors } from "@dbos-inc/dbos-sdk";
import type { PinnedRecord, RecordKeeper } from "@mcp-tx/core";
import type { Prepared, SagaPort, UnitEnd, UnitMemory } from "@mcp-tx/saga/engine";

/** What a step of the workflow gives; an object, because a value may be `undefined`, which JSON does not have. */
interface Kept<T> {
  readonly value?: T;
}

/**
 * A unit begins as if it had never been begun: DBOS remembers how it ended, and nothing of one that did not come to its end. Of that
 * the idempotency store knows, which every call goes through.
 */
const BLANK: UnitMemory = {
  past: [],
  epoch: 0,
  calls: 0,
  onlyVerify: false,
  intend: () => Promise.resolve(),
  check: () => undefined,
};

/**
 * Runs something once in the life of the workflow. The number of the step is taken before anything is awaited, so that steps that are
 * started together are numbered in the order in which they were started.
 */
function once<T>(name: string, make: () => T | Promise<T>): Promise<T> {
  const step = DBOS.runStep(
    async (): Promise<Kept<T>> => {
      const value = await make();
      // What DBOS would keep of `undefined` members and the like comes back as something else; of plain JSON it does not.
      return JSON.parse(JSON.stringify({ value })) as Kept<T>;
    },
    // Repetitions are ours: the engine would repeat whole units, past the replay gate.
    { name, retriesAllowed: false },
  );
  // What the first run was given by `make`, as JSON has it.
  return step.then((kept) => kept.value as T);
}

/** The workflow that calls it is the memory of a saga. */
export class DbosPort implements SagaPort {
  /** Records of calls that are kept until the saga ends. */
  readonly pins: PinnedRecord[] = [];

  remember<T>(name: string, make: () => T): Promise<T> {
    return once(name, make);
  }

  decide(name: string, _units: readonly string[], make: () => string | undefined): Promise<string | undefined> {
    return once(name, make);
  }

  prepare(unit: string, make: () => Prepared): Promise<Prepared> {
    return once(`prepare ${unit}`, make);
  }

  async unit(unit: string, run: (memory: UnitMemory) => Promise<UnitEnd>): Promise<UnitEnd> {
    const end = await once(unit, () => run(BLANK));
    if (end.pins !== undefined) this.pins.push(...end.pins);
    return end;
  }

  /** Remembers that the saga was begun. Gives whether an earlier run had begun it. */
  async begin(): Promise<boolean> {
    let isFirst = false;
    await once("begin", () => {
      isFirst = true;
      return DBOS.executorID;
    });
    return !isFirst;
  }

  /** Lets the records of the saga's calls expire, once. */
  async letGo(keepers: readonly RecordKeeper[]): Promise<void> {
    await once("let go", async () => {
      // One that could not be let go is kept too long, which harms nobody.
      for (const pin of this.pins) for (const keeper of keepers) await keeper.letGo(pin).catch(() => false);
      return this.pins.length;
    });
  }

  isControlError(error: unknown): boolean {
    return error instanceof DbosErrors.DBOSError;
  }
}

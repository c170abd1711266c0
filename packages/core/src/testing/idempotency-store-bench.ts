import type { IdempotencyClaim, IdempotencyRecord, IdempotencySettlement, IdempotencyStore } from "../stores.js";
import { check, equal, LONG_MS, newToken, PASS_MS, SHORT_MS, show } from "./store-bench.js";

export { check, equal, LONG_MS, newToken, PASS_MS, SHORT_MS, show };

/** A store under test, with what the cases need beside it. */
export interface IdempotencyStoreHarness {
  /** The store: empty. */
  readonly store: IdempotencyStore;
  /** A second handle on the same data, through a connection of its own, if the store can have one. */
  readonly other?: IdempotencyStore | undefined;
  /** Lets at least that many milliseconds pass on the store's clock; waits for real where the clock cannot be moved. */
  advance(ms: number): Promise<void>;
  /**
   * How many records there are physically, expired ones included. With it the cases also see whether a sweep removes what it
   * should, which a store that hides expired records does not show otherwise. Leave it out where the database itself
   * removes expired records.
   */
  records?(): Promise<number>;
  /** Called at the end of each case, also of one that failed. */
  close?: (() => void | Promise<void>) | undefined;
}

/** A claim with plain values where none are given. */
export function claimOf(claim: Partial<IdempotencyClaim> = {}): IdempotencyClaim {
  return { fingerprint: "f1", token: newToken(), leaseMs: LONG_MS, epoch: 0, sentAtWall: 1_700_000_000_000, ...claim };
}

/** A settlement with plain values where none are given. */
export function settlementOf(settlement: Partial<IdempotencySettlement> = {}): IdempotencySettlement {
  return { state: "done", outcome: '{"content":[]}', ttlMs: LONG_MS, ...settlement };
}

/** What two looks at one record may be compared by, whatever the clock did in between. */
const FIELDS: readonly (keyof IdempotencyRecord)[] = [
  "key",
  "fingerprint",
  "token",
  "state",
  "epoch",
  "outcome",
  "sentAtWall",
  "sentTo",
];

export function sameRecord(
  actual: IdempotencyRecord | undefined,
  expected: Partial<IdempotencyRecord>,
  what: string,
): asserts actual is IdempotencyRecord {
  check(actual !== undefined, `${what}: expected a record, got none`);
  for (const field of FIELDS) {
    if (field in expected) equal(actual[field], expected[field], `${what}: ${field}`);
  }
  for (const time of ["leaseUntil", "expiresAt"] as const) {
    check(typeof actual[time] === "number" && !Number.isNaN(actual[time]), `${what}: ${time} must be a number`);
    if (time in expected) equal(actual[time], expected[time], `${what}: ${time}`);
  }
  if (actual.state === "pending" || actual.state === "unknown") {
    equal(actual.expiresAt, Infinity, `${what}: expiresAt of a record that never expires`);
  }
}

/** One case's store. */
export class StoreBench {
  readonly store: IdempotencyStore;
  /** The second handle; the same one again where there is only one. */
  readonly other: IdempotencyStore;
  readonly concurrency: number;
  readonly #harness: IdempotencyStoreHarness;

  constructor(harness: IdempotencyStoreHarness, concurrency: number) {
    this.#harness = harness;
    this.store = harness.store;
    this.other = harness.other ?? harness.store;
    this.concurrency = concurrency;
  }

  advance(ms: number): Promise<void> {
    return this.#harness.advance(ms);
  }

  /** How many records are kept, or `undefined` where nobody can tell. */
  async records(): Promise<number | undefined> {
    return this.#harness.records?.();
  }

  /** A claim that must win. */
  async claim(key: string, claim: Partial<IdempotencyClaim> = {}): Promise<IdempotencyRecord> {
    const { won, record } = await this.store.claim(key, claimOf(claim));
    check(won, `the claim of ${show(key)}, of which there is no record, must win; it was given ${show(record)}`);
    return record;
  }

  /** A record that is `pending` by name and `unknown` by its lease. */
  async claimOverdue(key: string, claim: Partial<IdempotencyClaim> = {}): Promise<IdempotencyRecord> {
    const record = await this.claim(key, { leaseMs: SHORT_MS, ...claim });
    await this.advance(PASS_MS);
    return record;
  }

  /** A record that ended as told: as `get` gives it, or as far as it is known when it may be over by now. */
  async settled(
    key: string,
    settlement: Partial<IdempotencySettlement> = {},
    claim: Partial<IdempotencyClaim> = {},
  ): Promise<IdempotencyRecord> {
    const record = await this.claim(key, claim);
    const told = settlementOf(settlement);
    const { state, outcome, ttlMs, epoch = record.epoch } = told;
    equal(await this.store.settle(key, record.token, told), true, `settle(${state}) by the owner of ${show(key)}`);
    const ended = { ...record, state, outcome, epoch };
    if (ttlMs < LONG_MS) return ended;
    const standing = await this.store.get(key);
    const { leaseUntil: _leaseUntil, expiresAt: _expiresAt, ...known } = ended;
    sameRecord(standing, known, `the record of ${show(key)} after settle(${state})`);
    return standing;
  }

  async expectState(key: string, state: IdempotencyRecord["state"] | "absent", what: string): Promise<void> {
    equal((await this.store.get(key))?.state ?? "absent", state, what);
  }

  /** `count` contenders at once, through both handles in turn. */
  contend<T>(count: number, contender: (store: IdempotencyStore, index: number) => Promise<T>): Promise<T[]> {
    const stores = [this.store, this.other];
    return Promise.all(Array.from({ length: count }, (_, index) => contender(stores[index % 2] ?? this.store, index)));
  }
}

/** What a case does with its store; it throws when a rule is broken. */
export type Proof = (bench: StoreBench) => Promise<void>;

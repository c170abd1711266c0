import type { SagaClaim, SagaCreation, SagaEnd, SagaEntry, SagaRecord, SagaStore } from "../stores.js";
import { check, equal, LONG_MS, newToken, PASS_MS, SHORT_MS, show } from "./store-bench.js";

export { check, equal, LONG_MS, newToken, PASS_MS, SHORT_MS, show };

/** A store under test, with what the cases need beside it. */
export interface SagaStoreHarness {
  /** The store: empty. */
  readonly store: SagaStore;
  /** A second handle on the same data, through a connection of its own, if the store can have one. */
  readonly other?: SagaStore | undefined;
  /** Lets at least that many milliseconds pass on the store's clock; waits for real where the clock cannot be moved. */
  advance(ms: number): Promise<void>;
  /**
   * How many sagas and journal entries there are physically, counted together. With it the cases also see whether a sweep removes
   * what it should, which a store that drops expired sagas by itself does not show otherwise.
   */
  records?(): Promise<number>;
  /** Called at the end of each case, also of one that failed. */
  close?: (() => void | Promise<void>) | undefined;
}

/** A creation with plain values where none are given. */
export function creationOf(creation: Partial<SagaCreation> = {}): SagaCreation {
  return { name: "order", definition: "d1", input: '{"sku":"a"}', token: newToken(), leaseMs: LONG_MS, ...creation };
}

/** A claim with plain values where none are given. */
export function claimOf(claim: Partial<SagaClaim> = {}): SagaClaim {
  return { token: newToken(), leaseMs: LONG_MS, from: ["running"], ...claim };
}

/** An end with plain values where none are given. */
export function endOf(end: Partial<SagaEnd> = {}): SagaEnd {
  return { status: "completed", outcome: '{"done":true}', ttlMs: LONG_MS, ...end };
}

/** What two looks at one saga may be compared by, whatever the clock did in between. */
const FIELDS: readonly (keyof SagaRecord)[] = [
  "id",
  "name",
  "definition",
  "input",
  "status",
  "token",
  "deadlineAt",
  "outcome",
];

export function sameSaga(
  actual: SagaRecord | undefined,
  expected: Partial<SagaRecord>,
  what: string,
): asserts actual is SagaRecord {
  check(actual !== undefined, `${what}: expected a saga, got none`);
  for (const field of FIELDS) {
    if (field in expected) equal(actual[field], expected[field], `${what}: ${field}`);
  }
  for (const time of ["leaseUntil", "createdAt", "updatedAt", "expiresAt"] as const) {
    check(typeof actual[time] === "number" && !Number.isNaN(actual[time]), `${what}: ${time} must be a number`);
    if (time in expected) equal(actual[time], expected[time], `${what}: ${time}`);
  }
  check(actual.updatedAt >= actual.createdAt, `${what}: updatedAt must not be before createdAt`);
  if (actual.status === "running" || actual.status === "stuck") {
    equal(actual.expiresAt, Infinity, `${what}: expiresAt of a saga that has not ended`);
  } else {
    equal(actual.leaseUntil, 0, `${what}: leaseUntil of a saga that has ended`);
  }
}

/** Compares a journal with the bodies that it should hold, from `seq` 1 on. */
export function sameJournal(actual: readonly SagaEntry[], bodies: readonly string[], what: string): void {
  equal(actual.length, bodies.length, `${what}: how many entries there are`);
  for (const [index, body] of bodies.entries()) {
    const entry = actual[index];
    equal(entry?.seq, index + 1, `${what}: seq of entry ${index + 1}`);
    check(
      entry?.body === body,
      `${what}: body of entry ${index + 1}: expected ${show(body)}, got ${show(entry?.body)}`,
    );
    check(
      typeof entry.at === "number" && !Number.isNaN(entry.at),
      `${what}: at of entry ${index + 1} must be a number`,
    );
  }
}

/** Entries from a `seq` on. */
export function entriesOf(bodies: readonly string[], first = 1): { readonly seq: number; readonly body: string }[] {
  return bodies.map((body, index) => ({ seq: first + index, body }));
}

/** One case's store. */
export class SagaBench {
  readonly store: SagaStore;
  /** The second handle; the same one again where there is only one. */
  readonly other: SagaStore;
  readonly concurrency: number;
  readonly #harness: SagaStoreHarness;

  constructor(harness: SagaStoreHarness, concurrency: number) {
    this.#harness = harness;
    this.store = harness.store;
    this.other = harness.other ?? harness.store;
    this.concurrency = concurrency;
  }

  advance(ms: number): Promise<void> {
    return this.#harness.advance(ms);
  }

  /** How many sagas and entries are kept, or `undefined` where nobody can tell. */
  async records(): Promise<number | undefined> {
    return this.#harness.records?.();
  }

  /** A saga that is new. */
  async create(id: string, creation: Partial<SagaCreation> = {}): Promise<SagaRecord> {
    const { created, saga } = await this.store.create(id, creationOf(creation));
    check(created, `create(${show(id)}), of which there is none, must start a saga; it was given ${show(saga)}`);
    return saga;
  }

  /** A saga, with a journal, whose lease is over. */
  async orphan(id: string, bodies: readonly string[] = [], creation: Partial<SagaCreation> = {}): Promise<SagaRecord> {
    const saga = await this.create(id, creation);
    await this.append(id, saga.token, bodies);
    equal(await this.store.release(id, saga.token), true, `release of ${show(id)} by its owner`);
    return saga;
  }

  /** A saga that ended, or is stuck, as told: as `get` gives it. */
  async ended(id: string, end: Partial<SagaEnd> = {}, creation: Partial<SagaCreation> = {}): Promise<SagaRecord> {
    const saga = await this.create(id, creation);
    const told = endOf(end);
    equal(await this.store.end(id, saga.token, told), true, `end(${told.status}) by the owner of ${show(id)}`);
    const standing = await this.store.get(id);
    const { leaseUntil: _leaseUntil, expiresAt: _expiresAt, updatedAt: _updatedAt, ...known } = saga;
    sameSaga(
      standing,
      { ...known, status: told.status, outcome: told.outcome, leaseUntil: 0 },
      `after end of ${show(id)}`,
    );
    return standing;
  }

  /** An append that must be accepted. */
  async append(id: string, token: string, bodies: readonly string[], first = 1): Promise<void> {
    equal(await this.store.append(id, token, entriesOf(bodies, first)), true, `append to ${show(id)} by its owner`);
  }

  async expectJournal(id: string, bodies: readonly string[], what: string): Promise<void> {
    for (const store of [this.store, this.other]) sameJournal(await store.entries(id), bodies, what);
  }

  /** `count` contenders at once, through both handles in turn. */
  contend<T>(count: number, contender: (store: SagaStore, index: number) => Promise<T>): Promise<T[]> {
    const stores = [this.store, this.other];
    return Promise.all(Array.from({ length: count }, (_, index) => contender(stores[index % 2] ?? this.store, index)));
  }
}

/** What a case does with its store; it throws when a rule is broken. */
export type SagaProof = (bench: SagaBench) => Promise<void>;

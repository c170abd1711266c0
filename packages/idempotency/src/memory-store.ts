import { defaultRuntime, type Runtime } from "@mcp-tx/core";
import { number, objectWith, readOptions } from "@mcp-tx/core/options";
import type {
  IdempotencyClaim,
  IdempotencyClaimed,
  IdempotencyRecord,
  IdempotencySettlement,
  IdempotencyStore,
} from "@mcp-tx/core/stores";
import { type Due, DueHeap } from "./memory-store-heap.js";

/** Options of {@link memoryStore}. */
export interface MemoryStoreOptions {
  /**
   * Records kept at most, expired ones not counted. An integer of at least 1.
   * @defaultValue 100_000
   */
  readonly maxRecords?: number | undefined;
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
}

/** A record with its place among those that fall due. The record is replaced, never changed: it may have been given out. */
interface Entry extends Due {
  record: IdempotencyRecord;
}

/** Expired records removed with each new key: more than come in, so that nobody has to sweep. */
const TIDY = 2;

/** Milliseconds since the epoch that steps of the wall clock do not move. */
function steadyClock(runtime: Runtime): () => number {
  const offset = runtime.wallNow() - runtime.now();
  return () => runtime.now() + offset;
}

/** Who gets a record that stands. */
function wins(record: IdempotencyRecord, { token, fingerprint, epoch, takeover }: IdempotencyClaim): boolean {
  if (record.state === "pending") return record.token === token;
  if (record.state === "done" || record.fingerprint !== fingerprint) return false;
  return record.token === takeover || (record.state === "failed" && epoch > record.epoch);
}

function isOpen({ state }: IdempotencyRecord): boolean {
  return state === "pending" || state === "unknown";
}

class MemoryStore implements IdempotencyStore {
  declare readonly storeId: string;
  readonly durable = false;
  readonly #entries = new Map<string, Entry>();
  /** Leases that end and records that expire; unknown and pinned ones are not in it. */
  readonly #dues = new DueHeap<Entry>();
  readonly #now: () => number;
  readonly #maxRecords: number;

  constructor(maxRecords: number, now: () => number) {
    this.#maxRecords = maxRecords;
    this.#now = now;
    let storeId: string | undefined;
    // Made when first asked for: some runtimes give no random values while a module is loaded.
    Object.defineProperty(this, "storeId", {
      enumerable: true,
      get() {
        storeId ??= crypto.randomUUID();
        return storeId;
      },
      set(given: string) {
        storeId = given;
      },
    });
  }

  async claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
    const now = this.#now();
    const entry = this.#standing(key, now);
    if (entry !== undefined && !wins(entry.record, claim)) return { won: false, record: entry.record };
    if (entry === undefined) this.#makeRoom(now);
    const { fingerprint, token, epoch, sentAtWall, sentTo } = claim;
    const leaseUntil = now + claim.leaseMs;
    const record: IdempotencyRecord = Object.freeze({
      ...{ key, fingerprint, token, state: "pending", epoch, outcome: undefined },
      ...{ leaseUntil, expiresAt: Infinity, sentAtWall, sentTo },
    });
    if (entry === undefined) this.#add(record);
    else this.#replace(entry, record, leaseUntil);
    return { won: true, record };
  }

  async extend(key: string, token: string, leaseMs: number): Promise<boolean> {
    const now = this.#now();
    const entry = this.#standing(key, now);
    if (entry?.record.state !== "pending" || entry.record.token !== token) return false;
    const leaseUntil = now + leaseMs;
    this.#replace(entry, { ...entry.record, leaseUntil }, leaseUntil);
    return true;
  }

  async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
    const now = this.#now();
    const entry = this.#standing(key, now);
    if (entry === undefined || entry.record.token !== token) return false;
    if (!isOpen(entry.record)) return true;
    const { state, outcome, ttlMs, epoch = entry.record.epoch } = settlement;
    const expiresAt = state === "unknown" ? Infinity : now + ttlMs;
    this.#replace(entry, { ...entry.record, state, outcome, epoch, expiresAt }, expiresAt);
    return true;
  }

  async release(key: string, token: string): Promise<boolean> {
    const entry = this.#standing(key, this.#now());
    if (entry === undefined) return true;
    if (!isOpen(entry.record) || entry.record.token !== token) return false;
    this.#remove(entry);
    return true;
  }

  async get(key: string): Promise<IdempotencyRecord | undefined> {
    return this.#standing(key, this.#now())?.record;
  }

  async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
    const now = this.#now();
    const entry = this.#standing(key, now);
    if (entry === undefined || isOpen(entry.record) || entry.record.token !== token) return false;
    const expiresAt = now + ttlMs;
    this.#replace(entry, { ...entry.record, expiresAt }, expiresAt);
    return true;
  }

  async sweep(limit: number): Promise<number> {
    return this.#tidy(limit, this.#now());
  }

  /** The record as every method sees it. */
  #standing(key: string, now: number): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.due > now) return entry;
    this.#fallDue(entry);
    return this.#entries.get(key);
  }

  /** Only here does time change a record: a lease that is over makes it unknown, an expired one leaves. */
  #fallDue(entry: Entry): void {
    if (entry.record.state === "pending") this.#replace(entry, { ...entry.record, state: "unknown" }, Infinity);
    else this.#remove(entry);
  }

  #tidy(limit: number, now: number): number {
    for (let changed = 0; changed < limit; changed += 1) {
      const entry = this.#dues.firstDue(now);
      if (entry === undefined) return changed;
      this.#fallDue(entry);
    }
    return Math.max(0, limit);
  }

  #makeRoom(now: number): void {
    this.#tidy(TIDY, now);
    // Leases that are over make no room: go on until something expired has left, or nothing is due.
    while (this.#entries.size >= this.#maxRecords && this.#tidy(1, now) > 0);
    if (this.#entries.size < this.#maxRecords) return;
    throw new Error(
      `memoryStore: full: it keeps ${this.#maxRecords} records (maxRecords), none of them expired. A new key is refused, ` +
        "for dropping a record could run its call a second time. Raise maxRecords, shorten ttlMs, or use a store on disk",
    );
  }

  #add(record: IdempotencyRecord): void {
    const entry: Entry = { record, due: Infinity, place: -1 };
    this.#entries.set(record.key, entry);
    this.#dues.set(entry, record.leaseUntil);
  }

  #replace(entry: Entry, record: IdempotencyRecord, due: number): void {
    entry.record = Object.freeze(record);
    this.#dues.set(entry, due);
  }

  #remove(entry: Entry): void {
    this.#dues.delete(entry);
    this.#entries.delete(entry.record.key);
  }
}

/**
 * Keeps idempotency records in this process: for local tools, for tests, and where a restart may forget them.
 *
 * @remarks
 * Bounded: with `maxRecords` that are neither expired nor released, new keys are refused. Nobody needs to call `sweep`: each new
 * key removes what has expired.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function memoryStore(options: MemoryStoreOptions = {}): IdempotencyStore {
  const { maxRecords, runtime = defaultRuntime } = readOptions("memoryStore", options, {
    maxRecords: number({ min: 1, integer: true }, 100_000),
    runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
  });
  return new MemoryStore(maxRecords, steadyClock(runtime));
}

import { defaultRuntime, type Runtime } from "@mcp-tx/core";
import { number, objectWith, readOptions } from "@mcp-tx/core/options";
import type {
  SagaClaim,
  SagaClaimed,
  SagaCreation,
  SagaEnd,
  SagaEntry,
  SagaQuery,
  SagaRecord,
  SagaStore,
} from "@mcp-tx/core/stores";

/** Options of {@link memorySagaStore}. */
export interface MemorySagaStoreOptions {
  /**
   * Sagas kept at most, those that have ended and expired not counted. An integer of at least 1.
   * @defaultValue 10_000
   */
  readonly maxSagas?: number | undefined;
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
}

/** A saga with its journal. Record and entries are replaced, never changed: they may have been given out. */
interface Kept {
  record: SagaRecord;
  /** In order of `seq`. */
  readonly entries: SagaEntry[];
}

/** Milliseconds since the epoch that steps of the wall clock do not move. */
function steadyClock(runtime: Runtime): () => number {
  const offset = runtime.wallNow() - runtime.now();
  return () => runtime.now() + offset;
}

function hasEnded({ status }: SagaRecord): boolean {
  return status !== "running" && status !== "stuck";
}

/** The order of UTF-8 and of code points. UTF-16 has surrogates, of what is above U+FFFF, before U+E000 to U+FFFF. */
function compareCodePoints(first: string, second: string): number {
  const length = Math.min(first.length, second.length);
  for (let index = 0; index < length; index += 1) {
    const [ours, theirs] = [first.charCodeAt(index), second.charCodeAt(index)];
    if (ours !== theirs) return rank(ours) - rank(theirs);
  }
  return first.length - second.length;
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x1_0000 : unit;
}

function matches(record: SagaRecord, { status, name, unowned, after }: SagaQuery, now: number): boolean {
  if (status !== undefined && record.status !== status) return false;
  if (name !== undefined && record.name !== name) return false;
  if (unowned === true && record.leaseUntil > now) return false;
  return after === undefined || compareCodePoints(record.id, after) > 0;
}

/** Adds what is new, each entry in its place. */
function write(entries: SagaEntry[], { seq, body }: { readonly seq: number; readonly body: string }, at: number): void {
  let place = entries.length;
  for (let before = entries[place - 1]; before !== undefined && before.seq >= seq; before = entries[place - 1]) {
    if (before.seq === seq) return;
    place -= 1;
  }
  entries.splice(place, 0, Object.freeze({ seq, at, body }));
}

class MemorySagaStore implements SagaStore {
  declare readonly storeId: string;
  readonly durable = false;
  readonly #sagas = new Map<string, Kept>();
  readonly #now: () => number;
  readonly #maxSagas: number;

  constructor(maxSagas: number, now: () => number) {
    this.#maxSagas = maxSagas;
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

  async create(id: string, creation: SagaCreation): Promise<{ readonly created: boolean; readonly saga: SagaRecord }> {
    const now = this.#now();
    const { name, definition, input, token, deadlineAt } = creation;
    const leaseUntil = now + creation.leaseMs;
    const kept = this.#sagas.get(id);
    if (kept !== undefined) {
      const created = kept.record.status === "running" && kept.record.token === token;
      if (created) this.#change(kept, { leaseUntil });
      return { created, saga: kept.record };
    }
    this.#makeRoom(now);
    const record: SagaRecord = Object.freeze({
      ...{ id, name, definition, input, status: "running", token, leaseUntil, deadlineAt, outcome: undefined },
      ...{ createdAt: now, updatedAt: now, expiresAt: Infinity },
    });
    this.#sagas.set(id, { record, entries: [] });
    return { created: true, saga: record };
  }

  async claim(id: string, { token, leaseMs, from }: SagaClaim): Promise<SagaClaimed> {
    const now = this.#now();
    const kept = this.#sagas.get(id);
    if (kept === undefined) return { won: false, saga: undefined };
    const { status, token: owner, leaseUntil } = kept.record;
    const won =
      !hasEnded(kept.record) && from.some((each) => each === status) && (owner === token || leaseUntil <= now);
    if (won) this.#change(kept, { token, leaseUntil: now + leaseMs, updatedAt: now });
    return { won, saga: kept.record };
  }

  async extend(id: string, token: string, leaseMs: number): Promise<boolean> {
    const kept = this.#owned(id, token);
    if (kept === undefined) return false;
    this.#change(kept, { leaseUntil: this.#now() + leaseMs });
    return true;
  }

  async append(
    id: string,
    token: string,
    entries: readonly { readonly seq: number; readonly body: string }[],
  ): Promise<boolean> {
    const kept = this.#owned(id, token);
    if (kept === undefined) return false;
    const now = this.#now();
    const before = kept.entries.length;
    for (const entry of entries) write(kept.entries, entry, now);
    if (kept.entries.length > before) this.#change(kept, { updatedAt: now });
    return true;
  }

  async end(id: string, token: string, { status, outcome, ttlMs }: SagaEnd): Promise<boolean> {
    const kept = this.#owned(id, token);
    if (kept === undefined) {
      const ended = this.#sagas.get(id)?.record;
      return ended?.token === token && ended.status === status;
    }
    const now = this.#now();
    const expiresAt = status === "stuck" ? Infinity : now + ttlMs;
    this.#change(kept, { status, outcome, leaseUntil: 0, updatedAt: now, expiresAt });
    return true;
  }

  async release(id: string, token: string): Promise<boolean> {
    const kept = this.#owned(id, token);
    if (kept === undefined) return false;
    this.#change(kept, { leaseUntil: 0 });
    return true;
  }

  async get(id: string): Promise<SagaRecord | undefined> {
    return this.#sagas.get(id)?.record;
  }

  async entries(id: string): Promise<readonly SagaEntry[]> {
    return this.#sagas.get(id)?.entries.slice() ?? [];
  }

  async list(query: SagaQuery): Promise<readonly SagaRecord[]> {
    const now = this.#now();
    const found: SagaRecord[] = [];
    for (const { record } of this.#sagas.values()) if (matches(record, query, now)) found.push(record);
    return found.sort((first, second) => compareCodePoints(first.id, second.id)).slice(0, Math.max(0, query.limit));
  }

  async sweep(limit: number): Promise<number> {
    return this.#forget(limit, this.#now());
  }

  /** A saga that the token owns and that has not ended. */
  #owned(id: string, token: string): Kept | undefined {
    const kept = this.#sagas.get(id);
    return kept !== undefined && kept.record.token === token && !hasEnded(kept.record) ? kept : undefined;
  }

  #change(kept: Kept, change: Partial<SagaRecord>): void {
    kept.record = Object.freeze({ ...kept.record, ...change });
  }

  #forget(limit: number, now: number): number {
    let forgotten = 0;
    for (const [id, { record }] of this.#sagas) {
      if (!(forgotten + 1 <= limit)) break;
      // Only what has ended expires.
      if (record.expiresAt > now) continue;
      this.#sagas.delete(id);
      forgotten += 1;
    }
    return forgotten;
  }

  #makeRoom(now: number): void {
    if (this.#sagas.size < this.#maxSagas) return;
    // All at once: looking through them takes the longer part.
    this.#forget(Infinity, now);
    if (this.#sagas.size < this.#maxSagas) return;
    throw new Error(
      `memorySagaStore: full: it keeps ${this.#maxSagas} sagas (maxSagas), none of them ended and expired. A new saga is refused, ` +
        "for dropping one would lose what is to be undone. Raise maxSagas, keep ended sagas for a shorter time, or use a store on disk",
    );
  }
}

/**
 * Keeps sagas in this process: for tests, and where a restart may forget them.
 *
 * @remarks
 * Bounded: with `maxSagas` that have not ended and expired, new sagas are refused. Nobody needs to call `sweep`: a new saga that
 * finds no room removes what has expired.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function memorySagaStore(options: MemorySagaStoreOptions = {}): SagaStore {
  const { maxSagas, runtime = defaultRuntime } = readOptions("memorySagaStore", options, {
    maxSagas: number({ min: 1, integer: true }, 10_000),
    runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
  });
  return new MemorySagaStore(maxSagas, steadyClock(runtime));
}

import type {
  SagaClaim,
  SagaClaimed,
  SagaCreation,
  SagaEnd,
  SagaEntry,
  SagaQuery,
  SagaRecord,
  SagaStore,
} from "../stores.js";

/** A saga as it may be changed in here; what is given out is a copy. */
export type KeptSaga = { -readonly [K in keyof SagaRecord]: SagaRecord[K] } & { journal: SagaEntry[] };

/** Whether one text comes before another by code points, which UTF-16 orders differently above U+FFFF. */
export function compareCodePoints(first: string, second: string): number {
  const [ours, theirs] = [Array.from(first), Array.from(second)];
  for (let index = 0; index < Math.min(ours.length, theirs.length); index += 1) {
    const difference = (ours[index]?.codePointAt(0) ?? 0) - (theirs[index]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return ours.length - theirs.length;
}

/**
 * The rules of `SagaStore`, one by one, with no thought for speed: what a store is compared with.
 *
 * @remarks
 * Each rule is a method of its own, so that a test can break one at a time.
 */
export class ReferenceSagaStore implements SagaStore {
  readonly storeId: string;
  readonly durable = false;
  protected readonly kept: Map<string, KeptSaga> = new Map();
  protected readonly now: () => number;

  constructor(now: () => number, storeId = "reference") {
    this.now = now;
    this.storeId = storeId;
  }

  /** Sagas and entries. */
  get size(): number {
    let size = 0;
    for (const { journal } of this.kept.values()) size += 1 + journal.length;
    return size;
  }

  async create(id: string, creation: SagaCreation): Promise<{ readonly created: boolean; readonly saga: SagaRecord }> {
    const standing = this.kept.get(id);
    if (standing === undefined) {
      const saga = this.started(id, creation);
      this.kept.set(id, saga);
      return { created: true, saga: this.copy(saga) };
    }
    const created = standing.status === "running" && this.owns(standing, creation.token);
    if (created) standing.leaseUntil = this.now() + creation.leaseMs;
    return { created, saga: this.copy(standing) };
  }

  async claim(id: string, claim: SagaClaim): Promise<SagaClaimed> {
    const saga = this.kept.get(id);
    if (saga === undefined) return { won: false, saga: undefined };
    const won = this.wins(saga, claim);
    if (won) this.takeOver(saga, claim);
    return { won, saga: this.copy(saga) };
  }

  async extend(id: string, token: string, leaseMs: number): Promise<boolean> {
    const saga = this.open(id, token);
    if (saga === undefined) return false;
    saga.leaseUntil = this.now() + leaseMs;
    return true;
  }

  async append(id: string, token: string, entries: Parameters<SagaStore["append"]>[2]): Promise<boolean> {
    const saga = this.open(id, token);
    if (saga === undefined) return false;
    this.write(saga, entries);
    return true;
  }

  async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
    const saga = this.kept.get(id);
    if (saga === undefined || !this.owns(saga, token)) return false;
    if (this.hasEnded(saga)) return saga.status === end.status;
    this.finish(saga, end);
    return true;
  }

  async release(id: string, token: string): Promise<boolean> {
    const saga = this.open(id, token);
    if (saga === undefined) return false;
    saga.leaseUntil = 0;
    return true;
  }

  async get(id: string): Promise<SagaRecord | undefined> {
    const saga = this.kept.get(id);
    return saga === undefined ? undefined : this.copy(saga);
  }

  async entries(id: string): Promise<readonly SagaEntry[]> {
    return (this.kept.get(id)?.journal ?? []).map((entry) => ({ ...entry }));
  }

  async list(query: SagaQuery): Promise<readonly SagaRecord[]> {
    return [...this.kept.values()]
      .filter((saga) => this.matches(saga, query))
      .sort((first, second) => this.compare(first.id, second.id))
      .slice(0, query.limit)
      .map((saga) => this.copy(saga));
  }

  async sweep(limit: number): Promise<number> {
    let swept = 0;
    for (const saga of [...this.kept.values()]) {
      if (swept >= limit || !this.isOver(saga)) continue;
      this.forget(saga);
      swept += 1;
    }
    return swept;
  }

  /** A saga that the token owns and that has not ended. */
  protected open(id: string, token: string): KeptSaga | undefined {
    const saga = this.kept.get(id);
    return saga !== undefined && this.owns(saga, token) && !this.hasEnded(saga) ? saga : undefined;
  }

  protected owns(saga: KeptSaga, token: string): boolean {
    return saga.token === token;
  }

  protected hasEnded({ status }: KeptSaga): boolean {
    return status !== "running" && status !== "stuck";
  }

  protected isUnowned(saga: KeptSaga): boolean {
    return this.now() >= saga.leaseUntil;
  }

  protected isOver(saga: KeptSaga): boolean {
    return this.hasEnded(saga) && this.now() >= saga.expiresAt;
  }

  protected wins(saga: KeptSaga, { token, from }: SagaClaim): boolean {
    if (!from.some((status) => status === saga.status)) return false;
    return this.owns(saga, token) || this.isUnowned(saga);
  }

  protected takeOver(saga: KeptSaga, { token, leaseMs }: SagaClaim): void {
    saga.token = token;
    saga.leaseUntil = this.now() + leaseMs;
    saga.updatedAt = this.now();
  }

  protected started(id: string, creation: SagaCreation): KeptSaga {
    const { name, definition, input, token, leaseMs, deadlineAt } = creation;
    const now = this.now();
    return {
      ...{ id, name, definition, input, status: "running", token, leaseUntil: now + leaseMs, deadlineAt },
      ...{ outcome: undefined, createdAt: now, updatedAt: now, expiresAt: Infinity, journal: [] },
    };
  }

  protected write(saga: KeptSaga, entries: Parameters<SagaStore["append"]>[2]): void {
    for (const { seq, body } of entries) {
      if (saga.journal.some((entry) => entry.seq === seq)) continue;
      saga.journal.push({ seq, at: this.now(), body });
      saga.updatedAt = this.now();
    }
    saga.journal.sort((first, second) => first.seq - second.seq);
  }

  protected finish(saga: KeptSaga, { status, outcome, ttlMs }: SagaEnd): void {
    saga.status = status;
    saga.outcome = outcome;
    saga.leaseUntil = 0;
    saga.updatedAt = this.now();
    saga.expiresAt = status === "stuck" ? Infinity : this.now() + ttlMs;
  }

  protected matches(saga: KeptSaga, { status, name, unowned, after }: SagaQuery): boolean {
    if (status !== undefined && saga.status !== status) return false;
    if (name !== undefined && saga.name !== name) return false;
    if (unowned === true && !this.isUnowned(saga)) return false;
    return after === undefined || this.compare(saga.id, after) > 0;
  }

  protected compare(first: string, second: string): number {
    return compareCodePoints(first, second);
  }

  protected forget({ id }: KeptSaga): void {
    this.kept.delete(id);
  }

  protected copy({ journal: _journal, ...saga }: KeptSaga): SagaRecord {
    return saga;
  }
}

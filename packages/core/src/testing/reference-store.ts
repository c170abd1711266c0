import type {
  IdempotencyClaim,
  IdempotencyClaimed,
  IdempotencyRecord,
  IdempotencySettlement,
  IdempotencyStore,
} from "../stores.js";

/** A record as it may be changed in here; what is given out is a copy. */
export type Kept = { -readonly [K in keyof IdempotencyRecord]: IdempotencyRecord[K] };

/**
 * The rules of `IdempotencyStore`, one by one, with no thought for speed: what a store is compared with.
 *
 * @remarks
 * Each rule is a method of its own, so that a test can break one at a time.
 */
export class ReferenceStore implements IdempotencyStore {
  readonly storeId: string;
  readonly durable = false;
  protected readonly kept: Map<string, Kept> = new Map();
  protected readonly now: () => number;

  constructor(now: () => number, storeId = "reference") {
    this.now = now;
    this.storeId = storeId;
  }

  get size(): number {
    return this.kept.size;
  }

  async claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
    const standing = this.standing(key);
    if (standing !== undefined && !this.wins(standing, claim)) return { won: false, record: this.copy(standing) };
    const record = this.claimed(key, claim);
    this.kept.set(key, record);
    return { won: true, record: this.copy(record) };
  }

  async extend(key: string, token: string, leaseMs: number): Promise<boolean> {
    const record = this.standing(key);
    if (record?.state !== "pending" || !this.owns(record, token)) return false;
    record.leaseUntil = this.now() + leaseMs;
    return true;
  }

  async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
    const record = this.standing(key);
    if (record === undefined || !this.owns(record, token)) return false;
    if (this.isOpen(record)) this.end(record, settlement);
    return true;
  }

  async release(key: string, token: string): Promise<boolean> {
    const record = this.standing(key);
    if (record === undefined) return true;
    if (!this.isOpen(record) || !this.owns(record, token)) return false;
    this.kept.delete(key);
    return true;
  }

  async get(key: string): Promise<IdempotencyRecord | undefined> {
    const record = this.standing(key);
    return record === undefined ? undefined : this.copy(record);
  }

  async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
    const record = this.standing(key);
    if (record === undefined || this.isOpen(record) || !this.owns(record, token)) return false;
    record.expiresAt = this.now() + ttlMs;
    return true;
  }

  async sweep(limit: number): Promise<number> {
    let changed = 0;
    for (const record of [...this.kept.values()]) {
      if (changed < limit && this.tidy(record)) changed += 1;
    }
    return changed;
  }

  /** The record as every method sees it. */
  protected standing(key: string): Kept | undefined {
    const record = this.kept.get(key);
    if (record === undefined || this.isOver(record)) return undefined;
    if (this.isOverdue(record)) record.state = "unknown";
    return record;
  }

  protected isOverdue(record: Kept): boolean {
    return record.state === "pending" && this.now() >= record.leaseUntil;
  }

  protected isOver(record: Kept): boolean {
    return !this.isOpen(record) && this.now() >= record.expiresAt;
  }

  protected isOpen(record: Kept): boolean {
    return record.state === "pending" || record.state === "unknown";
  }

  protected owns(record: Kept, token: string): boolean {
    return record.token === token;
  }

  protected wins(record: Kept, claim: IdempotencyClaim): boolean {
    if (record.state === "pending") return record.token === claim.token;
    if (record.fingerprint !== claim.fingerprint) return false;
    if (record.state === "unknown") return record.token === claim.takeover;
    return record.state === "failed" && (claim.epoch > record.epoch || record.token === claim.takeover);
  }

  protected claimed(key: string, { fingerprint, token, leaseMs, epoch, sentAtWall, sentTo }: IdempotencyClaim): Kept {
    const leaseUntil = this.now() + leaseMs;
    return { key, fingerprint, token, state: "pending", epoch, leaseUntil, expiresAt: Infinity, sentAtWall, sentTo };
  }

  protected end(record: Kept, { state, outcome, ttlMs, epoch }: IdempotencySettlement): void {
    record.state = state;
    record.outcome = outcome;
    record.expiresAt = state === "unknown" ? Infinity : this.now() + ttlMs;
    record.epoch = epoch ?? record.epoch;
  }

  /** Does what a sweep does with one record; `false` when there is nothing to do. */
  protected tidy(record: Kept): boolean {
    if (this.isOver(record)) return this.kept.delete(record.key);
    if (!this.isOverdue(record)) return false;
    record.state = "unknown";
    return true;
  }

  protected copy(record: Kept): IdempotencyRecord {
    return { ...record };
  }
}

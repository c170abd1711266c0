import type {
  IdempotencyClaim,
  IdempotencyClaimed,
  IdempotencyRecord,
  IdempotencySettlement,
  IdempotencyState,
  IdempotencyStore,
} from "@mcp-tx/core/stores";
import type { Connection, NamedStatement } from "./connection.js";
import type { WriteGroup } from "./group.js";
import * as sql from "./idempotency-sql.js";
import { lossyText } from "./text.js";

/** A row of the table: its types are enforced by SQLite (`STRICT`), numbers may be given as bigint. */
interface Row {
  readonly key: string;
  readonly fingerprint: string;
  readonly token: string;
  readonly state: IdempotencyState;
  readonly epoch: number | bigint;
  readonly lease_until: number;
  readonly expires_at: number;
  readonly sent_at_wall: number;
  readonly sent_to: string | null;
  readonly outcome: string | null;
}

function recordOf(values: Readonly<Record<string, unknown>>): IdempotencyRecord {
  // It has been selected with all columns of the table.
  const row = values as unknown as Row;
  return {
    key: row.key,
    fingerprint: row.fingerprint,
    token: row.token,
    state: row.state,
    epoch: Number(row.epoch),
    outcome: row.outcome ?? undefined,
    leaseUntil: row.lease_until,
    expiresAt: row.expires_at,
    sentAtWall: row.sent_at_wall,
    sentTo: row.sent_to ?? undefined,
  };
}

/**
 * Idempotency records in a table.
 *
 * @remarks
 * Whatever changes a record is one statement that decides and writes. Where it changed nothing, a second one looks why, in the same
 * transaction. Texts are looked at before a write joins a transaction that it shares with others.
 */
export class SqliteIdempotencyStore implements IdempotencyStore {
  readonly storeId: string;
  readonly durable: boolean;
  readonly #connection: Connection;
  readonly #writes: WriteGroup;
  readonly #claim: NamedStatement;
  readonly #get: NamedStatement;
  readonly #extend: NamedStatement;
  readonly #settle: NamedStatement;
  readonly #settled: NamedStatement;
  readonly #release: NamedStatement;
  readonly #expire: NamedStatement;
  readonly #remove: NamedStatement;
  readonly #turn: NamedStatement;

  constructor(
    connection: Connection,
    writes: WriteGroup,
    table: string,
    identity: { readonly storeId: string; readonly durable: boolean },
  ) {
    this.#connection = connection;
    this.#writes = writes;
    this.storeId = identity.storeId;
    this.durable = identity.durable;
    this.#claim = connection.prepare(sql.claimSql(table));
    this.#get = connection.prepare(sql.getSql(table));
    this.#extend = connection.prepare(sql.extendSql(table));
    this.#settle = connection.prepare(sql.settleSql(table));
    this.#settled = connection.prepare(sql.settledSql(table));
    this.#release = connection.prepare(sql.releaseSql(table));
    this.#expire = connection.prepare(sql.expireSql(table));
    this.#remove = connection.prepare(sql.removeSql(table));
    this.#turn = connection.prepare(sql.turnSql(table));
  }

  claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
    // Read now: the caller may use the object again before the claim is written.
    const { fingerprint, token, leaseMs, epoch, sentAtWall, sentTo, takeover } = claim;
    const lossy = lossyText("the key", key) ?? lossyText("the claim", fingerprint, token, sentTo);
    return this.#write(lossy, (now) => {
      const leaseUntil = now + leaseMs;
      const changes = this.#claim.run({
        key,
        fingerprint,
        token,
        epoch,
        leaseUntil,
        sentAtWall,
        sentTo: sentTo ?? null,
        takeover: takeover ?? null,
        now,
      });
      if (changes === 0) return { won: false, record: this.#standing(key, now) };
      // What a claim that won has written.
      const written = { fingerprint, token, epoch, sentAtWall, sentTo, outcome: undefined };
      return { won: true, record: { key, ...written, state: "pending", leaseUntil, expiresAt: Infinity } };
    });
  }

  extend(key: string, token: string, leaseMs: number): Promise<boolean> {
    return this.#write(
      lossyText("the key", key),
      (now) => this.#extend.run({ key, token, now, leaseUntil: now + leaseMs }) > 0,
    );
  }

  settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
    const { state, outcome = null, ttlMs, epoch = null } = settlement;
    return this.#write(lossyText("the key", key) ?? lossyText("the outcome", outcome), (now) => {
      const expiresAt = state === "unknown" ? Infinity : now + ttlMs;
      if (this.#settle.run({ key, token, state, outcome, expiresAt, epoch }) > 0) return true;
      return this.#settled.get({ key, token, now }) !== undefined;
    });
  }

  release(key: string, token: string): Promise<boolean> {
    return this.#write(
      lossyText("the key", key),
      (now) => this.#release.run({ key, token }) > 0 || this.#get.get({ key, now }) === undefined,
    );
  }

  get(key: string): Promise<IdempotencyRecord | undefined> {
    const lossy = lossyText("the key", key);
    if (lossy !== undefined) return Promise.reject(lossy);
    return this.#connection.read((now) => {
      const row = this.#get.get({ key, now });
      return row === undefined ? undefined : recordOf(row);
    });
  }

  expire(key: string, token: string, ttlMs: number): Promise<boolean> {
    return this.#write(
      lossyText("the key", key),
      (now) => this.#expire.run({ key, token, now, expiresAt: now + ttlMs }) > 0,
    );
  }

  async sweep(limit: number): Promise<number> {
    if (!(limit >= 1)) return 0;
    const most = Math.floor(Math.min(limit, Number.MAX_SAFE_INTEGER));
    const removed = await this.#connection.write((now) => this.#remove.run({ now, limit: most }));
    return removed + (await this.#connection.write((now) => this.#turn.run({ now, limit: most - removed })));
  }

  /** No `async` function: each costs a promise and turns of the microtask queue, and a claim is on the way of every call. */
  #write<T>(lossy: TypeError | undefined, work: (now: number) => T): Promise<T> {
    return lossy === undefined ? this.#writes.do(work) : Promise.reject(lossy);
  }

  /** The record that refused a claim. */
  #standing(key: string, now: number): IdempotencyRecord {
    const row = this.#get.get({ key, now });
    if (row === undefined) throw new Error("sqliteStore: a claim was refused, and by no record");
    return recordOf(row);
  }
}

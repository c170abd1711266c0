/** Interfaces of the stores that middlewares keep their state in. Types only. */

/** How an idempotency record stands. `pending` and `unknown` never expire. */
export type IdempotencyState = "pending" | "done" | "failed" | "unknown";

/** One record of an idempotency store. */
export interface IdempotencyRecord {
  readonly key: string;
  /** SHA-256 of the canonical arguments. */
  readonly fingerprint: string;
  /** Fencing token of the owner. */
  readonly token: string;
  readonly state: IdempotencyState;
  /** Grows each time a call that finished in failure is repeated on purpose. */
  readonly epoch: number;
  /** The serialised outcome, once there is one. */
  readonly outcome?: string | undefined;
  /** Milliseconds since the epoch, on the store's clock, at which a `pending` record becomes `unknown`. */
  readonly leaseUntil: number;
  /** Milliseconds since the epoch, on the store's clock, at which a `done` or `failed` record is over; `Infinity` if never. */
  readonly expiresAt: number;
  /** When the oldest attempt that may be unresolved was sent, in milliseconds since the epoch, on the owner's clock. */
  readonly sentAtWall: number;
  /** The store that the server behind the call announced then; `undefined` for a plain server or a local tool. */
  readonly sentTo?: string | undefined;
}

/** What {@link IdempotencyStore.claim} asks for. */
export interface IdempotencyClaim {
  readonly fingerprint: string;
  /** Fencing token, new for every claim; the same only when a claim whose reply was lost is repeated. */
  readonly token: string;
  readonly leaseMs: number;
  readonly epoch: number;
  readonly sentAtWall: number;
  readonly sentTo?: string | undefined;
  /** Token of the `unknown` or `failed` record to take over, by compare-and-set. Never seizes a live `pending`. */
  readonly takeover?: string | undefined;
}

/** What {@link IdempotencyStore.claim} came to. */
export interface IdempotencyClaimed {
  readonly won: boolean;
  /** The record that stands now: the claimant's own when it won. */
  readonly record: IdempotencyRecord;
}

/** What {@link IdempotencyStore.settle} records. */
export interface IdempotencySettlement {
  readonly state: "done" | "failed" | "unknown";
  readonly outcome?: string | undefined;
  /** Milliseconds for which a `done` or `failed` record stands; `Infinity` pins it. */
  readonly ttlMs: number;
  /** The epoch that the call reached; the claim's when absent. */
  readonly epoch?: number | undefined;
}

/**
 * Keeps idempotency records. Each method is one round trip or one statement, atomic also between processes, and judges time by
 * the store's clock at that moment. A failure rejects.
 *
 * @remarks
 * To every method a `pending` record whose lease is over **is** `unknown`, whether a sweep has turned it already or not; a `done`
 * or `failed` record past `expiresAt` **is** absent. `pending` and `unknown` never expire and are never evicted: a store that is
 * full refuses new keys.
 */
export interface IdempotencyStore {
  /**
   * Identity of the data; changes when a volatile store is lost.
   *
   * @throws Error while it is not known yet, saying what to await
   */
  readonly storeId: string;
  /** Whether records survive the process. */
  readonly durable: boolean;
  /**
   * Makes the record `pending` under the claim's token, when
   * - there is none;
   * - it is `pending` under this very token: a claim whose reply was lost is repeated;
   * - it is `unknown`, `takeover` is its token and the fingerprint is the same;
   * - it is `failed`, the fingerprint is the same, and the claim's epoch is higher or `takeover` is its token.
   *
   * Otherwise the record stands and is returned: the claimant reads from it what to do. A won record has the claim's fingerprint,
   * token, epoch, `sentAtWall` and `sentTo`, no outcome, and a lease from now on.
   */
  claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed>;
  /** Prolongs the lease of a `pending` record from now on; `false` when the token does not own one. */
  extend(key: string, token: string, leaseMs: number): Promise<boolean>;
  /**
   * Records how the call ended, by compare-and-set on the token, on a `pending` or `unknown` record: an owner that is late is
   * heard as long as nobody took over, and whoever found out (`verify`) settles with the token observed. On a record that this
   * token settled as `done` or `failed` before it changes nothing and gives `true`: a settlement whose reply was lost is repeated.
   */
  settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean>;
  /**
   * Removes a `pending` or `unknown` record whose call certainly did not run and no longer can; `false` when the token does not
   * own it. `true` also when there is none: a release whose reply was lost is repeated.
   */
  release(key: string, token: string): Promise<boolean>;
  get(key: string): Promise<IdempotencyRecord | undefined>;
  /**
   * Gives a `done` or `failed` record another time to live, from now on, by compare-and-set on the token: how a record that was
   * pinned with `Infinity` is let go. `false` for any other record, and when there is none.
   */
  expire(key: string, token: string, ttlMs: number): Promise<boolean>;
  /**
   * Removes expired records and turns `pending` ones whose lease is over into `unknown`, at most `limit` in all.
   *
   * @returns how many it changed: fewer than `limit` when there is nothing left to do
   */
  sweep(limit: number): Promise<number>;
}

/** A limit that conforms to GCRA: never more than `burst + rate * seconds` in any window. */
export interface RateLimitTerms {
  /** Tokens per second. Greater than 0. */
  readonly rate: number;
  /** Tokens that may be taken at once after a rest. Greater than 0. */
  readonly burst: number;
  /** Tokens that the request takes. Greater than 0, at most `burst`. */
  readonly cost: number;
}

/** What a shared limiter decides. */
export interface RateLimitDecision {
  readonly allowed: boolean;
  /** Milliseconds until the request conforms, if nobody else takes tokens; 0 when it was allowed. */
  readonly retryAfterMs: number;
}

/** Keeps the state of shared rate limits, on the store's clock. Each method is one round trip; a failure rejects. */
export interface RateLimitStore {
  /** Takes `cost` from the limit of `key` when it conforms, and nothing when it does not. */
  take(key: string, terms: RateLimitTerms): Promise<RateLimitDecision>;
  /**
   * Gives back what a `take` got for a request that was not made after all. Time has refilled part of it already: what is given
   * back is `cost` less what `rate` yields in `ageMs`, and never makes more of the limit than it would have been.
   *
   * @param ageMs - milliseconds since the `take` was sent
   */
  refund(key: string, terms: RateLimitTerms, ageMs: number): Promise<void>;
  /**
   * Lets nothing through for `key` for the given time; never shortens a pause. At its end there is one token (less where `burst`
   * is less), and more come at `rate`: a refund of what was taken before the pause gives nothing back.
   */
  pause(key: string, terms: Omit<RateLimitTerms, "cost">, ms: number): Promise<void>;
}

/** How a saga stands. `running` is unfinished; `stuck` needs an operator; the others have ended. */
export type SagaStatus = "running" | "completed" | "compensated" | "stuck" | "abandoned";

/** One saga of a saga store. */
export interface SagaRecord {
  readonly id: string;
  /** Name of its definition. */
  readonly name: string;
  /** Hash of its definition: only a runner that knows the same one may carry it on. */
  readonly definition: string;
  /** The serialised input. */
  readonly input: string;
  readonly status: SagaStatus;
  /** Fencing token of the present or last owner. */
  readonly token: string;
  /** Milliseconds since the epoch, on the store's clock, at which others may take the saga over; 0 once its owner let go. */
  readonly leaseUntil: number;
  /** When it has to be done, in milliseconds since the epoch, on its first owner's clock; `undefined` if never. */
  readonly deadlineAt?: number | undefined;
  /** The serialised outcome, once it has ended or is stuck. */
  readonly outcome?: string | undefined;
  /** Milliseconds since the epoch, on the store's clock. */
  readonly createdAt: number;
  /** When it was last created, claimed, appended to or ended, in milliseconds since the epoch, on the store's clock. */
  readonly updatedAt: number;
  /** When an ended saga may be forgotten; `Infinity` if never, and for `running` and `stuck` ones. */
  readonly expiresAt: number;
}

/** One entry of a saga's journal, which is only ever appended to. */
export interface SagaEntry {
  /** From 1, without gaps: those who append see to it. */
  readonly seq: number;
  /** Milliseconds since the epoch, on the store's clock. */
  readonly at: number;
  /** What the saga wrote; the store does not look inside. */
  readonly body: string;
}

/** What {@link SagaStore.create} starts. */
export interface SagaCreation {
  readonly name: string;
  readonly definition: string;
  readonly input: string;
  /** Fencing token, new for every owner; the same only when a creation whose reply was lost is repeated. */
  readonly token: string;
  readonly leaseMs: number;
  readonly deadlineAt?: number | undefined;
}

/** What {@link SagaStore.claim} asks for. */
export interface SagaClaim {
  /** Fencing token, new for every owner; the same only when a claim whose reply was lost is repeated. */
  readonly token: string;
  readonly leaseMs: number;
  /** Statuses in which the saga may be taken over. */
  readonly from: readonly ("running" | "stuck")[];
}

/** What {@link SagaStore.claim} came to. */
export interface SagaClaimed {
  readonly won: boolean;
  /** The saga as it stands now; `undefined` when there is none. */
  readonly saga: SagaRecord | undefined;
}

/** How {@link SagaStore.end} leaves a saga. */
export interface SagaEnd {
  readonly status: Exclude<SagaStatus, "running">;
  readonly outcome: string;
  /** Milliseconds for which an ended saga is kept; `Infinity` for ever. Of no effect on a `stuck` one, which is kept. */
  readonly ttlMs: number;
}

/** Which sagas {@link SagaStore.list} gives. */
export interface SagaQuery {
  readonly status?: SagaStatus | undefined;
  readonly name?: string | undefined;
  /** Only those whose lease is over: nobody works on them. */
  readonly unowned?: boolean | undefined;
  /** Only ids that come after this one: for the next page. */
  readonly after?: string | undefined;
  /** At least 1. */
  readonly limit: number;
}

/**
 * Keeps sagas and their journals. Each method is one transaction, atomic also between processes, and judges time by the store's clock
 * at that moment. A failure rejects.
 *
 * @remarks
 * Whoever owns a saga holds a lease under a fencing token. An owner whose lease is over may still write **as long as nobody took the
 * saga over**; afterwards every write of its is refused. A write that is under way when somebody takes over either comes first, and
 * the new owner reads it, or is refused. Ids are at most 256 characters.
 */
export interface SagaStore {
  /**
   * Identity of the data; changes when a volatile store is lost.
   *
   * @throws Error while it is not known yet, saying what to await
   */
  readonly storeId: string;
  /** Whether sagas survive the process. */
  readonly durable: boolean;
  /**
   * Starts a saga, owned by the token, unless there is one with this id: then that one is returned as it stands. One that is `running`
   * under this very token is a creation whose reply was lost: `created` is `true`, and its lease counts from now on.
   */
  create(id: string, creation: SagaCreation): Promise<{ readonly created: boolean; readonly saga: SagaRecord }>;
  /**
   * Makes the token the owner of a saga whose status is among `from`, if the lease is over or the token owns it already; the lease
   * counts from now on. Status and outcome stay. After it wins, `entries` holds every write of earlier owners that was accepted.
   */
  claim(id: string, claim: SagaClaim): Promise<SagaClaimed>;
  /** Prolongs the lease from now on, also when it is over; `false` when the token does not own the saga or it has ended. */
  extend(id: string, token: string, leaseMs: number): Promise<boolean>;
  /**
   * Appends to the journal, all or nothing; `false` when the token does not own the saga or it has ended. Entries whose `seq` is
   * there already are left as they are: an append whose reply was lost is repeated.
   */
  append(
    id: string,
    token: string,
    entries: readonly { readonly seq: number; readonly body: string }[],
  ): Promise<boolean>;
  /**
   * Ends a saga, or leaves it `stuck`, and its lease; `false` when the token does not own it or it has ended otherwise. `true`, and
   * nothing changes, when this token ended it so before: an end whose reply was lost is repeated. `stuck` is no end: its owner may
   * still end it, or leave it `stuck` with another outcome.
   */
  end(id: string, token: string, end: SagaEnd): Promise<boolean>;
  /** Ends the lease, so that others need not wait for it; `false` when the token does not own the saga or it has ended. */
  release(id: string, token: string): Promise<boolean>;
  get(id: string): Promise<SagaRecord | undefined>;
  /** The journal, in order; empty when there is none. */
  entries(id: string): Promise<readonly SagaEntry[]>;
  /** Sagas ordered by id (code points), without their journals. */
  list(query: SagaQuery): Promise<readonly SagaRecord[]>;
  /**
   * Forgets ended sagas past `expiresAt`, with their journals, at most `limit`. Until it is forgotten such a saga stands.
   *
   * @returns how many: fewer than `limit` when there is nothing left to do
   */
  sweep(limit: number): Promise<number>;
}

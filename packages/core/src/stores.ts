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
  readonly epoch: number;
  /** The serialised outcome, once there is one. */
  readonly outcome?: string | undefined;
  /** Milliseconds since the epoch, on the store's clock. */
  readonly leaseUntil: number;
  /** Milliseconds since the epoch, on the store's clock; `Infinity` pins the record. */
  readonly expiresAt: number;
  readonly sentAtWall: number;
}

/** What {@link IdempotencyStore.claim} asks for. */
export interface IdempotencyClaim {
  readonly fingerprint: string;
  readonly token: string;
  readonly leaseMs: number;
  readonly ttlMs: number;
  readonly epoch: number;
  readonly sentAtWall: number;
  /** Token of an `unknown` record to take over, by compare-and-set. Never seizes a live `pending`. */
  readonly takeover?: string | undefined;
}

/** What {@link IdempotencyStore.settle} records. */
export interface IdempotencySettlement {
  readonly state: "done" | "failed" | "unknown";
  readonly outcome?: string | undefined;
  readonly ttlMs: number;
}

/** Keeps idempotency records. Each method is one round trip or one statement. */
export interface IdempotencyStore {
  /** Identity of the data; changes when a volatile store is lost. */
  readonly storeId: string;
  /** Whether records survive the process. */
  readonly durable: boolean;
  /** Wins when the record was absent, ours already, or taken over; else gives the record that stands. */
  claim(key: string, claim: IdempotencyClaim): Promise<{ readonly won: boolean; readonly record: IdempotencyRecord }>;
  /** Prolongs the lease; `false` when the token no longer owns the record. */
  extend(key: string, token: string, leaseMs: number): Promise<boolean>;
  /** Compare-and-set on the token; `false` when somebody took over. */
  settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean>;
  /** Removes a `pending` record whose call certainly did not run; `false` when the token does not own it. */
  release(key: string, token: string): Promise<boolean>;
  get(key: string): Promise<IdempotencyRecord | undefined>;
  /** Removes at most `limit` expired records; gives how many. */
  sweep(limit: number): Promise<number>;
}

/** What a shared limiter decides. */
export interface RateLimitDecision {
  readonly allowed: boolean;
  /** Milliseconds until the request conforms; 0 when it is allowed now. */
  readonly retryAfterMs: number;
}

/** Keeps the state of shared rate limits, on the store's clock. */
export interface RateLimitStore {
  /** Takes `cost` from the limit of `key` when it conforms; one round trip. */
  take(
    key: string,
    limit: { readonly rate: number; readonly burst: number; readonly cost: number },
  ): Promise<RateLimitDecision>;
  /** Lets nothing through for `key` for the given time. */
  pause(key: string, ms: number): Promise<void>;
}

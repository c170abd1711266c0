import { type PinnedRecord, type Runtime, startTimer } from "@mcp-tx/core";
import type {
  IdempotencyClaim,
  IdempotencyClaimed,
  IdempotencyRecord,
  IdempotencySettlement,
  IdempotencyStore,
} from "@mcp-tx/core/stores";

/** Asks a store. One that throws at once, or answers with something else than a promise, is caught as well. */
function ask<T>(question: () => Promise<T>): Promise<T> {
  return new Promise((resolve) => {
    resolve(question());
  });
}

/** Asks once more after a failure: the first question may have been heard and only its answer lost. */
function twice<T>(question: () => Promise<T>): Promise<T> {
  return ask(question).catch(() => ask(question));
}

const STATES: readonly unknown[] = ["pending", "done", "failed", "unknown"];

function checkClaimed(claimed: IdempotencyClaimed): IdempotencyClaimed {
  const { won, record } = claimed ?? {};
  const isClaimed = typeof won === "boolean" && typeof record?.token === "string" && STATES.includes(record.state);
  if (isClaimed) return claimed;
  throw new TypeError("the store must answer a claim with { won: boolean, record }");
}

/** A claim under way. */
export interface Asked {
  /** The answer; rejects when the store failed twice or takes longer than a lease. */
  readonly answer: Promise<IdempotencyClaimed>;
  /** The same without a limit: what became of a claim that was given up. Rejects when the store failed twice. */
  readonly eventually: Promise<IdempotencyClaimed>;
}

/** One record in a store, which may be slow, down or out of its mind: nothing here takes longer than a lease. */
export class StoredRecord {
  constructor(
    readonly store: IdempotencyStore,
    readonly key: string,
    readonly runtime: Runtime,
    readonly leaseMs: number,
  ) {}

  /** What to let go by; `undefined` where the store does not know itself any more. */
  pinned(token: string): PinnedRecord | undefined {
    try {
      return { storeId: this.store.storeId, key: this.key, token };
    } catch {
      return undefined;
    }
  }

  /** Whether the store is the expected one; any is, where none is expected. */
  isOf(storeId: string | undefined): boolean {
    try {
      return storeId === undefined || this.store.storeId === storeId;
    } catch {
      // It does not know itself any more.
      return false;
    }
  }

  claim(claim: IdempotencyClaim): Asked {
    const eventually = twice(() => this.store.claim(this.key, claim)).then(checkClaimed);
    return { answer: this.#bounded(eventually, this.leaseMs), eventually };
  }

  extend(token: string): Promise<boolean> {
    // A beat that gets no answer must not keep the next one from being sent.
    return this.#bounded(
      ask(() => this.store.extend(this.key, token, this.leaseMs)),
      this.leaseMs / 3,
    );
  }

  /** Whether it is recorded now. Never rejects: what a call came to stands, recorded or not. */
  settle(token: string, settlement: IdempotencySettlement): Promise<boolean> {
    const settled = twice(() => this.store.settle(this.key, token, settlement));
    return this.#bounded(settled, this.leaseMs).then(isTrue, no);
  }

  /** Never rejects: a record that could not be released turns unknown, which is safe. */
  release(token: string): Promise<boolean> {
    const released = twice(() => this.store.release(this.key, token));
    return this.#bounded(released, this.leaseMs).then(isTrue, no);
  }

  /** Keeps a record that has been settled for good; whether it is kept so. Never rejects: what a call came to stands. */
  pin(token: string): Promise<boolean> {
    const pinned = twice(() => this.store.expire(this.key, token, Infinity));
    return this.#bounded(pinned, this.leaseMs).then(isTrue, no);
  }

  /** Rejects when the store fails, or gives no answer within `ms`. */
  get(ms: number): Promise<IdempotencyRecord | undefined> {
    return this.#bounded(
      ask(() => this.store.get(this.key)),
      ms,
    );
  }

  #bounded<T>(work: Promise<T>, ms: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancelTimer = startTimer(this.runtime, ms, () => {
        reject(new Error(`the store gave no answer within ${ms} ms`));
      });
      work.then(resolve, reject).finally(cancelTimer);
    });
  }
}

function isTrue(answer: unknown): boolean {
  return answer === true;
}

function no(): boolean {
  return false;
}

import { expect, test } from "vitest";
import type { IdempotencyClaim, IdempotencyClaimed, IdempotencyRecord, IdempotencySettlement } from "../stores.js";
import { idempotencyStoreContract } from "./idempotency-store-contract.js";
import { type Kept, ReferenceStore } from "./reference-store.js";
import { virtualTime } from "./virtual-time.js";

type Now = () => number;
type Make = (now: Now, handle: number) => ReferenceStore;

/** The cases over one store, or over two handles that `make` gives for one store's data. */
function casesFor(make: Make, handles = 1) {
  return idempotencyStoreContract(async () => {
    const time = virtualTime();
    const [store, other] = Array.from({ length: handles }, (_, handle) => make(time.runtime.wallNow, handle));
    if (store === undefined) throw new Error("there must be a handle");
    return { store, other, advance: (ms) => time.advance(ms), records: async () => store.size };
  });
}

for (const { name, run } of casesFor((now) => new ReferenceStore(now))) test(`the reference ${name}`, run);

/** Which cases a store fails, with what they say. */
async function failures(make: Make, handles?: number): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of casesFor(make, handles)) {
    await run().catch((error: unknown) => failed.push(`${name}: ${String(error)}`));
  }
  return failed;
}

const pause = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Stores with one rule broken each, and a case that must notice. */
const mutants: Readonly<Record<string, readonly [make: Make, notices: string]>> = {
  "looks first and claims later": [
    (now) =>
      new (class extends ReferenceStore {
        override async claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
          const standing = this.standing(key);
          await pause();
          if (standing === undefined) this.kept.delete(key);
          return super.claim(key, claim);
        }
      })(now),
    "one of many contenders win a new key",
  ],
  "looks first and takes over later": [
    (now) =>
      new (class extends ReferenceStore {
        override async claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
          const standing = this.standing(key);
          const wins = standing !== undefined && this.wins(standing, claim);
          await pause();
          if (wins) this.kept.delete(key);
          return super.claim(key, claim);
        }
      })(now),
    "one of many take over",
  ],
  "compares the token first and settles later": [
    (now) =>
      new (class extends ReferenceStore {
        override async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
          const owned = this.standing(key)?.token === token;
          await pause();
          const record = this.standing(key);
          if (owned && record !== undefined) this.end(record, settlement);
          return owned;
        }
      })(now),
    "either a late owner or the one that takes over",
  ],
  "compares no tokens": [
    (now) =>
      new (class extends ReferenceStore {
        protected override owns(): boolean {
          return true;
        }
      })(now),
    "every step as it must when it is pending",
  ],
  "seizes a live record": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return super.wins(record, claim) || record.token === claim.takeover;
        }
      })(now),
    "every step as it must when it is pending",
  ],
  "loses a claim that is repeated": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return record.state !== "pending" && super.wins(record, claim);
        }
      })(now),
    "the repetition of a claim",
  ],
  "takes over by the state alone": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return super.wins(record, { ...claim, takeover: claim.takeover === undefined ? undefined : record.token });
        }
      })(now),
    "every step as it must when it is unknown",
  ],
  "takes an unknown record over without a token": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return record.state === "unknown" || super.wins(record, claim);
        }
      })(now),
    "every step as it must when it is unknown",
  ],
  "takes over with other arguments": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return super.wins({ ...record, fingerprint: claim.fingerprint }, claim);
        }
      })(now),
    "every step as it must when it is failed",
  ],
  "repeats a failure with the same epoch": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return super.wins(record, { ...claim, epoch: claim.epoch + 1 });
        }
      })(now),
    "every step as it must when it is failed",
  ],
  "never repeats a failure": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return record.state !== "failed" && super.wins(record, claim);
        }
      })(now),
    "every step as it must when it is failed",
  ],
  "repeats a call that is done": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return super.wins({ ...record, state: record.state === "done" ? "failed" : record.state }, claim);
        }
      })(now),
    "every step as it must when it is done",
  ],
  "keeps leases for ever": [
    (now) =>
      new (class extends ReferenceStore {
        protected override isOverdue(): boolean {
          return false;
        }
      })(now),
    "ends leases",
  ],
  "turns leases only in a sweep": [
    (now) =>
      new (class extends ReferenceStore {
        protected override standing(key: string): Kept | undefined {
          const record = this.kept.get(key);
          return record === undefined || this.isOver(record) ? undefined : record;
        }
      })(now),
    "ends leases",
  ],
  "forgets a record whose lease is over": [
    (now) =>
      new (class extends ReferenceStore {
        protected override isOver(record: Kept): boolean {
          return super.isOver(record) || this.isOverdue(record);
        }
      })(now),
    "it is pending and its lease is over",
  ],
  "lets an unknown record expire": [
    (now) =>
      new (class extends ReferenceStore {
        protected override end(record: Kept, settlement: IdempotencySettlement): void {
          super.end(record, settlement);
          record.expiresAt = this.now() + settlement.ttlMs;
        }
        protected override isOver(record: Kept): boolean {
          return this.now() >= record.expiresAt;
        }
      })(now),
    "ends done and failed records, and no others",
  ],
  "keeps ended records for ever": [
    (now) =>
      new (class extends ReferenceStore {
        protected override isOver(): boolean {
          return false;
        }
      })(now),
    "ends done and failed records, and no others",
  ],
  "takes Infinity for no time at all": [
    (now) =>
      new (class extends ReferenceStore {
        protected override end(record: Kept, settlement: IdempotencySettlement): void {
          super.end(record, { ...settlement, ttlMs: Number.isFinite(settlement.ttlMs) ? settlement.ttlMs : 0 });
        }
      })(now),
    "pinned",
  ],
  "revives a lease that is over": [
    (now) =>
      new (class extends ReferenceStore {
        override async extend(key: string, token: string, leaseMs: number): Promise<boolean> {
          const record = this.standing(key);
          if (record?.state === "unknown" && record.token === token) {
            record.state = "pending";
            record.leaseUntil = Infinity;
          }
          return super.extend(key, token, leaseMs);
        }
      })(now),
    "ends leases",
  ],
  "prolongs nothing": [
    (now) =>
      new (class extends ReferenceStore {
        override async extend(key: string, token: string): Promise<boolean> {
          return this.standing(key)?.state === "pending" && this.standing(key)?.token === token;
        }
      })(now),
    "from now on",
  ],
  "prolongs from the end of the lease": [
    (now) =>
      new (class extends ReferenceStore {
        override async extend(key: string, token: string, leaseMs: number): Promise<boolean> {
          const rest = (this.standing(key)?.leaseUntil ?? 0) - this.now();
          return super.extend(key, token, leaseMs + rest);
        }
      })(now),
    "from now on",
  ],
  "repeats a claim whose lease is over": [
    (now) =>
      new (class extends ReferenceStore {
        protected override wins(record: Kept, claim: IdempotencyClaim): boolean {
          return super.wins(record, claim) || (record.state === "unknown" && record.token === claim.token);
        }
      })(now),
    "it is pending and its lease is over",
  ],
  "settles over what was settled": [
    (now) =>
      new (class extends ReferenceStore {
        override async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
          const record = this.standing(key);
          if (record?.token === token) this.end(record, settlement);
          return record?.token === token;
        }
      })(now),
    "whose reply was lost",
  ],
  "denies a settlement that is repeated": [
    (now) =>
      new (class extends ReferenceStore {
        override async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
          const record = this.standing(key);
          return record !== undefined && this.isOpen(record) && super.settle(key, token, settlement);
        }
      })(now),
    "whose reply was lost",
  ],
  "does not hear a late owner": [
    (now) =>
      new (class extends ReferenceStore {
        override async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
          return this.standing(key)?.state === "unknown" ? false : super.settle(key, token, settlement);
        }
      })(now),
    "it is pending and its lease is over",
  ],
  "settles what is expired": [
    (now) =>
      new (class extends ReferenceStore {
        override async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
          return this.kept.get(key)?.token === token || super.settle(key, token, settlement);
        }
      })(now),
    "it is pending",
  ],
  "forgets the epoch of a settlement": [
    (now) =>
      new (class extends ReferenceStore {
        protected override end(record: Kept, settlement: IdempotencySettlement): void {
          super.end(record, { ...settlement, epoch: undefined });
        }
      })(now),
    "epochs and times",
  ],
  "releases what is done": [
    (now) =>
      new (class extends ReferenceStore {
        override async release(key: string, token: string): Promise<boolean> {
          const record = this.standing(key);
          if (record !== undefined && record.token === token) this.kept.delete(key);
          return record === undefined || record.token === token;
        }
      })(now),
    "every step as it must when it is done",
  ],
  "denies a release that is repeated": [
    (now) =>
      new (class extends ReferenceStore {
        override async release(key: string, token: string): Promise<boolean> {
          return this.standing(key) !== undefined && super.release(key, token);
        }
      })(now),
    "whose reply was lost",
  ],
  "keeps what it is to let go": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string): Promise<boolean> {
          return super.expire(key, token, Infinity);
        }
      })(now),
    "lets a pinned record go when it is told",
  ],
  "lets a record of any owner go": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
          return super.expire(key, this.standing(key)?.token ?? token, ttlMs);
        }
      })(now),
    "lets a record go for good",
  ],
  "lets a record go that is not settled": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
          const record = this.standing(key);
          if (record === undefined || record.token !== token) return false;
          record.expiresAt = this.now() + ttlMs;
          if (ttlMs === 0) this.kept.delete(key);
          return true;
        }
      })(now),
    "every step as it must when it is pending",
  ],
  "revives a record that is over": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
          const record = this.kept.get(key);
          if (record === undefined || this.isOpen(record) || record.token !== token) return false;
          record.expiresAt = this.now() + ttlMs;
          return true;
        }
      })(now),
    "lets a record go for good",
  ],
  "counts another time to live from the end of the first": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
          const record = this.standing(key);
          const rest = (record?.expiresAt ?? 0) - this.now();
          return super.expire(key, token, Number.isFinite(rest) ? ttlMs + rest : ttlMs);
        }
      })(now),
    "lets a pinned record go when it is told",
  ],
  "only shortens a time to live": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
          const rest = (this.standing(key)?.expiresAt ?? 0) - this.now();
          return super.expire(key, token, Math.min(ttlMs, rest));
        }
      })(now),
    "lets a pinned record go when it is told",
  ],
  "takes no time to live for none": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
          return super.expire(key, token, ttlMs || Infinity);
        }
      })(now),
    "lets a record go for good",
  ],
  "lets everything go at once": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string): Promise<boolean> {
          return super.expire(key, token, 0);
        }
      })(now),
    "lets a pinned record go when it is told",
  ],
  "lets nothing go and says so": [
    (now) =>
      new (class extends ReferenceStore {
        override async expire(key: string, token: string): Promise<boolean> {
          const record = this.standing(key);
          return record !== undefined && !this.isOpen(record) && record.token === token;
        }
      })(now),
    "lets a record go for good",
  ],
  "keeps the outcome of an earlier failure": [
    (now) =>
      new (class extends ReferenceStore {
        protected override claimed(key: string, claim: IdempotencyClaim): Kept {
          return { ...super.claimed(key, claim), outcome: this.kept.get(key)?.outcome };
        }
      })(now),
    "it is failed",
  ],
  "keeps where an earlier attempt was sent": [
    (now) =>
      new (class extends ReferenceStore {
        protected override claimed(key: string, claim: IdempotencyClaim): Kept {
          return super.claimed(key, { ...claim, sentTo: claim.sentTo ?? this.kept.get(key)?.sentTo });
        }
      })(now),
    "when and where a call was sent",
  ],
  "rounds times": [
    (now) =>
      new (class extends ReferenceStore {
        protected override claimed(key: string, claim: IdempotencyClaim): Kept {
          return super.claimed(key, { ...claim, sentAtWall: Math.round(claim.sentAtWall) });
        }
      })(now),
    "epochs and times",
  ],
  "refuses fractions of milliseconds": [
    (now) =>
      new (class extends ReferenceStore {
        protected override claimed(key: string, claim: IdempotencyClaim): Kept {
          if (!Number.isInteger(claim.leaseMs)) throw new Error("invalid input syntax for type bigint");
          return super.claimed(key, claim);
        }
      })(now),
    "epochs and times",
  ],
  "shortens outcomes": [
    (now) =>
      new (class extends ReferenceStore {
        protected override end(record: Kept, settlement: IdempotencySettlement): void {
          super.end(record, { ...settlement, outcome: settlement.outcome?.slice(0, 65_535) });
        }
      })(now),
    "an outcome to the letter",
  ],
  "writes outcomes anew": [
    (now) =>
      new (class extends ReferenceStore {
        protected override end(record: Kept, settlement: IdempotencySettlement): void {
          const { outcome } = settlement;
          const rewritten = outcome?.startsWith("{ ") ? JSON.stringify(JSON.parse(outcome)) : outcome;
          super.end(record, { ...settlement, outcome: rewritten });
        }
      })(now),
    "an outcome to the letter",
  ],
  "takes an empty outcome for none": [
    (now) =>
      new (class extends ReferenceStore {
        protected override end(record: Kept, settlement: IdempotencySettlement): void {
          super.end(record, { ...settlement, outcome: settlement.outcome === "" ? undefined : settlement.outcome });
        }
      })(now),
    "an outcome to the letter",
  ],
  "gives out its own records": [
    (now) =>
      new (class extends ReferenceStore {
        protected override copy(record: Kept): IdempotencyRecord {
          return record;
        }
      })(now),
    "do not change afterwards",
  ],
  "sweeps more than it is told": [
    (now) =>
      new (class extends ReferenceStore {
        override async sweep(limit: number): Promise<number> {
          return Math.min(limit, await super.sweep(1000));
        }
      })(now),
    "sweeps what is over",
  ],
  "sweeps nothing": [
    (now) =>
      new (class extends ReferenceStore {
        override async sweep(): Promise<number> {
          return 0;
        }
      })(now),
    "sweeps what is over",
  ],
  "counts all that it looks at": [
    (now) =>
      new (class extends ReferenceStore {
        override async sweep(limit: number): Promise<number> {
          await super.sweep(limit);
          return Math.min(limit, this.kept.size);
        }
      })(now),
    "sweeps nothing when nothing is due",
  ],
  "sweeps unknown records away": [
    (now) =>
      new (class extends ReferenceStore {
        protected override tidy(record: Kept): boolean {
          return record.state === "unknown" ? this.kept.delete(record.key) : super.tidy(record);
        }
      })(now),
    "sweeps what is over",
  ],
  "gives a record that it sweeps to nobody": [
    (now) =>
      new (class extends ReferenceStore {
        protected override tidy(record: Kept): boolean {
          const isOverdue = this.isOverdue(record);
          const changed = super.tidy(record);
          if (isOverdue) record.token = "swept";
          return changed;
        }
      })(now),
    "sweeps what is over",
  ],
};

for (const [name, [make, notices]] of Object.entries(mutants)) {
  test(`a store that ${name} fails`, async () => {
    expect(await failures(make)).toContainEqual(expect.stringContaining(notices));
  });
}

/** A store whose keys go through a function that mixes some of them up. */
class Folding extends ReferenceStore {
  constructor(
    now: Now,
    private readonly fold: (key: string) => string,
  ) {
    super(now);
  }

  override claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
    return super.claim(this.fold(key), claim);
  }

  override get(key: string): Promise<IdempotencyRecord | undefined> {
    return super.get(this.fold(key));
  }

  override settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
    return super.settle(this.fold(key), token, settlement);
  }
}

const folds: Readonly<Record<string, (key: string) => string>> = {
  "in small letters": (key) => key.toLowerCase(),
  trimmed: (key) => key.trim(),
  normalised: (key) => key.normalize("NFC"),
  "shortened to 255": (key) => key.slice(0, 255),
};

for (const [name, fold] of Object.entries(folds)) {
  test(`a store that keeps keys ${name} fails`, async () => {
    const failed = await failures((now) => new Folding(now, fold));
    expect(failed).toContainEqual(expect.stringContaining("every key apart from every other"));
  });
}

const losses: Readonly<Record<string, (key: string) => string>> = {
  "up to a NUL": (key) => key.split("\0", 1)[0] ?? "",
  "with what is no text replaced": (key) => new TextDecoder().decode(new TextEncoder().encode(key)),
};

for (const [name, fold] of Object.entries(losses)) {
  test(`a store that keeps keys ${name} fails`, async () => {
    const failed = await failures((now) => new Folding(now, fold));
    expect(failed).toContainEqual(expect.stringContaining("refuses a key that it cannot keep"));
  });
}

test("a store that refuses keys that it cannot keep passes", async () => {
  const refuse = (key: string): string => {
    if (key.includes("\0") || losses["with what is no text replaced"]?.(key) !== key) throw new TypeError("no text");
    return key;
  };
  class Refusing extends Folding {
    override async claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
      return super.claim(key, claim);
    }
    override get(key: string): Promise<IdempotencyRecord | undefined> {
      return ReferenceStore.prototype.get.call(this, key);
    }
  }
  expect(await failures((now) => new Refusing(now, refuse))).toEqual([]);
});

test("two handles on different data fail", async () => {
  const failed = await failures((now) => new ReferenceStore(now), 2);
  expect(failed.length).toBeGreaterThan(5);
});

test("two handles with different identities fail", async () => {
  const stores: ReferenceStore[] = [];
  const failed = await failures((now, handle) => {
    if (handle === 0) stores.length = 0;
    const first = stores[0];
    const store = first ?? new ReferenceStore(now);
    stores.push(store);
    return handle === 0 ? store : Object.assign(Object.create(store) as ReferenceStore, { storeId: "another" });
  }, 2);
  expect(failed).toEqual([expect.stringContaining("has an identity")]);
});

test("a harness is closed, also after a failure", async () => {
  let closed = 0;
  const close = async () => {
    closed += 1;
  };
  const cases = idempotencyStoreContract(async () => {
    const store = new ReferenceStore(() => 0);
    return { store, advance: () => Promise.reject(new Error("no time")), close };
  });
  const ends = await Promise.allSettled(cases.map(({ run }) => run()));
  expect(closed).toBe(cases.length);
  expect(ends.map(({ status }) => status)).toContain("rejected");
});

test("says which factory or concurrency is wrong", () => {
  expect(() => idempotencyStoreContract(undefined as never)).toThrow("factory must be a function");
  const factory = () => Promise.reject(new Error("never called"));
  expect(() => idempotencyStoreContract(factory, { concurrency: 1 })).toThrow("concurrency must be an integer >= 2");
});

import type { IdempotencyClaim, IdempotencySettlement, IdempotencyStore } from "../stores.js";
import { check, LONG_MS, PASS_MS, type Proof, SHORT_MS, type StoreBench, show } from "./idempotency-store-bench.js";
import { ReferenceStore } from "./reference-store.js";

const STEPS = 200;
const KEYS = ["a", "b", "c"] as const;

/** Mulberry32: small, and the same on every machine. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** One step, to be taken by the store and by the reference. */
interface Move {
  readonly name: string;
  readonly given: unknown;
  /** Whether a short time was given, which has to pass before anybody looks. */
  readonly isShort: boolean;
  readonly take: (store: IdempotencyStore) => Promise<unknown>;
}

/** What two stores on two clocks must agree on: all but the times, and whether a time is finite. */
function comparable(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part !== "object" || part === null || !("expiresAt" in part)) return part;
    const { leaseUntil: _leaseUntil, expiresAt, ...rest } = { leaseUntil: 0, ...part };
    // The order in which a store lists members is its own.
    return Object.fromEntries(Object.entries({ ...rest, expires: expiresAt !== Infinity }).sort());
  });
}

/** Two owners that do anything at any time, also what they should not. */
class Walk {
  readonly #below: (below: number) => number;
  /** Tokens used so far for each key: a wrong token is mostly one that was right once. */
  readonly #tokens: Map<string, string[]> = new Map();

  constructor(seed: number) {
    this.#below = generator(seed);
  }

  pick<T>(...choices: readonly [T, ...T[]]): T {
    return choices[this.#below(choices.length)] ?? choices[0];
  }

  /** Mostly the token that owns the record, else one that may have owned it. */
  #token(key: string, owner: string | undefined): string {
    if (owner !== undefined && this.#below(3) > 0) return owner;
    const used = this.#tokens.get(key) ?? [];
    return used[used.length - 1 - Math.floor(this.#below(6) / 3)] ?? "nobody";
  }

  #newToken(key: string): string {
    const used = this.#tokens.get(key) ?? [];
    const token = `${key}-${used.length}`;
    this.#tokens.set(key, [...used, token]);
    return token;
  }

  #claim(key: string, observed: string): Move {
    const given: IdempotencyClaim = {
      fingerprint: this.pick("f1", "f1", "f1", "f2"),
      takeover: this.pick(undefined, observed),
      token: this.#below(6) === 0 ? observed : this.#newToken(key),
      leaseMs: this.#below(6) === 0 ? SHORT_MS : LONG_MS,
      epoch: this.#below(3),
      sentAtWall: this.#below(1000),
      sentTo: this.pick(undefined, "there"),
    };
    return { name: "claim", given, isShort: given.leaseMs === SHORT_MS, take: (store) => store.claim(key, given) };
  }

  #settle(key: string, token: string): Move {
    const state = this.pick("done", "done", "failed", "failed", "unknown");
    const given: IdempotencySettlement = {
      state,
      outcome: state === "unknown" ? undefined : `outcome-${this.#below(1000)}`,
      ttlMs: this.pick(LONG_MS, LONG_MS, SHORT_MS, Infinity),
      epoch: this.pick(undefined, this.#below(3)),
    };
    const isShort = given.ttlMs === SHORT_MS;
    return { name: "settle", given: { token, ...given }, isShort, take: (store) => store.settle(key, token, given) };
  }

  #expire(key: string, token: string): Move {
    const ttlMs = this.pick(LONG_MS, Infinity, SHORT_MS, 0);
    const take: Move["take"] = (store) => store.expire(key, token, ttlMs);
    return { name: "expire", given: { token, ttlMs }, isShort: ttlMs === SHORT_MS, take };
  }

  next(key: string, owner: string | undefined): Move {
    const token = this.#token(key, owner);
    const given = { token };
    switch (this.#below(11)) {
      case 0:
        return { name: "extend", given, isShort: false, take: (store) => store.extend(key, token, LONG_MS) };
      case 1:
        return { name: "release", given, isShort: false, take: (store) => store.release(key, token) };
      case 2:
        return { name: "sweep", given: 100, isShort: false, take: (store) => store.sweep(100).then(() => "swept") };
      case 3:
        return this.#expire(key, token);
      case 4:
      case 5:
      case 6:
        return this.#settle(key, token);
      default:
        return this.#claim(key, token);
    }
  }
}

async function walk(bench: StoreBench, seed: number): Promise<void> {
  const walker = new Walk(seed);
  let now = 0;
  const reference = new ReferenceStore(() => now);
  const steps: string[] = [];
  for (let step = 0; step < STEPS; step += 1) {
    const key = `${seed}-${walker.pick(...KEYS)}`;
    const store = walker.pick(bench.store, bench.other);
    const { name, given, isShort, take } = walker.next(key, (await reference.get(key))?.token);
    steps.push(`${name} ${key} ${show(given)}`);
    const history = () => `seed ${seed}, step ${step}; the last steps: ${steps.slice(-8).join("; ")}`;
    const [actual, expected] = [comparable(await take(store)), comparable(await take(reference))];
    check(actual === expected, `${name} gave ${actual} where ${expected} is right (${history()})`);
    if (isShort) {
      await bench.advance(PASS_MS);
      now += PASS_MS;
    }
    const [after, right] = [comparable(await store.get(key)), comparable(await reference.get(key))];
    check(after === right, `after ${name} there is ${after} where ${right} is right (${history()})`);
  }
}

/** Walks with fixed seeds: a failure can be had again. */
export const walks: Readonly<Record<string, Proof>> = Object.fromEntries(
  [1, 2, 3].map((seed) => [
    `does what a slow and simple store does, whatever two owners do (walk ${seed})`,
    (bench: StoreBench) => walk(bench, seed),
  ]),
);

import type { SagaClaim, SagaCreation, SagaEnd, SagaStore } from "../stores.js";
import {
  check,
  entriesOf,
  LONG_MS,
  PASS_MS,
  type SagaBench,
  type SagaProof,
  SHORT_MS,
  show,
} from "./saga-store-bench.js";
import { ReferenceSagaStore } from "./saga-store-reference.js";

const STEPS = 200;
const IDS = ["a", "b", "c"] as const;

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
  /** A short time was given, which has to pass before anybody looks. */
  readonly isShort?: boolean;
  /** What is over may be forgotten early: nobody looks before it is swept. */
  readonly isOver?: boolean;
  readonly take: (store: SagaStore) => Promise<unknown>;
}

/** What two stores on two clocks must agree on: all but the times, and whether a time is finite. */
function comparable(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    const {
      createdAt: _created,
      updatedAt: _updated,
      at: _at,
      leaseUntil,
      expiresAt,
      ...rest
    } = {
      ...{ createdAt: 0, updatedAt: 0, at: 0, leaseUntil: undefined, expiresAt: undefined },
      ...part,
    };
    const times = { hasLease: leaseUntil === undefined || leaseUntil > 0, expires: expiresAt !== Infinity };
    // The order in which a store lists members is its own.
    return Object.fromEntries(Object.entries({ ...rest, ...times }).sort());
  });
}

/** Owners that do anything at any time, also what they should not. */
class Walk {
  readonly #below: (below: number) => number;
  #tokens = 0;

  constructor(seed: number) {
    this.#below = generator(seed);
  }

  pick<T>(...choices: readonly [T, ...T[]]): T {
    return choices[this.#below(choices.length)] ?? choices[0];
  }

  /** Mostly the token that owns the saga, else one that may have owned it, or owns another. */
  #token(owner: string | undefined): string {
    if (owner !== undefined && this.#below(4) > 0) return owner;
    return `t${this.#tokens - this.#below(6)}`;
  }

  #newToken(owner: string | undefined): string {
    if (owner !== undefined && this.#below(6) === 0) return owner;
    this.#tokens += 1;
    return `t${this.#tokens}`;
  }

  #leaseMs(): number {
    return this.pick(LONG_MS, SHORT_MS);
  }

  #create(id: string, owner: string | undefined): Move {
    const given: SagaCreation = {
      ...{ name: this.pick("x", "y"), definition: "d", input: `${this.#below(1000)}`, leaseMs: this.#leaseMs() },
      ...{ token: this.#newToken(owner), deadlineAt: this.pick(undefined, 7.5) },
    };
    return { name: "create", given, isShort: given.leaseMs === SHORT_MS, take: (store) => store.create(id, given) };
  }

  #claim(id: string, owner: string | undefined): Move {
    const from = this.pick<SagaClaim["from"]>(["running"], ["running", "stuck"], ["stuck", "running"], ["stuck"]);
    const given: SagaClaim = { token: this.#newToken(owner), leaseMs: this.#leaseMs(), from };
    return { name: "claim", given, isShort: given.leaseMs === SHORT_MS, take: (store) => store.claim(id, given) };
  }

  #end(id: string, token: string): Move {
    const status = this.pick<SagaEnd["status"]>("stuck", "stuck", "stuck", "completed", "compensated", "abandoned");
    const given: SagaEnd = {
      status,
      outcome: `${this.#below(1000)}`,
      ttlMs: this.pick(SHORT_MS, SHORT_MS, LONG_MS, Infinity),
    };
    const isOver = given.ttlMs === SHORT_MS;
    return { name: "end", given: { token, ...given }, isOver, take: (store) => store.end(id, token, given) };
  }

  #append(id: string, token: string, length: number): Move {
    const bodies = Array.from({ length: this.#below(4) }, () => `${this.#below(1000)}`);
    // Some entries are there already.
    const given = entriesOf(bodies, Math.max(1, length + 1 - this.#below(3)));
    return { name: "append", given: { token, given }, take: (store) => store.append(id, token, given) };
  }

  next(id: string, owner: string | undefined, length: number): Move {
    const token = this.#token(owner);
    const given = { token };
    switch (this.#below(14)) {
      case 0:
      case 1:
        return { name: "extend", given, take: (store) => store.extend(id, token, LONG_MS) };
      case 2:
      case 3:
        return { name: "release", given, take: (store) => store.release(id, token) };
      case 4:
        return { name: "list", given: "unowned", take: (store) => store.list({ unowned: true, limit: 2 }) };
      case 5:
        return { name: "list", given: "x", take: (store) => store.list({ name: "x", after: id, limit: 9 }) };
      case 6:
        return this.#end(id, token);
      case 7:
      case 8:
      case 9:
        return this.#append(id, token, length);
      case 10:
      case 11:
        return this.#create(id, owner);
      default:
        return this.#claim(id, owner);
    }
  }
}

async function look(store: SagaStore, id: string): Promise<string> {
  return comparable([await store.get(id), await store.entries(id)]);
}

async function walk(bench: SagaBench, seed: number): Promise<void> {
  const walker = new Walk(seed);
  let now = 1;
  const reference = new ReferenceSagaStore(() => now);
  const steps: string[] = [];
  for (let step = 0; step < STEPS; step += 1) {
    const id = walker.pick(...IDS);
    const store = walker.pick(bench.store, bench.other);
    const [owner, { length }] = [(await reference.get(id))?.token, await reference.entries(id)];
    const { name, given, isShort = false, isOver = false, take } = walker.next(id, owner, length);
    steps.push(`${name} ${id} ${show(given)}`);
    const history = () => `seed ${seed}, step ${step}; the last steps: ${steps.slice(-8).join("; ")}`;
    const [actual, expected] = [comparable(await take(store)), comparable(await take(reference))];
    check(actual === expected, `${name} gave ${actual} where ${expected} is right (${history()})`);
    if (isShort || isOver) {
      await bench.advance(PASS_MS);
      now += PASS_MS;
    }
    if (isOver) {
      await store.sweep(100);
      await reference.sweep(100);
    }
    const [after, right] = [await look(store, id), await look(reference, id)];
    check(after === right, `after ${name} there is ${after} where ${right} is right (${history()})`);
  }
}

/** Walks with fixed seeds: a failure can be had again. */
export const walks: Readonly<Record<string, SagaProof>> = Object.fromEntries(
  [1, 2, 3].map((seed) => [
    `does what a slow and simple store does, whatever its owners do (walk ${seed})`,
    (bench: SagaBench) => walk(bench, seed),
  ]),
);

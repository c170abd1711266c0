import { number, readOptions } from "../options.js";
import type { RateLimitDecision, RateLimitStore } from "../stores.js";
import type { ContractCase } from "./middleware-contract.js";
import { between, check, type Moment } from "./store-bench.js";

/** A store under test, and its clock. */
export interface RateLimitStoreSubject {
  readonly store: RateLimitStore;
  /** Lets the store's clock go on by `ms`: at once where it is virtual, by waiting where it is not. */
  advance(ms: number): Promise<void>;
  close?: (() => void | Promise<void>) | undefined;
}

/** Options of {@link rateLimitStoreContract}. */
export interface RateLimitStoreContractOptions {
  /**
   * Milliseconds in which a token comes back. On a real clock, round trips have to be short beside half of it.
   * @defaultValue 200
   */
  readonly intervalMs?: number | undefined;
}

/** So slow that nothing comes back while a case runs, whatever the store's round trips take. */
const SLOW = { rate: 0.001, burst: 5 };
/** A limit that refills while a case runs; its rate follows from `intervalMs`. */
const STEADY = { rate: Number.NaN, burst: 5 };
/** What a timer may be early. */
const TIMER_MS = 2;

type Terms = Parameters<RateLimitStore["pause"]>[1];

/** One key of a store under test, with the time that has passed. */
class Bench {
  readonly #subject: RateLimitStoreSubject;
  readonly #terms: Terms;
  readonly #key: string;
  /** Milliseconds in which a token comes back, where one does. */
  readonly intervalMs: number;
  /** What the milliseconds of a decision may be off: stores round, and their round trips take time. */
  readonly slackMs: number;
  readonly pauseMs: number;
  readonly rate: number;
  #advanced = 0;

  constructor(subject: RateLimitStoreSubject, terms: Terms, intervalMs: number, key: string = crypto.randomUUID()) {
    this.#subject = subject;
    this.rate = Number.isNaN(terms.rate) ? 1000 / intervalMs : terms.rate;
    this.#terms = { ...terms, rate: this.rate };
    this.intervalMs = intervalMs;
    this.slackMs = intervalMs / 2;
    this.pauseMs = 2 * intervalMs;
    // A store may be shared by all cases.
    this.#key = key;
  }

  /** Another key, or the same with other terms. */
  with({ terms = this.#terms, key = this.#key }: { terms?: Terms; key?: string }): Bench {
    return new Bench(this.#subject, terms, this.intervalMs, key);
  }

  get moment(): Moment {
    return [this.#advanced, performance.now()];
  }

  async advance(ms: number): Promise<void> {
    // Timers cut fractions off, and fire early.
    const whole = Math.ceil(ms) + TIMER_MS;
    this.#advanced += whole;
    await this.#subject.advance(whole);
  }

  async ask(cost = 1): Promise<RateLimitDecision> {
    const decision: unknown = await this.#subject.store.take(this.#key, { ...this.#terms, cost });
    check(
      isDecision(decision),
      "take must give { allowed: boolean, retryAfterMs: number }, 0 when allowed and more when not",
    );
    return decision;
  }

  async takes(cost = 1): Promise<boolean> {
    return (await this.ask(cost)).allowed;
  }

  /** Takes until nothing is left; gives how many it got. */
  async drain(cost = 1): Promise<number> {
    for (let count = 0; count < 1000; count += 1) {
      if (!(await this.takes(cost))) return count;
    }
    throw new Error("rateLimitStoreContract: take was allowed 1000 times in a row");
  }

  async empty(): Promise<void> {
    const { burst } = this.#terms;
    check(await this.takes(burst), `after a rest all ${burst} tokens must be there at once`);
  }

  async refund(cost: number, ageMs = 0): Promise<void> {
    await this.#subject.store.refund(this.#key, { ...this.#terms, cost }, ageMs);
  }

  async pause(ms: number): Promise<void> {
    await this.#subject.store.pause(this.#key, this.#terms, ms);
  }
}

function isDecision(value: unknown): value is RateLimitDecision {
  const { allowed, retryAfterMs } = (value ?? {}) as { readonly allowed?: unknown; readonly retryAfterMs?: unknown };
  if (typeof allowed !== "boolean" || typeof retryAfterMs !== "number") return false;
  return allowed ? retryAfterMs === 0 : retryAfterMs > 0 && retryAfterMs < Infinity;
}

async function givesBurst(bench: Bench): Promise<void> {
  const count = await bench.drain();
  check(count === SLOW.burst, `of ${SLOW.burst} tokens exactly ${SLOW.burst} must be given at once, got ${count}`);
}

async function deniesForNothing(bench: Bench): Promise<void> {
  await bench.empty();
  for (let asked = 0; asked < 5; asked += 1) await bench.takes(STEADY.burst);
  const { allowed, retryAfterMs } = await bench.ask();
  check(!allowed, "an empty limit must deny");
  check(
    retryAfterMs <= bench.intervalMs + 1,
    `a denied take must take nothing, but the wait has grown to ${retryAfterMs} ms`,
  );
}

async function saysWhen(bench: Bench): Promise<void> {
  await bench.empty();
  const first = await bench.ask(2);
  const expected = 2 * bench.intervalMs;
  const isRight = first.retryAfterMs > expected - bench.slackMs && first.retryAfterMs <= expected + 1;
  check(isRight, `2 tokens are there in ${expected} ms, but retryAfterMs is ${first.retryAfterMs}`);
  await bench.advance(first.retryAfterMs - bench.slackMs);
  const second = await bench.ask(2);
  check(!second.allowed, `tokens must not be there ${bench.slackMs} ms before retryAfterMs is over`);
  await bench.advance(second.retryAfterMs);
  check(await bench.takes(2), "tokens must be there when retryAfterMs is over");
}

async function refillsSteadily(bench: Bench): Promise<void> {
  await bench.empty();
  await bench.advance(bench.intervalMs + bench.slackMs);
  check(
    await bench.takes(),
    `a token must be there ${bench.intervalMs + bench.slackMs} ms after the limit was emptied`,
  );
  check(!(await bench.takes()), "tokens must come back one after the other, not all at the end of a window");
}

async function neverOverfills(bench: Bench): Promise<void> {
  await bench.empty();
  await bench.advance(3 * STEADY.burst * bench.intervalMs);
  check(await bench.takes(STEADY.burst), "after a rest all tokens must be there again");
  check(!(await bench.takes()), "a rest must not make more tokens than burst");
}

/** The arrivals that a limiter with windows lets through twice: a few, the rest at the end of the window, and all again. */
async function keepsLawAtEdges(bench: Bench): Promise<void> {
  const periodMs = STEADY.burst * bench.intervalMs;
  await bench.takes();
  await bench.advance(periodMs - bench.slackMs);
  const start = bench.moment;
  const before = await bench.drain();
  await bench.advance(2 * bench.slackMs);
  const after = await bench.drain();
  const most = STEADY.burst + (bench.rate * between(start, bench.moment)) / 1000;
  check(
    before + after <= most,
    `${before + after} tokens were given within ${2 * bench.slackMs} ms, more than burst + rate * seconds allows`,
  );
}

/** Any arrivals: between any two of them no more than the law allows. */
async function keepsLaw(bench: Bench): Promise<void> {
  const given: { readonly at: Moment; readonly until: Moment; readonly cost: number }[] = [];
  for (let step = 0; step < 40; step += 1) {
    const cost = 0.5 + (step % 3);
    const at = bench.moment;
    if (await bench.takes(cost)) given.push({ at, until: bench.moment, cost });
    if (step % 4 === 3) await bench.advance((step * 29) % 67);
  }
  for (const [index, first] of given.entries()) {
    let sum = 0;
    for (const { until, cost } of given.slice(index)) {
      sum += cost;
      const most = STEADY.burst + (bench.rate * between(first.at, until)) / 1000;
      check(sum <= most + 1e-6, `${sum} tokens were given where burst + rate * seconds is ${most}`);
    }
  }
}

async function countsCosts(bench: Bench): Promise<void> {
  check(await bench.takes(3), "3 of 5 tokens must be given");
  check(!(await bench.takes(3)), "3 of 2 tokens must not be given");
  check(await bench.takes(1.5), "1.5 of 2 tokens must be given");
  check(await bench.takes(0.5), "0.5 of 0.5 tokens must be given");
  check(!(await bench.takes(0.5)), "0.5 of no tokens must not be given");
}

async function keepsKeysApart(bench: Bench): Promise<void> {
  const prefix = crypto.randomUUID();
  const keys = [
    "",
    "a",
    "A",
    " a",
    "a:b",
    "a/b",
    "{a}b",
    "{a}c",
    "*",
    "__proto__",
    "\u00e9",
    "e\u0301",
    "k".repeat(300),
  ];
  for (const key of keys) {
    const count = await bench.with({ key: prefix + key }).drain();
    check(
      count === SLOW.burst,
      `key ${JSON.stringify(key)} must have ${SLOW.burst} tokens of its own, it had ${count}`,
    );
  }
}

async function isAtomic(bench: Bench): Promise<void> {
  const asked = await Promise.all(Array.from({ length: 50 }, () => bench.takes()));
  const count = asked.filter(Boolean).length;
  check(count === SLOW.burst, `of 50 takes at once exactly ${SLOW.burst} must be allowed, got ${count}`);
}

async function refunds(bench: Bench): Promise<void> {
  await bench.empty();
  await bench.refund(2);
  const count = await bench.drain();
  check(count === 2, `2 tokens that go back at once must be there again, got ${count}`);
}

async function refundsLess(bench: Bench): Promise<void> {
  const begun = bench.moment;
  check(await bench.takes(3), "3 of 5 tokens must be given");
  check(await bench.takes(2), "2 of 2 tokens must be given");
  await bench.advance(1.5 * bench.intervalMs);
  await bench.refund(3, between(begun, bench.moment));
  // The time since has brought tokens, and those 3 are worth so much less.
  check(
    !(await bench.takes(3.5)),
    "of tokens that go back late, what the rate has refilled already must not be given twice",
  );
  // A little less: stores round.
  check(await bench.takes(2.9), "of tokens that go back late, what the rate has not refilled yet must be given back");
}

async function refundsNothing(bench: Bench): Promise<void> {
  await bench.empty();
  await bench.refund(2, 3 * bench.intervalMs);
  const { allowed, retryAfterMs } = await bench.ask();
  check(!allowed, "tokens that the rate has refilled already must not go back");
  check(retryAfterMs <= bench.intervalMs + 1, "a refund must never take tokens away");
}

async function refundNeverOverfills(bench: Bench): Promise<void> {
  await bench.refund(3);
  check(await bench.takes(2), "2 of 5 tokens must be given");
  await bench.refund(2);
  await bench.refund(2);
  const count = await bench.drain();
  check(count === SLOW.burst, `refunds must not make more tokens than burst (${SLOW.burst}), got ${count}`);
}

async function pauses(bench: Bench): Promise<void> {
  await bench.pause(bench.pauseMs);
  for (const cost of [1, 0.1, STEADY.burst]) {
    const { allowed, retryAfterMs } = await bench.ask(cost);
    check(!allowed, `a pause must let nothing through, but let ${cost} tokens through`);
    check(
      retryAfterMs > bench.pauseMs - bench.slackMs,
      `retryAfterMs must not end before the pause, ${retryAfterMs} ms does`,
    );
  }
  const { retryAfterMs } = await bench.ask();
  check(
    retryAfterMs <= bench.pauseMs + 1,
    `the first token must be there at the end of a pause, not in ${retryAfterMs} ms`,
  );
  await bench.advance(bench.pauseMs);
  check(await bench.takes(), "at the end of a pause there must be a token");
  check(!(await bench.takes()), "at the end of a pause there must be one token, not a burst");
  await bench.advance(bench.intervalMs);
  check(await bench.takes(), "after a pause tokens must come at the rate");
}

async function keepsLongerPause(steady: Bench): Promise<void> {
  // With less than a token there is no debt that would hide a pause that is gone.
  const bench = steady.with({ terms: { rate: steady.rate, burst: 0.5 } });
  await bench.pause(bench.pauseMs);
  await bench.pause(1);
  await bench.advance(bench.intervalMs);
  check(!(await bench.takes(0.1)), "a short pause must not end a longer one");
  await bench.pause(bench.pauseMs);
  await bench.advance(bench.intervalMs + bench.slackMs);
  check(!(await bench.takes(0.1)), "a pause that ends later must prolong the one before");
}

async function pauseOutlastsRefund(bench: Bench): Promise<void> {
  const begun = bench.moment;
  await bench.empty();
  await bench.pause(bench.pauseMs);
  await bench.refund(STEADY.burst, between(begun, bench.moment));
  check(!(await bench.takes(0.1)), "a refund must not end a pause");
  await bench.advance(bench.pauseMs);
  await bench.refund(STEADY.burst, between(begun, bench.moment));
  const count = await bench.drain();
  check(
    count === 1,
    `tokens from before a pause must not come back after it: 1 must be there at its end, got ${count}`,
  );
}

async function pauseGivesNothing(bench: Bench): Promise<void> {
  await bench.empty();
  await bench.pause(1);
  await bench.advance(20);
  check(!(await bench.takes()), "a pause must not bring tokens that were not there without it");
}

async function pausesSmallBursts(bench: Bench): Promise<void> {
  const small = bench.with({ terms: { rate: bench.rate, burst: 0.5 } });
  await small.pause(bench.pauseMs);
  check(!(await small.takes(0.5)), "a pause must let nothing through");
  await small.advance(bench.pauseMs);
  check(await small.takes(0.5), "at the end of a pause there must be a token, or burst where that is less");
  check(!(await small.takes(0.5)), "at the end of a pause there must not be more than burst");
}

const CASES: Readonly<Record<string, readonly [prove: (bench: Bench) => Promise<void>, terms: Terms]>> = {
  "gives a burst at once, and then nothing": [givesBurst, SLOW],
  "takes nothing when it denies": [deniesForNothing, STEADY],
  "says exactly when tokens are there": [saysWhen, STEADY],
  "refills steadily": [refillsSteadily, STEADY],
  "never holds more than burst": [neverOverfills, STEADY],
  "gives no more than burst + rate * seconds at the edges of windows": [keepsLawAtEdges, STEADY],
  "gives no more than burst + rate * seconds whatever comes": [keepsLaw, STEADY],
  "counts costs, fractions too": [countsCosts, SLOW],
  "keeps keys apart": [keepsKeysApart, SLOW],
  "gives nothing twice to takes at once": [isAtomic, SLOW],
  "gives back what a refund says": [refunds, SLOW],
  "gives back less what the rate has refilled": [refundsLess, STEADY],
  "gives back nothing that the rate has refilled": [refundsNothing, STEADY],
  "never gives back more than burst": [refundNeverOverfills, SLOW],
  "lets nothing through in a pause, and one at its end": [pauses, STEADY],
  "keeps the longer of two pauses": [keepsLongerPause, STEADY],
  "keeps a pause whatever is refunded": [pauseOutlastsRefund, STEADY],
  "brings no tokens by a pause": [pauseGivesNothing, SLOW],
  "pauses a limit whose burst is less than a token": [pausesSmallBursts, STEADY],
};

/**
 * The conformance suite of every store of rate limits, ours or a third party's. Any test runner can run the cases.
 *
 * @remarks
 * Each case makes its own subject and uses keys that nobody else has, so that all may be one database. On a real clock the cases
 * wait for some forty intervals in all.
 *
 * @example
 * ```ts
 * const subject = () => ({ store: redisStore({ client }).rateLimit, advance: (ms: number) => setTimeout(ms) });
 * for (const { name, run } of rateLimitStoreContract(subject)) test(name, run);
 * ```
 *
 * @param factory - gives a store and its clock
 * @throws TypeError or RangeError for an argument that cannot be used
 */
export function rateLimitStoreContract(
  factory: () => RateLimitStoreSubject | Promise<RateLimitStoreSubject>,
  options: RateLimitStoreContractOptions = {},
): readonly ContractCase[] {
  if (typeof factory !== "function") {
    throw new TypeError("rateLimitStoreContract: factory must be a function () => { store, advance }");
  }
  const { intervalMs } = readOptions("rateLimitStoreContract", options, { intervalMs: number({ min: 10 }, 200) });
  return Object.entries(CASES).map(([name, [prove, terms]]) => ({
    name,
    async run() {
      const subject = await factory();
      try {
        await prove(new Bench(subject, terms, intervalMs));
      } finally {
        await subject.close?.();
      }
    },
  }));
}

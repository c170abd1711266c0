import { expect, test } from "vitest";
import type { RateLimitStore } from "../stores.js";
import { type RateLimitStoreSubject, rateLimitStoreContract } from "./rate-limit-store-contract.js";
import { virtualTime } from "./virtual-time.js";

/** What one key holds: a bucket of tokens, as everybody pictures it. */
interface Bucket {
  tokens: number;
  at: number;
  pausedAt: number;
  pausedUntil: number;
}

interface Terms {
  readonly rate: number;
  readonly burst: number;
}

/** A store that keeps every rule. Broken ones override a part of it. */
class Buckets implements RateLimitStore {
  readonly buckets = new Map<string, Bucket>();
  constructor(readonly now: () => number) {}

  bucket(key: string, { rate, burst }: Terms): Bucket {
    const now = this.now();
    const fresh: Bucket = { tokens: burst, at: now, pausedAt: -Infinity, pausedUntil: -Infinity };
    const bucket = this.buckets.get(key) ?? fresh;
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) * rate) / 1000);
    bucket.at = now;
    this.buckets.set(key, bucket);
    return bucket;
  }

  async take(key: string, { cost, ...terms }: Terms & { readonly cost: number }) {
    const bucket = this.bucket(key, terms);
    const missingMs = ((cost - bucket.tokens) * 1000) / terms.rate;
    const retryAfterMs = Math.max(0, missingMs, bucket.pausedUntil - this.now());
    if (retryAfterMs > 1e-6) return { allowed: false, retryAfterMs };
    bucket.tokens -= cost;
    return { allowed: true, retryAfterMs: 0 };
  }

  async refund(key: string, { cost, ...terms }: Terms & { readonly cost: number }, ageMs: number) {
    const bucket = this.bucket(key, terms);
    if (this.now() - ageMs <= bucket.pausedAt) return;
    bucket.tokens = Math.min(terms.burst, bucket.tokens + Math.max(0, cost - (ageMs * terms.rate) / 1000));
  }

  async pause(key: string, terms: Terms, ms: number) {
    const bucket = this.bucket(key, terms);
    const until = this.now() + ms;
    if (until <= bucket.pausedUntil) return;
    bucket.pausedAt = this.now();
    bucket.pausedUntil = until;
    bucket.tokens = Math.min(bucket.tokens, Math.min(1, terms.burst) - (ms * terms.rate) / 1000);
  }
}

function subjectOf(store: (now: () => number) => RateLimitStore): () => RateLimitStoreSubject {
  return () => {
    const time = virtualTime();
    return { store: store(time.now), advance: (ms) => time.advance(ms) };
  };
}

async function failureOf(name: string, store: (now: () => number) => RateLimitStore): Promise<string> {
  const found = rateLimitStoreContract(subjectOf(store)).find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no case "${name}"`);
  return found.run().then(
    () => "passed",
    (error: Error) => error.message,
  );
}

for (const { name, run } of rateLimitStoreContract(subjectOf((now) => new Buckets(now)))) {
  test(`finds nothing wrong with a sound store: ${name}`, run);
}

for (const { name, run } of rateLimitStoreContract(subjectOf((now) => rounded(new Buckets(now))))) {
  test(`finds nothing wrong with a store that counts in whole milliseconds: ${name}`, run);
}

function rounded(store: RateLimitStore): RateLimitStore {
  return {
    async take(key, terms) {
      const { allowed, retryAfterMs } = await store.take(key, terms);
      return { allowed, retryAfterMs: Math.ceil(retryAfterMs) };
    },
    refund: (key, terms, ageMs) => store.refund(key, terms, Math.ceil(ageMs)),
    pause: (key, terms, ms) => store.pause(key, terms, ms),
  };
}

/** At most `burst` in each period of the clock. */
class FixedWindow extends Buckets {
  override async take(key: string, { cost, rate, burst }: Terms & { readonly cost: number }) {
    const periodMs = (burst * 1000) / rate;
    const bucket = this.buckets.get(key) ?? { tokens: burst, at: 0, pausedAt: 0, pausedUntil: 0 };
    const period = Math.floor(this.now() / periodMs);
    if (bucket.at !== period) Object.assign(bucket, { at: period, tokens: burst });
    this.buckets.set(key, bucket);
    if (bucket.tokens < cost) return { allowed: false, retryAfterMs: (period + 1) * periodMs - this.now() };
    bucket.tokens -= cost;
    return { allowed: true, retryAfterMs: 0 };
  }
}

type Take = Parameters<RateLimitStore["take"]>[1];

/** One broken store for each way to break a rule, and what the suite must say of it. */
const broken: readonly (readonly [
  rule: string,
  flaw: string,
  store: (now: () => number) => Buckets,
  message: RegExp,
])[] = [
  [
    "gives a burst at once, and then nothing",
    "gives one more than burst",
    (now) =>
      new (class extends Buckets {
        override take(key: string, terms: Take) {
          return super.take(key, { ...terms, burst: terms.burst + 1 });
        }
      })(now),
    /exactly 5.*got 6/,
  ],
  [
    "gives a burst at once, and then nothing",
    "allows everything",
    (now) =>
      new (class extends Buckets {
        override async take() {
          return { allowed: true, retryAfterMs: 0 };
        }
      })(now),
    /1000 times/,
  ],
  [
    "gives a burst at once, and then nothing",
    "answers with a boolean",
    (now) =>
      new (class extends Buckets {
        override async take() {
          return true as never;
        }
      })(now),
    /must give \{ allowed/,
  ],
  [
    "gives a burst at once, and then nothing",
    "gives a wait with a permission",
    (now) =>
      new (class extends Buckets {
        override async take(key: string, terms: Take) {
          return { ...(await super.take(key, terms)), retryAfterMs: 5 };
        }
      })(now),
    /must give \{ allowed/,
  ],
  [
    "takes nothing when it denies",
    "books what it denies",
    (now) =>
      new (class extends Buckets {
        override async take(key: string, terms: Take) {
          const decision = await super.take(key, terms);
          if (!decision.allowed) this.bucket(key, terms).tokens -= terms.cost;
          return decision;
        }
      })(now),
    /take nothing/,
  ],
  [
    "says exactly when tokens are there",
    "counts in seconds",
    (now) =>
      new (class extends Buckets {
        override async take(key: string, terms: Take) {
          const { allowed, retryAfterMs } = await super.take(key, terms);
          return { allowed, retryAfterMs: Math.ceil(retryAfterMs / 1000) };
        }
      })(now),
    /2 tokens are there in 400 ms, but retryAfterMs is 1/,
  ],
  ["refills steadily", "has fixed windows", (now) => new FixedWindow(now), /300 ms after/],
  [
    "refills steadily",
    "refills all at once",
    (now) =>
      new (class extends Buckets {
        override bucket(key: string, terms: Terms) {
          const before = this.buckets.get(key)?.tokens ?? 0;
          const bucket = super.bucket(key, terms);
          if (before < 1 && bucket.tokens >= 1) bucket.tokens = terms.burst;
          return bucket;
        }
      })(now),
    /one after the other/,
  ],
  [
    "never holds more than burst",
    "fills without end",
    (now) =>
      new (class extends Buckets {
        override bucket(key: string, terms: Terms) {
          return super.bucket(key, this.buckets.has(key) ? { ...terms, burst: 1000 } : terms);
        }
      })(now),
    /more tokens than burst/,
  ],
  [
    "gives no more than burst + rate * seconds at the edges of windows",
    "has fixed windows",
    (now) => new FixedWindow(now),
    /9 tokens were given within 200 ms/,
  ],
  [
    "gives no more than burst + rate * seconds whatever comes",
    "refills at twice the rate",
    (now) =>
      new (class extends Buckets {
        override take(key: string, terms: Take) {
          return super.take(key, { ...terms, rate: terms.rate * 2 });
        }
      })(now),
    /tokens were given where/,
  ],
  [
    "counts costs, fractions too",
    "ignores the cost",
    (now) =>
      new (class extends Buckets {
        override take(key: string, terms: Take) {
          return super.take(key, { ...terms, cost: 1 });
        }
      })(now),
    /3 of 2/,
  ],
  [
    "counts costs, fractions too",
    "rounds the cost up",
    (now) =>
      new (class extends Buckets {
        override take(key: string, terms: Take) {
          return super.take(key, { ...terms, cost: Math.ceil(terms.cost) });
        }
      })(now),
    /0\.5 of 0\.5/,
  ],
  [
    "keeps keys apart",
    "folds the case of keys",
    (now) =>
      new (class extends Buckets {
        override take(key: string, terms: Take) {
          return super.take(key.toLowerCase(), terms);
        }
      })(now),
    /key "A" must have 5 tokens of its own, it had 0/,
  ],
  [
    "gives nothing twice to takes at once",
    "reads and writes in two steps",
    (now) =>
      new (class extends Buckets {
        override async take(key: string, terms: Take) {
          const { tokens } = this.bucket(key, terms);
          await Promise.resolve();
          if (tokens < terms.cost) return { allowed: false, retryAfterMs: 1000 };
          this.bucket(key, terms).tokens = tokens - terms.cost;
          return { allowed: true, retryAfterMs: 0 };
        }
      })(now),
    /exactly 5 must be allowed, got 50/,
  ],
  [
    "gives back what a refund says",
    "gives nothing back",
    (now) =>
      new (class extends Buckets {
        override async refund() {}
      })(now),
    /2 tokens.*got 0/,
  ],
  [
    "gives back less what the rate has refilled",
    "gives all back",
    (now) =>
      new (class extends Buckets {
        override refund(key: string, terms: Take) {
          return super.refund(key, terms, 0);
        }
      })(now),
    /given twice/,
  ],
  [
    "gives back less what the rate has refilled",
    "gives nothing back after a while",
    (now) =>
      new (class extends Buckets {
        override async refund(key: string, terms: Take, ageMs: number) {
          if (ageMs < 10) await super.refund(key, terms, ageMs);
        }
      })(now),
    /must be given back/,
  ],
  [
    "gives back nothing that the rate has refilled",
    "ignores the age",
    (now) =>
      new (class extends Buckets {
        override refund(key: string, terms: Take) {
          return super.refund(key, terms, 0);
        }
      })(now),
    /must not go back/,
  ],
  [
    "gives back nothing that the rate has refilled",
    "takes away what is too old",
    (now) =>
      new (class extends Buckets {
        override async refund(key: string, { cost, ...terms }: Take, ageMs: number) {
          this.bucket(key, terms).tokens += cost - (ageMs * terms.rate) / 1000;
        }
      })(now),
    /never take tokens away/,
  ],
  [
    "never gives back more than burst",
    "adds without end",
    (now) =>
      new (class extends Buckets {
        override async refund(key: string, { cost, ...terms }: Take) {
          this.bucket(key, terms).tokens += cost;
        }
        override bucket(key: string, terms: Terms) {
          return super.bucket(key, this.buckets.has(key) ? { ...terms, burst: 1000 } : terms);
        }
      })(now),
    /must not make more tokens than burst/,
  ],
  [
    "lets nothing through in a pause, and one at its end",
    "ignores pauses",
    (now) =>
      new (class extends Buckets {
        override async pause() {}
      })(now),
    /let 1 tokens through/,
  ],
  [
    "lets nothing through in a pause, and one at its end",
    "only takes the tokens away",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          await super.pause(key, terms, ms);
          this.bucket(key, terms).pausedUntil = -Infinity;
        }
      })(now),
    /let 0\.1 tokens through|must not end before/,
  ],
  [
    "lets nothing through in a pause, and one at its end",
    "has a burst at the end of a pause",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          this.bucket(key, terms).pausedUntil = this.now() + ms;
        }
      })(now),
    /one token, not a burst/,
  ],
  [
    "lets nothing through in a pause, and one at its end",
    "has nothing at the end of a pause",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          await super.pause(key, terms, ms);
          this.bucket(key, terms).tokens -= 1;
        }
      })(now),
    /at the end of a pause/,
  ],
  [
    "keeps the longer of two pauses",
    "takes the last pause",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          const bucket = this.bucket(key, terms);
          bucket.pausedUntil = this.now() + ms;
        }
      })(now),
    /short pause/,
  ],
  [
    "keeps the longer of two pauses",
    "takes the first pause",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          if (this.bucket(key, terms).pausedUntil < this.now()) await super.pause(key, terms, ms);
        }
      })(now),
    /prolong/,
  ],
  [
    "keeps a pause whatever is refunded",
    "ends a pause by a refund",
    (now) =>
      new (class extends Buckets {
        override async refund(key: string, terms: Take) {
          Object.assign(this.bucket(key, terms), { tokens: terms.burst, pausedUntil: -Infinity });
        }
      })(now),
    /must not end a pause/,
  ],
  [
    "keeps a pause whatever is refunded",
    "gives back after a pause what was taken before it",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          await super.pause(key, terms, ms);
          this.bucket(key, terms).pausedAt = -Infinity;
        }
      })(now),
    /from before a pause/,
  ],
  [
    "brings no tokens by a pause",
    "sets the tokens to one",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          await super.pause(key, terms, ms);
          this.bucket(key, terms).tokens = 1 - (ms * terms.rate) / 1000;
        }
      })(now),
    /must not bring tokens/,
  ],
  [
    "pauses a limit whose burst is less than a token",
    "has a whole token at the end of every pause",
    (now) =>
      new (class extends Buckets {
        override async pause(key: string, terms: Terms, ms: number) {
          await super.pause(key, { ...terms, burst: 1 }, ms);
        }
        override bucket(key: string, terms: Terms) {
          return super.bucket(key, { ...terms, burst: this.buckets.has(key) ? 1 : terms.burst });
        }
      })(now),
    /not be more than burst/,
  ],
];

for (const [rule, flaw, store, message] of broken) {
  test(`"${rule}" finds a store that ${flaw}`, async () => {
    expect(await failureOf(rule, store)).toMatch(message);
  });
}

test("every rule has a broken store that it finds", () => {
  const names = rateLimitStoreContract(subjectOf((now) => new Buckets(now))).map(({ name }) => name);
  expect([...new Set(broken.map(([rule]) => rule))].sort()).toEqual([...names].sort());
});

test("closes every subject, also after a failure, and awaits a factory", async () => {
  let open = 0;
  const cases = rateLimitStoreContract(async () => {
    open += 1;
    const time = virtualTime();
    return {
      store: new FixedWindow(time.now),
      advance: (ms) => time.advance(ms),
      async close() {
        open -= 1;
      },
    };
  });
  const ends = await Promise.allSettled(cases.map(({ run }) => run()));
  expect(new Set(ends.map(({ status }) => status))).toEqual(new Set(["fulfilled", "rejected"]));
  expect(open).toBe(0);
});

test("a store that is down fails every case", async () => {
  const down = (): never => {
    throw new Error("connection refused");
  };
  const cases = rateLimitStoreContract(() => ({
    store: { take: down, refund: down, pause: down },
    advance: async () => undefined,
  }));
  for (const { run } of cases) await expect(run()).rejects.toThrow("connection refused");
});

test("a factory that is no function is refused", () => {
  expect(() => rateLimitStoreContract({} as never)).toThrow(/factory must be a function/);
});

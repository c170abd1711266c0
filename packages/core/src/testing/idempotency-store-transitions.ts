import type { IdempotencyClaim, IdempotencyRecord, IdempotencyStore } from "../stores.js";
import {
  check,
  claimOf,
  equal,
  LONG_MS,
  newToken,
  PASS_MS,
  type Proof,
  SHORT_MS,
  type StoreBench,
  sameRecord,
  settlementOf,
} from "./idempotency-store-bench.js";

/** One record under one step. */
interface Subject {
  readonly store: IdempotencyStore;
  readonly key: string;
  /** Its token. */
  readonly right: string;
  readonly wrong: string;
  readonly before: IdempotencyRecord | undefined;
}

/** What a step answered, and the record as it would then be if the answer was yes. */
interface Answered {
  readonly yes: boolean;
  readonly given?: IdempotencyRecord;
  readonly own?: Partial<IdempotencyRecord>;
}

type Step = (subject: Subject) => Promise<Answered>;

/** The epoch of every record before the step. */
const EPOCH = 3;

function claiming(given: (subject: Subject) => Partial<IdempotencyClaim>): Step {
  return async (subject) => {
    const claim = claimOf({ epoch: EPOCH, sentAtWall: 1_700_000_000_123, sentTo: "elsewhere", ...given(subject) });
    const { won, record } = await subject.store.claim(subject.key, claim);
    const { fingerprint, token, epoch, sentAtWall, sentTo } = claim;
    const own = { key: subject.key, fingerprint, token, epoch, sentAtWall, sentTo, outcome: undefined };
    return { yes: won, given: record, own: { ...own, state: "pending", expiresAt: Infinity } };
  };
}

function settling(whose: "right" | "wrong", state: "done" | "failed" | "unknown"): Step {
  return async ({ store, key, before, ...tokens }) => {
    const outcome = state === "unknown" ? undefined : `{"settled":"${state}"}`;
    const yes = await store.settle(key, tokens[whose], settlementOf({ state, outcome }));
    const { leaseUntil: _leaseUntil, expiresAt: _expiresAt, ...kept } = before ?? { leaseUntil: 0, expiresAt: 0 };
    return { yes, own: { ...kept, state, outcome } };
  };
}

function extending(whose: "right" | "wrong"): Step {
  return async ({ store, key, before, ...tokens }) => {
    const yes = await store.extend(key, tokens[whose], 2 * LONG_MS);
    const { leaseUntil: _leaseUntil, ...kept } = before ?? { leaseUntil: 0 };
    return { yes, own: kept };
  };
}

function expiring(whose: "right" | "wrong", ttlMs: number): Step {
  return async ({ store, key, before, ...tokens }) => {
    const yes = await store.expire(key, tokens[whose], ttlMs);
    const { expiresAt: _expiresAt, ...kept } = before ?? { expiresAt: 0 };
    return { yes, own: ttlMs === Infinity ? { ...kept, expiresAt: Infinity } : kept };
  };
}

function releasing(whose: "right" | "wrong"): Step {
  return async ({ store, key, ...tokens }) => ({ yes: await store.release(key, tokens[whose]) });
}

const CLAIMS = {
  claim: claiming(() => ({})),
  "claim again with its token": claiming(({ right }) => ({ token: right })),
  "claim with other arguments": claiming(() => ({ fingerprint: "f2" })),
  "claim with a higher epoch": claiming(() => ({ epoch: EPOCH + 1 })),
  "claim with a higher epoch and other arguments": claiming(() => ({ epoch: EPOCH + 1, fingerprint: "f2" })),
  takeover: claiming(({ right }) => ({ takeover: right })),
  "takeover with a wrong token": claiming(({ wrong }) => ({ takeover: wrong })),
  "takeover with other arguments": claiming(({ right }) => ({ takeover: right, fingerprint: "f2" })),
} as const;

const OTHERS = {
  extend: extending("right"),
  "extend with a wrong token": extending("wrong"),
  "settle as done": settling("right", "done"),
  "settle as failed": settling("right", "failed"),
  "settle as unknown": settling("right", "unknown"),
  "settle with a wrong token": settling("wrong", "done"),
  release: releasing("right"),
  "release with a wrong token": releasing("wrong"),
  expire: expiring("right", 2 * LONG_MS),
  "expire never": expiring("right", Infinity),
  "expire at once": expiring("right", 0),
  "expire with a wrong token": expiring("wrong", 0),
} as const;

type StepName = keyof typeof CLAIMS | keyof typeof OTHERS;

/**
 * What a step comes to. `no` leaves what stands as it was; `yes` makes it what the step says; `kept` answers yes and changes
 * nothing; `gone` answers yes and leaves no record.
 */
type End = "no" | "yes" | "kept" | "gone";
type Row = Readonly<Record<StepName, End>>;

/** A row in which every claim ends as `claims`, every other step as `others`, but for what is named. */
function row(claims: End, others: End, named: Partial<Row>): Row {
  const all = [
    ...Object.keys(CLAIMS).map((name) => [name, claims]),
    ...Object.keys(OTHERS).map((name) => [name, others]),
  ];
  // Every step is a key of CLAIMS or of OTHERS.
  return { ...(Object.fromEntries(all) as Row), ...named };
}

const ABSENT = row("yes", "no", { release: "gone", "release with a wrong token": "gone" });
const OPEN = {
  "settle as done": "yes",
  "settle as failed": "yes",
  "settle as unknown": "yes",
  release: "gone",
} as const;
const PENDING = row("no", "no", { ...OPEN, "claim again with its token": "yes", extend: "yes" });
const UNKNOWN = row("no", "no", { ...OPEN, takeover: "yes" });
const ENDED = {
  "settle as done": "kept",
  "settle as failed": "kept",
  "settle as unknown": "kept",
  expire: "yes",
  "expire never": "yes",
  "expire at once": "gone",
} as const;
const DONE = row("no", "no", ENDED);
const FAILED = row("no", "no", { ...ENDED, "claim with a higher epoch": "yes", takeover: "yes" });

type Make = (bench: StoreBench, key: string) => Promise<IdempotencyRecord | undefined>;

interface From {
  readonly make: Make;
  readonly row: Row;
  /** How the record reads before the step, some time after it was made; as it was made when absent. */
  readonly reads?: "absent" | "unknown";
}

const claim = { epoch: EPOCH };

/** The whole table: how a record stands, and what every step makes of it. */
const TABLE: Readonly<Record<string, From>> = {
  "there is none": { make: async () => undefined, row: ABSENT },
  "it is pending": { make: (bench, key) => bench.claim(key, claim), row: PENDING },
  "it is pending and its lease is over": {
    make: (bench, key) => bench.claim(key, { ...claim, leaseMs: SHORT_MS }),
    row: UNKNOWN,
    reads: "unknown",
  },
  "it is unknown": {
    make: (bench, key) => bench.settled(key, { state: "unknown", outcome: undefined }, claim),
    row: UNKNOWN,
  },
  "it is done": { make: (bench, key) => bench.settled(key, {}, claim), row: DONE },
  "it is done without an outcome": {
    make: (bench, key) => bench.settled(key, { outcome: undefined }, claim),
    row: DONE,
  },
  "it is done and pinned": { make: (bench, key) => bench.settled(key, { ttlMs: Infinity }, claim), row: DONE },
  "it is failed": { make: (bench, key) => bench.settled(key, { state: "failed" }, claim), row: FAILED },
  "it is failed and pinned": {
    make: (bench, key) => bench.settled(key, { state: "failed", ttlMs: Infinity }, claim),
    row: FAILED,
  },
  "it was done and is expired": {
    make: (bench, key) => bench.settled(key, { ttlMs: SHORT_MS }, claim),
    row: ABSENT,
    reads: "absent",
  },
  "it was failed and is expired": {
    make: (bench, key) => bench.settled(key, { state: "failed", ttlMs: SHORT_MS }, claim),
    row: ABSENT,
    reads: "absent",
  },
};

async function expectEnd(end: End, subject: Subject, answered: Answered, what: string): Promise<void> {
  const { store, key, before } = subject;
  equal(answered.yes, end !== "no", `${what}: the answer`);
  const after = await store.get(key);
  const expected = end === "yes" ? answered.own : before;
  if (end === "gone" || expected === undefined) {
    check(after === undefined, `${what}: no record must stand afterwards, there is one that is ${after?.state}`);
    return;
  }
  sameRecord(after, expected, `${what}: the record afterwards`);
  if (answered.given !== undefined) sameRecord(answered.given, expected, `${what}: the record that it gave`);
}

async function proveStep(bench: StoreBench, from: From, subject: Subject, name: StepName): Promise<void> {
  const step: Step = { ...CLAIMS, ...OTHERS }[name];
  const answered = await step(subject);
  const what = `${name}, when ${subject.before === undefined ? "there is no record" : `it is ${subject.before.state}`}`;
  await expectEnd(from.row[name], subject, answered, what);
  const after = await bench.store.get(subject.key);
  if (name === "extend" && answered.yes) {
    const isLater = (after?.leaseUntil ?? 0) > (subject.before?.leaseUntil ?? 0);
    equal(isLater, true, `${what}: the lease ends later than before`);
  }
  if (name === "expire" && answered.yes) {
    equal(after?.expiresAt === subject.before?.expiresAt, false, `${what}: the record ends when it did before`);
    equal(after?.expiresAt === Infinity, false, `${what}: the record never ends`);
  }
}

async function proveRow(bench: StoreBench, from: From): Promise<void> {
  const names = Object.keys(from.row) as StepName[];
  const subjects: (readonly [StepName, Subject])[] = [];
  for (const name of names) {
    const made = await from.make(bench, name);
    const wrong = newToken();
    const read = from.reads === "absent" ? undefined : made;
    const before = from.reads === "unknown" && read !== undefined ? { ...read, state: "unknown" as const } : read;
    // A second handle on the data must see what the first one wrote.
    const store = subjects.length % 2 === 0 ? bench.store : bench.other;
    subjects.push([name, { store, key: name, right: made?.token ?? newToken(), wrong, before }]);
  }
  if (from.reads !== undefined) await bench.advance(PASS_MS);
  for (const [name, subject] of subjects) await proveStep(bench, from, subject, name);
}

/** One case for each way in which a record stands. */
export const transitions: Readonly<Record<string, Proof>> = Object.fromEntries(
  Object.entries(TABLE).map(([name, from]) => [
    `answers every step as it must when ${name}`,
    (bench: StoreBench) => proveRow(bench, from),
  ]),
);

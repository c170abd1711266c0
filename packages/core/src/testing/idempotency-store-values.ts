import type { IdempotencyRecord } from "../stores.js";
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
  show,
} from "./idempotency-store-bench.js";

/** How far two times of a real store may be apart from what they should be. */
const SLACK_MS = 30_000;
/** A lease or a time to live that is prolonged before it is over. */
const SPAN_MS = 200;

const KEYS: readonly string[] = [
  '["1","",null,"transfer","order-42"]',
  'it\'s "quoted" `here` -- ; DROP TABLE records; /*',
  "100%_of $1 :name @name ?1 ? {tag}{} * [a-z] \\ \\\\ \\x00",
  " key ",
  "key",
  "KEY",
  "line\nbreak\ttab\r",
  "\u00e9",
  "e\u0301",
  "鍵🔑",
  "__proto__",
  "constructor",
  "k".repeat(500),
  "鍵".repeat(500),
  "🔑".repeat(250),
];

const OUTCOMES: readonly string[] = [
  '{"content":[{"type":"text","text":"it\'s \\"done\\""}]}',
  '{ "b" : 1,  "a":1.0,"a":2 }',
  '{"text":"\\u0000 \\ud83d \\\\ %s $1 {}"}',
  '"🔑鍵\u2028\u2029é e\u0301"',
  "null",
  "",
  `"${"x".repeat(1024 * 1024)}"`,
];

function near(actual: number, expected: number, what: string): void {
  check(Math.abs(actual - expected) <= SLACK_MS, `${what}: expected about ${expected} ms, got ${actual}`);
}

const keepsKeysApart: Proof = async ({ store, other }) => {
  const records = new Map<string, IdempotencyRecord>();
  for (const key of KEYS) {
    const { won, record } = await store.claim(key, claimOf());
    check(won, `the key ${show(key)} is new and must be claimed; it was taken for another one`);
    records.set(key, record);
  }
  for (const [key, record] of records) {
    sameRecord(await other.get(key), { key, token: record.token }, `get(${show(key)})`);
    equal(await other.settle(key, record.token, settlementOf()), true, `settle(${show(key)})`);
  }
};

const refusesWhatItCannotKeep: Proof = async ({ store }) => {
  for (const [key, altered] of [
    ["nul\u0000key", "nul"],
    ["lone\ud800key", "lone\ufffdkey"],
    ["lone\udc00", "lone"],
  ] as const) {
    const claimed = await store.claim(key, claimOf()).catch(() => undefined);
    equal(await store.get(altered), undefined, `a key must be refused or kept, not altered: get(${show(altered)})`);
    if (claimed === undefined) continue;
    equal((await store.get(key))?.key, key, `a key that was not refused must be kept as it is: get(${show(key)})`);
  }
};

const keepsOutcomes: Proof = async ({ store, other }) => {
  for (const [index, outcome] of [...OUTCOMES, undefined].entries()) {
    const { token } = (await store.claim(`key-${index}`, claimOf())).record;
    const state = index % 2 === 0 ? "done" : "failed";
    equal(await store.settle(`key-${index}`, token, settlementOf({ state, outcome })), true, "settle by the owner");
    const record = await other.get(`key-${index}`);
    check(record?.state === state, `get after settle(${state}): expected ${state}, got ${String(record?.state)}`);
    check(
      record.outcome === outcome,
      `the outcome ${show(outcome)} must be kept as it is, got ${show(record.outcome)}`,
    );
  }
};

const keepsNumbers: Proof = async (bench) => {
  const sentAtWall = 1_700_000_000_000.25;
  const record = await bench.claim("key", { sentAtWall, epoch: 7, leaseMs: LONG_MS + 0.5 });
  sameRecord(record, { sentAtWall, epoch: 7, sentTo: undefined }, "a claim in fractions of milliseconds");
  sameRecord(await bench.other.get("key"), { sentAtWall, epoch: 7, sentTo: undefined }, "get");
  equal(await bench.store.extend("key", record.token, LONG_MS + 0.5), true, "extend by fractions of milliseconds");
  const settlement = settlementOf({ state: "failed", ttlMs: LONG_MS + 0.5, epoch: 9 });
  equal(await bench.store.settle("key", record.token, settlement), true, "settle by fractions of milliseconds");
  sameRecord(await bench.other.get("key"), { state: "failed", epoch: 9, sentAtWall }, "the epoch that was settled");
  equal((await bench.store.claim("key", claimOf({ epoch: 9 }))).won, false, "a claim with the epoch that was settled");
  equal((await bench.store.claim("key", claimOf({ epoch: 10 }))).won, true, "a claim with a higher epoch");
};

const replacesSending: Proof = async (bench) => {
  const { token } = await bench.settled(
    "key",
    { state: "unknown", outcome: undefined },
    { sentTo: "first", sentAtWall: 1 },
  );
  sameRecord(await bench.store.get("key"), { sentTo: "first", sentAtWall: 1 }, "a record that is unknown");
  const next = claimOf({ takeover: token, sentTo: "second", sentAtWall: 2 });
  sameRecord((await bench.store.claim("key", next)).record, { sentTo: "second", sentAtWall: 2 }, "a takeover");
  equal(
    await bench.store.settle("key", next.token, settlementOf({ state: "failed" })),
    true,
    "settle after a takeover",
  );
  sameRecord(await bench.store.get("key"), { sentTo: "second", sentAtWall: 2 }, "a record that is failed");
  const plain = claimOf({ epoch: 1, sentAtWall: 3 });
  sameRecord((await bench.store.claim("key", plain)).record, { sentTo: undefined, sentAtWall: 3 }, "a claim after it");
};

const tellsTimes: Proof = async (bench) => {
  const short = await bench.claim("short", { leaseMs: LONG_MS });
  const long = await bench.claim("long", { leaseMs: 10 * LONG_MS });
  near(long.leaseUntil - short.leaseUntil, 9 * LONG_MS, "the difference of leaseUntil of two leases");
  await bench.advance(PASS_MS);
  equal(await bench.store.extend("short", short.token, LONG_MS), true, "extend by the owner");
  const extended = (await bench.store.get("short"))?.leaseUntil ?? 0;
  // A clock in whole milliseconds may lose one of them.
  const grown = extended - short.leaseUntil;
  check(grown >= PASS_MS - 2, `extend counts from now on: leaseUntil must be ${PASS_MS} ms later, it is ${grown}`);
  near(extended, short.leaseUntil, "leaseUntil after an extend");
  equal(await bench.store.settle("short", short.token, settlementOf({ ttlMs: 2 * LONG_MS })), true, "settle");
  near((await bench.store.get("short"))?.expiresAt ?? 0, extended + LONG_MS, "expiresAt");
  equal(await bench.store.settle("long", long.token, settlementOf({ ttlMs: Infinity })), true, "settle");
  equal((await bench.store.get("long"))?.expiresAt, Infinity, "expiresAt of a record that is pinned");
  equal(await bench.store.expire("long", long.token, 2 * LONG_MS), true, "expire by the owner");
  near((await bench.store.get("long"))?.expiresAt ?? 0, extended + LONG_MS, "expiresAt after an expire");
};

const endsLeases: Proof = async (bench) => {
  const { token } = await bench.claim("claimed", { leaseMs: SHORT_MS });
  const renewed = await bench.claim("renewed", { leaseMs: LONG_MS });
  const repeat = claimOf({ token: renewed.token, leaseMs: SHORT_MS });
  equal((await bench.store.claim("renewed", repeat)).won, true, "the repetition of a claim");
  let owned = "";
  for (let attempt = 0; owned === "" && attempt < 10; attempt += 1) {
    // On a slow machine the first lease may be over before it is prolonged.
    const key = `extended-${attempt}`;
    const record = await bench.claim(key, { leaseMs: SPAN_MS });
    if (await bench.store.extend(key, record.token, SPAN_MS)) owned = key;
  }
  check(owned !== "", "extend by the owner of a lease that is not over must be true, and was false ten times");
  await bench.advance(2 * SPAN_MS);
  for (const key of ["claimed", "renewed", owned]) {
    await bench.expectState(key, "unknown", `a record whose lease is over, of ${show(key)}`);
  }
  equal(await bench.store.extend("claimed", token, LONG_MS), false, "extend after the lease");
};

const endsRecords: Proof = async (bench) => {
  await bench.settled("done", { ttlMs: SHORT_MS });
  await bench.settled("failed", { state: "failed", ttlMs: SHORT_MS });
  await bench.settled("unknown", { state: "unknown", outcome: undefined, ttlMs: SHORT_MS });
  await bench.settled("pinned", { ttlMs: Infinity });
  await bench.claimOverdue("pending");
  await bench.expectState("done", "absent", "a done record past its time to live");
  await bench.expectState("failed", "absent", "a failed record past its time to live");
  await bench.expectState("unknown", "unknown", "an unknown record, which never expires");
  await bench.expectState("pinned", "done", "a record that is pinned");
  await bench.expectState("pending", "unknown", "a pending record whose lease is over");
  const again = await bench.claim("done", { fingerprint: "f2", epoch: 0 });
  sameRecord(again, { fingerprint: "f2", state: "pending", outcome: undefined }, "the claim after an expired record");
  await bench.advance(PASS_MS);
  await bench.expectState("done", "pending", "a new record of a key that had expired");
};

/** Pins a record that would be over after {@link SPAN_MS}, and gives its key. */
async function pinLate(bench: StoreBench): Promise<string> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    // On a slow machine it may be over before it is pinned.
    const key = `late-${attempt}`;
    const { token } = await bench.settled(key, { ttlMs: SPAN_MS });
    if (await bench.other.expire(key, token, Infinity)) return key;
  }
  throw new Error(
    "idempotencyStoreContract: expire of a record that is not over must be true, and was false ten times",
  );
}

const letsGo: Proof = async (bench) => {
  const { other } = bench;
  const brief = await bench.settled("brief", { ttlMs: Infinity });
  const long = await bench.settled("long", { ttlMs: Infinity });
  const failed = await bench.settled("failed", { state: "failed", ttlMs: LONG_MS });
  await bench.settled("never", { ttlMs: Infinity });
  await bench.advance(PASS_MS);
  await bench.expectState("brief", "done", "a pinned record after a while");
  equal(await other.expire("brief", brief.token, SHORT_MS), true, "expire of a pinned record");
  equal(await other.expire("failed", failed.token, SHORT_MS), true, "expire of a failed record");
  equal(await other.expire("long", long.token, LONG_MS + 0.5), true, "expire by fractions of milliseconds");
  equal(await other.expire("never", newToken(), SHORT_MS), false, "expire with a token that never owned the record");
  const late = await pinLate(bench);
  await bench.advance(2 * SPAN_MS);
  await bench.expectState("brief", "absent", "a record that was let go, past its time to live");
  await bench.expectState("failed", "absent", "a failed record that was let go, past its time to live");
  await bench.expectState("long", "done", "a record that was let go, before its time to live is over");
  await bench.expectState("never", "done", "a record that somebody else wanted to let go");
  await bench.expectState(late, "done", "a record that was pinned after it was settled");
  equal(
    (await bench.store.get(late))?.expiresAt,
    Infinity,
    "expiresAt of a record that was pinned after it was settled",
  );
};

const letsGoForGood: Proof = async (bench) => {
  const { token } = await bench.settled("key", { ttlMs: Infinity });
  equal(await bench.store.expire("key", token, 0), true, "expire in 0 ms");
  await bench.expectState("key", "absent", "a record that was to expire at once");
  equal(await bench.store.expire("key", token, LONG_MS), false, "expire of a record that is over");
  await bench.expectState("key", "absent", "a record that was over when it was to be given more time");
  const next = await bench.claim("key", { fingerprint: "f2" });
  sameRecord(next, { state: "pending", outcome: undefined }, "the claim after a record that was let go");
  for (const owner of [token, next.token]) {
    equal(await bench.store.expire("key", owner, 0), false, "expire of a pending record");
  }
  await bench.expectState("key", "pending", "a new record of a key that had been let go");
  equal(await bench.store.settle("key", next.token, settlementOf({ ttlMs: Infinity })), true, "settle by the owner");
  equal(await bench.store.expire("key", token, 0), false, "expire with the token of a record before this one");
  await bench.expectState("key", "done", "a record of which somebody else had let go before");
};

const repeatsSafely: Proof = async (bench) => {
  const claim = claimOf({ sentTo: "there" });
  for (const what of ["a claim", "its repetition"]) {
    const { won, record } = await bench.store.claim("key", claim);
    equal(won, true, what);
    sameRecord(record, { token: claim.token, state: "pending", sentTo: "there" }, what);
  }
  for (const [outcome, state] of [["first", "done"] as const, ["second", "failed"] as const]) {
    equal(await bench.store.settle("key", claim.token, settlementOf({ outcome, state })), true, `settle(${state})`);
    sameRecord(await bench.store.get("key"), { outcome: "first", state: "done" }, `after settle(${state})`);
  }
  const { won, record } = await bench.store.claim("key", claim);
  equal(won, false, "a claim repeated after it was settled");
  sameRecord(record, { outcome: "first", state: "done" }, "a claim repeated after it was settled");
  const { token } = await bench.claim("other");
  for (const what of ["a release", "its repetition"]) equal(await bench.store.release("other", token), true, what);
};

const repeatsTakeovers: Proof = async (bench) => {
  const { token } = await bench.claimOverdue("key");
  const takeover = claimOf({ takeover: token });
  for (const what of ["a takeover", "its repetition"])
    equal((await bench.store.claim("key", takeover)).won, true, what);
  const late = claimOf({ takeover: token });
  equal((await bench.store.claim("key", late)).won, false, "a takeover by a token that does not own it any more");
  for (const step of ["settle", "extend", "release"] as const) {
    const answer =
      step === "settle"
        ? await bench.store.settle("key", token, settlementOf())
        : step === "extend"
          ? await bench.store.extend("key", token, LONG_MS)
          : await bench.store.release("key", token);
    equal(answer, false, `${step} by an owner that was taken over`);
  }
  sameRecord(await bench.store.get("key"), { token: takeover.token, state: "pending" }, "the record after a takeover");
};

const givesSnapshots: Proof = async (bench) => {
  const claimed = await bench.claim("key");
  const seen = await bench.store.get("key");
  equal(await bench.store.settle("key", claimed.token, settlementOf()), true, "settle");
  for (const record of [claimed, seen]) equal(record?.state, "pending", "a record that was given out before a change");
  const mine = { ...(await bench.store.get("key")) } as { state?: string };
  mine.state = "failed";
  await bench.expectState("key", "done", "a record whose copy was changed");
};

const hasIdentity: Proof = async (bench) => {
  const { store, other } = bench;
  check(typeof store.storeId === "string" && store.storeId !== "", "storeId must be a string that is not empty");
  equal(other.storeId, store.storeId, "the storeId of a second handle on the same data");
  check(typeof store.durable === "boolean", "durable must be true or false");
  equal(other.durable, store.durable, "durable of a second handle on the same data");
  equal(await store.get(newToken()), undefined, "get of a key that nobody claimed");
};

/** What is kept, and for how long. */
export const values: Readonly<Record<string, Proof>> = {
  "has an identity": hasIdentity,
  "keeps every key apart from every other": keepsKeysApart,
  "refuses a key that it cannot keep instead of altering it": refusesWhatItCannotKeep,
  "keeps an outcome to the letter, also one of a megabyte": keepsOutcomes,
  "keeps epochs and times as they are given": keepsNumbers,
  "keeps when and where a call was sent, until a claim replaces it": replacesSending,
  "counts leases and times to live from now on": tellsTimes,
  "ends leases, claimed, repeated or prolonged": endsLeases,
  "ends done and failed records, and no others": endsRecords,
  "lets a pinned record go when it is told, and not before": letsGo,
  "lets a record go for good": letsGoForGood,
  "takes the repetition of a claim, settlement or release whose reply was lost": repeatsSafely,
  "fences off an owner that was taken over": repeatsTakeovers,
  "gives out records that do not change afterwards": givesSnapshots,
};

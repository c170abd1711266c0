import type { IdempotencyClaim, IdempotencyClaimed } from "../stores.js";
import {
  check,
  claimOf,
  equal,
  LONG_MS,
  PASS_MS,
  type Proof,
  SHORT_MS,
  type StoreBench,
  settlementOf,
  show,
} from "./idempotency-store-bench.js";

const RACES = 10;

function expectOneWinner(claims: readonly IdempotencyClaimed[], what: string): void {
  const winners = claims.filter(({ won }) => won);
  equal(winners.length, 1, `${what}: how many of ${claims.length} contenders won`);
  for (const { record } of claims) {
    equal(record.token, winners[0]?.record.token, `${what}: the owner that every contender was told`);
  }
}

function claimTogether(
  bench: StoreBench,
  key: string,
  claim: Partial<IdempotencyClaim>,
): Promise<IdempotencyClaimed[]> {
  return bench.contend(bench.concurrency, (store) => store.claim(key, claimOf(claim)));
}

const claimsOnce: Proof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    expectOneWinner(await claimTogether(bench, `key-${race}`, {}), "a new key");
  }
};

const claimsOnceAfterExpiry: Proof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) await bench.settled(`key-${race}`, { ttlMs: SHORT_MS });
  await bench.advance(PASS_MS);
  for (let race = 0; race < RACES; race += 1) {
    expectOneWinner(await claimTogether(bench, `key-${race}`, {}), "an expired record");
  }
};

const takesOverOnce: Proof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    const kind = race % 3;
    const key = `key-${race}`;
    const state = kind === 1 ? ("failed" as const) : ("unknown" as const);
    const { token } =
      kind === 0
        ? await bench.claim(key, { leaseMs: SHORT_MS })
        : await bench.settled(key, { state, outcome: undefined });
    if (kind === 0) await bench.advance(PASS_MS);
    expectOneWinner(await claimTogether(bench, key, { takeover: token }), `a takeover of a record, ${state}`);
  }
};

const raisesEpochOnce: Proof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    await bench.settled(`key-${race}`, { state: "failed" });
    expectOneWinner(await claimTogether(bench, `key-${race}`, { epoch: 1 }), "a failed record and a higher epoch");
  }
};

const settlesOrIsTakenOver: Proof = async (bench) => {
  for (let race = 0; race < 2 * RACES; race += 1) {
    const key = `key-${race}`;
    const { token } = await bench.settled(key, { state: "unknown", outcome: undefined });
    const settle = () => bench.store.settle(key, token, settlementOf({ outcome: "late" }));
    const claim = () => bench.other.claim(key, claimOf({ takeover: token }));
    const [settled, claimed] =
      race % 2 === 0
        ? await Promise.all([settle(), claim()])
        : await Promise.all([claim(), settle()]).then(([second, first]) => [first, second] as const);
    check(
      settled !== claimed.won,
      `an owner that is late and one that takes over: one of them must be heard, not ${settled ? "both" : "neither"}`,
    );
    const standing = await bench.store.get(key);
    equal(standing?.state, settled ? "done" : "pending", "what stands after a late settlement and a takeover");
  }
};

const settlesOnce: Proof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    const key = `key-${race}`;
    const { token } = await bench.claim(key);
    const answers = await bench.contend(4, async (store, index) => {
      const answer = await store.settle(key, token, settlementOf({ outcome: `outcome-${index}` }));
      return { answer, seen: (await store.get(key))?.outcome };
    });
    equal(answers.filter(({ answer }) => answer).length, 4, "settlements by one token that were answered with true");
    equal(new Set(answers.map(({ seen }) => seen)).size, 1, "outcomes seen after settlements by one token");
  }
};

const keepsManyApart: Proof = async (bench) => {
  const { concurrency } = bench;
  const ends = await bench.contend(concurrency * 4, async (store, index) => {
    const key = `key-${index}`;
    const { won, record } = await store.claim(key, claimOf({ fingerprint: key }));
    const settled = await store.settle(key, record.token, settlementOf({ outcome: key }));
    return won && settled && record.fingerprint === key && (await store.get(key))?.outcome === key;
  });
  equal(ends.indexOf(false), -1, `the first of ${ends.length} keys at once whose record was mixed up with another`);
};

async function sweepAll(bench: StoreBench, limit: number, due: number): Promise<void> {
  const isCounted = (await bench.records()) !== undefined;
  let rest = due;
  for (;;) {
    const before = await bench.records();
    const changed = await bench.store.sweep(limit);
    const after = await bench.records();
    check(
      Number.isInteger(changed) && changed >= 0 && changed <= limit,
      `sweep(${limit}) must give a whole number of at most ${limit}, got ${show(changed)}`,
    );
    if (isCounted)
      equal(changed, Math.min(limit, rest), `how many of the ${rest} that were due sweep(${limit}) changed`);
    const removed = (before ?? 0) - (after ?? 0);
    check(removed <= limit, `sweep(${limit}) must change at most ${limit} records, it removed ${removed}`);
    rest -= changed;
    if (changed < limit) return;
    check(rest >= 0, `sweep(${limit}) changed more records than there were to change`);
  }
}

const DUE = 5;

const sweeps: Proof = async (bench) => {
  const overdue = [];
  for (let index = 0; index < DUE; index += 1) {
    await bench.settled(`done-${index}`, { ttlMs: SHORT_MS });
    await bench.settled(`failed-${index}`, { state: "failed", ttlMs: SHORT_MS });
    overdue.push(await bench.claim(`overdue-${index}`, { leaseMs: SHORT_MS }));
  }
  await bench.settled("unknown", { state: "unknown", outcome: undefined });
  await bench.settled("pinned", { ttlMs: Infinity });
  await bench.settled("failed and pinned", { state: "failed", ttlMs: Infinity });
  await bench.settled("done", { ttlMs: LONG_MS });
  const live = await bench.claim("pending", { leaseMs: LONG_MS });
  await bench.advance(PASS_MS);
  await sweepAll(bench, 4, 3 * DUE);
  const left = await bench.records();
  if (left !== undefined) equal(left, DUE + 5, "records that are left when nothing is due any more");
  for (let index = 0; index < DUE; index += 1) {
    await bench.expectState(`done-${index}`, "absent", "an expired record after sweeps");
    await bench.expectState(`failed-${index}`, "absent", "an expired record after sweeps");
    await bench.expectState(`overdue-${index}`, "unknown", "a pending record whose lease was over, after sweeps");
  }
  await bench.expectState("unknown", "unknown", "an unknown record after sweeps");
  await bench.expectState("pinned", "done", "a pinned record after sweeps");
  await bench.expectState("failed and pinned", "failed", "a pinned record after sweeps");
  await bench.expectState("done", "done", "a record that is not over after sweeps");
  equal(await bench.store.extend("pending", live.token, LONG_MS), true, "extend of a live record after sweeps");
  const [first] = overdue;
  check(first !== undefined, "there must be a record that a sweep turned");
  const late = await bench.store.settle(first.key, first.token, settlementOf({ outcome: "late" }));
  equal(late, true, "a late settlement of a record that a sweep turned into unknown");
  await bench.expectState(first.key, "done", "a record that a sweep turned, settled late");
};

const sweepsNothing: Proof = async (bench) => {
  equal(await bench.store.sweep(10), 0, "sweep of a store that is empty");
  await bench.settled("key", { ttlMs: SHORT_MS });
  await bench.advance(PASS_MS);
  equal(await bench.store.sweep(0), 0, "sweep(0)");
  await bench.claim("key");
  equal(await bench.store.sweep(10), 0, "sweep of a store in which nothing is due");
  await bench.expectState("key", "pending", "a live record after a sweep");
};

/** Many at once, and the sweep. */
export const races: Readonly<Record<string, Proof>> = {
  "lets one of many contenders win a new key": claimsOnce,
  "lets one of many contenders win an expired key": claimsOnceAfterExpiry,
  "lets one of many take over a record": takesOverOnce,
  "lets one of many repeat a failure with a higher epoch": raisesEpochOnce,
  "hears either a late owner or the one that takes over": settlesOrIsTakenOver,
  "keeps the first of many settlements by one token": settlesOnce,
  "keeps many calls at once apart": keepsManyApart,
  "sweeps what is over, as much as it is told, and nothing else": sweeps,
  "sweeps nothing when nothing is due": sweepsNothing,
};

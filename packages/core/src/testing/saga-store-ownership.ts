import type { SagaEnd, SagaRecord } from "../stores.js";
import {
  check,
  claimOf,
  endOf,
  entriesOf,
  equal,
  LONG_MS,
  newToken,
  PASS_MS,
  type SagaBench,
  type SagaProof,
  SHORT_MS,
  sameSaga,
} from "./saga-store-bench.js";

type From = "running" | "stuck";

const ENDS = ["completed", "compensated", "abandoned"] as const;
const STATUSES: readonly SagaEnd["status"][] = [...ENDS, "stuck"];
const ANY = ["running", "stuck"] as const;

/** Claims through the second handle, and proves what came of it. */
async function expectClaim(
  bench: SagaBench,
  id: string,
  from: readonly From[],
  won: boolean,
  token = newToken(),
): Promise<SagaRecord> {
  const before = await bench.store.get(id);
  const claimed = await bench.other.claim(id, claimOf({ token, from }));
  const what = `the claim of ${id} from [${from.join(", ")}]`;
  equal(claimed.won, won, what);
  check(before !== undefined, `${what}: there must be a saga before`);
  const { leaseUntil: _leaseUntil, updatedAt: _updatedAt, ...kept } = before;
  sameSaga(claimed.saga, won ? { ...kept, token } : before, `${what}: the saga that it gave`);
  sameSaga(await bench.store.get(id), claimed.saga, `${what}: the saga afterwards`);
  return claimed.saga;
}

/** Everything that a token that does not own a saga may try. */
async function expectNothing(bench: SagaBench, id: string, token: string, what: string): Promise<void> {
  const [before, journal] = [await bench.store.get(id), await bench.store.entries(id)];
  const next = entriesOf(["of nobody's"], journal.length + 1);
  equal(await bench.store.append(id, token, next), false, `append by ${what}`);
  equal(await bench.store.append(id, token, []), false, `an empty append by ${what}`);
  equal(await bench.store.extend(id, token, LONG_MS), false, `extend by ${what}`);
  equal(await bench.store.release(id, token), false, `release by ${what}`);
  const bodies = journal.map(({ body }) => body);
  await bench.expectJournal(id, bodies, `the journal after an append by ${what}`);
  const after = await bench.other.get(id);
  if (before === undefined) equal(after, undefined, `the saga after writes by ${what}`);
  else sameSaga(after, before, `the saga after writes by ${what}`);
}

const losesLiveClaims: SagaProof = async (bench) => {
  await bench.create("running");
  const stuck = await bench.ended("stuck", { status: "stuck" });
  equal(await bench.store.extend("stuck", stuck.token, LONG_MS), true, "extend of a stuck saga by its last owner");
  for (const from of [["running"], ["stuck"], ANY, []] as const) {
    await expectClaim(bench, "running", from, false);
    await expectClaim(bench, "stuck", from, false);
  }
  equal((await bench.store.claim("none", claimOf())).won, false, "the claim of a saga that is not there");
  equal((await bench.store.claim("none", claimOf())).saga, undefined, "the saga of a claim of none");
  equal(await bench.store.get("none"), undefined, "get after the claim of a saga that is not there");
};

const claimsWhatIsOver: SagaProof = async (bench) => {
  for (const id of ["a", "b", "c"]) await bench.create(id, { leaseMs: SHORT_MS, deadlineAt: 5 });
  for (const id of ["s", "t", "u"]) await bench.ended(id, { status: "stuck", outcome: "why" });
  await bench.advance(PASS_MS);
  await expectClaim(bench, "a", [], false);
  await expectClaim(bench, "a", ["stuck"], false);
  await expectClaim(bench, "a", ["running"], true);
  await expectClaim(bench, "a", ["running"], false);
  await expectClaim(bench, "b", ANY, true);
  await expectClaim(bench, "u", ANY, true);
  await expectClaim(bench, "s", [], false);
  await expectClaim(bench, "s", ["running"], false);
  await expectClaim(bench, "s", ["stuck"], true);
  await expectClaim(bench, "s", ["stuck"], false);
  const claimed = await expectClaim(bench, "t", ["stuck", "running"], true);
  sameSaga(claimed, { status: "stuck", outcome: "why" }, "a stuck saga that was claimed");
  check(claimed.leaseUntil > claimed.updatedAt, "the claim of a saga gives a lease from now on");
};

const claimsAgain: SagaProof = async (bench) => {
  const { token } = await bench.create("a");
  await bench.advance(PASS_MS);
  const again = await expectClaim(bench, "a", ["running"], true, token);
  check(again.leaseUntil > again.updatedAt, "a claim of what the token owns gives a lease from now on");
  await expectClaim(bench, "a", ["stuck"], false, token);
  const next = newToken();
  equal(await bench.store.release("a", token), true, "release");
  for (let times = 0; times < 2; times += 1) await expectClaim(bench, "a", ["running"], true, next);
  await expectClaim(bench, "a", ["running"], false, token);
  const short = await bench.other.claim("a", claimOf({ token: next, leaseMs: SHORT_MS }));
  equal(short.won, true, "a claim of what the token owns, with a shorter lease");
  await bench.advance(PASS_MS);
  await expectClaim(bench, "a", ["running"], true);
};

const neverClaimsEnded: SagaProof = async (bench) => {
  for (const status of ENDS) {
    const { token } = await bench.ended(status, { status });
    await expectClaim(bench, status, ANY, false);
    await expectClaim(bench, status, ANY, false, token);
  }
};

const extendsLeases: SagaProof = async (bench) => {
  for (const status of ["running", "stuck"] as const) {
    const { token } = await bench.create(status, { leaseMs: SHORT_MS });
    if (status === "stuck") equal(await bench.store.end(status, token, endOf({ status })), true, "end(stuck)");
    await bench.advance(PASS_MS);
    equal(await bench.store.extend(status, token, LONG_MS), true, `extend of a ${status} saga after its lease`);
    const extended = await bench.other.get(status);
    sameSaga(extended, { status, token }, "a saga after extend");
    await expectClaim(bench, status, ANY, false);
    await bench.advance(PASS_MS);
    equal(await bench.store.extend(status, token, LONG_MS), true, "extend of a lease that lasts");
    const grown = ((await bench.store.get(status))?.leaseUntil ?? 0) - extended.leaseUntil;
    // A clock in whole milliseconds may lose one of them; nothing takes half a lease.
    check(grown >= PASS_MS - 2 && grown < LONG_MS / 2, `extend counts from now on: leaseUntil grew by ${grown} ms`);
    equal(await bench.store.extend(status, token, SHORT_MS + 0.5), true, "extend with a shorter lease");
    await bench.advance(PASS_MS);
    await expectClaim(bench, status, ANY, true);
    equal(await bench.store.extend(status, token, LONG_MS), false, "extend after a takeover");
  }
};

const releases: SagaProof = async (bench) => {
  const { token } = await bench.create("a");
  for (let times = 0; times < 2; times += 1) {
    equal(await bench.store.release("a", token), true, "release by the owner, repeated");
    sameSaga(await bench.other.get("a"), { leaseUntil: 0, status: "running", token }, "a saga that was released");
  }
  await bench.append("a", token, ["late"]);
  equal(await bench.store.extend("a", token, LONG_MS), true, "extend after release, while nobody took over");
  await expectClaim(bench, "a", ["running"], false);
  equal(await bench.store.release("a", token), true, "release");
  const { token: next } = await expectClaim(bench, "a", ["running"], true);
  equal(await bench.store.release("a", token), false, "release by an owner that was taken over");
  equal(await bench.store.end("a", next, endOf({ status: "stuck" })), true, "end(stuck)");
  equal(await bench.store.extend("a", next, LONG_MS), true, "extend of a stuck saga");
  equal(await bench.store.release("a", next), true, "release of a stuck saga");
  await expectClaim(bench, "a", ["stuck"], true);
};

const fencesOff: SagaProof = async (bench) => {
  const { token } = await bench.create("a", { leaseMs: SHORT_MS });
  await bench.append("a", token, ["one"]);
  await bench.advance(PASS_MS);
  // Nobody has taken over: a late owner is heard.
  await bench.append("a", token, ["two"], 2);
  const { token: next } = await expectClaim(bench, "a", ["running"], true);
  await bench.expectJournal("a", ["one", "two"], "the journal that a new owner finds");
  await expectNothing(bench, "a", token, "an owner that was taken over");
  equal(await bench.store.append("a", token, entriesOf(["one", "two"])), false, "a repetition after a takeover");
  for (const status of STATUSES) {
    equal(
      await bench.store.end("a", token, endOf({ status })),
      false,
      `end(${status}) by an owner that was taken over`,
    );
  }
  sameSaga(await bench.other.get("a"), { status: "running", token: next, outcome: undefined }, "after a late end");
  await bench.append("a", next, ["three"], 3);
  await bench.expectJournal("a", ["one", "two", "three"], "the journal of the new owner");
  await expectNothing(bench, "a", newToken(), "somebody who never owned it");
  await expectNothing(bench, "none", next, "the owner of another saga");
  equal(await bench.store.end("none", next, endOf()), false, "end of a saga that is not there");
};

const appends: SagaProof = async (bench) => {
  const { token } = await bench.create("a");
  equal(await bench.store.append("a", token, []), true, "an empty append by the owner");
  await bench.append("a", token, ["one", "two"]);
  const [first] = await bench.store.entries("a");
  await bench.advance(PASS_MS);
  await bench.append("a", token, ["one", "two"]);
  await bench.append("a", token, ["other one", "other two", "three"]);
  await bench.expectJournal("a", ["one", "two", "three"], "the journal after an append was repeated");
  equal((await bench.store.entries("a"))[0]?.at, first?.at, "at of an entry whose append was repeated");
  equal(await bench.store.end("a", token, endOf({ status: "stuck" })), true, "end(stuck)");
  await bench.append("a", token, ["four"], 4);
  await bench.expectJournal("a", ["one", "two", "three", "four"], "the journal of a stuck saga");
  sameSaga(await bench.store.get("a"), { status: "stuck" }, "a stuck saga that was appended to");
};

const ends: SagaProof = async (bench) => {
  for (const status of ENDS) {
    const saga = await bench.ended(status, { status, outcome: `is ${status}` });
    check(Number.isFinite(saga.expiresAt), "expiresAt of a saga that has ended must be finite");
    const { expiresAt } = saga;
    await bench.advance(PASS_MS);
    const repeated = endOf({ status, outcome: "another", ttlMs: 2 * LONG_MS });
    equal(await bench.other.end(status, saga.token, repeated), true, `end(${status}), repeated`);
    sameSaga(await bench.store.get(status), { ...saga, expiresAt }, `after end(${status}) was repeated`);
    for (const other of STATUSES.filter((each) => each !== status)) {
      equal(await bench.store.end(status, saga.token, endOf({ status: other })), false, `end(${other}) of ${status}`);
    }
    equal(await bench.store.end(status, newToken(), repeated), false, `end(${status}) by another token`);
    await expectNothing(bench, status, saga.token, `the last owner of a saga that is ${status}`);
    sameSaga(await bench.other.get(status), saga, `a saga that is ${status}, after all that`);
  }
};

const endsLate: SagaProof = async (bench) => {
  const { token } = await bench.create("a", { leaseMs: SHORT_MS });
  await bench.advance(PASS_MS);
  equal(await bench.store.end("a", token, endOf({ ttlMs: Infinity })), true, "end after the lease");
  sameSaga(await bench.other.get("a"), { status: "completed", expiresAt: Infinity }, "a saga kept for ever");
};

const getsStuck: SagaProof = async (bench) => {
  for (const status of ENDS) {
    const { token } = await bench.ended(status, { status: "stuck", outcome: "first", ttlMs: SHORT_MS });
    const again = endOf({ status: "stuck", outcome: "again" });
    for (const outcome of ["again", "again"]) {
      equal(await bench.store.end(status, token, again), true, "end(stuck), repeated");
      sameSaga(await bench.other.get(status), { status: "stuck", outcome }, "after end(stuck) was repeated");
    }
    equal(await bench.store.end(status, newToken(), again), false, "end(stuck) by another token");
    const { token: next } = await expectClaim(bench, status, ["stuck"], true);
    const stillStuck = endOf({ status: "stuck", outcome: "still" });
    equal(await bench.store.end(status, next, stillStuck), true, "end(stuck) by whoever took over");
    const still = { status: "stuck", outcome: "still", leaseUntil: 0, token: next } as const;
    sameSaga(await bench.other.get(status), still, "a saga that is stuck again");
    equal(await bench.store.end(status, next, endOf({ status, outcome: "solved" })), true, `end(${status}) of it`);
    const solved = { status, outcome: "solved", leaseUntil: 0, token: next } as const;
    sameSaga(await bench.other.get(status), solved, `a stuck saga that is ${status}`);
    equal(await bench.store.end(status, next, again), false, `end(stuck) of a saga that is ${status}`);
  }
};

/** Who may write. */
export const ownership: Readonly<Record<string, SagaProof>> = {
  "lets nobody take over while the lease lasts": losesLiveClaims,
  "lets a saga be taken over when its lease is over, from the statuses told": claimsWhatIsOver,
  "lets an owner claim again": claimsAgain,
  "lets nobody claim a saga that has ended": neverClaimsEnded,
  "prolongs leases from now on, also those that are over": extendsLeases,
  "lets others have a saga at once that its owner let go": releases,
  "fences off an owner that was taken over": fencesOff,
  "leaves entries that are there as they are": appends,
  "ends a saga once": ends,
  "hears an owner that ends late": endsLate,
  "keeps a stuck saga until somebody ends it": getsStuck,
};

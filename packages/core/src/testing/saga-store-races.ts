import type { SagaClaimed } from "../stores.js";
import {
  check,
  claimOf,
  creationOf,
  endOf,
  entriesOf,
  equal,
  type SagaProof,
  sameJournal,
} from "./saga-store-bench.js";

const RACES = 10;

/** Starts two things in one order and then, in the next race, in the other. */
async function both<A, B>(race: number, first: () => Promise<A>, second: () => Promise<B>): Promise<readonly [A, B]> {
  if (race % 2 === 0) return Promise.all([first(), second()]);
  const [late, early] = await Promise.all([second(), first()]);
  return [early, late];
}

function expectOneWinner(claims: readonly SagaClaimed[], what: string): void {
  const winners = claims.filter(({ won }) => won);
  equal(winners.length, 1, `${what}: how many of ${claims.length} contenders won`);
  for (const { saga } of claims) {
    equal(saga?.token, winners[0]?.saga?.token, `${what}: the owner that every contender was told`);
  }
}

const createsOnce: SagaProof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    const creations = await bench.contend(bench.concurrency, (store) => store.create(`saga-${race}`, creationOf()));
    const claims = creations.map(({ created, saga }) => ({ won: created, saga }));
    expectOneWinner(claims, "the creation of one saga");
  }
};

const claimsOnce: SagaProof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    const id = `saga-${race}`;
    if (race % 2 === 0) await bench.orphan(id);
    else await bench.ended(id, { status: "stuck" });
    const from = ["running", "stuck"] as const;
    const claims = await bench.contend(bench.concurrency, (store) => store.claim(id, claimOf({ from })));
    expectOneWinner(claims, `a saga that nobody owns, ${race % 2 === 0 ? "running" : "stuck"}`);
  }
};

const appendsOrIsTakenOver: SagaProof = async (bench) => {
  for (let race = 0; race < 3 * RACES; race += 1) {
    const id = `saga-${race}`;
    const { token } = await bench.orphan(id, ["one"]);
    const takeOver = async () => {
      const { won } = await bench.other.claim(id, claimOf());
      equal(won, true, "the claim of a saga that nobody owns, during an append");
      return bench.other.entries(id);
    };
    const append = () => bench.store.append(id, token, entriesOf(["two", "three"], 2));
    const [accepted, seen] = await both(race, append, takeOver);
    const bodies = accepted ? ["one", "two", "three"] : ["one"];
    sameJournal(seen, bodies, `what a new owner reads, when a late append was ${accepted ? "accepted" : "refused"}`);
    await bench.expectJournal(id, bodies, "the journal after a takeover");
  }
};

const appendsUntilTakenOver: SagaProof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    const id = `saga-${race}`;
    const { token } = await bench.orphan(id);
    let accepted = 0;
    const append = async () => {
      while (accepted < 100 && (await bench.store.append(id, token, [{ seq: accepted + 1, body: "mine" }])))
        accepted += 1;
    };
    const takeOver = async () => {
      for (let look = 0; look < race; look += 1) await bench.other.get(id);
      equal((await bench.other.claim(id, claimOf())).won, true, "the claim of a saga that nobody owns");
      return (await bench.other.entries(id)).length;
    };
    const [, seen] = await both(race, append, takeOver);
    equal(seen, accepted, "entries that a new owner reads, of those that were accepted from the owner before");
  }
};

const endsOrIsTakenOver: SagaProof = async (bench) => {
  for (let race = 0; race < 2 * RACES; race += 1) {
    const id = `saga-${race}`;
    const { token } = await bench.orphan(id);
    const end = () => bench.store.end(id, token, endOf());
    const [ended, claimed] = await both(race, end, () => bench.other.claim(id, claimOf()));
    check(
      ended !== claimed.won,
      `an owner that ends late and one that takes over: one of them must be heard, not ${ended ? "both" : "neither"}`,
    );
    const status = ended ? "completed" : "running";
    equal((await bench.store.get(id))?.status, status, "the status after a late end and a takeover");
  }
};

const appendsOnce: SagaProof = async (bench) => {
  for (let race = 0; race < RACES; race += 1) {
    const id = `saga-${race}`;
    const { token } = await bench.create(id);
    const accepted = await bench.contend(4, (store, index) =>
      store.append(id, token, entriesOf([`one-${index}`, `two-${index}`])),
    );
    equal(accepted.indexOf(false), -1, "the first of four equal appends by the owner that was refused");
    const [first, second, ...rest] = await bench.store.entries(id);
    equal(rest.length, 0, "entries beyond those of one append");
    equal(second?.body, first?.body.replace("one", "two"), "the second entry, beside the first of the same append");
  }
};

const keepsManyApart: SagaProof = async (bench) => {
  const ends = await bench.contend(bench.concurrency * 4, async (store, index) => {
    const id = `saga-${index}`;
    const { created, saga } = await store.create(id, creationOf({ input: id }));
    const first = await store.append(id, saga.token, entriesOf([`${id}/1`, `${id}/2`]));
    const second = await store.append(id, saga.token, entriesOf([`${id}/3`], 3));
    const ended = await store.end(id, saga.token, endOf({ outcome: id }));
    const [standing, entries] = await Promise.all([store.get(id), store.entries(id)]);
    const isWhole = standing?.outcome === id && standing.input === id && standing.token === saga.token;
    return (
      created &&
      first &&
      second &&
      ended &&
      isWhole &&
      entries.map(({ body }) => body).join() === `${id}/1,${id}/2,${id}/3`
    );
  });
  equal(ends.indexOf(false), -1, `the first of ${ends.length} sagas at once that was mixed up with another`);
};

/** Many at once. */
export const races: Readonly<Record<string, SagaProof>> = {
  "lets one of many contenders create a saga": createsOnce,
  "lets one of many contenders take a saga over": claimsOnce,
  "shows a new owner a late append, or refuses it": appendsOrIsTakenOver,
  "shows a new owner all that was accepted while it took over": appendsUntilTakenOver,
  "hears either an owner that ends late or the one that takes over": endsOrIsTakenOver,
  "keeps the first of equal appends at once": appendsOnce,
  "keeps many sagas at once apart": keepsManyApart,
};

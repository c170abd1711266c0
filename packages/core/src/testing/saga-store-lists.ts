import type { SagaQuery, SagaRecord } from "../stores.js";
import {
  check,
  creationOf,
  endOf,
  equal,
  LONG_MS,
  PASS_MS,
  type SagaBench,
  type SagaProof,
  SHORT_MS,
  sameSaga,
  show,
} from "./saga-store-bench.js";

/** By code points. UTF-16 puts the last two the other way round, languages put most of the others elsewhere. */
const ORDERED: readonly string[] = [
  " a",
  "-",
  "10",
  "9",
  "A",
  "Z",
  "_",
  "a",
  "a b",
  "a-b",
  "aa",
  "b",
  "e\u0301",
  "z",
  "\u00e9",
  "\u00e9a",
  "鍵",
  "\uff5e",
  "🔑",
];

async function expectList(bench: SagaBench, query: SagaQuery, ids: readonly string[]): Promise<void> {
  for (const store of [bench.store, bench.other]) {
    const listed = (await store.list(query)).map(({ id }) => id);
    equal(show(listed), show(ids), `the ids that list(${show(query)}) gives`);
  }
}

const ordersById: SagaProof = async (bench) => {
  // Created in another order than they are listed in.
  for (const id of [...ORDERED.slice(7), ...ORDERED.slice(0, 7)].reverse()) await bench.create(id);
  await expectList(bench, { limit: 100 }, ORDERED);
  await expectList(bench, { status: "running", name: "order", limit: 100 }, ORDERED);
};

const pages: SagaProof = async (bench) => {
  for (const id of ORDERED.toReversed()) await bench.create(id);
  for (const limit of [1, 4, ORDERED.length]) {
    const seen: string[] = [];
    for (;;) {
      const page = await bench.store.list({ limit, after: seen.at(-1) });
      check(page.length <= limit, `list with limit ${limit} gave ${page.length} sagas`);
      if (page.length === 0) break;
      seen.push(...page.map(({ id }) => id));
      check(seen.length <= ORDERED.length, `pages of ${limit} never end`);
    }
    equal(show(seen), show(ORDERED), `the ids on all pages of ${limit}`);
  }
  await expectList(bench, { limit: 2, after: "a b" }, ["a-b", "aa"]);
  await expectList(bench, { limit: 2, after: "a a, which is not there" }, ["a b", "a-b"]);
  await expectList(bench, { limit: 2, after: "\uffff" }, ["🔑"]);
  await expectList(bench, { limit: 2, after: "🔑" }, []);
  await expectList(bench, { limit: 1, after: undefined, status: undefined, name: undefined }, [" a"]);
};

const filters: SagaProof = async (bench) => {
  for (const name of ["order", "Order", "ord%"]) {
    const at = (id: string) => `${name}/${id}`;
    await bench.create(at("running"), { name });
    await bench.orphan(at("orphan"), ["one"], { name });
    for (const status of ["completed", "compensated", "stuck", "abandoned"] as const) {
      await bench.ended(at(status), { status }, { name });
    }
    const { token } = await bench.ended(at("tended"), { status: "stuck" }, { name });
    equal(await bench.store.extend(at("tended"), token, LONG_MS), true, "extend of a stuck saga");
    await bench.create(at("overdue"), { name, leaseMs: SHORT_MS });
  }
  await bench.advance(PASS_MS);
  const order = (...ids: string[]) => ids.map((id) => `order/${id}`);
  await expectList(bench, { name: "order", status: "running", limit: 9 }, order("orphan", "overdue", "running"));
  await expectList(bench, { name: "order", status: "running", unowned: true, limit: 9 }, order("orphan", "overdue"));
  await expectList(
    bench,
    { name: "order", status: "running", unowned: false, limit: 9 },
    order("orphan", "overdue", "running"),
  );
  await expectList(bench, { name: "order", status: "stuck", limit: 9 }, order("stuck", "tended"));
  await expectList(bench, { name: "order", status: "stuck", unowned: true, limit: 9 }, order("stuck"));
  for (const status of ["completed", "compensated", "abandoned"] as const) {
    await expectList(bench, { name: "order", status, limit: 9 }, order(status));
    await expectList(bench, { status, limit: 9 }, [`Order/${status}`, `ord%/${status}`, `order/${status}`]);
  }
  const unowned = order("abandoned", "compensated", "completed", "orphan", "overdue", "stuck");
  await expectList(bench, { name: "order", unowned: true, limit: 9 }, unowned);
  await expectList(bench, { status: "running", unowned: true, limit: 3, after: "Order/overdue" }, [
    "ord%/orphan",
    "ord%/overdue",
    "order/orphan",
  ]);
  await expectList(bench, { name: "none", limit: 9 }, []);
  await expectList(bench, { name: "order", limit: 2, after: "order/overdue" }, order("running", "stuck"));
};

const listsAsTheyStand: SagaProof = async (bench) => {
  await bench.create("a", { deadlineAt: 7 });
  await bench.orphan("b", ["one"]);
  await bench.ended("c", { ttlMs: Infinity });
  const listed = await bench.other.list({ limit: 9 });
  for (const [index, id] of ["a", "b", "c"].entries()) {
    const standing = await bench.store.get(id);
    check(standing !== undefined, "there must be a saga");
    sameSaga(listed[index], standing, `the saga ${id} as it is listed`);
  }
};

async function sweepAll(bench: SagaBench, limit: number, due: number): Promise<void> {
  const isCounted = (await bench.records()) !== undefined;
  let rest = due;
  for (;;) {
    const swept = await bench.store.sweep(limit);
    check(
      Number.isInteger(swept) && swept >= 0 && swept <= limit,
      `sweep(${limit}) must give a whole number of at most ${limit}, got ${show(swept)}`,
    );
    check(swept <= rest, `sweep(${limit}) says that it forgot ${swept} sagas of ${rest} that were due`);
    if (isCounted) equal(swept, Math.min(limit, rest), `how many of ${rest} that were due sweep(${limit}) forgot`);
    rest -= swept;
    // Each of them has two entries.
    if (isCounted) equal(await bench.records(), 3 * rest + KEPT, "sagas and entries that are left after a sweep");
    if (swept < limit) return;
  }
}

const KEPT = 10;

const sweeps: SagaProof = async (bench) => {
  const due: SagaRecord[] = [];
  const finish = async (id: string, status: "completed" | "compensated" | "abandoned" | "stuck", ttlMs: number) => {
    const saga = await bench.create(id);
    if (ttlMs === SHORT_MS) await bench.append(id, saga.token, ["one", "two"]);
    equal(await bench.store.end(id, saga.token, endOf({ status, ttlMs })), true, `end(${status})`);
    return saga;
  };
  for (const status of ["completed", "compensated", "abandoned"] as const) {
    for (let index = 0; index < 3; index += 1) due.push(await finish(`${status} ${index}`, status, SHORT_MS));
    await finish(status, status, LONG_MS);
    await finish(`${status} for ever`, status, Infinity);
  }
  await bench.create("overdue", { leaseMs: SHORT_MS });
  const stuck = await bench.create("stuck");
  equal(await bench.store.append("stuck", stuck.token, [{ seq: 1, body: "one" }]), true, "append");
  equal(await bench.store.end("stuck", stuck.token, endOf({ status: "stuck", ttlMs: SHORT_MS })), true, "end(stuck)");
  await bench.create("running");
  await bench.advance(PASS_MS);
  await sweepAll(bench, 4, due.length);
  for (const { id } of due) {
    equal(await bench.other.get(id), undefined, `get(${show(id)}) after sweeps`);
    await bench.expectJournal(id, [], `entries(${show(id)}) after sweeps`);
  }
  const left = (await bench.store.list({ limit: 100 })).map(({ id }) => id);
  const ended = ["abandoned", "compensated", "completed"].flatMap((id) => [id, `${id} for ever`]);
  equal(show(left), show([...ended, "overdue", "running", "stuck"]), "the sagas that are left after sweeps");
  await bench.expectJournal("stuck", ["one"], "the journal of a stuck saga after sweeps");
};

const startsAfresh: SagaProof = async (bench) => {
  const first = await bench.create("a", { deadlineAt: 5 });
  await bench.append("a", first.token, ["one", "two"]);
  equal(await bench.store.end("a", first.token, endOf({ ttlMs: SHORT_MS })), true, "end");
  await bench.advance(PASS_MS);
  await bench.store.sweep(10);
  await bench.expectJournal("a", [], "the journal of a saga that was swept");
  equal(await bench.store.append("a", first.token, [{ seq: 3, body: "late" }]), false, "append after a sweep");
  equal(await bench.store.end("a", first.token, endOf()), false, "end after a sweep");
  const creation = creationOf({ name: "another", input: "2" });
  const { created, saga } = await bench.other.create("a", creation);
  equal(created, true, "create of a saga that was swept");
  const fresh = { name: "another", input: "2", outcome: undefined, deadlineAt: undefined, status: "running" } as const;
  sameSaga(saga, { ...fresh, token: creation.token }, "a saga that was created after a sweep");
  await bench.expectJournal("a", [], "the journal of a saga that was created after a sweep");
  equal(await bench.store.append("a", first.token, [{ seq: 1, body: "late" }]), false, "append by the old owner");
  await bench.append("a", creation.token, ["new"]);
  await bench.expectJournal("a", ["new"], "the journal of a saga that was created after a sweep");
  equal(await bench.store.sweep(10), 0, "sweep of a saga that was created anew");
};

const sweepsNothing: SagaProof = async (bench) => {
  equal(await bench.store.sweep(10), 0, "sweep of a store that is empty");
  await bench.ended("a", { ttlMs: LONG_MS });
  const { token } = await bench.create("b");
  equal(await bench.store.end("b", token, endOf({ ttlMs: SHORT_MS })), true, "end");
  await bench.advance(PASS_MS);
  equal(await bench.store.sweep(0), 0, "sweep(0)");
  equal(await bench.store.sweep(10), 1, "sweep of one saga that is due");
  equal(await bench.store.sweep(10), 0, "sweep of a store in which nothing is due");
  sameSaga(await bench.store.get("a"), { status: "completed" }, "a saga that is not due after sweeps");
};

/** What is listed, and what is forgotten. */
export const lists: Readonly<Record<string, SagaProof>> = {
  "lists sagas by id, in code points": ordersById,
  "lists sagas page by page": pages,
  "lists sagas of a status, of a name, or that nobody owns": filters,
  "lists sagas as they stand": listsAsTheyStand,
  "sweeps what has ended and is over, as much as it is told, and nothing else": sweeps,
  "starts afresh after a sweep": startsAfresh,
  "sweeps nothing when nothing is due": sweepsNothing,
};

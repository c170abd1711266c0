import type { SagaRecord } from "../stores.js";
import {
  check,
  creationOf,
  endOf,
  entriesOf,
  equal,
  LONG_MS,
  newToken,
  PASS_MS,
  type SagaProof,
  sameJournal,
  sameSaga,
  show,
} from "./saga-store-bench.js";

/** How far two times of a real store may be apart from what they should be. */
const SLACK_MS = 30_000;

const IDS: readonly string[] = [
  "order-42",
  'it\'s "quoted" `here` -- ; DROP TABLE sagas; /*',
  "100%_of $1 :id @id ?1 ? {tag}{} * [a-z] \\ \\\\ \\x00",
  " id ",
  "id",
  "ID",
  "line\nbreak\ttab\r",
  "\u00e9",
  "e\u0301",
  "鍵🔑",
  "__proto__",
  "constructor",
  "k".repeat(256),
  "鍵".repeat(256),
  "🔑".repeat(128),
];

const TEXTS: readonly string[] = [
  '{"content":[{"type":"text","text":"it\'s \\"done\\""}]}',
  '{ "b" : 1,  "a":1.0,"a":2 }',
  '{"text":"\\u0000 \\ud83d \\\\ %s $1 :body {}"}',
  '"🔑鍵\u2028\u2029é e\u0301"',
  "null",
  "",
  " ",
];

const MEGABYTE = `"${"x".repeat(1024 * 1024)}"`;

function near(actual: number, expected: number, what: string): void {
  check(Math.abs(actual - expected) <= SLACK_MS, `${what}: expected about ${expected} ms, got ${actual}`);
}

const hasIdentity: SagaProof = async ({ store, other }) => {
  check(typeof store.storeId === "string" && store.storeId !== "", "storeId must be a string that is not empty");
  equal(other.storeId, store.storeId, "the storeId of a second handle on the same data");
  check(typeof store.durable === "boolean", "durable must be true or false");
  equal(other.durable, store.durable, "durable of a second handle on the same data");
  const id = newToken();
  equal(await store.get(id), undefined, "get of a saga that nobody created");
  sameJournal(await store.entries(id), [], "entries of a saga that nobody created");
  equal((await store.list({ limit: 10 })).length, 0, "how many sagas an empty store lists");
};

const creates: SagaProof = async ({ store, other }) => {
  const given = {
    name: "order",
    definition: "d7",
    input: '{"a":1}',
    token: newToken(),
    deadlineAt: 1_800_000_000_000.5,
  };
  const fresh = { ...given, id: "a", status: "running", outcome: undefined, expiresAt: Infinity } as const;
  const first = await store.create("a", { ...given, leaseMs: LONG_MS });
  equal(first.created, true, "create of a new saga");
  sameSaga(first.saga, fresh, "a saga that was created");
  equal(first.saga.updatedAt, first.saga.createdAt, "updatedAt of a saga that was created");
  sameSaga(await other.get("a"), { ...fresh, ...first.saga }, "get of a saga that was created");
  sameJournal(await other.entries("a"), [], "the journal of a saga that was created");
  const plain = (await store.create("b", creationOf())).saga;
  equal(plain.deadlineAt, undefined, "deadlineAt of a saga that has none");
  equal((await other.get("b"))?.deadlineAt, undefined, "deadlineAt of a saga that has none");
};

const createsOnce: SagaProof = async (bench) => {
  const { store, other } = bench;
  await bench.create("running", { deadlineAt: 5 });
  await bench.orphan("orphan", ["one"]);
  for (const status of ["completed", "compensated", "stuck", "abandoned"] as const)
    await bench.ended(status, { status });
  for (const standing of await store.list({ limit: 100 })) {
    const what = `create of a saga that is there, ${standing.id}`;
    const again = creationOf({ name: "another", definition: "d2", input: "2", deadlineAt: 7 });
    const { created, saga } = await other.create(standing.id, again);
    equal(created, false, what);
    sameSaga(saga, standing, what);
    sameSaga(await store.get(standing.id), standing, `${what}: get afterwards`);
  }
  await bench.expectJournal("orphan", ["one"], "the journal of a saga that was not created again");
};

const repeatsCreations: SagaProof = async (bench) => {
  const creation = creationOf({ deadlineAt: 5 });
  const first = await bench.store.create("a", creation);
  await bench.append("a", creation.token, ["one"]);
  await bench.advance(PASS_MS);
  const { created, saga } = await bench.other.create("a", creation);
  equal(created, true, "the repetition of a creation, under the same token");
  const { leaseUntil, updatedAt: _updatedAt, ...same } = first.saga;
  sameSaga(saga, same, "the repetition of a creation");
  check(saga.leaseUntil >= leaseUntil + PASS_MS - 2, "the lease of a creation that is repeated counts from now on");
  await bench.expectJournal("a", ["one"], "the journal after a creation was repeated");
  equal(await bench.store.end("a", creation.token, endOf()), true, "end");
  const late = await bench.store.create("a", creation);
  equal(late.created, false, "a creation that is repeated after the saga ended");
  sameSaga(late.saga, { status: "completed", leaseUntil: 0 }, "a creation that is repeated after the saga ended");
};

const keepsIdsApart: SagaProof = async (bench) => {
  const sagas = new Map<string, SagaRecord>();
  for (const id of IDS) {
    const { created, saga } = await bench.store.create(id, creationOf({ input: id, name: id, definition: id }));
    check(created, `the id ${show(id)} is new; it was taken for another one`);
    await bench.append(id, saga.token, [id]);
    sagas.set(id, saga);
  }
  for (const [id, { token }] of sagas) {
    const known = { id, token, input: id, name: id, definition: id };
    sameSaga(await bench.other.get(id), known, `get(${show(id)})`);
    await bench.expectJournal(id, [id], `entries(${show(id)})`);
    const named = await bench.other.list({ name: id, limit: 10 });
    equal(named.map((saga) => saga.id).join(), id, `list({ name: ${show(id)} })`);
  }
};

const refusesWhatItCannotKeep: SagaProof = async ({ store }) => {
  for (const [id, altered] of [
    ["nul\u0000id", "nul"],
    ["lone\ud800id", "lone\ufffdid"],
    ["lone\udc00", "lone"],
  ] as const) {
    const created = await store.create(id, creationOf()).catch(() => undefined);
    equal(await store.get(altered), undefined, `an id must be refused or kept, not altered: get(${show(altered)})`);
    if (created === undefined) continue;
    equal((await store.get(id))?.id, id, `an id that was not refused must be kept as it is: get(${show(id)})`);
  }
};

const refusesBodiesThatItCannotKeep: SagaProof = async (bench) => {
  for (const [index, body] of ["nul\u0000", "lone\ud800body", "\udc00"].entries()) {
    const id = `saga-${index}`;
    const { token } = await bench.create(id);
    const accepted = await bench.store.append(id, token, entriesOf(["one", body, "three"])).catch(() => false);
    const what = `an append one of whose bodies is ${show(body)}, all or nothing`;
    await bench.expectJournal(id, accepted ? ["one", body, "three"] : [], what);
    if (!accepted) await bench.append(id, token, ["one"]);
    const ended = await bench.store.end(id, token, endOf({ outcome: body })).catch(() => false);
    equal((await bench.store.get(id))?.outcome, ended ? body : undefined, `an outcome that is ${show(body)}`);
  }
};

const keepsTexts: SagaProof = async (bench) => {
  for (const [index, text] of [...TEXTS, MEGABYTE].entries()) {
    const id = `saga-${index}`;
    const { token } = await bench.create(id, { input: text });
    await bench.append(id, token, [text, text]);
    check((await bench.other.get(id))?.input === text, `the input ${show(text)} must be kept as it is`);
    await bench.expectJournal(id, [text, text], `the body ${show(text)}`);
    equal(await bench.store.end(id, token, endOf({ outcome: text })), true, "end by the owner");
    check((await bench.other.get(id))?.outcome === text, `the outcome ${show(text)} must be kept as it is`);
  }
};

const keepsManyEntries: SagaProof = async (bench) => {
  const bodies = Array.from({ length: 500 }, (_, index) => `${index}-${"b".repeat(index)}`);
  const { token } = await bench.create("a");
  const { token: neighbour } = await bench.create("b");
  await bench.append("a", token, bodies.slice(0, 400));
  for (let seq = 401; seq <= 500; seq += 1) {
    await bench.append("a", token, bodies.slice(seq - 1, seq), seq);
    await bench.append("b", neighbour, [`b-${seq}`], seq - 400);
  }
  await bench.expectJournal("a", bodies, "a journal of 500 entries");
  equal((await bench.store.entries("b")).length, 100, "entries of the saga beside it");
};

const keepsOrder: SagaProof = async (bench) => {
  const { token } = await bench.create("a");
  const shuffled = [3, 1, 12, 2, 11, 4, 10, 9, 5, 8, 6, 7].map((seq) => ({ seq, body: `${seq}` }));
  equal(await bench.store.append("a", token, shuffled), true, "append");
  const ordered = shuffled.map((_, index) => `${index + 1}`);
  await bench.expectJournal("a", ordered, "a journal that was given out of order");
};

const tellsTimes: SagaProof = async (bench) => {
  const { store } = bench;
  const saga = await bench.create("a", { leaseMs: LONG_MS + 0.5 });
  near(saga.leaseUntil - saga.createdAt, LONG_MS, "a lease in fractions of milliseconds");
  let last = saga;
  const step = async (what: string, write: () => Promise<unknown>): Promise<SagaRecord> => {
    await bench.advance(PASS_MS);
    await write();
    const next = await store.get("a");
    sameSaga(next, { createdAt: saga.createdAt }, `after ${what}`);
    // A clock in whole milliseconds may lose one of them.
    const grown = next.updatedAt - last.updatedAt;
    check(
      grown >= PASS_MS - 2 && grown < SLACK_MS,
      `updatedAt after ${what} must be later by ${PASS_MS} ms, not ${grown}`,
    );
    last = next;
    return next;
  };
  await step("an append", () => bench.append("a", saga.token, ["one"]));
  const [first] = await store.entries("a");
  near(first?.at ?? 0, last.updatedAt, "at of the first entry");
  await step("an append", () => bench.append("a", saga.token, ["two", "three"], 2));
  const [, second, third] = await store.entries("a");
  check((second?.at ?? 0) - (first?.at ?? 0) >= PASS_MS - 2, "at of a later entry must be later");
  equal(third?.at, second?.at, "at of two entries of one append");
  await step("a claim", () => store.claim("a", { token: saga.token, leaseMs: LONG_MS, from: ["running"] }));
  const ended = await step("an end", () => store.end("a", saga.token, endOf({ ttlMs: 2 * LONG_MS })));
  near(ended.expiresAt - ended.updatedAt, 2 * LONG_MS, "the time from updatedAt to expiresAt");
};

function attemptChange(target: object, change: object): void {
  try {
    Object.assign(target, change);
  } catch {
    // Whoever gives out frozen records is safe.
  }
}

const givesSnapshots: SagaProof = async (bench) => {
  const { store } = bench;
  const creation = { ...creationOf() };
  const { saga: created } = await store.create("a", creation);
  const { token } = creation;
  const batch = [{ seq: 1, body: "one" }];
  equal(await store.append("a", token, batch), true, "append");
  attemptChange(creation, { input: "mine", token: "mine" });
  attemptChange(batch[0] ?? {}, { body: "mine" });
  batch.push({ seq: 2, body: "two" });
  const [seen, listed] = [await store.get("a"), await store.list({ limit: 1 })];
  const entries = await store.entries("a");
  for (const given of [created, seen, listed[0]]) attemptChange(given ?? {}, { input: "mine", token: "mine" });
  attemptChange(entries[0] ?? {}, { body: "mine" });
  attemptChange(entries, { length: 0 });
  sameSaga(await store.get("a"), { token, input: creationOf().input }, "a saga whose copies were changed");
  await bench.expectJournal("a", ["one"], "a journal whose copies were changed");
  const before = await store.get("a");
  equal(await store.end("a", token, endOf()), true, "end");
  equal(before?.status, "running", "a saga that was given out before a change");
};

/** What is kept. */
export const values: Readonly<Record<string, SagaProof>> = {
  "has an identity, and nothing else when it is new": hasIdentity,
  "creates a saga": creates,
  "creates no saga that is there, and gives it as it stands": createsOnce,
  "takes the repetition of a creation whose reply was lost": repeatsCreations,
  "keeps every id apart from every other": keepsIdsApart,
  "refuses an id that it cannot keep instead of altering it": refusesWhatItCannotKeep,
  "refuses a body that it cannot keep, with all that came with it": refusesBodiesThatItCannotKeep,
  "keeps inputs, bodies and outcomes to the letter, also of a megabyte": keepsTexts,
  "keeps hundreds of entries": keepsManyEntries,
  "gives a journal in order": keepsOrder,
  "tells times": tellsTimes,
  "gives out sagas and journals that do not change afterwards": givesSnapshots,
};

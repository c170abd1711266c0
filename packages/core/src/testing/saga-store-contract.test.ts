import { expect, test } from "vitest";
import type {
  SagaClaim,
  SagaClaimed,
  SagaCreation,
  SagaEnd,
  SagaEntry,
  SagaQuery,
  SagaRecord,
  SagaStore,
} from "../stores.js";
import { sagaStoreContract } from "./saga-store-contract.js";
import { type KeptSaga, ReferenceSagaStore } from "./saga-store-reference.js";
import { virtualTime } from "./virtual-time.js";

type Now = () => number;
type Make = (now: Now, handle: number) => ReferenceSagaStore;

/** The cases over one store, or over two handles that `make` gives for one store's data. */
function casesFor(make: Make, handles = 1) {
  return sagaStoreContract(async () => {
    const time = virtualTime();
    const [store, other] = Array.from({ length: handles }, (_, handle) => make(time.runtime.wallNow, handle));
    if (store === undefined) throw new Error("there must be a handle");
    return { store, other, advance: (ms) => time.advance(ms), records: async () => store.size };
  });
}

for (const { name, run } of casesFor((now) => new ReferenceSagaStore(now))) test(`the reference ${name}`, run);

/** Which cases a store fails, of those whose names hold a text, with what they say. */
async function failures(make: Make, handles?: number, named = ""): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of casesFor(make, handles)) {
    if (!name.includes(named)) continue;
    await run().catch((error: unknown) => failed.push(`${name}: ${String(error)}`));
  }
  return failed;
}

const pause = () => new Promise<void>((resolve) => setImmediate(resolve));

type Entries = Parameters<SagaStore["append"]>[2];
type MutantClass = new (now: Now) => ReferenceSagaStore;

/** Stores with one rule broken each, and a case that must notice. */
const mutants: Readonly<Record<string, readonly [mutant: MutantClass, notices: string]>> = {
  "looks first and creates later": [
    class extends ReferenceSagaStore {
      override async create(id: string, creation: SagaCreation) {
        const isNew = !this.kept.has(id);
        await pause();
        if (isNew) this.kept.delete(id);
        return super.create(id, creation);
      }
    },
    "one of many contenders create a saga",
  ],
  "starts a saga anew that is there": [
    class extends ReferenceSagaStore {
      override async create(id: string, creation: SagaCreation) {
        this.kept.delete(id);
        return super.create(id, creation);
      }
    },
    "creates no saga that is there",
  ],
  "denies a creation that is repeated": [
    class extends ReferenceSagaStore {
      override async create(id: string, creation: SagaCreation) {
        const created = !this.kept.has(id);
        return { ...(await super.create(id, creation)), created };
      }
    },
    "the repetition of a creation",
  ],
  "says that a saga that ended was created": [
    class extends ReferenceSagaStore {
      override async create(id: string, creation: SagaCreation) {
        const { saga } = await super.create(id, creation);
        return { created: saga.token === creation.token, saga };
      }
    },
    "the repetition of a creation",
  ],
  "claims whatever the lease": [
    class extends ReferenceSagaStore {
      protected override isUnowned(): boolean {
        return true;
      }
    },
    "nobody take over while the lease lasts",
  ],
  "keeps leases for ever": [
    class extends ReferenceSagaStore {
      protected override isUnowned(saga: KeptSaga): boolean {
        return saga.leaseUntil === 0;
      }
    },
    "taken over when its lease is over",
  ],
  "claims from every status": [
    class extends ReferenceSagaStore {
      protected override wins(saga: KeptSaga, claim: SagaClaim): boolean {
        return super.wins(saga, { ...claim, from: ["running", "stuck"] });
      }
    },
    "from the statuses told",
  ],
  "claims from the first status told alone": [
    class extends ReferenceSagaStore {
      protected override wins(saga: KeptSaga, claim: SagaClaim): boolean {
        return super.wins(saga, { ...claim, from: claim.from.slice(0, 1) });
      }
    },
    "from the statuses told",
  ],
  "claims what its token owns, whatever the status": [
    class extends ReferenceSagaStore {
      protected override wins(saga: KeptSaga, claim: SagaClaim): boolean {
        return super.wins(saga, claim) || this.owns(saga, claim.token);
      }
    },
    "nobody claim a saga that has ended",
  ],
  "claims what has ended": [
    class extends ReferenceSagaStore {
      protected override wins(saga: KeptSaga, claim: SagaClaim): boolean {
        return super.wins(saga, claim) || this.hasEnded(saga);
      }
    },
    "nobody claim a saga that has ended",
  ],
  "loses a claim that is repeated": [
    class extends ReferenceSagaStore {
      protected override wins(saga: KeptSaga, claim: SagaClaim): boolean {
        return super.wins(saga, claim) && this.isUnowned(saga);
      }
    },
    "an owner claim again",
  ],
  "makes a stuck saga run when it is claimed": [
    class extends ReferenceSagaStore {
      protected override takeOver(saga: KeptSaga, claim: SagaClaim): void {
        super.takeOver(saga, claim);
        saga.status = "running";
      }
    },
    "taken over when its lease is over",
  ],
  "forgets an outcome when a saga is claimed": [
    class extends ReferenceSagaStore {
      protected override takeOver(saga: KeptSaga, claim: SagaClaim): void {
        super.takeOver(saga, claim);
        saga.outcome = undefined;
      }
    },
    "taken over when its lease is over",
  ],
  "gives no lease to who takes over": [
    class extends ReferenceSagaStore {
      protected override takeOver(saga: KeptSaga, { token }: SagaClaim): void {
        saga.token = token;
      }
    },
    "taken over when its lease is over",
  ],
  "looks first and takes over later": [
    class extends ReferenceSagaStore {
      override async claim(id: string, claim: SagaClaim): Promise<SagaClaimed> {
        const saga = this.kept.get(id);
        const won = saga !== undefined && this.wins(saga, claim);
        await pause();
        if (saga === undefined || !won) return super.claim(id, claim);
        this.takeOver(saga, claim);
        return { won, saga: this.copy(saga) };
      }
    },
    "one of many contenders take a saga over",
  ],
  "appends for anybody": [
    class extends ReferenceSagaStore {
      override async append(id: string, token: string, entries: Entries): Promise<boolean> {
        return super.append(id, this.kept.get(id)?.token ?? token, entries);
      }
    },
    "fences off an owner",
  ],
  "compares the token first and appends later": [
    class extends ReferenceSagaStore {
      override async append(id: string, token: string, entries: Entries): Promise<boolean> {
        const saga = this.open(id, token);
        await pause();
        if (saga !== undefined) this.write(saga, entries);
        return saga !== undefined;
      }
    },
    "a new owner a late append",
  ],
  "appends before it compares the token": [
    class extends ReferenceSagaStore {
      override async append(id: string, token: string, entries: Entries): Promise<boolean> {
        const saga = this.kept.get(id);
        if (saga !== undefined && !this.hasEnded(saga)) this.write(saga, entries);
        return super.append(id, token, entries);
      }
    },
    "fences off an owner",
  ],
  "appends entry by entry": [
    class extends ReferenceSagaStore {
      override async append(id: string, token: string, entries: Entries): Promise<boolean> {
        for (const entry of entries) {
          if (!(await super.append(id, token, [entry]))) return false;
          await pause();
        }
        return entries.length > 0 || super.append(id, token, entries);
      }
    },
    "a new owner a late append",
  ],
  "refuses a body after it has written the ones before": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        for (const entry of entries) {
          if (entry.body.includes("\0")) throw new TypeError("NUL");
          super.write(saga, [entry]);
        }
      }
    },
    "refuses a body that it cannot keep",
  ],
  "does not hear a late owner": [
    class extends ReferenceSagaStore {
      protected override open(id: string, token: string): KeptSaga | undefined {
        const saga = super.open(id, token);
        return saga !== undefined && this.isUnowned(saga) ? undefined : saga;
      }
    },
    "fences off an owner",
  ],
  "does not hear an owner that ends late": [
    class extends ReferenceSagaStore {
      override async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
        const saga = this.kept.get(id);
        if (saga?.status === "running" && this.isUnowned(saga)) return false;
        return super.end(id, token, end);
      }
    },
    "an owner that ends late",
  ],
  "replaces entries that are there": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        saga.journal = saga.journal.filter(({ seq }) => !entries.some((entry) => entry.seq === seq));
        super.write(saga, entries);
      }
    },
    "leaves entries that are there",
  ],
  "keeps entries twice": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        for (const { seq, body } of entries) saga.journal.push({ seq, at: this.now(), body });
      }
    },
    "leaves entries that are there",
  ],
  "refuses an append some of which is there": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        if (!saga.journal.some(({ seq }) => seq === entries[0]?.seq)) super.write(saga, entries);
      }
    },
    "leaves entries that are there",
  ],
  "gives journals as they were written": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        for (const { seq, body } of entries) saga.journal.push({ seq, at: this.now(), body });
      }
    },
    "a journal in order",
  ],
  "orders journals as texts": [
    class extends ReferenceSagaStore {
      override async entries(id: string): Promise<readonly SagaEntry[]> {
        return [...(await super.entries(id))].sort((a, b) => (String(a.seq) < String(b.seq) ? -1 : 1));
      }
    },
    "a journal in order",
  ],
  "appends nothing to a stuck saga": [
    class extends ReferenceSagaStore {
      override async append(id: string, token: string, entries: Entries): Promise<boolean> {
        return this.kept.get(id)?.status !== "stuck" && super.append(id, token, entries);
      }
    },
    "leaves entries that are there",
  ],
  "writes to what has ended": [
    class extends ReferenceSagaStore {
      protected override open(id: string, token: string): KeptSaga | undefined {
        const saga = this.kept.get(id);
        return saga !== undefined && this.owns(saga, token) ? saga : undefined;
      }
    },
    "ends a saga once",
  ],
  "cuts bodies off": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        super.write(
          saga,
          entries.map(({ seq, body }) => ({ seq, body: body.slice(0, 65_535) })),
        );
      }
    },
    "also of a megabyte",
  ],
  "keeps a hundred entries": [
    class extends ReferenceSagaStore {
      override async entries(id: string): Promise<readonly SagaEntry[]> {
        return (await super.entries(id)).slice(0, 100);
      }
    },
    "hundreds of entries",
  ],
  "takes an empty outcome for none": [
    class extends ReferenceSagaStore {
      protected override copy(saga: KeptSaga): SagaRecord {
        return { ...super.copy(saga), outcome: saga.outcome === "" ? undefined : saga.outcome };
      }
    },
    "to the letter",
  ],
  "forgets deadlines": [
    class extends ReferenceSagaStore {
      protected override started(id: string, creation: SagaCreation): KeptSaga {
        return { ...super.started(id, creation), deadlineAt: undefined };
      }
    },
    "creates a saga",
  ],
  "prolongs no lease that is over": [
    class extends ReferenceSagaStore {
      override async extend(id: string, token: string, leaseMs: number): Promise<boolean> {
        const saga = this.kept.get(id);
        return saga !== undefined && !this.isUnowned(saga) && super.extend(id, token, leaseMs);
      }
    },
    "prolongs leases",
  ],
  "prolongs from the end of the lease": [
    class extends ReferenceSagaStore {
      override async extend(id: string, token: string, leaseMs: number): Promise<boolean> {
        const rest = (this.kept.get(id)?.leaseUntil ?? 0) - this.now();
        return super.extend(id, token, leaseMs + Math.max(0, rest));
      }
    },
    "prolongs leases",
  ],
  "prolongs for anybody": [
    class extends ReferenceSagaStore {
      override async extend(id: string, token: string, leaseMs: number): Promise<boolean> {
        return super.extend(id, this.kept.get(id)?.token ?? token, leaseMs);
      }
    },
    "fences off an owner",
  ],
  "ends for anybody": [
    class extends ReferenceSagaStore {
      override async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
        return super.end(id, this.kept.get(id)?.token ?? token, end);
      }
    },
    "fences off an owner",
  ],
  "compares the token first and ends later": [
    class extends ReferenceSagaStore {
      override async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
        const saga = this.open(id, token);
        await pause();
        if (saga === undefined) return super.end(id, token, end);
        this.finish(saga, end);
        return true;
      }
    },
    "either an owner that ends late",
  ],
  "denies an end that is repeated": [
    class extends ReferenceSagaStore {
      override async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
        return this.open(id, token) !== undefined && super.end(id, token, end);
      }
    },
    "ends a saga once",
  ],
  "ends a saga again with another outcome": [
    class extends ReferenceSagaStore {
      override async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
        const ended = await super.end(id, token, end);
        const saga = this.kept.get(id);
        if (ended && saga !== undefined) this.finish(saga, end);
        return ended;
      }
    },
    "ends a saga once",
  ],
  "ends a saga that has ended otherwise": [
    class extends ReferenceSagaStore {
      override async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
        const status = this.kept.get(id)?.status ?? end.status;
        const isEnd = status !== "running" && status !== "stuck" && end.status !== "stuck";
        return super.end(id, token, isEnd ? { ...end, status } : end);
      }
    },
    "ends a saga once",
  ],
  "takes stuck for an end": [
    class extends ReferenceSagaStore {
      override async end(id: string, token: string, end: SagaEnd): Promise<boolean> {
        const saga = this.kept.get(id);
        if (saga?.status === "stuck" && this.owns(saga, token)) return end.status === "stuck";
        return super.end(id, token, end);
      }
    },
    "keeps a stuck saga until somebody ends it",
  ],
  "leaves the lease when a saga is stuck": [
    class extends ReferenceSagaStore {
      protected override finish(saga: KeptSaga, end: SagaEnd): void {
        const { leaseUntil } = saga;
        super.finish(saga, end);
        if (end.status === "stuck") saga.leaseUntil = leaseUntil;
      }
    },
    "keeps a stuck saga",
  ],
  "lets a stuck saga expire": [
    class extends ReferenceSagaStore {
      protected override finish(saga: KeptSaga, end: SagaEnd): void {
        super.finish(saga, end);
        saga.expiresAt = this.now() + end.ttlMs;
      }
    },
    "keeps a stuck saga",
  ],
  "takes Infinity for no time at all": [
    class extends ReferenceSagaStore {
      protected override finish(saga: KeptSaga, end: SagaEnd): void {
        super.finish(saga, { ...end, ttlMs: Number.isFinite(end.ttlMs) ? end.ttlMs : 0 });
      }
    },
    "an owner that ends late",
  ],
  "lets nothing go": [
    class extends ReferenceSagaStore {
      override async release(id: string, token: string): Promise<boolean> {
        return this.open(id, token) !== undefined;
      }
    },
    "its owner let go",
  ],
  "takes a release for the end of ownership": [
    class extends ReferenceSagaStore {
      override async release(id: string, token: string): Promise<boolean> {
        const released = await super.release(id, token);
        const saga = this.kept.get(id);
        if (released && saga !== undefined) saga.token = "";
        return released;
      }
    },
    "its owner let go",
  ],
  "lists by UTF-16": [
    class extends ReferenceSagaStore {
      protected override compare(first: string, second: string): number {
        return first < second ? -1 : Number(first > second);
      }
    },
    "lists sagas by id",
  ],
  "lists by language": [
    class extends ReferenceSagaStore {
      protected override compare(first: string, second: string): number {
        return first.localeCompare(second);
      }
    },
    "lists sagas by id",
  ],
  "lists in the order of creation": [
    class extends ReferenceSagaStore {
      override async list({ limit, ...query }: SagaQuery): Promise<readonly SagaRecord[]> {
        const found = [...this.kept.values()].filter((saga) => this.matches(saga, { ...query, limit }));
        return found.slice(0, limit).map((saga) => this.copy(saga));
      }
    },
    "lists sagas by id",
  ],
  "cuts a list off before it orders it": [
    class extends ReferenceSagaStore {
      override async list(query: SagaQuery): Promise<readonly SagaRecord[]> {
        const found = [...this.kept.values()].filter((saga) => this.matches(saga, query)).slice(0, query.limit);
        const ids = new Set(found.map(({ id }) => id));
        return (await super.list({ ...query, limit: Infinity })).filter(({ id }) => ids.has(id));
      }
    },
    "page by page",
  ],
  "begins a page with the last of the page before": [
    class extends ReferenceSagaStore {
      protected override matches(saga: KeptSaga, query: SagaQuery): boolean {
        return super.matches(saga, query) || (saga.id === query.after && super.matches(saga, { ...query, after: "" }));
      }
    },
    "page by page",
  ],
  "cuts a list off before it filters it": [
    class extends ReferenceSagaStore {
      override async list(query: SagaQuery): Promise<readonly SagaRecord[]> {
        const { limit, after } = query;
        const page = await super.list({ limit, after });
        const all = await super.list({ ...query, limit: Infinity });
        return all.filter(({ id }) => page.some((saga) => saga.id === id));
      }
    },
    "of a status, of a name",
  ],
  ...Object.fromEntries(
    (["status", "name", "unowned"] as const).map((filter) => [
      `lists whatever the ${filter}`,
      [
        class extends ReferenceSagaStore {
          protected override matches(saga: KeptSaga, query: SagaQuery): boolean {
            return super.matches(saga, { ...query, [filter]: undefined });
          }
        },
        "of a status, of a name",
      ] as const,
    ]),
  ),
  "finds names whatever their case": [
    class extends ReferenceSagaStore {
      protected override matches(saga: KeptSaga, query: SagaQuery): boolean {
        const name = query.name?.toLowerCase() === saga.name.toLowerCase() ? saga.name : query.name;
        return super.matches(saga, { ...query, name });
      }
    },
    "of a status, of a name",
  ],
  "takes a status for owned": [
    class extends ReferenceSagaStore {
      protected override matches(saga: KeptSaga, query: SagaQuery): boolean {
        return super.matches(saga, query) && (query.unowned !== true || saga.status === "running");
      }
    },
    "of a status, of a name",
  ],
  "sweeps stuck sagas away": [
    class extends ReferenceSagaStore {
      protected override isOver(saga: KeptSaga): boolean {
        return saga.status === "stuck" || super.isOver(saga);
      }
    },
    "sweeps what has ended",
  ],
  "sweeps what has ended at once": [
    class extends ReferenceSagaStore {
      protected override isOver(saga: KeptSaga): boolean {
        return this.hasEnded(saga);
      }
    },
    "sweeps what has ended",
  ],
  "sweeps nothing": [
    class extends ReferenceSagaStore {
      override async sweep(): Promise<number> {
        return 0;
      }
    },
    "sweeps what has ended",
  ],
  "sweeps more than it is told": [
    class extends ReferenceSagaStore {
      override async sweep(limit: number): Promise<number> {
        return Math.min(limit, await super.sweep(1000));
      }
    },
    "sweeps what has ended",
  ],
  "counts entries with the sagas that it sweeps": [
    class extends ReferenceSagaStore {
      override async sweep(limit: number): Promise<number> {
        const before = this.size;
        await super.sweep(limit);
        return before - this.size;
      }
    },
    "sweeps what has ended",
  ],
  "leaves the journals of what it sweeps": [
    class extends ReferenceSagaStore {
      readonly #left = new Map<string, SagaEntry[]>();
      protected override forget(saga: KeptSaga): void {
        this.#left.set(saga.id, saga.journal);
        super.forget(saga);
      }
      protected override started(id: string, creation: SagaCreation): KeptSaga {
        return { ...super.started(id, creation), journal: this.#left.get(id) ?? [] };
      }
    },
    "starts afresh after a sweep",
  ],
  "gives out its own sagas": [
    class extends ReferenceSagaStore {
      protected override copy(saga: KeptSaga): SagaRecord {
        return saga;
      }
    },
    "do not change afterwards",
  ],
  "gives out its own entries": [
    class extends ReferenceSagaStore {
      override async entries(id: string): Promise<readonly SagaEntry[]> {
        return this.kept.get(id)?.journal ?? [];
      }
    },
    "do not change afterwards",
  ],
  "keeps what it was given": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        for (const entry of entries) {
          if (saga.journal.some(({ seq }) => seq === entry.seq)) continue;
          saga.journal.push(Object.assign(entry, { at: this.now() }));
        }
        saga.updatedAt = this.now();
      }
    },
    "do not change afterwards",
  ],
  "does not say when it was appended to": [
    class extends ReferenceSagaStore {
      protected override write(saga: KeptSaga, entries: Entries): void {
        const { updatedAt } = saga;
        super.write(saga, entries);
        saga.updatedAt = updatedAt;
      }
    },
    "tells times",
  ],
  "refuses fractions of milliseconds": [
    class extends ReferenceSagaStore {
      protected override started(id: string, creation: SagaCreation): KeptSaga {
        if (!Number.isInteger(creation.leaseMs)) throw new Error("invalid input syntax for type bigint");
        return super.started(id, creation);
      }
    },
    "tells times",
  ],
};

for (const [name, [Mutant, notices]] of Object.entries(mutants)) {
  test(`a store that ${name} fails`, async () => {
    expect(await failures((now) => new Mutant(now), 1, notices)).not.toEqual([]);
  });
}

/** A store whose ids go through a function that mixes some of them up. */
class Folding extends ReferenceSagaStore {
  constructor(
    now: Now,
    private readonly fold: (id: string) => string,
  ) {
    super(now);
  }

  override create(id: string, creation: SagaCreation) {
    return super.create(this.fold(id), creation);
  }

  override get(id: string): Promise<SagaRecord | undefined> {
    return super.get(this.fold(id));
  }
}

const folds: Readonly<Record<string, readonly [fold: (id: string) => string, notices: string]>> = {
  "in small letters": [(id) => id.toLowerCase(), "every id apart"],
  trimmed: [(id) => id.trim(), "every id apart"],
  normalised: [(id) => id.normalize("NFC"), "every id apart"],
  "shortened to 255": [(id) => id.slice(0, 255), "every id apart"],
  "up to a NUL": [(id) => id.split("\0", 1)[0] ?? "", "an id that it cannot keep"],
  "with what is no text replaced": [
    (id) => new TextDecoder().decode(new TextEncoder().encode(id)),
    "an id that it cannot keep",
  ],
};

for (const [name, [fold, notices]] of Object.entries(folds)) {
  test(`a store that keeps ids ${name} fails`, async () => {
    expect(await failures((now) => new Folding(now, fold), 1, notices)).not.toEqual([]);
  });
}

test("a store that refuses what it cannot keep passes", async () => {
  const refuse = (text: string): string => {
    if (text.includes("\0") || new TextDecoder().decode(new TextEncoder().encode(text)) !== text) {
      throw new TypeError("no text");
    }
    return text;
  };
  class Refusing extends Folding {
    override async create(id: string, creation: SagaCreation) {
      return super.create(id, creation);
    }
    override get(id: string): Promise<SagaRecord | undefined> {
      return ReferenceSagaStore.prototype.get.call(this, id);
    }
    protected override write(saga: KeptSaga, entries: Entries): void {
      for (const { body } of entries) refuse(body);
      super.write(saga, entries);
    }
    protected override finish(saga: KeptSaga, end: SagaEnd): void {
      refuse(end.outcome);
      super.finish(saga, end);
    }
  }
  expect(await failures((now) => new Refusing(now, refuse))).toEqual([]);
});

test("a store that forgets early what is over passes, where nobody counts", async () => {
  class Forgetful extends ReferenceSagaStore {
    override async create(id: string, creation: SagaCreation) {
      for (const saga of [...this.kept.values()]) if (this.isOver(saga)) this.forget(saga);
      return super.create(id, creation);
    }
  }
  const cases = sagaStoreContract(() => {
    const time = virtualTime();
    return { store: new Forgetful(time.runtime.wallNow), advance: (ms) => time.advance(ms) };
  });
  for (const { run } of cases) await run();
});

test("two handles on different data fail", async () => {
  const failed = await failures((now) => new ReferenceSagaStore(now), 2);
  expect(failed.length).toBeGreaterThan(5);
});

test("two handles with different identities fail", async () => {
  const stores: ReferenceSagaStore[] = [];
  const failed = await failures((now, handle) => {
    if (handle === 0) stores.length = 0;
    const store = stores[0] ?? new ReferenceSagaStore(now);
    stores.push(store);
    return handle === 0 ? store : Object.assign(Object.create(store) as ReferenceSagaStore, { storeId: "another" });
  }, 2);
  expect(failed).toEqual([expect.stringContaining("has an identity")]);
});

test("a harness is closed, also after a failure", async () => {
  let closed = 0;
  const close = async () => {
    closed += 1;
  };
  const cases = sagaStoreContract(async () => {
    const store = new ReferenceSagaStore(() => 1);
    return { store, advance: () => Promise.reject(new Error("no time")), close };
  });
  const ends = await Promise.allSettled(cases.map(({ run }) => run()));
  expect(closed).toBe(cases.length);
  expect(ends.map(({ status }) => status)).toContain("rejected");
});

test("says which factory or concurrency is wrong", () => {
  expect(() => sagaStoreContract(undefined as never)).toThrow("factory must be a function");
  const factory = () => Promise.reject(new Error("never called"));
  expect(() => sagaStoreContract(factory, { concurrency: 1 })).toThrow("concurrency must be an integer >= 2");
});

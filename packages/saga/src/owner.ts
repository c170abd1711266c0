import { type Moment, momentOf, startTimer } from "@mcp-tx/core";
import type { SagaRecord } from "@mcp-tx/core/stores";
import { SagaConflictError, SagaInProgressError, SagaInterruptedError } from "./errors.js";
import { tell } from "./events.js";
import type { Interpretation } from "./interpreter.js";
import { Journal, JournalState } from "./journal.js";
import { canonical } from "./json.js";
import type { SagaOutcome } from "./outcome.js";
import { keepersOf, type Settings } from "./settings.js";

/** Takes a saga from wherever its journal says it is to its end. */
export type Carry = (journal: Journal, terms: Omit<Interpretation, "port">) => Promise<SagaOutcome>;

/** A saga that somebody asks for. */
export interface Wanted {
  readonly id: string;
  readonly name: string;
  /** Hash of the definition. */
  readonly definition: string;
  /** Canonical text of the input. */
  readonly input: string;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** What to do with it when it is new. */
  readonly carry: Carry;
  /** What to do with it when a process left it. @defaultValue the same */
  readonly carryOn?: Carry | undefined;
}

/** A saga that this process owns. */
interface Taken {
  readonly saga: SagaRecord;
  readonly token: string;
  readonly since: Moment;
}

type Open = ("running" | "stuck")[];

const MAX_ID = 256;

/** @throws TypeError for something that cannot name a saga */
export function checkId(owner: string, id: unknown): string {
  if (typeof id === "string" && id.length >= 1 && id.length <= MAX_ID && !/\p{Surrogate}|\0/u.test(id)) return id;
  throw new TypeError(`${owner}: id must be a text of 1 to ${MAX_ID} characters without NUL`);
}

/** Asks once more after a failure: the first question may have been heard and only its answer lost. */
async function twice<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch {
    return await ask();
  }
}

function checkSame(wanted: Wanted, name: string, definition: string, input: string): void {
  const { id } = wanted;
  if (name !== wanted.name) throw new SagaConflictError(id, `as a saga "${name}"`);
  if (definition !== wanted.definition) throw new SagaConflictError(id, `under another version of "${name}"`);
  if (canonical(input) !== wanted.input) throw new SagaConflictError(id, "with another input");
}

/** What a store keeps of a saga that ended. */
export function outcomeIn({ id, outcome }: SagaRecord): SagaOutcome {
  if (outcome === undefined) throw new TypeError(`the store holds no outcome of saga "${id}", which has ended`);
  return JSON.parse(outcome) as SagaOutcome;
}

/** The outcome of a saga that was given up before anybody carried it on. */
function givenUp({ id, name }: SagaRecord): SagaOutcome {
  return {
    id,
    name,
    status: "stuck",
    steps: [],
    results: {},
    compensated: [],
    failedCompensations: [],
    unknown: [],
    error: { name: "Error", message: "an operator gave the saga up; its timeline tells how far it was" },
  };
}

/** Owns sagas for as long as this process works on them. */
export class Owner {
  readonly settings: Settings;
  /** The sagas that this process works on. */
  readonly #active = new Map<
    string,
    Pick<Wanted, "name" | "definition" | "input"> & { outcome: Promise<SagaOutcome> }
  >();
  #isClosing = false;

  constructor(settings: Settings) {
    this.settings = settings;
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  isActive(id: string): boolean {
    return this.#active.has(id);
  }

  /** Begins a saga, joins it, carries on what a dead process left of it, or gives its outcome again. */
  async run(wanted: Wanted): Promise<SagaOutcome> {
    this.#checkOpen(wanted.id);
    const active = this.#active.get(wanted.id);
    if (active === undefined) return this.#track(wanted, () => this.#create(wanted));
    checkSame(wanted, active.name, active.definition, active.input);
    return active.outcome;
  }

  async #create(wanted: Wanted): Promise<SagaOutcome> {
    const { store, runtime, leaseMs } = this.settings;
    const { id, name, definition, input, timeoutMs = Infinity, signal, carry, carryOn = carry } = wanted;
    const token = crypto.randomUUID();
    const deadlineAt = timeoutMs === Infinity ? undefined : runtime.wallNow() + timeoutMs;
    const since = momentOf(runtime);
    const { created, saga } = await twice(() =>
      store.create(id, { name, definition, input, token, leaseMs, deadlineAt }),
    );
    if (created) return this.#drive({ saga, token, since }, carry, signal);
    checkSame(wanted, saga.name, saga.definition, saga.input);
    if (saga.status !== "running") return outcomeIn(saga);
    const taken = await this.#claim(id, ["running"]);
    if (taken === undefined) throw await this.inProgress(id);
    return this.#drive(taken, carryOn, signal);
  }

  /** Takes over a saga that nobody works on, and carries it on; `undefined` when somebody else was faster. */
  async takeOver(saga: SagaRecord, from: Open, carry: Carry): Promise<SagaOutcome | undefined> {
    const { id } = saga;
    this.#checkOpen(id);
    if (this.#active.has(id)) return undefined;
    // Decided before anybody waits: a saga is tracked from the moment at which this process asks for it.
    let isOurs = true;
    const outcome = this.#track({ ...saga, input: canonical(saga.input) }, async () => {
      const taken = await this.#claim(id, from);
      isOurs = taken !== undefined;
      if (taken === undefined) throw await this.inProgress(id);
      return this.#drive(taken, carry);
    });
    return outcome.catch((error: unknown) => {
      if (isOurs) throw error;
      return undefined;
    });
  }

  /** Ends a saga as it is. */
  async abandon({ id }: SagaRecord): Promise<void> {
    const taken = this.#active.has(id) ? undefined : await this.#claim(id, ["running", "stuck"]);
    if (taken === undefined) throw await this.inProgress(id);
    const { store, retentionMs } = this.settings;
    const outcome = taken.saga.outcome ?? JSON.stringify(givenUp(taken.saga));
    await twice(() => store.end(id, taken.token, { status: "abandoned", outcome, ttlMs: retentionMs }));
    await this.#letGo(JournalState.of(await store.entries(id)));
  }

  async inProgress(id: string): Promise<SagaInProgressError> {
    const saga = await this.settings.store.get(id);
    // The lease is on the store's clock, which may differ from ours.
    const left = (saga?.leaseUntil ?? 0) - this.settings.runtime.wallNow();
    return new SagaInProgressError(id, Math.min(Math.max(left, 0), this.settings.leaseMs));
  }

  /** Lets what runs come to its next step, and leaves it there. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.allSettled([...this.#active.values()].map(({ outcome }) => outcome));
  }

  #checkOpen(id: string): void {
    if (this.#isClosing) throw new SagaInterruptedError(id, "the runner was closed");
  }

  /** Keeps a saga from being run twice in this process. */
  #track(wanted: Omit<Wanted, "carry">, work: () => Promise<SagaOutcome>): Promise<SagaOutcome> {
    const { id, name, definition, input } = wanted;
    const outcome = work().finally(() => this.#active.delete(id));
    this.#active.set(id, { name, definition, input, outcome });
    return outcome;
  }

  async #claim(id: string, from: Open): Promise<Taken | undefined> {
    const { store, runtime, leaseMs } = this.settings;
    const token = crypto.randomUUID();
    const since = momentOf(runtime);
    const { won, saga } = await twice(() => store.claim(id, { token, leaseMs, from }));
    return won && saga !== undefined ? { saga, token, since } : undefined;
  }

  async #drive({ saga, token, since }: Taken, carry: Carry, signal?: AbortSignal): Promise<SagaOutcome> {
    const { store, runtime, leaseMs, onEvent, retentionMs: _retentionMs, ...rest } = this.settings;
    const { id, name } = saga;
    let journal: Journal | undefined;
    try {
      const entries = await store.entries(id);
      const isClosing = (): boolean => this.#isClosing;
      journal = new Journal({ store, id, name, token, leaseMs, runtime, isClosing }, entries, since);
      tell(onEvent, "saga.start", { saga: name, id, recovered: entries.length > 0, at: runtime.wallNow() });
      const input = JSON.parse(saga.input) as unknown;
      const terms = { ...rest, id, input, runtime, onEvent, signal, deadlineAt: saga.deadlineAt, pins: store.durable };
      const outcome = await carry(journal, terms);
      await this.#end(id, token, outcome);
      if (outcome.status !== "stuck") await this.#letGo(journal.state);
      tell(onEvent, "saga.end", { saga: name, id, status: outcome.status, outcome, at: runtime.wallNow() });
      return outcome;
    } catch (error) {
      // Others need not wait for the lease. One that cannot be given back ends by itself.
      await store.release(id, token).catch(() => false);
      tell(onEvent, "saga.interrupted", { saga: name, id, error, at: runtime.wallNow() });
      throw error;
    } finally {
      journal?.stop();
    }
  }

  /** Waits for work that may hang, but no longer than a lease. */
  #atMost(work: Promise<unknown>): Promise<void> {
    const { runtime, leaseMs } = this.settings;
    return new Promise((resolve) => {
      const cancel = startTimer(runtime, leaseMs, resolve);
      const done = (): void => {
        cancel();
        resolve();
      };
      work.then(done, done);
    });
  }

  async #end(id: string, token: string, outcome: SagaOutcome): Promise<void> {
    const { store, retentionMs } = this.settings;
    const end = { status: outcome.status, outcome: JSON.stringify(outcome), ttlMs: retentionMs };
    let isOurs: boolean;
    try {
      isOurs = await twice(() => store.end(id, token, end));
    } catch (cause) {
      throw new SagaInterruptedError(id, "its end could not be written", cause);
    }
    if (!isOurs) throw new SagaInterruptedError(id, "another process has taken it over");
  }

  /** Records of calls were kept for as long as the saga might ask for them. */
  async #letGo({ units }: JournalState): Promise<void> {
    const keepers = keepersOf(this.settings.caller);
    const pins = [...units.values()].flatMap(({ end }) => end?.pins ?? []);
    const all = pins.flatMap((pin) => keepers.map(async (keeper) => keeper.letGo(pin)));
    // One that cannot be let go now is kept too long, which harms nobody: the saga's caller does not wait for it.
    await this.#atMost(Promise.allSettled(all));
  }
}

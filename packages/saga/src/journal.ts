import { Lease, type Moment, type Runtime } from "@mcp-tx/core";
import type { SagaEntry, SagaStore } from "@mcp-tx/core/stores";
import type { Arguments } from "./definition.js";
import { SagaInterruptedError } from "./errors.js";
import type { Intent, Prepared, SagaPort, UnitEnd, UnitMemory } from "./port.js";

/** What a journal holds, one line an entry. */
export type JournalLine =
  | { readonly type: "memory"; readonly name: string; readonly value: unknown }
  | { readonly type: "intent"; readonly unit: string; readonly intent: Intent; readonly calls: number }
  | {
      readonly type: "end";
      readonly unit: string;
      readonly end: UnitEnd;
      /** Where no intent holds them. */
      readonly args?: Arguments | undefined;
    }
  /** An operator lets it go on: these units are open again, and these memories void. */
  | { readonly type: "resume"; readonly units: readonly Reopened[]; readonly forgets: readonly string[] };

/** A unit that is run once more. */
export interface Reopened {
  readonly unit: string;
  /** Only to find out what became of it. */
  readonly onlyVerify: boolean;
}

/** What a journal says of one unit. */
export interface UnitState {
  args: Arguments | undefined;
  intent: Intent | undefined;
  end: UnitEnd | undefined;
  calls: number;
  epoch: number;
  onlyVerify: boolean;
}

/** What a journal says of everything. */
export class JournalState {
  readonly units: Map<string, UnitState> = new Map();
  readonly memories: Map<string, unknown> = new Map();

  static of(entries: readonly SagaEntry[]): JournalState {
    const state = new JournalState();
    for (const { body } of entries) state.apply(lineOf(body));
    return state;
  }

  apply(line: JournalLine): void {
    switch (line.type) {
      case "memory":
        this.memories.set(line.name, line.value);
        break;
      case "intent": {
        const unit = this.unit(line.unit);
        unit.intent = line.intent;
        unit.args = line.intent.args;
        unit.epoch = line.intent.epoch;
        unit.calls = line.calls;
        break;
      }
      case "end": {
        const unit = this.unit(line.unit);
        unit.end = line.end;
        unit.args = line.args ?? unit.args;
        unit.calls = line.end.calls;
        break;
      }
      case "resume":
        for (const name of line.forgets) this.memories.delete(name);
        for (const { unit, onlyVerify } of line.units) this.#reopen(this.unit(unit), onlyVerify);
        break;
    }
  }

  /** What is known of a unit, or the beginning of it. */
  unit(name: string): UnitState {
    const known = this.units.get(name);
    if (known !== undefined) return known;
    const fresh = { args: undefined, intent: undefined, end: undefined, calls: 0, epoch: 0, onlyVerify: false };
    this.units.set(name, fresh);
    return fresh;
  }

  #reopen(unit: UnitState, onlyVerify: boolean): void {
    // What was done is only asked after: through the gate, like anything unknown.
    if (unit.end !== undefined && unit.end.status === "failed" && unit.end.isDone !== true) {
      // It is over what became of it: repeated on purpose.
      if (unit.end.execution === "executed") unit.epoch += 1;
      unit.intent = undefined;
    }
    unit.end = undefined;
    unit.onlyVerify = onlyVerify;
  }
}

/** @throws TypeError for what no version of this package wrote */
export function lineOf(body: string): JournalLine {
  const line = JSON.parse(body) as JournalLine | null;
  if (typeof line?.type === "string") return line;
  throw new TypeError("the journal of a saga holds an entry that is none");
}

/** What a journal works with. */
export interface JournalTerms {
  readonly store: SagaStore;
  readonly id: string;
  /** Name of the saga's definition. */
  readonly name: string;
  readonly token: string;
  readonly leaseMs: number;
  readonly runtime: Runtime;
  /** Whether the runner wants to stop. */
  readonly isClosing: () => boolean;
}

/** A saga's journal in a store, written by the one process that owns it. */
export class Journal implements SagaPort {
  readonly state: JournalState;
  readonly #terms: JournalTerms;
  readonly #lease: Lease;
  /** Arguments that no line holds yet. */
  readonly #prepared = new Map<string, Arguments>();
  #seq: number;
  #broken: SagaInterruptedError | undefined;

  /** @param since - before the claim was sent */
  constructor(terms: JournalTerms, entries: readonly SagaEntry[], since: Moment) {
    this.#terms = terms;
    this.state = JournalState.of(entries);
    this.#seq = entries.at(-1)?.seq ?? 0;
    const { store, id, token, leaseMs, runtime } = terms;
    this.#lease = new Lease({ runtime, leaseMs, extend: () => store.extend(id, token, leaseMs) }, since);
  }

  get name(): string {
    return this.#terms.name;
  }

  /** Ends the heartbeat. */
  stop(): void {
    this.#lease.stop();
  }

  async remember<T>(name: string, make: () => T): Promise<T> {
    // What was written under this name was made by the same function.
    if (this.state.memories.has(name)) return this.state.memories.get(name) as T;
    this.#checkOpen();
    const value = make();
    await this.write({ type: "memory", name, value });
    return value;
  }

  recall(name: string): unknown {
    return this.state.memories.get(name);
  }

  async decide(name: string, units: readonly string[], make: () => string | undefined): Promise<string | undefined> {
    if (this.state.memories.has(name)) return this.state.memories.get(name) as string;
    if (units.some((unit) => this.state.units.has(unit))) return undefined;
    const reason = make();
    return reason === undefined ? undefined : this.remember(name, () => reason);
  }

  async prepare(unit: string, make: () => Prepared): Promise<Prepared> {
    const known = this.state.units.get(unit);
    if (known?.args !== undefined) return { args: known.args };
    // It ended before there were arguments.
    if (known?.end?.error !== undefined) return { failure: known.end.error };
    const prepared = make();
    if ("args" in prepared) this.#prepared.set(unit, prepared.args);
    return prepared;
  }

  async unit(name: string, run: (memory: UnitMemory) => Promise<UnitEnd>): Promise<UnitEnd> {
    const known = this.state.units.get(name);
    if (known?.end !== undefined) return known.end;
    this.#checkOpen();
    const { intent, epoch = 0, calls = 0, onlyVerify = false } = known ?? {};
    const memory: UnitMemory = {
      past: intent?.attempts ?? [],
      epoch,
      calls,
      onlyVerify,
      intend: (next, number) => this.write({ type: "intent", unit: name, intent: next, calls: number }),
      check: () => this.#check(),
    };
    const end = await run(memory);
    const args = this.state.units.get(name)?.intent === undefined ? this.#prepared.get(name) : undefined;
    this.#prepared.delete(name);
    await this.write({ type: "end", unit: name, end, ...(args !== undefined && { args }) });
    return end;
  }

  isControlError(error: unknown): boolean {
    return SagaInterruptedError.isInstance(error);
  }

  /** Appends one line, durably. @throws SagaInterruptedError when that cannot be done, or somebody else owns the saga */
  async write(line: JournalLine): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    const { store, id, token } = this.#terms;
    this.#seq += 1;
    const entries = [{ seq: this.#seq, body: JSON.stringify(line) }];
    let isOurs: boolean;
    try {
      isOurs = await this.#twice(() => store.append(id, token, entries));
    } catch (cause) {
      throw this.#break("its journal could not be written", cause);
    }
    if (!isOurs) throw this.#break("another process has taken it over");
    this.state.apply(line);
  }

  /** Asks once more after a failure: the first question may have been heard and only its answer lost. */
  async #twice<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch {
      return await ask();
    }
  }

  /** What was not begun need not be begun here. */
  #checkOpen(): void {
    if (this.#terms.isClosing()) throw this.#break("the runner was closed");
    if (this.#broken !== undefined) throw this.#broken;
  }

  #check(): void {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#lease.isOver) throw this.#break("its lease ran out, and another process may have taken it over");
  }

  #break(why: string, cause?: unknown): SagaInterruptedError {
    this.#broken ??= new SagaInterruptedError(this.#terms.id, why, cause);
    return this.#broken;
  }
}

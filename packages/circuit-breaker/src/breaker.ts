import {
  type Call,
  type CallContext,
  defaultRuntime,
  type Outcome,
  oneRuntime,
  type Runtime,
  type ToolResult,
} from "@mcp-tx/core";
import type { Admission, Circuit, CircuitState } from "./circuit.js";
import { Circuits } from "./circuits.js";
import { CircuitOpenError } from "./errors.js";
import { ask, judge, type Verdict } from "./judge.js";
import { defaultKey, partsOf, readKey } from "./key.js";
import type { Settings } from "./options.js";
import { type BreakerSnapshot, type CircuitSnapshot, readSnapshot } from "./snapshot.js";

/** A change of one circuit's state. */
export interface StateChange {
  readonly key: string;
  /** The tool, where the key is one tool's or a call of the tool caused the change. */
  readonly tool?: string | undefined;
  readonly from: CircuitState;
  readonly to: CircuitState;
  /** Milliseconds on the monotonic clock. */
  readonly at: number;
  /** Milliseconds for which it stays open, when it opened. */
  readonly retryAfterMs?: number | undefined;
}

/** Gets every change of state; whatever it throws is swallowed. */
export type StateListener = (change: StateChange) => void;

declare module "@mcp-tx/core" {
  interface CallEvents {
    /** A call changed the state of its circuit. */
    "breaker.state": StateChange & { readonly tool: string };
    /** A circuit did not let a call through. */
    "breaker.rejected": {
      readonly tool: string;
      readonly key: string;
      readonly state: CircuitState;
      readonly retryAfterMs?: number | undefined;
      readonly code: "circuit_open";
    };
  }
}

/** From the best to the worst. */
const STATES: readonly CircuitState[] = ["closed", "half-open", "open", "isolated"];

/** What was restored before the first call told which clock counts. */
interface Pending {
  readonly takenAtWall: number;
  readonly openForMs: ReadonlyMap<Circuit, number>;
}

/** What is left of an open time. A wall clock that went back prolongs nothing. */
function left(openForMs: number, passedMs: number): number {
  return Math.max(0, openForMs - Math.max(0, passedMs));
}

/** The state of one `circuitBreaker()`: its circuits, its clock, what an operator isolated, who listens. */
export class Breaker {
  readonly #settings: Settings;
  /** Whether every success is booked with its time. */
  readonly #isTimed: boolean;
  readonly #isSlowWatched: boolean;
  readonly #circuits: Circuits;
  readonly #isolated = new Set<string>();
  readonly #runtimeOf: (call: Call) => Runtime = oneRuntime("circuitBreaker");
  #listeners: readonly { readonly listener: StateListener }[] = [];
  /** The clock of the calls; until the first one, of the process. */
  #runtime: Runtime = defaultRuntime;
  #isStarted = false;
  #pending: Pending | undefined;

  constructor(settings: Settings) {
    const { window, maxKeys } = settings;
    this.#settings = settings;
    this.#isSlowWatched = window !== undefined && window.slowCallMs !== Infinity;
    this.#isTimed = window?.type === "time";
    this.#circuits = new Circuits(settings, maxKeys, {
      added: (circuit) => {
        if (this.#isIsolated(circuit)) circuit.isolate();
      },
      evicted: (circuit) => {
        const from = circuit.state;
        circuit.evict();
        if (from === "open" || from === "half-open") this.#announce(circuit, from, this.#now());
      },
    });
  }

  /**
   * The circuit of a call.
   *
   * @throws TypeError for a key function that gives none, or a call on another clock
   */
  circuitOf(ctx: CallContext): Circuit {
    if (ctx.call.runtime !== this.#runtime || !this.#isStarted) this.#start(ctx.call);
    const { key } = this.#settings;
    if (key === undefined) return this.#circuits.use(ctx.call.peer.server, ctx.tool);
    return this.#circuits.use(undefined, readKey(key, ctx));
  }

  /** The circuit that has its key now. */
  successorOf({ server, name }: Circuit): Circuit {
    return this.#circuits.use(server, name);
  }

  /** When a call came in; 0 where it does not matter. */
  entryTime(): number {
    return this.#isSlowWatched ? this.#now() : 0;
  }

  /** Why a call that comes now must not go on, if it must not. */
  refusal(circuit: Circuit, ctx: CallContext): CircuitOpenError | undefined {
    const now = this.#now();
    const from = circuit.state;
    const isLet = circuit.lets(now);
    if (circuit.state !== from) this.#announce(circuit, from, now, ctx);
    return isLet ? undefined : this.#refuse(circuit, ctx, now);
  }

  /**
   * Asks the circuit right before the dispatch.
   *
   * @throws CircuitOpenError
   */
  admit(circuit: Circuit, admission: Admission, ctx: CallContext): void {
    if (circuit.isFree) circuit.admitFreely(admission, this.entryTime());
    else this.#askForSlot(circuit, admission, ctx);
  }

  #askForSlot(circuit: Circuit, admission: Admission, ctx: CallContext): void {
    const now = this.#now();
    const from = circuit.state;
    const isLet = circuit.admit(admission, now);
    if (circuit.state !== from) this.#announce(circuit, from, now, ctx);
    // A listener may have isolated it.
    if (!isLet || admission.generation !== circuit.generation) throw this.#refuse(circuit, ctx, now);
  }

  /** Books how a call ended. */
  conclude(circuit: Circuit, admission: Admission, ctx: CallContext, value: unknown, thrown: boolean): void {
    const outcome = outcomeOf(ctx, value, thrown);
    const verdict = outcome === undefined ? "ignored" : this.#judge(outcome, ctx, value, thrown);
    if (verdict === "success" && !this.#isSlowWatched && circuit.isCalm && admission.leaseEnd === Infinity) {
      circuit.recordCalm(admission, this.#isTimed ? this.#now() : 0);
    } else if (verdict === "ignored") circuit.release(admission);
    else this.#record(circuit, admission, ctx, verdict === "failure", this.#now(), outcome?.retryAfterMs);
  }

  #record(
    circuit: Circuit,
    admission: Admission,
    ctx: CallContext,
    failed: boolean,
    now: number,
    retryAfterMs?: number,
  ): void {
    const from = circuit.state;
    circuit.record(admission, failed, now, failed ? retryAfterMs : undefined);
    if (circuit.state !== from) this.#announce(circuit, from, now, ctx);
  }

  #judge(outcome: Outcome, ctx: CallContext, value: unknown, thrown: boolean): Verdict {
    const { isFailure } = this.#settings;
    if (isFailure === undefined) return outcome.status === "success" ? "success" : judge(outcome, ctx.side);
    const { tool } = ctx;
    // What did not throw is a result.
    const info = thrown ? { tool, error: value } : { tool, result: value as ToolResult };
    return judge(outcome, ctx.side, () => ask(isFailure, outcome, info));
  }

  isolate(name: string): void {
    checkName("isolate", name);
    if (this.#isolated.has(name)) return;
    this.#isolated.add(name);
    this.#change(this.#named(name), (circuit) => circuit.state !== "isolated" && circuit.isolate());
    this.#announceAbsent(name, "closed", "isolated");
  }

  reset(name?: string): void {
    if (name !== undefined) checkName("reset", name);
    const released = [...this.#isolated].filter((other) => name === undefined || this.#covers(name, other));
    for (const other of released) this.#isolated.delete(other);
    this.#change(name === undefined ? this.#circuits.all() : this.#named(name), (circuit) => {
      if (!this.#isIsolated(circuit)) circuit.reset();
    });
    for (const other of released) this.#announceAbsent(other, "isolated", "closed");
  }

  state(name: string): CircuitState {
    checkName("state", name);
    for (const other of this.#isolated) {
      if (this.#covers(name, other) || this.#covers(other, name)) return "isolated";
    }
    const now = this.#now();
    const states = Array.from(this.#named(name), (circuit) => STATES.indexOf(circuit.stateAt(now)));
    return STATES[Math.max(0, ...states)] ?? "closed";
  }

  snapshot(): BreakerSnapshot {
    const now = this.#now();
    const circuits: CircuitSnapshot[] = [];
    for (const circuit of this.#circuits.all()) {
      const state = circuit.stateAt(now);
      const { server, name: tool, consecutiveFailures, openings } = circuit;
      if (state === "isolated" || (state === "closed" && consecutiveFailures === 0)) continue;
      circuits.push({
        key: this.#keyOf(circuit),
        ...(server !== undefined && { server }),
        ...(this.#hasDefaultKeys && { tool }),
        state,
        openForMs: circuit.openForMs(now) ?? 0,
        consecutiveFailures,
        openings,
      });
    }
    return { version: 1, takenAtWall: this.#runtime.wallNow(), circuits, isolated: [...this.#isolated] };
  }

  restore(given: unknown): void {
    const snapshot = readSnapshot(given, (key) => !this.#hasDefaultKeys || partsOf(key) !== undefined);
    this.#isolated.clear();
    for (const name of snapshot.isolated) this.#isolated.add(name);
    const remembered = new Map(snapshot.circuits.map((circuit) => [this.#circuitAt(circuit.key), circuit]));
    const passedMs = this.#runtime.wallNow() - snapshot.takenAtWall;
    const now = this.#now();
    const openForMs = new Map<Circuit, number>();
    this.#change(this.#circuits.all(), (circuit) => {
      const past = remembered.get(circuit);
      if (this.#isIsolated(circuit)) return circuit.state !== "isolated" && circuit.isolate();
      if (past === undefined) return circuit.reset();
      if (past.state === "closed") return circuit.restore("closed", 0, past.consecutiveFailures, 0);
      openForMs.set(circuit, past.openForMs);
      circuit.restore("open", now + left(past.openForMs, passedMs), 0, past.openings);
    });
    this.#pending = this.#isStarted ? undefined : { takenAtWall: snapshot.takenAtWall, openForMs };
  }

  onStateChange(listener: StateListener): () => void {
    if (typeof listener !== "function") {
      throw new TypeError("circuitBreaker: onStateChange(listener) must be given a function");
    }
    const entry = { listener };
    this.#listeners = [...this.#listeners, entry];
    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== entry);
    };
  }

  get #hasDefaultKeys(): boolean {
    return this.#settings.key === undefined;
  }

  #now(): number {
    return this.#runtime.now();
  }

  /** The first call tells which clock counts: what was restored before is put on it. */
  #start(call: Call): void {
    const runtime = this.#runtimeOf(call);
    const { takenAtWall = 0, openForMs = [] } = this.#pending ?? {};
    const passedMs = runtime.wallNow() - takenAtWall;
    for (const [circuit, ms] of openForMs) {
      circuit.openUntil = runtime.now() + left(ms, passedMs);
    }
    this.#pending = undefined;
    this.#runtime = runtime;
    this.#isStarted = true;
  }

  #keyOf(circuit: Circuit): string {
    return this.#hasDefaultKeys ? defaultKey(circuit) : circuit.name;
  }

  #circuitAt(key: string): Circuit {
    const { server, name } = (this.#hasDefaultKeys ? partsOf(key) : undefined) ?? { server: undefined, name: key };
    return this.#circuits.use(server, name);
  }

  /** The circuits that a name stands for: that of a key, those of a tool at every server. */
  *#named(name: string): Generator<Circuit> {
    yield* this.#circuits.named(name);
    const parts = this.#hasDefaultKeys ? partsOf(name) : undefined;
    const circuit = parts && this.#circuits.find(parts.server, parts.name);
    if (circuit !== undefined) yield circuit;
  }

  #isIsolated(circuit: Circuit): boolean {
    if (this.#isolated.size === 0) return false;
    return this.#isolated.has(circuit.name) || this.#isolated.has(this.#keyOf(circuit));
  }

  /** Whether a name stands for another one as well: itself, or a tool for its keys. */
  #covers(name: string, other: string): boolean {
    return name === other || (this.#hasDefaultKeys && partsOf(other)?.name === name);
  }

  #change(circuits: Iterable<Circuit>, action: (circuit: Circuit) => unknown): void {
    const changes = Array.from(circuits, (circuit) => {
      const from = circuit.state;
      action(circuit);
      return { circuit, from };
    });
    // Afterwards: who listens sees all of it.
    const changed = changes.filter(({ circuit, from }) => circuit.state !== from);
    for (const { circuit, from } of changed) this.#announce(circuit, from, this.#now());
  }

  #announce(circuit: Circuit, from: CircuitState, at: number, ctx?: CallContext): void {
    this.#circuits.place(circuit);
    const { state: to } = circuit;
    const tool = ctx?.tool ?? (this.#hasDefaultKeys ? circuit.name : undefined);
    const retryAfterMs = circuit.openForMs(at);
    const change: StateChange = {
      key: this.#keyOf(circuit),
      ...(tool !== undefined && { tool }),
      from,
      to,
      at,
      ...(retryAfterMs !== undefined && { retryAfterMs }),
    };
    if (ctx?.call.observed === true) ctx.call.emit("breaker.state", { ...change, tool: ctx.tool });
    this.#tell(change);
  }

  /** An operator's change that concerns no circuit there is so far. */
  #announceAbsent(name: string, from: CircuitState, to: CircuitState): void {
    if (this.#named(name).next().done === true) this.#tell({ key: name, from, to, at: this.#now() });
  }

  #tell(change: StateChange): void {
    for (const { listener } of this.#listeners) {
      try {
        listener(change);
      } catch {
        // Whoever listens changes nothing.
      }
    }
  }

  #refuse(circuit: Circuit, { call, tool }: CallContext, now: number): CircuitOpenError {
    const { state } = circuit;
    const retryAfterMs = circuit.openForMs(now);
    if (call.observed) {
      const key = this.#keyOf(circuit);
      call.emit("breaker.rejected", { tool, key, state, retryAfterMs, code: "circuit_open" });
    }
    return new CircuitOpenError(tool, { state, retryAfterMs });
  }
}

/** What a call came to; `undefined` for a value that cannot even be looked at, and for one that was stopped. */
function outcomeOf({ call, signal }: CallContext, value: unknown, thrown: boolean): Outcome | undefined {
  // Whoever raced it may have stopped it while it waited further in: the call itself was not aborted then.
  if (thrown && signal?.aborted === true && value === signal.reason) return undefined;
  try {
    return call.outcomeOf(value, thrown);
  } catch {
    return undefined;
  }
}

function checkName(method: string, name: unknown): void {
  if (typeof name === "string") return;
  throw new TypeError(`circuitBreaker: ${method}(name) must be given a key or a tool's name, a string`);
}

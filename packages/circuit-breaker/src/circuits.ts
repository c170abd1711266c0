import { Circuit, type CircuitSettings } from "./circuit.js";

/** Circuits from the least to the most recently used one. */
class Recency {
  oldest: Circuit | undefined;
  newest: Circuit | undefined;

  add(circuit: Circuit): void {
    circuit.older = this.newest;
    circuit.newer = undefined;
    if (this.newest === undefined) this.oldest = circuit;
    else this.newest.newer = circuit;
    this.newest = circuit;
  }

  remove(circuit: Circuit): void {
    const { older, newer } = circuit;
    if (older === undefined) this.oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.newest = older;
    else newer.older = older;
  }
}

function isTripped({ state }: Circuit): boolean {
  return state === "open" || state === "half-open";
}

/** What the owner does with circuits that come and go. */
export interface CircuitHooks {
  added(circuit: Circuit): void;
  /** Called when the circuit is no longer to be found. */
  evicted(circuit: Circuit): void;
}

/** The circuits of one breaker: at most so many, found without building a key, each operation in constant time. */
export class Circuits {
  size = 0;
  readonly #settings: CircuitSettings;
  readonly #maxKeys: number;
  readonly #hooks: CircuitHooks;
  readonly #servers = new Map<string | undefined, Map<string, Circuit>>();
  /** What a circuit would be after a reset is lost with little harm: these leave first. */
  readonly #calm = new Recency();
  readonly #tripped = new Recency();
  #last: Circuit | undefined;

  constructor(settings: CircuitSettings, maxKeys: number, hooks: CircuitHooks) {
    this.#settings = settings;
    this.#maxKeys = maxKeys;
    this.#hooks = hooks;
  }

  find(server: string | undefined, name: string): Circuit | undefined {
    return this.#servers.get(server)?.get(name);
  }

  /** The circuit of a call, which is the most recently used one from now on. */
  use(server: string | undefined, name: string): Circuit {
    const last = this.#last;
    if (last !== undefined && last.name === name && last.server === server && last.newer === undefined) return last;
    const known = this.find(server, name);
    const circuit = known ?? this.#add(server, name);
    if (known !== undefined) this.place(known);
    this.#last = circuit;
    return circuit;
  }

  /** Puts a circuit where its state and its use belong. */
  place(circuit: Circuit): void {
    if (circuit.isEvicted) return;
    this.#unlink(circuit);
    this.#link(circuit);
  }

  /** All circuits, the calm ones first, in each group the least recently used one first. */
  *all(): Generator<Circuit> {
    for (const list of [this.#calm, this.#tripped]) {
      for (let circuit = list.oldest; circuit !== undefined; circuit = circuit.newer) yield circuit;
    }
  }

  /** The circuits that a name has at all servers. */
  *named(name: string): Generator<Circuit> {
    for (const names of this.#servers.values()) {
      const circuit = names.get(name);
      if (circuit !== undefined) yield circuit;
    }
  }

  #add(server: string | undefined, name: string): Circuit {
    while (this.size >= this.#maxKeys) this.#evict();
    const circuit = new Circuit(this.#settings, server, name);
    this.#hooks.added(circuit);
    const names = this.#servers.get(server);
    if (names === undefined) this.#servers.set(server, new Map([[name, circuit]]));
    else names.set(name, circuit);
    this.#link(circuit);
    this.size += 1;
    return circuit;
  }

  #evict(): void {
    const circuit = this.#calm.oldest ?? this.#tripped.oldest;
    if (circuit === undefined) return;
    this.#unlink(circuit);
    const names = this.#servers.get(circuit.server);
    names?.delete(circuit.name);
    if (names?.size === 0) this.#servers.delete(circuit.server);
    if (this.#last === circuit) this.#last = undefined;
    this.size -= 1;
    this.#hooks.evicted(circuit);
  }

  #link(circuit: Circuit): void {
    circuit.isListedAsTripped = isTripped(circuit);
    this.#listOf(circuit).add(circuit);
  }

  #unlink(circuit: Circuit): void {
    this.#listOf(circuit).remove(circuit);
  }

  #listOf({ isListedAsTripped }: Circuit): Recency {
    return isListedAsTripped ? this.#tripped : this.#calm;
  }
}

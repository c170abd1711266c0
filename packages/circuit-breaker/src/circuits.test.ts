import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Circuit, CircuitSettings } from "./circuit.js";
import { Circuits } from "./circuits.js";

const settings: CircuitSettings = {
  consecutiveFailures: 5,
  recoveryTimeoutMs: 60_000,
  maxRetryAfterMs: 300_000,
  window: undefined,
  probes: 1,
  maxWaitMs: 30_000,
  ramp: 0,
};

function setup(maxKeys: number) {
  const evicted: string[] = [];
  const added: string[] = [];
  const circuits = new Circuits(settings, maxKeys, {
    added: ({ name }) => added.push(name),
    evicted(circuit) {
      circuit.evict();
      evicted.push(circuit.name);
    },
  });
  return { circuits, added, evicted };
}

/** What the registry has to hold: a plain list, least recently used first. */
class ListOfCircuits {
  circuits: Circuit[] = [];

  constructor(readonly maxKeys: number) {}

  get inOrderOfLeaving(): readonly Circuit[] {
    const isClosed = ({ state }: Circuit) => state === "closed";
    return [...this.circuits.filter(isClosed), ...this.circuits.filter((circuit) => !isClosed(circuit))];
  }

  find(server: string | undefined, name: string): Circuit | undefined {
    return this.named(server, name)[0];
  }

  named(server: string | undefined, name: string): readonly Circuit[] {
    return this.circuits.filter((circuit) => circuit.server === server && circuit.name === name);
  }

  makeRoomFor(server: string | undefined, name: string): void {
    if (this.find(server, name) !== undefined || this.circuits.length < this.maxKeys) return;
    const [victim] = this.inOrderOfLeaving;
    this.circuits = this.circuits.filter((circuit) => circuit !== victim);
  }

  /** `false` when the registry should have given the circuit that it had. */
  use(circuit: Circuit): boolean {
    const known = this.find(circuit.server, circuit.name);
    this.circuits = [...this.circuits.filter((other) => other !== known), circuit];
    return known === undefined || known === circuit;
  }
}

function apply(change: "none" | "open" | "close", circuit: Circuit, circuits: Circuits): void {
  if (change === "none") return;
  if (change === "open") circuit.open(0);
  else circuit.reset();
  circuits.place(circuit);
}

describe("Circuits", () => {
  test("keeps at most maxKeys, the least recently used closed one leaving first", () => {
    const { circuits, evicted } = setup(3);
    for (const name of ["a", "b", "c"]) circuits.use("server", name);
    const open = circuits.use("server", "a");
    open.open(0);
    circuits.place(open);
    circuits.use("server", "b");
    circuits.use("server", "d");
    expect(evicted).toEqual(["c"]);
    circuits.use("server", "e");
    circuits.use("server", "f");
    expect(evicted).toEqual(["c", "b", "d"]);
    expect([...circuits.all()].map(({ name }) => name)).toEqual(["e", "f", "a"]);
  });

  test("lets the least recently used open one go when no closed one is left", () => {
    const { circuits, evicted } = setup(2);
    for (const name of ["a", "b"]) {
      const circuit = circuits.use(undefined, name);
      circuit.open(0);
      circuits.place(circuit);
    }
    circuits.use(undefined, "a");
    circuits.use(undefined, "c");
    expect(evicted).toEqual(["b"]);
    expect(circuits.size).toBe(2);
  });

  test("makes a new circuit for a key that left", () => {
    const { circuits, added } = setup(1);
    const first = circuits.use("server", "a");
    circuits.use("server", "b");
    const second = circuits.use("server", "a");
    expect(first.isEvicted).toBe(true);
    expect(second).not.toBe(first);
    expect(added).toEqual(["a", "b", "a"]);
    expect(circuits.find("server", "b")).toBeUndefined();
    circuits.place(first);
    expect([...circuits.all()]).toEqual([second]);
  });

  test("tells servers apart, also one without a name from one that is called so", () => {
    const { circuits } = setup(10);
    const names = [undefined, "undefined", "", "null"].map((server) => circuits.use(server, "tool"));
    expect(new Set(names).size).toBe(4);
    expect([...circuits.named("tool")]).toEqual(names);
    expect([...circuits.named("other")]).toEqual([]);
  });

  test("holds the same circuits as a plain list in order of use, whatever happens", () => {
    const step = fc.record({
      server: fc.constantFrom(undefined, "x", "y"),
      name: fc.constantFrom("a", "b", "c"),
      change: fc.constantFrom("none" as const, "open" as const, "close" as const),
      other: fc.constantFrom("a", "b", "none"),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60, size: "max" }), (maxKeys, steps) => {
        const { circuits } = setup(maxKeys);
        const model = new ListOfCircuits(maxKeys);
        for (const { server, name, change, other } of steps) {
          // Another one changes its state meanwhile.
          for (const moved of model.named(server, other)) {
            circuits.place(moved);
            model.use(moved);
          }
          model.makeRoomFor(server, name);
          const circuit = circuits.use(server, name);
          apply(change, circuit, circuits);
          expect(model.use(circuit)).toBe(true);
          expect([...circuits.all()]).toEqual(model.inOrderOfLeaving);
          expect(circuits.size).toBe(model.circuits.length);
        }
      }),
    );
  });
});

import { describe, expect, test } from "vitest";
import { Admission, Circuit, type CircuitSettings } from "./circuit.js";

const SETTINGS: CircuitSettings = {
  consecutiveFailures: 2,
  recoveryTimeoutMs: 100,
  maxRetryAfterMs: 1000,
  window: undefined,
  probes: 1,
  maxWaitMs: 50,
  ramp: 0,
};

function admitted(circuit: Circuit, now: number): Admission {
  const admission = new Admission(circuit.generation, now);
  expect(circuit.admit(admission, now)).toBe(true);
  return admission;
}

function opened(patch: Partial<CircuitSettings> = {}): Circuit {
  const circuit = new Circuit({ ...SETTINGS, ...patch }, undefined, "pay");
  circuit.open(0);
  return circuit;
}

// Over whole sequences: circuit-breaker.model.test.ts.
describe("Circuit", () => {
  test("asks again for a slot whose lease ended in a wait", () => {
    const circuit = opened();
    const waiting = admitted(circuit, 100);
    const other = admitted(circuit, 150);
    expect(circuit.admit(waiting, 160)).toBe(false);
    circuit.release(other);
    expect(circuit.admit(waiting, 160)).toBe(true);
  });

  test("keeps the slot, and starts its lease again, for a call that asks twice", () => {
    const circuit = opened();
    const waiting = admitted(circuit, 100);
    expect(circuit.admit(waiting, 149)).toBe(true);
    expect(circuit.lets(198)).toBe(false);
    circuit.record(waiting, false, 198);
    expect(circuit.state).toBe("closed");
  });

  test("holds no lease on a call that asks again once the circuit closed", () => {
    const circuit = opened({ probes: 2 });
    const [waiting, probe] = [admitted(circuit, 100), admitted(circuit, 100)];
    circuit.reset();
    circuit.record(probe, true, 101);
    expect(circuit.admit(waiting, 110)).toBe(true);
    circuit.record(waiting, true, 1000);
    expect(circuit.consecutiveFailures).toBe(1);
  });

  test("ends no row of failures by a success that was sent before the circuit was closed again", () => {
    const circuit = new Circuit(SETTINGS, undefined, "pay");
    const early = admitted(circuit, 0);
    circuit.reset();
    circuit.record(admitted(circuit, 1), true, 1);
    circuit.recordCalm(early, 2);
    expect(circuit.consecutiveFailures).toBe(1);
    circuit.recordCalm(admitted(circuit, 3), 3);
    expect(circuit.consecutiveFailures).toBe(0);
  });

  test("ignores a call of the ramp whose lease ended, also when the ramp is over", () => {
    const circuit = opened({ ramp: 1, probes: 2, consecutiveFailures: 1 });
    for (const probe of [admitted(circuit, 100), admitted(circuit, 100)]) circuit.record(probe, false, 100);
    const [late, fast] = [admitted(circuit, 100), admitted(circuit, 100)];
    circuit.record(fast, false, 100);
    expect(circuit.isFree).toBe(true);
    circuit.record(late, true, 150);
    expect(circuit.state).toBe("closed");
  });

  test("knows how long a probe took whose gate nobody asked", () => {
    const window = {
      type: "count",
      length: 5,
      failureRate: 1,
      minimumCalls: 5,
      slowCallMs: 10,
      slowCallRate: 1,
    } as const;
    const circuit = opened({ window });
    expect(circuit.lets(100)).toBe(true);
    circuit.record(new Admission(circuit.generation, 100), false, 111);
    expect(circuit.state).toBe("open");
  });

  test("counts a call whose gate nobody asked only in the generation in which it came", () => {
    const circuit = new Circuit(SETTINGS, undefined, "pay");
    const early = new Admission(circuit.generation, 0);
    circuit.open(0);
    circuit.record(early, false, 500);
    expect(circuit.state).toBe("open");
  });

  test("lets nothing through that still holds it once it is evicted", () => {
    const circuit = new Circuit(SETTINGS, undefined, "pay");
    const early = admitted(circuit, 0);
    circuit.evict();
    expect(circuit.lets(0)).toBe(false);
    for (const admission of [early, early]) circuit.record(admission, true, 0);
    expect(circuit.state).toBe("closed");
  });

  test("says that a success cannot matter only where it cannot", () => {
    const window = {
      type: "count",
      length: 5,
      failureRate: 0.5,
      minimumCalls: 2,
      slowCallMs: Infinity,
      slowCallRate: 1,
    } as const;
    const circuit = new Circuit({ ...SETTINGS, window, consecutiveFailures: 9 }, undefined, "pay");
    expect(circuit.isCalm).toBe(true);
    circuit.record(admitted(circuit, 0), true, 0);
    expect(circuit.isCalm).toBe(false);
    circuit.record(admitted(circuit, 1000), false, 1000);
    expect(circuit.openForMs(1000)).toBe(100);
    expect(circuit.isCalm).toBe(false);
  });
});

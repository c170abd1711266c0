import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readSnapshot } from "./snapshot.js";

const circuit = { key: "pay", state: "open", openForMs: 10, consecutiveFailures: 0, openings: 1 };
const snapshot = { version: 1, takenAtWall: 1000, circuits: [circuit], isolated: ["refund"] };
const read = (given: unknown) => readSnapshot(given, () => true);

describe("readSnapshot", () => {
  test.each([
    ["snapshot", undefined],
    ["snapshot", null],
    ["snapshot", "{}"],
    ["snapshot.version", []],
    ["snapshot.version", {}],
    ["snapshot.version", { ...snapshot, version: 2 }],
    ["snapshot.version", { ...snapshot, version: "1" }],
    ["snapshot.takenAtWall", { ...snapshot, takenAtWall: undefined }],
    ["snapshot.takenAtWall", { ...snapshot, takenAtWall: "1000" }],
    ["snapshot.takenAtWall", { ...snapshot, takenAtWall: Number.NaN }],
    ["snapshot.takenAtWall", { ...snapshot, takenAtWall: -1 }],
    ["snapshot.circuits", { ...snapshot, circuits: {} }],
    ["snapshot.circuits", { ...snapshot, circuits: "[]" }],
    ["snapshot.circuits", { ...snapshot, circuits: { length: 1, 0: circuit } }],
    ["snapshot.circuits[1]", { ...snapshot, circuits: [circuit, null] }],
    ["snapshot.circuits[1]", { ...snapshot, circuits: [circuit, 7] }],
    ["snapshot.circuits[0].key", { ...snapshot, circuits: [{ ...circuit, key: 7 }] }],
    ["snapshot.circuits[0].state", { ...snapshot, circuits: [{ ...circuit, state: "isolated" }] }],
    ["snapshot.circuits[0].state", { ...snapshot, circuits: [{ ...circuit, state: "__proto__" }] }],
    ["snapshot.circuits[0].state", { ...snapshot, circuits: [{ ...circuit, state: ["open"] }] }],
    ["snapshot.circuits[0].openForMs", { ...snapshot, circuits: [{ ...circuit, openForMs: -1 }] }],
    ["snapshot.circuits[0].openForMs", { ...snapshot, circuits: [{ ...circuit, openForMs: Infinity }] }],
    ["snapshot.circuits[0].openForMs", { ...snapshot, circuits: [{ ...circuit, openForMs: null }] }],
    ["snapshot.circuits[0].consecutiveFailures", { ...snapshot, circuits: [{ ...circuit, consecutiveFailures: 1.5 }] }],
    ["snapshot.circuits[0].consecutiveFailures", { ...snapshot, circuits: [{ ...circuit, consecutiveFailures: -1 }] }],
    ["snapshot.circuits[0].openings", { ...snapshot, circuits: [{ ...circuit, openings: 2 ** 60 }] }],
    ["snapshot.circuits[0].openings", { ...snapshot, circuits: [{ ...circuit, openings: "1" }] }],
    ["snapshot.isolated", { ...snapshot, isolated: undefined }],
    ["snapshot.isolated", { ...snapshot, isolated: "refund" }],
    ["snapshot.isolated[0]", { ...snapshot, isolated: [["refund"]] }],
  ])("names %s", (field, given) => {
    expect(() => read(given)).toThrow(TypeError);
    expect(() => read(given)).toThrow(`circuitBreaker: ${field} must be `);
  });

  test("refuses a key that is none of the breaker's", () => {
    expect(() => readSnapshot(snapshot, () => false)).toThrow("circuitBreaker: snapshot.circuits[0].key must be JSON");
  });

  test("copies what it read, so that nothing changes under the breaker's hands", () => {
    const given = structuredClone(snapshot);
    const copy = read(given);
    expect(copy).toEqual(snapshot);
    given.circuits[0] = { ...circuit, key: "other" };
    given.isolated.push("more");
    expect(copy).toEqual(snapshot);
  });

  test("reads each field once: a getter cannot show one value and give another", () => {
    let reads = 0;
    const shifty = {
      ...circuit,
      get openForMs() {
        reads += 1;
        return reads === 1 ? 5 : -5;
      },
    };
    expect(read({ ...snapshot, circuits: [shifty] }).circuits[0]?.openForMs).toBe(5);
  });

  test("either copies or throws a TypeError, for any JSON", () => {
    const anything = fc.jsonValue();
    const field = (value: unknown) => fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, anything);
    const hostile = fc.record({
      version: field(1),
      takenAtWall: field(5),
      circuits: fc.oneof(
        fc.array(
          fc.record({
            key: field("a"),
            state: field("open"),
            openForMs: field(1),
            consecutiveFailures: field(0),
            openings: field(1),
          }),
        ),
        anything,
      ),
      isolated: field(["a"]),
    });
    fc.assert(
      fc.property(fc.oneof(hostile, anything), (given) => {
        try {
          expect(read(given)).toEqual(given);
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError);
          expect(String(error)).toMatch(/circuitBreaker: snapshot[\w.[\]]* must be /);
        }
      }),
    );
  });
});

import { expect, test } from "vitest";
import { markedParams, type Wire, WireKey } from "./wire-attempt.js";

const wire = { name: "ours" } as unknown as Wire;

test("marks a copy, over the mark of a pipeline round this one", () => {
  const given = { name: "pay", [WireKey]: { name: "theirs" } };
  const marked = markedParams(given, wire);
  expect(marked).toEqual({ name: "pay", [WireKey]: wire });
  expect(given[WireKey]).toEqual({ name: "theirs" });
});

test("keeps what a host sends under the name of the prototype, as a member", () => {
  const marked = markedParams(JSON.parse('{"__proto__":{"name":"evil"},"arguments":{}}'), wire);
  expect(Object.getPrototypeOf(marked)).toBe(Object.prototype);
  expect(JSON.stringify(marked)).toBe('{"__proto__":{"name":"evil"},"arguments":{}}');
});

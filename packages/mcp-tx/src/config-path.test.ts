import { number } from "@mcp-tx/core/options";
import { expect, test } from "vitest";
import { childPath, fields, nearest } from "./config-path.js";

test("writes a path as one would write it in code", () => {
  expect(childPath("config", "retry")).toBe("config.retry");
  expect(childPath("config.tools", "pay*")).toBe('config.tools["pay*"]');
  expect(childPath("", "retry")).toBe("retry");
  expect(childPath("", "pay*")).toBe('["pay*"]');
});

test.each([
  ["maxAttemps", "maxAttempts"],
  ["max_attempts", "maxAttempts"],
  ["MaxAttempts", "maxAttempts"],
  ["timeout", "timeoutMs"],
  ["jiter", "jitter"],
  ["jitterKind", "jitter"],
])("takes %s for %s", (written, meant) => {
  expect(nearest(written, ["jitter", "timeoutMs", "maxAttempts", "multiplier"])).toBe(meant);
});

test("takes what is nothing like any name for nothing", () => {
  expect(nearest("banana", ["jitter", "timeoutMs"])).toBeUndefined();
  expect(nearest("j".repeat(100_000), ["jitter"])).toBeUndefined();
  expect(nearest("jiter", ["jitter"], 0)).toBeUndefined();
});

test("reads only members that are the object's own, and gives only those that are there", () => {
  const read = fields<{ a?: number | undefined; b?: number | undefined }>({
    a: number({ min: 0 }, undefined),
    b: number({ min: 0 }, undefined),
  });
  expect(read({ a: 1, b: undefined }, "x")).toEqual({ a: 1 });
  expect(Object.keys(read({ b: undefined }, "x") ?? {})).toEqual([]);
  expect(read(Object.create({ a: -1 }), "x")).toEqual({});
  expect(read(undefined, "x")).toBeUndefined();
  expect(() => read(JSON.parse('{"__proto__": 1}'), "x")).toThrow("x.__proto__ does not exist; known are a, b");
});

test.each([[null], [[]], ["text"], [1], [() => 1]])("refuses %j in place of an object", (value) => {
  expect(() => fields({}, "an object of options")(value, "config.retry")).toThrow(
    /^config\.retry must be an object of options, got /,
  );
});

import { context } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defaultKey, partsOf, readKey } from "./key.js";

/** Any sequence of UTF-16 units, lone surrogates too. */
const anyString = fc.string({ unit: fc.nat({ max: 0xff_ff }).map((unit) => String.fromCharCode(unit)) });

describe("default keys", () => {
  test("are taken apart into what they were made of, whatever the names hold", () => {
    const server = fc.option(anyString, { nil: undefined });
    fc.assert(
      fc.property(server, anyString, (given, name) => {
        const parts = { server: given, name };
        expect(partsOf(defaultKey(parts))).toEqual(parts);
      }),
    );
  });

  test("of different servers and tools differ", () => {
    const keys = [
      { server: "a", name: "b" },
      { server: "a,b", name: "" },
      { server: undefined, name: "b" },
      { server: "null", name: "b" },
      { server: '"a","b"', name: "" },
    ].map(defaultKey);
    expect(new Set(keys).size).toBe(keys.length);
  });

  test("are not found in other strings", () => {
    for (const text of [
      "pay",
      "",
      "null",
      "[]",
      '["a"]',
      '["a","b","c"]',
      "[1,2]",
      "[null,null]",
      '{"0":"a","1":"b"}',
      "[",
    ]) {
      expect(partsOf(text)).toBeUndefined();
    }
  });
});

describe("readKey", () => {
  test("says whose key it was when the function throws, and keeps the cause", () => {
    const cause = new Error("no tenant");
    const read = () =>
      readKey(
        () => {
          throw cause;
        },
        context({ tool: "pay" }),
      );
    expect(read).toThrow(
      new TypeError('circuitBreaker: key must return a string for tool "pay", but it threw; the call was not sent', {
        cause,
      }),
    );
  });

  test("refuses what is no string", () => {
    for (const [made, shown] of [
      [undefined, "undefined"],
      [null, "null"],
      [1, "number"],
      [Promise.resolve("a"), "object"],
    ] as const) {
      const read = () => readKey(() => made as never, context({ tool: "pay" }));
      expect(read).toThrow(
        new TypeError(`circuitBreaker: key must return a string for tool "pay", got ${shown}; the call was not sent`),
      );
    }
  });

  test("takes any string, the empty one too", () => {
    expect(readKey((ctx) => ctx.tool, context({ tool: "pay" }))).toBe("pay");
    expect(readKey(() => "", context())).toBe("");
  });
});

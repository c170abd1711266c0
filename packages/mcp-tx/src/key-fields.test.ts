import { pipeline, reportOf, run, type ToolResult } from "@mcp-tx/core";
import { context, middlewareContract, scriptedTool } from "@mcp-tx/core/testing";
import { idempotency } from "@mcp-tx/idempotency";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { KeyFields } from "./config-types.js";
import { keyedByFields, keyOfFields } from "./key-fields.js";

const OK: ToolResult = { content: [] };

function keyFor(key: KeyFields, args: Readonly<Record<string, unknown>>): string | undefined {
  return keyOfFields(key, context({ tool: "pay", args }));
}

describe("as a middleware", () => {
  const key: KeyFields = { fields: ["id"], missing: "ignore" };
  for (const { name, run: check } of middlewareContract(() => keyedByFields(idempotency(), key))) test(name, check);
});

test.each<[readonly string[], object, string]>([
  [["orderId"], { orderId: "a-1", amount: 5 }, '["a-1"]'],
  [["order.id", "line"], { order: { id: 7 }, line: 0 }, "[7,0]"],
  [["order.id"], { "order.id": "flat", order: { id: "deep" } }, '["flat"]'],
  [["isGift"], { isGift: false }, "[false]"],
])("of %j is made %j the key %s", (fields, args, key) => {
  expect(keyFor({ fields }, { ...args })).toBe(key);
});

test("different values never make the same key", () => {
  const value = fc.oneof(fc.string({ minLength: 1 }), fc.integer(), fc.boolean());
  const fields = ["a", "b"];
  fc.assert(
    fc.property(value, value, value, value, (a, b, c, d) => {
      const isSame = a === c && b === d;
      expect(keyFor({ fields }, { a, b }) === keyFor({ fields }, { a: c, b: d })).toBe(isSame);
    }),
  );
});

test.each([{}, { id: undefined }, { id: null }, { id: "" }, { order: 5 }])(
  "an argument that is missing, as in %j, stops the call and is named",
  (args) => {
    const message = 'Tool "pay" was not called: give it the argument "id", of which its idempotency key is made.';
    expect(() => keyFor({ fields: ["id"] }, args)).toThrow(new TypeError(message));
    expect(() => keyFor({ fields: ["order.id"] }, args)).toThrow(TypeError);
    expect(keyFor({ fields: ["id"], missing: "ignore" }, args)).toBeUndefined();
  },
);

test("what no key can be made of stops the call, and its value is not told", () => {
  const message = 'the argument "id" must be a text, number or boolean';
  for (const missing of ["refuse", "ignore"] as const) {
    expect(() => keyFor({ fields: ["id"], missing }, { id: { secret: "s3cret" } })).toThrow(message);
    expect(() => keyFor({ fields: ["id"], missing }, { id: ["s3cret"] })).not.toThrow("s3cret");
  }
});

test("members that objects have by themselves are no arguments", () => {
  expect(() => keyFor({ fields: ["constructor.name"] }, {})).toThrow(TypeError);
  expect(() => keyFor({ fields: ["id.length"] }, { id: "abc" })).toThrow(TypeError);
});

test("a call's own key goes first", async () => {
  const tool = scriptedTool([{ result: OK }], { repeatLast: true });
  const handler = pipeline(keyedByFields(idempotency(), { fields: ["id"] }), tool);
  const call = (args: object, idempotencyKey?: string) =>
    run(handler, { tool: "pay", args: { ...args }, options: { idempotencyKey } });
  expect(reportOf(await call({}, "own"))).toMatchObject({ idempotencyKey: "own", attempts: 1 });
  expect(reportOf(await call({ id: 1 }))).toMatchObject({ idempotencyKey: "[1]", attempts: 1 });
  expect(reportOf(await call({ id: 1 }))).toMatchObject({ duplicate: true });
  await expect(call({})).rejects.toThrow('give it the argument "id"');
  expect(tool.executions).toBe(2);
});

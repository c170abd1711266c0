import fc from "fast-check";
import { expect, test } from "vitest";
import type { ToolResult } from "./contract.js";
import { fromResult, textOf, toResult, unwrap } from "./value.js";

const text = (value: string) => ({ type: "text", text: value });

test("joins the text blocks and passes over all others", () => {
  expect(textOf({ content: [text("a"), { type: "image", data: "…" }, text("b"), { type: "text", text: 5 }] })).toBe(
    "a\nb",
  );
  expect(textOf({})).toBe("");
  expect(textOf({ content: "text" } as never)).toBe("");
  expect(textOf(undefined as never)).toBe("");
});

test("prefers structured content, also when it is null, zero or empty", () => {
  for (const structuredContent of [null, 0, "", false, { a: 1 }]) {
    expect(unwrap({ structuredContent, content: [text("other")] })).toBe(structuredContent);
  }
});

test("parses text as JSON and falls back to the text", () => {
  expect(unwrap({ content: [text('{"a":[1]}')] })).toEqual({ a: [1] });
  expect(unwrap({ content: [text("{not json")] })).toBe("{not json");
  expect(unwrap({ content: [] })).toBe("");
});

test("brings every value back from a result as the very same", () => {
  fc.assert(
    fc.property(fc.oneof(fc.anything(), fc.constantFrom<unknown>(undefined, null, "", 0, [], {})), (value) => {
      expect(Object.is(fromResult(toResult(value)), value)).toBe(true);
    }),
  );
});

test("brings a serialisable value back from a result that went through a store", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const stored = JSON.parse(JSON.stringify(toResult(value))) as ToolResult;
      expect(fromResult(stored)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("takes a result for a result, and what only looks like one for a value", () => {
  const result = { content: [text("a")], isError: true };
  expect(toResult(result)).toBe(result);
  for (const value of [{ content: "text" }, { isError: true }, [text("a")], { structuredContent: 1 }]) {
    expect(toResult(value)).not.toBe(value);
    expect(fromResult(toResult(value))).toBe(value);
  }
});

test("does not wrap again what it wrapped, as where one pipeline runs inside another", () => {
  const wrapped = toResult({ a: 1 });
  expect(toResult(wrapped)).toBe(wrapped);
});

test("unwraps a stored undefined as undefined, not as an empty text", () => {
  expect(unwrap(toResult(undefined))).toBeUndefined();
  expect(unwrap(JSON.parse(JSON.stringify(toResult(undefined))))).toBeUndefined();
});

test("passes over blocks that are no objects at all", () => {
  expect(textOf({ content: [null, "a", text("b"), undefined, 5] } as never)).toBe("b");
});

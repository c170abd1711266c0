import { expect, test } from "vitest";
import { checkKey, checkText } from "./text.js";

test.each(["a\0", "\ud800", "\udc00a", "a\ud800b", "\udc00\ud800"])("refuses %j", (text) => {
  expect(() => checkText("the outcome", text)).toThrow(TypeError);
  expect(() => checkText("the outcome", text)).toThrow(/the outcome holds a NUL or a lone surrogate/);
  expect(() => checkKey(text)).toThrow(/the key holds/);
});

test.each(["", "a", "\u0001\uffff", "\u{1f600}", 'it\'s "quoted" %s $1 \\ \n'])("takes %j", (text) => {
  expect(() => checkKey(text)).not.toThrow();
});

test("takes nothing for a text that is not given", () => {
  expect(() => checkText("sentTo", null)).not.toThrow();
});

test.each([
  ["a".repeat(2600), "a".repeat(2601)],
  ["é".repeat(1300), "é".repeat(1301)],
  ["語".repeat(866), "語".repeat(867)],
  ["\u{1f600}".repeat(650), "\u{1f600}".repeat(651)],
])("counts a key in bytes", (longest, longer) => {
  expect(() => checkKey(longest)).not.toThrow();
  expect(() => checkKey(longer)).toThrow(RangeError);
});

test("names what is refused", () => {
  expect(() => checkKey("a\0", "the id")).toThrow(/the id holds a NUL/);
  expect(() => checkKey("a".repeat(2601), "the id")).toThrow(/the id must be at most 2600 bytes/);
});

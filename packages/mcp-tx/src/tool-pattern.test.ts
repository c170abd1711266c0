import { expect, test } from "vitest";
import { compileGlob, isGlob } from "./tool-pattern.js";

const matches = (glob: string, name: string): boolean => compileGlob(glob, "config.tools")(name);

test.each([
  ["*", "pay"],
  ["*", "files/read"],
  ["*", "bank.pay.now"],
  ["*", ".hidden"],
  ["*", "."],
  ["*", ".."],
  ["**", "a/b.c"],
  ["pay*", "pay"],
  ["pay*", "pay/now.fast"],
  ["files/*", "files/a/b"],
  ["*/read", "files/deep/read"],
  ["*.query", "search.query"],
  ["files/{read,list}", "files/list"],
  ["a?c", "a/c"],
  ["[a-c]x", "bx"],
  ["!pay*", "refund"],
  ["*", "x".repeat(100_000)],
])("%s fits %s", (glob, name) => {
  expect(isGlob(glob)).toBe(true);
  expect(matches(glob, name)).toBe(true);
});

test.each([
  ["pay*", "repay"],
  ["pay*", "Pay"],
  ["files/*", "files"],
  ["files/*", "filesystem"],
  ["!pay*", "pay/now"],
  ["a?c", "ac"],
  ["*.query", "query"],
])("%s does not fit %s", (glob, name) => {
  expect(matches(glob, name)).toBe(false);
});

test.each(["pay", "files/read", "bank.pay", "a-b_c", "#1", "__proto__", "a+b", "@scope/tool"])(
  "%s is the name of a tool",
  (name) => expect(isGlob(name)).toBe(false),
);

test.each(["[a", "{a,b", "(a", "a)"])("refuses %s, whose brackets are not closed", (glob) => {
  expect(() => compileGlob(glob, "config.tools.x")).toThrow(/^config\.tools\.x is no glob: Missing /);
});

test("of a name that no tool can have the beginning is matched, so that it holds nobody up", () => {
  expect(matches("*a*a*b", "a".repeat(1_000_000))).toBe(false);
  expect(matches("*b", `${"a".repeat(1023)}b${"a".repeat(1_000_000)}`)).toBe(true);
});

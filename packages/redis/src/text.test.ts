import { expect, test } from "vitest";
import { checkText, lossyText, numberOf, numberText } from "./text.js";

test("takes any text that has an UTF-8 form", () => {
  for (const text of ["", "plain", "nul\u0000", "鍵🔑", "\ufffd"]) checkText("the key", text);
  expect(lossyText("sentTo", undefined)).toBeUndefined();
});

test("refuses a lone surrogate, and says where", () => {
  for (const text of ["\ud800", "a\udc00b", "🔑\ud83d"]) {
    expect(() => checkText("the outcome", text)).toThrow("redisStore: the outcome holds a lone surrogate");
  }
});

test("numbers go there and back without loss", () => {
  for (const value of [0, 1, 0.1, 1_700_000_000_000.25, 2 ** 53, 1e300, Infinity]) {
    expect(numberOf(numberText(value))).toBe(value);
  }
});

import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { fingerprintOf, sha256 } from "./fingerprint.js";

test("is the SHA-256 of the canonical text, whatever the order of keys", () => {
  const expected = createHash("sha256").update('{"a":"ä","b":1}').digest("hex");
  expect(fingerprintOf({ b: 1, a: "ä" })).toBe(expected);
  expect(fingerprintOf({ a: "ä", b: 1 })).toBe(expected);
  expect(sha256("")).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
});

test("tells a number from its text, and takes 10 MB", () => {
  expect(fingerprintOf({ a: 1 })).not.toBe(fingerprintOf({ a: "1" }));
  expect(fingerprintOf({ a: "x".repeat(10_000_000) })).toHaveLength(64);
});

import { expect, test } from "vitest";
import { Keys, PARTITIONS, prefixOr } from "./keys.js";

const tagOf = (name: string): string | undefined => /\{(.*?)\}/.exec(name)?.[1];

test("a record and its marker are in one slot, whatever braces a key has", () => {
  const keys = new Keys("p:");
  for (const key of ["", "plain", "{tag}", "}{", "鍵", '["a","{b}"]']) {
    const [record, marker] = keys.claimed(key);
    expect(record).toBe(keys.record(key));
    expect(tagOf(record)).toMatch(/^[0-9a-f]{2}$/);
    expect(tagOf(marker)).toBe(tagOf(record));
  }
});

test("every key has a record of its own name", () => {
  const keys = new Keys("p:");
  expect(keys.record("a")).not.toBe(keys.record("b"));
  expect(keys.record("key").startsWith(keys.recordPrefix)).toBe(true);
  expect(keys.record("key").endsWith(":key")).toBe(true);
});

test("keys that differ at their end go to all partitions", () => {
  const keys = new Keys("p:");
  const tags = Array.from({ length: 2000 }, (_, index) => tagOf(keys.record(`["","transfer","order-${index}"]`)));
  const counts = [...new Set(tags)].map((tag) => tags.filter((other) => other === tag).length);
  expect(counts).toHaveLength(PARTITIONS);
  expect(Math.max(...counts)).toBeLessThan((3 * 2000) / PARTITIONS);
});

test("markers, records and limits do not share names", () => {
  const keys = new Keys("p:");
  const names = [keys.marker(0), keys.record("{00}"), keys.record("{00}:"), keys.rate("{00}"), keys.rate("store:{00}")];
  expect(new Set(names).size).toBe(names.length);
  expect(new Set(Array.from({ length: PARTITIONS }, (_, index) => keys.marker(index))).size).toBe(PARTITIONS);
});

test("refuses a prefix that would decide on slots, or is none", () => {
  const read = prefixOr("fallback:");
  expect(read(undefined, "prefix")).toBe("fallback:");
  expect(read("mine:", "prefix")).toBe("mine:");
  for (const wrong of ["", "{a}", "a}", "x".repeat(101), "\ud800"]) {
    expect(() => read(wrong, "redisStore: prefix")).toThrow(RangeError);
  }
  expect(() => read(1, "redisStore: prefix")).toThrow(new TypeError("redisStore: prefix must be a string, got number"));
});

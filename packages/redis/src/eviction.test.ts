import { expect, test } from "vitest";
import { checkEviction } from "./eviction.js";

const memory = (limit: number, policy: string): string =>
  `# Memory\r\nused_memory:1\r\nmaxmemory:${limit}\r\nmaxmemory_human:1G\r\nmaxmemory_policy:${policy}\r\nmem_allocator:libc\r\n`;

test("takes a server that refuses writes when it is full", () => {
  checkEviction(memory(1000, "noeviction"));
});

test("takes a server without a limit, whatever its policy", () => {
  checkEviction(memory(0, "allkeys-lru"));
});

for (const policy of ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"]) {
  test(`refuses a server with a limit and the policy ${policy}, and says what to do`, () => {
    expect(() => checkEviction(memory(1000, policy))).toThrow(`the maxmemory-policy ${policy}. `);
    expect(() => checkEviction(memory(1000, policy))).toThrow("allowEviction: true");
  });
}

test("refuses a server that does not say", () => {
  expect(() => checkEviction("")).toThrow("INFO memory does not say");
  expect(() => checkEviction("maxmemory:0\r\n")).toThrow("INFO memory does not say");
});

import { expect, test } from "vitest";
import { tables } from "./tables.js";

const read = (value: unknown) => tables("mcp_tx")(value, "postgresStore: table");

test.each([
  "",
  ".",
  "a.b.c",
  "a.",
  ".a",
  "1a",
  "a-b",
  'a"b',
  "a b",
  "a;DROP TABLE b",
  "a\0",
  "é",
  "a\n",
  "x".repeat(48),
  `s.${"x".repeat(48)}`,
  7,
  null,
  {},
])("refuses %j as a name", (value) => {
  expect(() => read(value)).toThrow(TypeError);
  expect(() => read(value)).toThrow(/postgresStore: table must be a name, or schema\.name/);
});

test("quotes the names of all tables", () => {
  expect(read("User")).toEqual({
    given: "User",
    meta: '"User_meta"',
    idempotency: '"User_idempotency"',
    rateLimit: '"User_rate_limit"',
    saga: '"User_saga"',
    sagaEntry: '"User_saga_entry"',
    idempotencyDue: '"User_idempotency_due"',
    rateLimitIdle: '"User_rate_limit_idle"',
    sagaUnfinished: '"User_saga_unfinished"',
    sagaDue: '"User_saga_due"',
  });
});

test("puts the schema before tables, and not before indexes", () => {
  expect(read("ops.tx")).toMatchObject({ meta: '"ops"."tx_meta"', idempotencyDue: '"tx_idempotency_due"' });
});

test("keeps the longest name within what PostgreSQL distinguishes", () => {
  const names = Object.values(read("x".repeat(47)));
  expect(Math.max(...names.map((name) => name.replaceAll('"', "").length))).toBeLessThanOrEqual(63);
});

test("takes the default when there is none", () => {
  expect(read(undefined).given).toBe("mcp_tx");
});

import { McpTxError, StoreUnavailableError } from "@mcp-tx/core";
import { expect, test } from "vitest";
import {
  IdempotencyConflictError,
  IdempotencyInProgressError,
  SharedError,
  StoreMismatchError,
  storeUnavailable,
} from "./errors.js";

const cause = new Error("ECONNREFUSED 10.0.0.1");
const rows = [
  [new IdempotencyConflictError("pay"), IdempotencyConflictError, "idempotency_conflict", "not-executed", false],
  [
    new IdempotencyInProgressError("pay", { retryAfterMs: 1.5 }),
    IdempotencyInProgressError,
    "idempotency_in_progress",
    "unknown",
    true,
  ],
  [storeUnavailable("pay", cause), StoreUnavailableError, "store_unavailable", "not-executed", true],
  [new StoreMismatchError("pay"), StoreMismatchError, "store_mismatch", "not-executed", false],
] as const;

for (const [error, type, code, execution, transient] of rows) {
  test(`${type.name} names the tool, what happened and what to do, and no secret`, () => {
    expect(error).toMatchObject({ name: type.name, code, outcome: { status: "rejected", execution, transient, code } });
    expect(error.message).toMatch(/^Tool "pay" was not called.*(again|new key)/);
    expect(error.message).not.toContain("10.0.0.1");
    for (const other of rows) expect(other[1].isInstance(error)).toBe(other[1] === type);
    expect(type.isInstance(new Error(code))).toBe(false);
  });

  test(`a SharedError of ${type.name} passes for it`, () => {
    const shared = new SharedError(error);
    expect(type.isInstance(shared)).toBe(true);
    expect(McpTxError.isInstance(shared)).toBe(true);
    expect(shared).toMatchObject({ name: type.name, message: error.message, outcome: error.outcome, cause: error });
  });
}

test("IdempotencyInProgressError says when to come back", () => {
  expect(new IdempotencyInProgressError("pay", { retryAfterMs: 1.5 }).message).toContain("in 2 ms");
  expect(new IdempotencyInProgressError("pay").message).toContain("later");
});

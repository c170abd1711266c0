import { McpTxError, RateLimitError } from "@mcp-tx/core";
import { describe, expect, test } from "vitest";
import { CircuitOpenError } from "./errors.js";

describe("CircuitOpenError", () => {
  test("is a refusal that may succeed later, and says when", () => {
    const error = new CircuitOpenError("pay", { retryAfterMs: 1500.2 });
    expect(error).toMatchObject({
      name: "CircuitOpenError",
      code: "circuit_open",
      state: "open",
      retryAfterMs: 1500.2,
    });
    expect(error.outcome).toEqual({
      status: "rejected",
      execution: "not-executed",
      transient: true,
      retryAfterMs: 1500.2,
      code: "circuit_open",
    });
    expect(error.message).toBe(
      'Tool "pay" was not called: too many of its calls failed. Do not call it again for 1501 ms.',
    );
  });

  test("of an isolated circuit is not transient", () => {
    const error = new CircuitOpenError("pay", { state: "isolated" });
    expect(error.outcome).toMatchObject({ status: "rejected", execution: "not-executed", transient: false });
    expect(error.message).toContain("switched off by an operator");
    expect(error.retryAfterMs).toBeUndefined();
  });

  test("without a time does not name one", () => {
    for (const state of ["half-open", "closed"] as const) {
      const error = new CircuitOpenError("pay", { state });
      expect(error.outcome.transient).toBe(true);
      expect(error.message).not.toMatch(/\d/);
    }
  });

  test("is recognised by what it is, and nothing else is", () => {
    expect(CircuitOpenError.isInstance(new CircuitOpenError("pay"))).toBe(true);
    expect(McpTxError.isInstance(new CircuitOpenError("pay"))).toBe(true);
    for (const other of [
      new RateLimitError("pay"),
      new Error("circuit_open"),
      { code: "circuit_open" },
      null,
      undefined,
    ]) {
      expect(CircuitOpenError.isInstance(other)).toBe(false);
    }
  });
});

import type { Receipt } from "@mcp-tx/core";
import { expect, test } from "vitest";
import { errorPolicy } from "./announce-policy.js";

function policyOf(given: Partial<Receipt>): unknown {
  const { agentGuidance, ...policy } = errorPolicy(
    { requestId: "", ack: true, execution: "not-executed", duplicate: false, ...given },
    "Do this.",
  );
  expect(agentGuidance).toBe("Do this.");
  return policy;
}

test.each<[Partial<Receipt>, object]>([
  [
    { code: "rate_limited", retryAfterMs: 5 },
    { category: "rate_limit", retryable: true, retry: { afterMs: 5 } },
  ],
  [
    { code: "circuit_open", retryAfterMs: 9 },
    { category: "transient", retryable: true, retry: { afterMs: 9 }, circuit: { state: "open", reopenAfterMs: 9 } },
  ],
  [{ code: "transport_error" }, { category: "transient", retryable: true }],
  [{ code: "session_expired" }, { category: "transient", retryable: true }],
  [{ code: "deadline" }, { category: "timeout", retryable: true }],
  [{ code: "idempotency_conflict" }, { category: "invalid_input", retryable: false }],
  [{ code: "protocol_error" }, { category: "permanent", retryable: false }],
  [{}, { category: "permanent", retryable: false }],
])("tells of %o what the policy's own words are for it", (receipt, expected) => {
  expect(policyOf(receipt)).toEqual({ version: "1", ...expected });
});

test.each(["transport_error", "attempt_timeout", "outcome_unknown", "rate_limited"] as const)(
  "never calls it retryable when the tool may have run (%s)",
  (code) => {
    const policy = policyOf({ code, execution: "unknown", retryAfterMs: 5 });
    expect(policy).toMatchObject({ retryable: false });
    expect(policy).not.toHaveProperty("retry");
  },
);

test("keeps the guidance within the length that the policy allows", () => {
  const receipt: Receipt = { requestId: "", ack: true, execution: "unknown", duplicate: false };
  expect(errorPolicy(receipt, "x".repeat(1000)).agentGuidance).toHaveLength(500);
});

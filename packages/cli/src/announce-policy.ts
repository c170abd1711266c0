import type { OutcomeCode, Receipt } from "@mcp-tx/core";
import type { Bag } from "./proxy-messages.js";

/** The published key of a machine-readable error policy, version 1, in an error's `data` or a result's `_meta`. */
export const ERROR_POLICY_KEY = "dev.mcp-fuse/error-policy";

type Category = "transient" | "rate_limit" | "timeout" | "invalid_input" | "permanent" | "unknown";

const CATEGORIES: Readonly<Partial<Record<OutcomeCode, Category>>> = {
  circuit_open: "transient",
  rate_limited: "rate_limit",
  queue_full: "rate_limit",
  deadline: "timeout",
  attempt_timeout: "timeout",
  outcome_unknown: "unknown",
  idempotency_conflict: "invalid_input",
  idempotency_in_progress: "transient",
  store_unavailable: "transient",
  store_mismatch: "unknown",
  transport_error: "transient",
  session_expired: "transient",
};

/** The longest guidance that the policy allows, in characters. */
const MAX_GUIDANCE = 500;

/**
 * The error policy of a failure of ours. What may have run is never called retryable: whoever understands only that word must not
 * run it twice.
 */
export function errorPolicy({ execution, code, retryAfterMs }: Receipt, guidance: string): Bag {
  const category = (code === undefined ? undefined : CATEGORIES[code]) ?? "permanent";
  const isSafe = execution === "not-executed" && category !== "invalid_input" && category !== "permanent";
  return {
    version: "1",
    category: execution === "unknown" && category === "transient" ? "unknown" : category,
    retryable: isSafe,
    ...(retryAfterMs !== undefined && isSafe && { retry: { afterMs: retryAfterMs } }),
    ...(code === "circuit_open" && {
      circuit: { state: "open", ...(retryAfterMs !== undefined && { reopenAfterMs: retryAfterMs }) },
    }),
    agentGuidance: guidance.slice(0, MAX_GUIDANCE),
  };
}

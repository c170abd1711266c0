import type { Outcome, Side, ToolResult } from "@mcp-tx/core";

/** What {@link IsFailure} is told beside the outcome. */
export interface FailureInfo {
  readonly tool: string;
  /** What the call returned, when it returned. */
  readonly result?: ToolResult | undefined;
  /** What the call threw, when it threw. */
  readonly error?: unknown;
}

/**
 * Whether an outcome is a failure to the breaker: `true` or `false` decide, `undefined` or a throw leave it to the default.
 * Not asked for what was cancelled or refused before dispatch.
 */
export type IsFailure = (outcome: Outcome, info: FailureInfo) => boolean | undefined;

/** What an outcome is to the breaker. What is ignored says nothing about the server. */
export type Verdict = "success" | "failure" | "ignored";

/** What the server, or the way to it, does wrong is a failure; what the caller does, or we do, is none. */
export function judge(outcome: Outcome, side: Side, asked?: () => boolean | undefined): Verdict {
  if (outcome.status === "cancelled" || outcome.status === "rejected") return "ignored";
  const opinion = asked?.();
  if (opinion !== undefined) return opinion ? "failure" : "success";
  if (outcome.status === "success") return "success";
  if (outcome.status === "throttled") return "failure";
  if (outcome.code === "idempotency_in_progress") return "ignored";
  if (outcome.execution === "unknown") return "failure";
  if (outcome.execution === "not-executed") {
    return outcome.transient && outcome.code === "transport_error" ? "failure" : "ignored";
  }
  // It ran and failed: of a client's peer that is an answer, of what we serve or run ourselves a failure.
  return side === "client" ? "success" : "failure";
}

/** The user's opinion; one that throws, or gives no boolean, has none. */
export function ask(isFailure: IsFailure, outcome: Outcome, info: FailureInfo): boolean | undefined {
  try {
    const opinion: unknown = isFailure(outcome, info);
    return typeof opinion === "boolean" ? opinion : undefined;
  } catch {
    return undefined;
  }
}

import type { OutcomeCode } from "@mcp-tx/core";

/** What became of one call with a key. The key itself is nobody's business. */
export interface IdempotencyOutcome {
  readonly tool: string;
  /**
   * `miss`: it ran, nobody had made it before. `replayed`: answered from the record. `joined`: it shares a run that is under way.
   * `conflict`: refused, the key belongs to other arguments. `takeover`: it ran instead of an earlier one that failed or was lost.
   */
  readonly outcome: "miss" | "replayed" | "joined" | "conflict" | "takeover";
  /** Monotonic milliseconds, on the call's runtime. */
  readonly at: number;
  readonly code?: OutcomeCode | undefined;
}

declare module "@mcp-tx/core" {
  interface CallEvents {
    "idempotency.outcome": IdempotencyOutcome;
  }
}

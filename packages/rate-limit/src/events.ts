import type { OutcomeCode } from "@mcp-tx/core";

declare module "@mcp-tx/core" {
  interface CallEvents {
    /** A call waited for a rate or concurrency limit and goes on. */
    "limit.wait": { readonly tool: string; readonly key: string; readonly waitMs: number };
    /** A rate or concurrency limit refused a call. */
    "limit.rejected": {
      readonly tool: string;
      readonly key: string;
      readonly code: OutcomeCode;
      readonly retryAfterMs?: number | undefined;
    };
  }
}

import type { Side } from "@mcp-tx/core";

/** At most so much longer, and at most a tenth. */
const MAX_GRACE_MS = 60_000;

/**
 * For how long an outcome is kept. A server keeps it longer than it announces: a client may send a lost call again up to the last
 * moment of the announced window, and the record must still be there when that arrives.
 */
export function retentionMs(side: Side, ttlMs: number): number {
  return side === "server" ? ttlMs + Math.min(ttlMs / 10, MAX_GRACE_MS) : ttlMs;
}

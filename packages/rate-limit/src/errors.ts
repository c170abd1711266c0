import { McpTxError, StoreUnavailableError } from "@mcp-tx/core";

/** Too many calls wait for this limit already, or one has waited as long as it may. */
export class QueueFullError extends McpTxError {
  override readonly name = "QueueFullError";

  constructor(tool: string, reason: string, init: { readonly retryAfterMs?: number | undefined } = {}) {
    const { retryAfterMs } = init;
    const when = retryAfterMs === undefined ? "later" : `in ${Math.ceil(retryAfterMs)} ms, not earlier`;
    super(`Tool "${tool}" was not called: ${reason}. Call it again ${when}.`, "queue_full", {
      outcome: { status: "rejected", execution: "not-executed", transient: true, retryAfterMs, code: "queue_full" },
    });
  }
  static override isInstance(value: unknown): value is QueueFullError {
    return McpTxError.isInstance(value) && value.code === "queue_full";
  }
}

/** The store of a shared limit cannot be asked, and `storeErrors` says that nothing passes then. */
export function storeUnavailable(tool: string, cause: unknown): StoreUnavailableError {
  return new StoreUnavailableError(tool, { store: "the store of its rate limit", cause });
}

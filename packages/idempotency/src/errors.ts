import { McpTxError, type Outcome, type OutcomeCode, StoreUnavailableError } from "@mcp-tx/core";

function hasCode(value: unknown, code: OutcomeCode): boolean {
  return McpTxError.isInstance(value) && value.code === code;
}

function refused(transient: boolean): Outcome {
  return { status: "rejected", execution: "not-executed", transient };
}

/** The key was used before for a call with other arguments. */
export class IdempotencyConflictError extends McpTxError {
  override readonly name = "IdempotencyConflictError";

  constructor(tool: string) {
    super(
      `Tool "${tool}" was not called: its idempotency key belongs to an earlier call with other arguments. ` +
        "Repeat the earlier call with its own arguments, or give a new call a new key.",
      "idempotency_conflict",
      { outcome: refused(false) },
    );
  }
  static override isInstance(value: unknown): value is IdempotencyConflictError {
    return hasCode(value, "idempotency_conflict");
  }
}

/** The same call is being made elsewhere and has not finished: whether it runs is known there. */
export class IdempotencyInProgressError extends McpTxError {
  override readonly name = "IdempotencyInProgressError";

  constructor(
    tool: string,
    init: { readonly reason?: string | undefined; readonly retryAfterMs?: number | undefined } = {},
  ) {
    const { reason = "the same call, with the same idempotency key, is in progress already", retryAfterMs } = init;
    const when = retryAfterMs === undefined ? "later" : `in ${Math.ceil(retryAfterMs)} ms`;
    super(
      `Tool "${tool}" was not called again: ${reason}. Ask for its result with the same key ${when}; do not use a new key.`,
      "idempotency_in_progress",
      { outcome: { status: "rejected", execution: "unknown", transient: true, retryAfterMs } },
    );
  }
  static override isInstance(value: unknown): value is IdempotencyInProgressError {
    return hasCode(value, "idempotency_in_progress");
  }
}

/** The store of the records cannot be asked, and `storeErrors` says that nothing runs then. */
export function storeUnavailable(tool: string, cause: unknown): StoreUnavailableError {
  const advice = "Call it again later, with the same key.";
  return new StoreUnavailableError(tool, { store: "the store that keeps track of calls", advice, cause });
}

/** An earlier attempt of this call was recorded in a store that this server no longer has. */
export class StoreMismatchError extends McpTxError {
  override readonly name = "StoreMismatchError";

  constructor(tool: string) {
    super(
      `Tool "${tool}" was not called: an earlier attempt of this call was recorded in a store that is not here any more. ` +
        "Whether it ran is unknown; check before calling it again with a new key.",
      "store_mismatch",
      { outcome: refused(false) },
    );
  }
  static override isInstance(value: unknown): value is StoreMismatchError {
    return hasCode(value, "store_mismatch");
  }
}

/** What a client sent cannot be keyed or compared. On a server it is told so: the mistake is its own, and nothing ran. */
export function unfitCall(tool: string, cause: Error): McpTxError {
  return new McpTxError(`Tool "${tool}" was not called: ${cause.message}.`, "protocol_error", {
    cause,
    outcome: refused(false),
  });
}

/** A refusal that several callers share: each throws one of its own, so that each has its own report. */
export class SharedError extends McpTxError {
  override readonly name: string;

  constructor(error: McpTxError) {
    super(error.message, error.code, { outcome: error.outcome, cause: error });
    this.name = error.name;
  }
}

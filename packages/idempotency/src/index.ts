export { StoreUnavailableError } from "@mcp-tx/core";
export { IdempotencyConflictError, IdempotencyInProgressError, StoreMismatchError } from "./errors.js";
export type { IdempotencyOutcome } from "./events.js";
export { fingerprintOf } from "./fingerprint.js";
export { idempotency } from "./idempotency.js";
export { type MemoryStoreOptions, memoryStore } from "./memory-store.js";
export type { IdempotencyOptions } from "./options.js";

export { RateLimitError, StoreUnavailableError } from "@mcp-tx/core";
export {
  type AdaptiveConcurrency,
  type AdaptiveConcurrencyOptions,
  adaptiveConcurrency,
} from "./adaptive-concurrency.js";
export { type ConcurrencyLimitOptions, concurrencyLimit } from "./concurrency-limit.js";
export { QueueFullError } from "./errors.js";
export type { LimitKey } from "./key.js";
export { type MemoryRateLimitStoreOptions, memoryRateLimitStore } from "./memory-store.js";
export type { LimitQuota } from "./quota.js";
export { type LimitCost, type RateLimit, type RateLimitOptions, rateLimit } from "./rate-limit.js";

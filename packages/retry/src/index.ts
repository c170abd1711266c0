export { type Backoff, type BackoffOptions, backoff, type Jitter } from "./backoff.js";
export { type RetryBudget, type RetryBudgetOptions, retryBudget } from "./budget.js";
export { hedge, type HedgeOptions } from "./hedge.js";
export { retry, type RetryInfo, type RetryOptions } from "./retry.js";

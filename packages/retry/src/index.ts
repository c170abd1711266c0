export { type Backoff, type BackoffOptions, backoff, type Jitter } from "./backoff.js";
export { type RetryBudget, type RetryBudgetOptions, retryBudget } from "./budget.js";
export { type HedgeOptions, hedge } from "./hedge.js";
export { type RetryInfo, type RetryOptions, retry } from "./retry.js";

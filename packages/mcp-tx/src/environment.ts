import { type OptionReader, oneOf } from "@mcp-tx/core/options";
import { nearest } from "./config-path.js";

/** What the text of a variable is turned into before the configuration's own rules look at it. */
type Kind = "number" | "boolean" | "text";

/** Environment variables, each with the key that it stands for. */
export const VARIABLES: Readonly<Record<string, { readonly key: string; readonly kind: Kind }>> = {
  MCP_TX_TIMEOUT_MS: { key: "timeoutMs", kind: "number" },
  MCP_TX_ATTEMPT_TIMEOUT_MS: { key: "attemptTimeoutMs", kind: "number" },
  MCP_TX_RETRY: { key: "retry", kind: "boolean" },
  MCP_TX_RETRY_MAX_ATTEMPTS: { key: "retry.maxAttempts", kind: "number" },
  MCP_TX_RETRY_BASE_DELAY_MS: { key: "retry.baseDelayMs", kind: "number" },
  MCP_TX_RETRY_MAX_DELAY_MS: { key: "retry.maxDelayMs", kind: "number" },
  MCP_TX_RETRY_MULTIPLIER: { key: "retry.multiplier", kind: "number" },
  MCP_TX_RETRY_JITTER: { key: "retry.jitter", kind: "text" },
  MCP_TX_RETRY_MAX_ELAPSED_MS: { key: "retry.maxElapsedMs", kind: "number" },
  MCP_TX_RETRY_MAX_RETRY_AFTER_MS: { key: "retry.maxRetryAfterMs", kind: "number" },
  MCP_TX_RETRY_REPLAY: { key: "retry.replay", kind: "text" },
  MCP_TX_RETRY_BUDGET_RATIO: { key: "retryBudget.ratio", kind: "number" },
  MCP_TX_RETRY_BUDGET_MIN_PER_SECOND: { key: "retryBudget.minPerSecond", kind: "number" },
  MCP_TX_IDEMPOTENCY: { key: "idempotency", kind: "boolean" },
  MCP_TX_IDEMPOTENCY_TTL_MS: { key: "idempotency.ttlMs", kind: "number" },
  MCP_TX_IDEMPOTENCY_LEASE_MS: { key: "idempotency.leaseMs", kind: "number" },
  MCP_TX_IDEMPOTENCY_ON_CONCURRENT: { key: "idempotency.onConcurrent", kind: "text" },
  MCP_TX_IDEMPOTENCY_TOOL_ERRORS: { key: "idempotency.toolErrors", kind: "text" },
  MCP_TX_IDEMPOTENCY_SCOPE: { key: "idempotency.scope", kind: "text" },
  MCP_TX_IDEMPOTENCY_KEY_ARGUMENT: { key: "idempotency.keyArgument", kind: "text" },
  MCP_TX_CIRCUIT_BREAKER: { key: "circuitBreaker", kind: "boolean" },
  MCP_TX_CIRCUIT_BREAKER_CONSECUTIVE_FAILURES: { key: "circuitBreaker.consecutiveFailures", kind: "number" },
  MCP_TX_CIRCUIT_BREAKER_RECOVERY_TIMEOUT_MS: { key: "circuitBreaker.recoveryTimeoutMs", kind: "number" },
  MCP_TX_RATE_LIMIT_RATE: { key: "rateLimit.rate", kind: "number" },
  MCP_TX_RATE_LIMIT_BURST: { key: "rateLimit.burst", kind: "number" },
  MCP_TX_RATE_LIMIT_ON_LIMIT: { key: "rateLimit.onLimit", kind: "text" },
  MCP_TX_CONCURRENCY: { key: "concurrency.max", kind: "number" },
  MCP_TX_CONCURRENCY_MAX_QUEUE: { key: "concurrency.maxQueue", kind: "number" },
  MCP_TX_TRUST_ANNOTATIONS: { key: "trustAnnotations", kind: "boolean" },
  MCP_TX_CONNECT_TIMEOUT_MS: { key: "connectTimeoutMs", kind: "number" },
  MCP_TX_RECONNECT_BASE_DELAY_MS: { key: "reconnect.baseDelayMs", kind: "number" },
  MCP_TX_RECONNECT_MAX_DELAY_MS: { key: "reconnect.maxDelayMs", kind: "number" },
  MCP_TX_REPLAY_ACROSS_SESSIONS: { key: "replayAcrossSessions", kind: "boolean" },
};

/** Names the file, for those that look for one. */
export const FILE_VARIABLE = "MCP_TX_CONFIG";

const NUMBER = /^[+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$|^Infinity$/i;
const YES: readonly string[] = ["true", "1", "yes", "on"];
const NO: readonly string[] = ["false", "0", "no", "off"];
const truth: OptionReader<string> = oneOf([...YES, ...NO], "true");

/** @throws TypeError naming the variable */
function parse(name: string, text: string, kind: Kind): string | number | boolean {
  if (kind === "text") return text;
  if (kind === "boolean") return YES.includes(truth(text.toLowerCase(), name));
  if (!NUMBER.test(text)) throw new TypeError(`${name} must be a number, got ${JSON.stringify(text)}`);
  return text.toLowerCase() === "infinity" ? Infinity : Number(text.replaceAll("_", ""));
}

/** As long as these names are, two letters are a slip; more is another program's variable. */
const SLIP = 2;

/** A variable that nobody reads, spelt almost like one that somebody does. */
function checkSpelling(name: string): void {
  const meant = nearest(name, Object.keys(VARIABLES), SLIP);
  if (meant !== undefined) throw new TypeError(`${name} does not exist; did you mean ${meant}?`);
}

/** One variable that is set. */
export interface Setting {
  readonly variable: string;
  /** Path of the key, from the root of the configuration. */
  readonly path: readonly string[];
  readonly value: string | number | boolean;
}

/**
 * The settings in an environment. An empty variable counts as not set, as in most shells' scripts.
 *
 * @throws TypeError naming the variable that is no number, is neither yes nor no, or is misspelt
 */
export function settingsIn(env: Readonly<Record<string, string | undefined>>): readonly Setting[] {
  const settings: Setting[] = [];
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith("MCP_TX_") || text === undefined || text.trim() === "") continue;
    if (name === FILE_VARIABLE) continue;
    const variable = Object.hasOwn(VARIABLES, name) ? VARIABLES[name] : undefined;
    if (variable === undefined) checkSpelling(name);
    else
      settings.push({ variable: name, path: variable.key.split("."), value: parse(name, text.trim(), variable.kind) });
  }
  // `MCP_TX_RETRY=false` switches off what `MCP_TX_RETRY_MAX_ATTEMPTS` says how to do: the section's own switch goes last.
  return settings.sort((left, right) => right.path.length - left.path.length);
}

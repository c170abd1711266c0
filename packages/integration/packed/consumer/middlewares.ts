// Every middleware with its options, names that do not exist included.
import { CircuitOpenError, circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  type CallReport,
  type Outcome,
  OutcomeUnknownError,
  reportOf,
  type ToolResult,
  wrapClient,
} from "@mcp-tx/core";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { monitor } from "@mcp-tx/monitor";
import { otel, otelAttempt, otelServer } from "@mcp-tx/otel";
import { adaptiveConcurrency, concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { hedge, retry, retryBudget } from "@mcp-tx/retry";

class SomeClient {
  async callTool(params: { readonly name: string; readonly arguments?: object }): Promise<ToolResult> {
    return { content: [{ type: "text", text: params.name }] };
  }
  hello(): string {
    return "hello";
  }
}

const breaker = circuitBreaker({ window: { type: "count", size: 20 }, recoveryTimeoutMs: 5000 });
export const tx = wrapClient(
  new SomeClient(),
  [
    otel(),
    monitor({ threshold: 0.9, onAlert: ({ tool }) => tool.length }),
    idempotency({ store: memoryStore() }),
    retry({ maxAttempts: 3, budget: retryBudget({ ratio: 0.2 }), retryOn: (outcome: Outcome) => outcome.transient }),
    hedge({ delayMs: 100 }),
    otelAttempt(),
    breaker,
    rateLimit({ rate: 10, burst: 20, key: (ctx) => ctx.call.peer.server ?? ctx.tool }),
    concurrencyLimit({ max: 4 }),
    adaptiveConcurrency(),
  ],
  { timeoutMs: 30_000, onReport: (report: CallReport) => void report.attempts },
);
export const own: string = tx.hello();
export const server = otelServer();
export const state: string | undefined = breaker.snapshot().circuits[0]?.state;

export async function call(): Promise<CallReport | undefined> {
  try {
    const value = await tx.invoke<{ readonly hits: number }>(
      "search",
      { query: "x" },
      { idempotencyKey: "1", retry: false },
    );
    value.hits.toFixed();
    return reportOf(await tx.call("search", { query: "x" }, { signal: new AbortController().signal }));
  } catch (error) {
    if (CircuitOpenError.isInstance(error)) return error.report;
    if (OutcomeUnknownError.isInstance(error)) return error.report;
    throw error;
  }
}

export const mistakes = [
  // @ts-expect-error maxAttempts, not retries
  () => retry({ retries: 3 }),
  // @ts-expect-error one of four words
  () => retry({ jitter: "lots" }),
  // @ts-expect-error rate is required
  () => rateLimit({ burst: 5 }),
  // @ts-expect-error consecutiveFailures, not threshold
  () => circuitBreaker({ threshold: 3 }),
  // @ts-expect-error a store has methods
  () => idempotency({ store: {} }),
  // @ts-expect-error max, not limit
  () => concurrencyLimit({ limit: 3 }),
  // @ts-expect-error no such call option
  () => tx.call("search", {}, { rety: false }),
  // @ts-expect-error no client at all
  () => wrapClient({}, []),
];

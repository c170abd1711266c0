import type { RateLimitDecision, RateLimitStore, RateLimitTerms } from "@mcp-tx/core/stores";
import type { Statement, Statements } from "./client.js";
import { pauseSql, refundSql, takeAndForgetSql, takeSql } from "./rate-limit-sql.js";
import type { Schema } from "./schema.js";
import { checkKey } from "./text.js";

/** Takes between two of which one also forgets idle keys: fewer than it forgets at a time, so that a flood cannot outrun it. */
const TAKES_PER_FORGETTING = 64;

/** Shared rate limits in a table. */
export class PostgresRateLimitStore implements RateLimitStore {
  readonly #take: Statement;
  readonly #takeAndForget: Statement;
  readonly #refund: Statement;
  readonly #pause: Statement;
  #takes = 0;

  constructor(statements: Statements, table: string, schema: Schema) {
    const prepare = (text: string): Statement => schema.explained(statements.statement(text));
    this.#take = prepare(takeSql(table));
    this.#takeAndForget = prepare(takeAndForgetSql(table));
    this.#refund = prepare(refundSql(table));
    this.#pause = prepare(pauseSql(table));
  }

  async take(key: string, { rate, burst, cost }: RateLimitTerms): Promise<RateLimitDecision> {
    checkKey(key);
    if (cost > burst) throw new RangeError(`postgresStore: cost must be at most burst (${burst}), got ${cost}`);
    const statement = this.#takes % TAKES_PER_FORGETTING === 0 ? this.#takeAndForget : this.#take;
    this.#takes += 1;
    const intervalMs = 1000 / rate;
    const [row] = await statement([key, cost * intervalMs, burst * intervalMs]);
    const retryAfterMs = Number(row?.["wait_ms"]);
    return { allowed: retryAfterMs === 0, retryAfterMs };
  }

  async refund(key: string, { rate, cost }: RateLimitTerms, ageMs: number): Promise<void> {
    checkKey(key);
    await this.#refund([key, (cost * 1000) / rate, Math.max(0, ageMs)]);
  }

  async pause(key: string, { rate, burst }: Omit<RateLimitTerms, "cost">, ms: number): Promise<void> {
    checkKey(key);
    if (!(ms > 0)) return;
    await this.#pause([key, ms, Math.max(0, ((burst - 1) * 1000) / rate)]);
  }
}

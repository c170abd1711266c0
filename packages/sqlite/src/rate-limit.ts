import type { RateLimitDecision, RateLimitStore, RateLimitTerms } from "@mcp-tx/core/stores";
import type { Connection, NamedStatement } from "./connection.js";
import type { WriteGroup } from "./group.js";
import * as sql from "./rate-limit-sql.js";
import { checkText } from "./text.js";

/** Takes between two of which one also looks for idle keys: fewer than it looks at, so that a flood of new ones cannot outrun it. */
const TAKES_PER_LOOK = 64;
const LOOKS = 256;

const ALLOWED: RateLimitDecision = Object.freeze({ allowed: true, retryAfterMs: 0 });

function checkTerms({ rate, burst, cost }: RateLimitTerms): void {
  if (!(rate > 0)) throw new RangeError(`sqliteStore: rate must be a number > 0, got ${rate}`);
  if (cost > 0 && cost <= burst) return;
  throw new RangeError(`sqliteStore: cost must be > 0 and <= burst, got ${cost}, burst ${burst}`);
}

/** Shared rate limits in a table. A take that is denied writes nothing. */
export class SqliteRateLimitStore implements RateLimitStore {
  readonly #writes: WriteGroup;
  readonly #take: NamedStatement;
  readonly #read: NamedStatement;
  readonly #refund: NamedStatement;
  readonly #pause: NamedStatement;
  readonly #look: NamedStatement;
  readonly #forget: NamedStatement;
  #takes = 0;
  /** The last row that was looked at. */
  #looked = 0;

  constructor(connection: Connection, writes: WriteGroup, table: string) {
    this.#writes = writes;
    this.#take = connection.prepare(sql.takeSql(table));
    this.#read = connection.prepare(sql.readSql(table));
    this.#refund = connection.prepare(sql.refundSql(table));
    this.#pause = connection.prepare(sql.pauseSql(table));
    this.#look = connection.prepare(sql.lookSql(table));
    this.#forget = connection.prepare(sql.forgetSql(table));
  }

  async take(key: string, terms: RateLimitTerms): Promise<RateLimitDecision> {
    checkText("the key", key);
    checkTerms(terms);
    const intervalMs = 1000 / terms.rate;
    const decision = await this.#writes.do((now) =>
      this.#decide(key, terms.cost * intervalMs, terms.burst * intervalMs, now),
    );
    this.#takes += 1;
    // Tokens are taken: no trouble with idle keys may take the answer away.
    if (this.#takes % TAKES_PER_LOOK === 0) await this.#writes.do((now) => this.#forgetIdle(now)).catch(() => 0);
    return decision;
  }

  async refund(key: string, { rate, cost }: RateLimitTerms, ageMs: number): Promise<void> {
    checkText("the key", key);
    const age = Math.max(0, ageMs);
    const worth = (cost * 1000) / rate - age;
    if (!(worth > 0)) return;
    await this.#writes.do((now) => this.#refund.run({ key, worth, takenAt: now - age }));
  }

  async pause(key: string, { rate, burst }: Omit<RateLimitTerms, "cost">, ms: number): Promise<void> {
    checkText("the key", key);
    if (!(ms > 0)) return;
    const rest = Math.max(0, ((burst - 1) * 1000) / rate);
    await this.#writes.do((now) => this.#pause.run({ key, until: now + ms, rest }));
  }

  #decide(key: string, worth: number, burst: number, now: number): RateLimitDecision {
    if (this.#take.run({ key, worth, burst, now }) > 0) return ALLOWED;
    const row = this.#read.get({ key });
    const dueAt = Math.max(Number(row?.["full_at"] ?? now), now) + worth - burst;
    const retryAfterMs = Math.max(dueAt, Number(row?.["paused_until"] ?? now)) - now;
    return { allowed: false, retryAfterMs: Math.max(retryAfterMs, sql.ROUNDING_MS) };
  }

  #forgetIdle(now: number): number {
    const after = this.#looked;
    const row = this.#look.get({ after, limit: LOOKS });
    const last = Number(row?.["last"] ?? after);
    this.#looked = Number(row?.["count"] ?? 0) < LOOKS ? 0 : last;
    return last > after ? this.#forget.run({ after, last, now }) : 0;
  }
}

import type {
  IdempotencyClaim,
  IdempotencyClaimed,
  IdempotencyRecord,
  IdempotencySettlement,
  IdempotencyState,
  IdempotencyStore,
} from "@mcp-tx/core/stores";
import type { Statement, Statements, TextRow } from "./client.js";
import { claimSql, expireSql, extendSql, getSql, releaseSql, settleSql, sweepSql } from "./idempotency-sql.js";
import type { Schema } from "./schema.js";
import { checkKey, checkText } from "./text.js";

function recordOf(key: string, row: TextRow): IdempotencyRecord {
  return {
    key,
    fingerprint: String(row["fingerprint"]),
    token: String(row["token"]),
    // A check of the table allows nothing else.
    state: row["state"] as IdempotencyState,
    epoch: Number(row["epoch"]),
    outcome: row["outcome"] ?? undefined,
    leaseUntil: Number(row["lease_until"]),
    expiresAt: Number(row["expires_at"]),
    sentAtWall: Number(row["sent_at_wall"]),
    sentTo: row["sent_to"] ?? undefined,
  };
}

/** Idempotency records in a table. */
export class PostgresIdempotencyStore implements IdempotencyStore {
  readonly durable = true;
  readonly #schema: Schema;
  readonly #claim: Statement;
  readonly #extend: Statement;
  readonly #settle: Statement;
  readonly #release: Statement;
  readonly #get: Statement;
  readonly #expire: Statement;
  readonly #sweep: Statement;

  constructor(statements: Statements, table: string, schema: Schema) {
    const prepare = (text: string): Statement => schema.explained(statements.statement(text));
    this.#schema = schema;
    this.#claim = prepare(claimSql(table));
    this.#extend = prepare(extendSql(table));
    this.#settle = prepare(settleSql(table));
    this.#release = prepare(releaseSql(table));
    this.#get = prepare(getSql(table));
    this.#expire = prepare(expireSql(table));
    this.#sweep = prepare(sweepSql(table));
  }

  get storeId(): string {
    return this.#schema.storeId;
  }

  async claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
    const { fingerprint, token, leaseMs, epoch, sentAtWall, sentTo = null, takeover = null } = claim;
    checkKey(key);
    checkText("sentTo", sentTo);
    const [row] = await this.#claim([key, fingerprint, token, leaseMs, epoch, sentAtWall, sentTo, takeover]);
    if (row === undefined)
      throw new Error("postgresStore: the claim gave no row; is there a trigger or a rule on the table?");
    return { won: row["won"] === "true", record: recordOf(key, row) };
  }

  async extend(key: string, token: string, leaseMs: number): Promise<boolean> {
    checkKey(key);
    return (await this.#extend([key, token, leaseMs])).length > 0;
  }

  async settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
    const { state, outcome = null, ttlMs, epoch = null } = settlement;
    checkKey(key);
    checkText("the outcome", outcome);
    return (await this.#settle([key, token, state, outcome, ttlMs, epoch])).length > 0;
  }

  async release(key: string, token: string): Promise<boolean> {
    checkKey(key);
    const [row] = await this.#release([key, token]);
    return row?.["owned"] === "true";
  }

  async get(key: string): Promise<IdempotencyRecord | undefined> {
    checkKey(key);
    const [row] = await this.#get([key]);
    return row === undefined ? undefined : recordOf(key, row);
  }

  async expire(key: string, token: string, ttlMs: number): Promise<boolean> {
    checkKey(key);
    return (await this.#expire([key, token, ttlMs])).length > 0;
  }

  async sweep(limit: number): Promise<number> {
    const [row] = await this.#sweep([limit === Infinity ? null : limit]);
    return Number(row?.["changed"]);
  }
}

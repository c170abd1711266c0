import type {
  SagaClaim,
  SagaClaimed,
  SagaCreation,
  SagaEnd,
  SagaEntry,
  SagaQuery,
  SagaRecord,
  SagaStatus,
  SagaStore,
} from "@mcp-tx/core/stores";
import type { Statement, Statements, TextRow } from "./client.js";
import {
  appendSql,
  claimSql,
  createSql,
  endSql,
  entriesSql,
  extendSql,
  getSql,
  listSql,
  releaseSql,
  sweepSql,
} from "./saga-sql.js";
import type { Schema } from "./schema.js";
import { checkKey, checkText } from "./text.js";

const ID = "the id";

function sagaOf(row: TextRow): SagaRecord {
  const deadlineAt = row["deadline_at"] ?? undefined;
  return {
    id: String(row["id"]),
    name: String(row["name"]),
    definition: String(row["definition"]),
    input: String(row["input"]),
    // A check of the table allows nothing else.
    status: row["status"] as SagaStatus,
    token: String(row["token"]),
    leaseUntil: Number(row["lease_until"]),
    deadlineAt: deadlineAt === undefined ? undefined : Number(deadlineAt),
    outcome: row["outcome"] ?? undefined,
    createdAt: Number(row["created_at"]),
    updatedAt: Number(row["updated_at"]),
    expiresAt: Number(row["expires_at"]),
  };
}

function entryOf(row: TextRow): SagaEntry {
  return { seq: Number(row["seq"]), at: Number(row["at"]), body: String(row["body"]) };
}

/** Sagas in a table, and their journals in another. */
export class PostgresSagaStore implements SagaStore {
  readonly durable = true;
  readonly #schema: Schema;
  readonly #prepare: (text: string) => Statement;
  readonly #table: string;
  readonly #create: Statement;
  readonly #claim: Statement;
  readonly #extend: Statement;
  readonly #append: Statement;
  readonly #end: Statement;
  readonly #release: Statement;
  readonly #get: Statement;
  readonly #entries: Statement;
  readonly #sweep: Statement;

  constructor(statements: Statements, table: string, entries: string, schema: Schema) {
    const prepare = (text: string): Statement => schema.explained(statements.statement(text));
    this.#schema = schema;
    this.#prepare = prepare;
    this.#table = table;
    this.#create = prepare(createSql(table));
    this.#claim = prepare(claimSql(table));
    this.#extend = prepare(extendSql(table));
    this.#append = prepare(appendSql(table, entries));
    this.#end = prepare(endSql(table));
    this.#release = prepare(releaseSql(table));
    this.#get = prepare(getSql(table));
    this.#entries = prepare(entriesSql(entries));
    this.#sweep = prepare(sweepSql(table, entries));
  }

  get storeId(): string {
    return this.#schema.storeId;
  }

  async create(id: string, creation: SagaCreation): Promise<{ readonly created: boolean; readonly saga: SagaRecord }> {
    const { name, definition, input, token, leaseMs, deadlineAt = null } = creation;
    checkKey(id, ID);
    checkText("the name", name);
    checkText("the definition", definition);
    checkText("the input", input);
    checkText("the token", token);
    const [row] = await this.#create([id, name, definition, input, token, leaseMs, deadlineAt]);
    if (row === undefined)
      throw new Error("postgresStore: the creation gave no row; is there a trigger or a rule on the table?");
    return { created: row["created"] === "true", saga: sagaOf(row) };
  }

  async claim(id: string, { token, leaseMs, from }: SagaClaim): Promise<SagaClaimed> {
    checkKey(id, ID);
    checkText("the token", token);
    const [row] = await this.#claim([id, token, leaseMs, from]);
    return { won: row?.["won"] === "true", saga: row === undefined ? undefined : sagaOf(row) };
  }

  async extend(id: string, token: string, leaseMs: number): Promise<boolean> {
    checkKey(id, ID);
    return (await this.#extend([id, token, leaseMs])).length > 0;
  }

  async append(
    id: string,
    token: string,
    entries: readonly { readonly seq: number; readonly body: string }[],
  ): Promise<boolean> {
    checkKey(id, ID);
    for (const { body } of entries) checkText("an entry", body);
    const numbers = entries.map(({ seq }) => seq);
    const bodies = entries.map(({ body }) => body);
    return (await this.#append([id, token, numbers, bodies])).length > 0;
  }

  async end(id: string, token: string, { status, outcome, ttlMs }: SagaEnd): Promise<boolean> {
    checkKey(id, ID);
    checkText("the outcome", outcome);
    return (await this.#end([id, token, status, outcome, ttlMs])).length > 0;
  }

  async release(id: string, token: string): Promise<boolean> {
    checkKey(id, ID);
    return (await this.#release([id, token])).length > 0;
  }

  async get(id: string): Promise<SagaRecord | undefined> {
    checkKey(id, ID);
    const [row] = await this.#get([id]);
    return row === undefined ? undefined : sagaOf(row);
  }

  async entries(id: string): Promise<readonly SagaEntry[]> {
    checkKey(id, ID);
    return (await this.#entries([id])).map(entryOf);
  }

  async list(query: SagaQuery): Promise<readonly SagaRecord[]> {
    checkText("the name", query.name ?? null);
    checkText("after", query.after ?? null);
    const { text, values } = listSql(this.#table, query);
    return (await this.#prepare(text)(values)).map(sagaOf);
  }

  async sweep(limit: number): Promise<number> {
    const [row] = await this.#sweep([limit === Infinity ? null : limit]);
    return Number(row?.["changed"]);
  }
}

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
import type { Connection, NamedStatement, Row, Values } from "./connection.js";
import { endOfTurn, WriteGroup } from "./group.js";
import * as sql from "./saga-sql.js";
import type { Tables } from "./tables.js";
import { checkText } from "./text.js";

/** A row of the table: its types are enforced by SQLite (`STRICT`). */
interface SagaRow {
  readonly id: string;
  readonly name: string;
  readonly definition: string;
  readonly input: string;
  readonly status: SagaStatus;
  readonly token: string;
  readonly lease_until: number;
  readonly deadline_at: number | null;
  readonly outcome: string | null;
  readonly created_at: number;
  readonly updated_at: number;
  readonly expires_at: number;
}

function recordOf(values: Row): SagaRecord {
  // It has been selected with all columns of the table.
  const row = values as unknown as SagaRow;
  return {
    id: row.id,
    name: row.name,
    definition: row.definition,
    input: row.input,
    status: row.status,
    token: row.token,
    leaseUntil: row.lease_until,
    deadlineAt: row.deadline_at ?? undefined,
    outcome: row.outcome ?? undefined,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    expiresAt: row.expires_at,
  };
}

/** A limit that SQLite takes. */
function rows(limit: number): number {
  return limit >= 1 ? Math.floor(Math.min(limit, Number.MAX_SAFE_INTEGER)) : 0;
}

function checkOwner(id: string, token: string): void {
  checkText("the id", id);
  checkText("the token", token);
}

/**
 * Sagas and their journals in two tables.
 *
 * @remarks
 * Each write takes several statements at most, in a transaction that it shares with the others of its turn. What it is given is read
 * and checked when it is asked for, not when its turn comes.
 */
export class SqliteSagaStore implements SagaStore {
  readonly storeId: string;
  readonly durable: boolean;
  readonly #connection: Connection;
  readonly #writes: WriteGroup;
  readonly #create: NamedStatement;
  readonly #repeat: NamedStatement;
  readonly #claim: NamedStatement;
  readonly #lease: NamedStatement;
  readonly #owned: NamedStatement;
  readonly #append: NamedStatement;
  readonly #end: NamedStatement;
  readonly #ended: NamedStatement;
  readonly #get: NamedStatement;
  readonly #entries: NamedStatement;
  readonly #list: NamedStatement;
  readonly #listStatus: NamedStatement;
  readonly #sweepEntries: NamedStatement;
  readonly #sweep: NamedStatement;

  constructor(connection: Connection, tables: Tables, identity: { storeId: string; durable: boolean }) {
    this.#connection = connection;
    this.#writes = new WriteGroup(connection, endOfTurn);
    this.storeId = identity.storeId;
    this.durable = identity.durable;
    this.#create = connection.prepare(sql.createSql(tables));
    this.#repeat = connection.prepare(sql.repeatSql(tables));
    this.#claim = connection.prepare(sql.claimSql(tables));
    this.#lease = connection.prepare(sql.leaseSql(tables));
    this.#owned = connection.prepare(sql.ownedSql(tables));
    this.#append = connection.prepare(sql.appendSql(tables));
    this.#end = connection.prepare(sql.endSql(tables));
    this.#ended = connection.prepare(sql.endedSql(tables));
    this.#get = connection.prepare(sql.getSql(tables));
    this.#entries = connection.prepare(sql.entriesSql(tables));
    this.#list = connection.prepare(sql.listSql(tables, false));
    this.#listStatus = connection.prepare(sql.listSql(tables, true));
    this.#sweepEntries = connection.prepare(sql.sweepEntriesSql(tables));
    this.#sweep = connection.prepare(sql.sweepSql(tables));
  }

  /** Writes what has been asked for so far, at once. */
  flush(): void {
    this.#writes.flush();
  }

  async create(id: string, creation: SagaCreation): Promise<{ readonly created: boolean; readonly saga: SagaRecord }> {
    const { name, definition, input, token, leaseMs, deadlineAt = null } = creation;
    checkOwner(id, token);
    checkText("the name", name);
    checkText("the definition", definition);
    checkText("the input", input);
    return this.#writes.do((now) => {
      const values = { id, name, definition, input, token, deadlineAt, leaseUntil: now + leaseMs, now };
      const created = this.#create.run(values) > 0 || this.#repeat.run(values) > 0;
      const saga = this.#standing(id);
      if (saga === undefined) throw new Error("sqliteStore: a saga was written and is not there");
      return { created, saga };
    });
  }

  async claim(id: string, { token, leaseMs, from }: SagaClaim): Promise<SagaClaimed> {
    checkOwner(id, token);
    const given = {
      id,
      token,
      fromRunning: from.includes("running") ? 1 : 0,
      fromStuck: from.includes("stuck") ? 1 : 0,
    };
    return this.#writes.do((now) => {
      const won = this.#claim.run({ ...given, leaseUntil: now + leaseMs, now }) > 0;
      return { won, saga: this.#standing(id) };
    });
  }

  async extend(id: string, token: string, leaseMs: number): Promise<boolean> {
    checkOwner(id, token);
    return this.#writes.do((now) => this.#lease.run({ id, token, leaseUntil: now + leaseMs }) > 0);
  }

  async append(
    id: string,
    token: string,
    entries: readonly { readonly seq: number; readonly body: string }[],
  ): Promise<boolean> {
    checkOwner(id, token);
    const given = entries.map(({ seq, body }) => ({ seq, body }));
    for (const { body } of given) checkText("an entry", body);
    return this.#writes.do((now) => {
      const owned = this.#owned.get({ id, token });
      if (owned === undefined) return false;
      const saga = Number(owned["number"]);
      for (const { seq, body } of given) this.#append.run({ saga, seq, body, now });
      return true;
    });
  }

  async end(id: string, token: string, { status, outcome, ttlMs }: SagaEnd): Promise<boolean> {
    checkOwner(id, token);
    checkText("the outcome", outcome);
    return this.#writes.do((now) => {
      const expiresAt = status === "stuck" ? Infinity : now + ttlMs;
      if (this.#end.run({ id, token, status, outcome, expiresAt, now }) > 0) return true;
      return this.#ended.get({ id, token, status }) !== undefined;
    });
  }

  async release(id: string, token: string): Promise<boolean> {
    checkOwner(id, token);
    return this.#writes.do(() => this.#lease.run({ id, token, leaseUntil: 0 }) > 0);
  }

  async get(id: string): Promise<SagaRecord | undefined> {
    checkText("the id", id);
    return this.#connection.read(() => this.#standing(id));
  }

  async entries(id: string): Promise<readonly SagaEntry[]> {
    checkText("the id", id);
    const found = await this.#connection.read(() => this.#entries.all({ id }));
    return found.map((row) => ({ seq: Number(row["seq"]), at: Number(row["at"]), body: String(row["body"]) }));
  }

  async list({ status, name, unowned, after, limit }: SagaQuery): Promise<readonly SagaRecord[]> {
    checkText("the name", name);
    checkText("after", after);
    const given: Values = {
      ...{ status: status ?? null, name: name ?? null, unowned: unowned === true ? 1 : 0 },
      ...{ after: after ?? null, from: after ?? "", limit: rows(limit) },
    };
    const statement = status === undefined ? this.#list : this.#listStatus;
    const found = await this.#connection.read((now) => statement.all({ ...given, now }));
    return found.map(recordOf);
  }

  async sweep(limit: number): Promise<number> {
    const most = rows(limit);
    if (most === 0) return 0;
    return this.#writes.do((now) => {
      this.#sweepEntries.run({ now, limit: most });
      return this.#sweep.run({ now, limit: most });
    });
  }

  #standing(id: string): SagaRecord | undefined {
    const row = this.#get.get({ id });
    return row === undefined ? undefined : recordOf(row);
  }
}

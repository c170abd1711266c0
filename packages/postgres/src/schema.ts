import { lacksSchema, type Statement, type Statements } from "./client.js";
import { dueAt } from "./idempotency-sql.js";
import type { Tables } from "./tables.js";

/** Only one process at a time changes the schema. Any number will do, as long as all versions take this one. */
const LOCK = "7308604895923532393";

/** Tables that came together in one version. */
interface Step {
  /** Makes them. A step that was released is never changed. */
  readonly create: (tables: Tables) => string;
  /** Those that are worth something: to lose them is to lose data. */
  readonly records: (tables: Tables) => readonly string[];
  /** Those that are worth nothing without the others. */
  readonly rest: (tables: Tables) => readonly string[];
}

/**
 * The steps to each version, from nothing to 1 first. "C" everywhere: an index over another collation breaks when the operating system's
 * changes, and a broken unique index lets a second claim in. Free space per page where rows are updated in place.
 */
const STEPS: readonly Step[] = [
  {
    create: (tables) => `
    CREATE TABLE ${tables.idempotency} (
      key text COLLATE "C" PRIMARY KEY,
      fingerprint text NOT NULL,
      token text NOT NULL,
      state text NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'unknown')),
      epoch bigint NOT NULL,
      outcome text,
      lease_until float8 NOT NULL,
      expires_at float8 NOT NULL,
      sent_at_wall float8 NOT NULL,
      sent_to text
    ) WITH (fillfactor = 70);
    CREATE INDEX ${tables.idempotencyDue} ON ${tables.idempotency} ((${dueAt()})) WHERE state <> 'unknown';
    CREATE TABLE ${tables.rateLimit} (
      key text COLLATE "C" PRIMARY KEY,
      full_at float8 NOT NULL,
      paused_until float8 NOT NULL DEFAULT '-Infinity',
      wait_ms float8 NOT NULL DEFAULT 0,
      idle_at float8 NOT NULL
    ) WITH (fillfactor = 50);
    CREATE INDEX ${tables.rateLimitIdle} ON ${tables.rateLimit} (idle_at);`,
    records: (tables) => [tables.idempotency],
    rest: (tables) => [tables.rateLimit],
  },
  {
    create: (tables) => `
    CREATE TABLE ${tables.saga} (
      id text COLLATE "C" PRIMARY KEY,
      name text NOT NULL,
      definition text NOT NULL,
      input text NOT NULL,
      status text NOT NULL CHECK (status IN ('running', 'completed', 'compensated', 'stuck', 'abandoned')),
      token text NOT NULL,
      lease_until float8 NOT NULL,
      deadline_at float8,
      outcome text,
      created_at float8 NOT NULL,
      updated_at float8 NOT NULL,
      expires_at float8 NOT NULL
    ) WITH (fillfactor = 70);
    CREATE INDEX ${tables.sagaUnfinished} ON ${tables.saga} (status, id, lease_until)
      WHERE status IN ('running', 'stuck');
    CREATE INDEX ${tables.sagaDue} ON ${tables.saga} (expires_at) WHERE expires_at < 'Infinity';
    CREATE TABLE ${tables.sagaEntry} (
      saga_id text COLLATE "C",
      seq bigint,
      at float8 NOT NULL,
      body text NOT NULL,
      PRIMARY KEY (saga_id, seq)
    );`,
    records: (tables) => [tables.saga, tables.sagaEntry],
    rest: () => [],
  },
];

/** The version that this package reads and writes. */
export const SCHEMA_VERSION: number = STEPS.length;

/**
 * One step, taken when it is new or when its records are lost, which those of other steps may survive. Records of which only a part
 * is lost are left alone: sagas without their journals would begin again, and a journal without its saga may be all there is
 * to know about it.
 */
function stepTo(version: number, { create, records, rest }: Step, tables: Tables): string {
  const missing = records(tables).map((table) => `to_regclass('${table}') IS NULL`);
  const drops = rest(tables).map((table) => `DROP TABLE IF EXISTS ${table};`);
  return `IF installed < ${version} THEN ${create(tables)}
  ELSIF ${missing.join(" AND ")} THEN lost := true; ${drops.join(" ")} ${create(tables)}
  ELSIF ${missing.join(" OR ")} THEN
    RAISE EXCEPTION 'postgresStore: one of the tables ${records(tables).join(" and ")} is lost. Restore it, or drop the other one too.';
  END IF;`;
}

/**
 * Brings the schema to this version, as one statement and so in one transaction. Nothing is created that is there, because even
 * `IF NOT EXISTS` asks for the right to create. Lost records mean a new identity.
 */
function migration(tables: Tables): string {
  const steps = STEPS.map((step, index) => stepTo(index + 1, step, tables));
  return `DO $mcp_tx$
DECLARE
  installed integer;
  lost boolean := false;
BEGIN
  PERFORM pg_advisory_xact_lock(${LOCK});
  IF to_regclass('${tables.meta}') IS NULL THEN
    CREATE TABLE ${tables.meta} (
      only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
      version integer NOT NULL,
      store_id uuid NOT NULL
    );
  END IF;
  SELECT m.version INTO installed FROM ${tables.meta} AS m;
  IF installed > ${SCHEMA_VERSION} THEN RETURN; END IF;
  IF installed IS NULL THEN
    INSERT INTO ${tables.meta} (version, store_id) VALUES (0, gen_random_uuid());
    installed := 0;
  END IF;
  ${steps.join("\n  ")}
  IF lost THEN UPDATE ${tables.meta} AS m SET store_id = gen_random_uuid(); END IF;
  IF installed < ${SCHEMA_VERSION} THEN UPDATE ${tables.meta} AS m SET version = ${SCHEMA_VERSION}; END IF;
END $mcp_tx$`;
}

/** The schema of a store, and the identity of its data. */
export class Schema {
  readonly #statements: Statements;
  readonly #tables: Tables;
  #storeId: string | undefined;

  constructor(statements: Statements, tables: Tables) {
    this.#statements = statements;
    this.#tables = tables;
  }

  get storeId(): string {
    if (this.#storeId !== undefined) return this.#storeId;
    throw new Error("postgresStore: storeId is not known yet; await migrate() or ready() of the store first");
  }

  async migrate(): Promise<void> {
    await this.#statements.run(migration(this.#tables));
    await this.ready();
  }

  async ready(): Promise<void> {
    const { version, storeId } = await this.#read();
    if (version < SCHEMA_VERSION) throw this.#failure(`has schema version ${version}, and ${SCHEMA_VERSION} is needed`);
    if (version > SCHEMA_VERSION) {
      throw new Error(
        `postgresStore: table "${this.#tables.given}" has schema version ${version}, made by a newer @mcp-tx/postgres; ` +
          `this one knows ${SCHEMA_VERSION}. Upgrade the package.`,
      );
    }
    this.#storeId = storeId;
  }

  /** The same statement, whose error says what to do when the tables are not there. */
  explained(statement: Statement): Statement {
    return (values) => statement(values).catch((error: unknown) => this.#explain(error));
  }

  async #read(): Promise<{ readonly version: number; readonly storeId: string }> {
    const text = `SELECT version::text AS version, store_id::text AS store_id FROM ${this.#tables.meta}`;
    const [row] = await this.#statements.run(text).catch((error: unknown) => this.#explain(error));
    if (row === undefined) throw this.#failure("is empty");
    return { version: Number(row["version"]), storeId: String(row["store_id"]) };
  }

  #explain(error: unknown): never {
    throw lacksSchema(error) ? this.#failure("is not there", error) : error;
  }

  #failure(what: string, cause?: unknown): Error {
    return new Error(
      `postgresStore: the schema of table "${this.#tables.given}" ${what}. Run \`await store.migrate()\` once, ` +
        "before the processes that use it start, with a role that may create tables.",
      cause === undefined ? undefined : { cause },
    );
  }
}

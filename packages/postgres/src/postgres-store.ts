import { flag, objectWith, readOptions } from "@mcp-tx/core/options";
import type { IdempotencyStore, RateLimitStore, SagaStore } from "@mcp-tx/core/stores";
import { type PostgresClient, Statements } from "./client.js";
import { PostgresIdempotencyStore } from "./idempotency.js";
import { PostgresRateLimitStore } from "./rate-limit.js";
import { PostgresSagaStore } from "./saga.js";
import { Schema } from "./schema.js";
import { tables } from "./tables.js";

const OWNER = "postgresStore";

/** Options of {@link postgresStore}. */
export interface PostgresStoreOptions {
  /**
   * A `Pool` of `pg`, or a `Client` that nobody else uses transactions on: what the store writes inside a transaction would be rolled
   * back with it. It stays yours to configure, to listen to (`pool.on("error", ...)`) and to end.
   */
  readonly pool: PostgresClient;
  /**
   * What the names of the tables begin with, `name` or `schema.name`, letters, digits and `_`. Case matters. Without a schema the
   * connection's `search_path` says where they are. The schema must exist.
   *
   * @defaultValue "mcp_tx"
   */
  readonly table?: string | undefined;
  /**
   * Whether statements are prepared by name, once per connection, which spares the server planning them again. Not behind a pooler that
   * hands each transaction another connection and does not know prepared statements (PgBouncer before 1.21).
   *
   * @defaultValue false
   */
  readonly prepare?: boolean | undefined;
}

/** The stores of one set of tables. */
export interface PostgresStore {
  /** For `idempotency({ store })`. Its `storeId` is known after {@link PostgresStore.ready} or {@link PostgresStore.migrate}. */
  readonly idempotency: IdempotencyStore;
  /** For `rateLimit({ store })`. */
  readonly rateLimit: RateLimitStore;
  /** For a runner of sagas. Its `storeId` is that of `idempotency`. */
  readonly saga: SagaStore;
  /**
   * Creates the tables or brings them to this version, then does what `ready` does. Any number of processes may do so at once and
   * again: one statement in one transaction under an advisory lock.
   *
   * Tables whose records are lost are made anew, and the data has another identity.
   *
   * @throws Error when the tables were made by a newer version of this package, when only a part of the sagas is lost, and what the
   * database says, such as that the role may not create tables
   */
  migrate(): Promise<void>;
  /**
   * Checks the version of the tables and learns `storeId`. One query; to be awaited before the first call.
   *
   * @throws Error when `migrate` was never run, or the version is not the one that this package knows, saying what to do
   */
  ready(): Promise<void>;
  /** Does nothing: the pool is yours. */
  close(): Promise<void>;
}

/**
 * Keeps idempotency records, rate limits and sagas in PostgreSQL 13 or later, shared by all processes, on the database's clock.
 *
 * @throws TypeError naming the option
 */
export function postgresStore(options: PostgresStoreOptions): PostgresStore {
  const read = readOptions(OWNER, options, {
    pool: objectWith<PostgresClient>("query"),
    table: tables("mcp_tx"),
    prepare: flag(false),
  });
  if (read.pool === undefined) throw new TypeError(`${OWNER}: pool must be a Pool or Client of pg, got undefined`);
  const statements = new Statements(read.pool, read.prepare);
  const schema = new Schema(statements, read.table);
  return {
    idempotency: new PostgresIdempotencyStore(statements, read.table.idempotency, schema),
    rateLimit: new PostgresRateLimitStore(statements, read.table.rateLimit, schema),
    saga: new PostgresSagaStore(statements, read.table.saga, read.table.sagaEntry, schema),
    migrate: () => schema.migrate(),
    ready: () => schema.ready(),
    close: async () => undefined,
  };
}

import { defaultRuntime, type Runtime } from "@mcp-tx/core";
import { number, type OptionReader, objectWith, readOptions } from "@mcp-tx/core/options";
import type { IdempotencyStore, RateLimitStore, SagaStore } from "@mcp-tx/core/stores";
import { Connection } from "./connection.js";
import { configure, isInFile, openDatabase, type SqliteDatabase } from "./database.js";
import { endOfTick, WriteGroup } from "./group.js";
import { SqliteIdempotencyStore } from "./idempotency.js";
import { SqliteRateLimitStore } from "./rate-limit.js";
import { SqliteSagaStore } from "./saga.js";
import { migrate } from "./schema.js";
import { type Tables, tables } from "./tables.js";

const OWNER = "sqliteStore";

/** Options of {@link sqliteStore}: a `path` or a `database`. */
export interface SqliteStoreOptions {
  /**
   * The file, created when it is not there; its folder must be. On a local disk: the locks of SQLite do not work on network file
   * systems. `":memory:"` keeps everything in this process.
   */
  readonly path?: string | undefined;
  /**
   * An open `Database` of `better-sqlite3` 12 or `libsql`, or a `DatabaseSync` of `node:sqlite`. It stays yours to configure and to close.
   * What the store is to do while you have a transaction open on it is refused.
   */
  readonly database?: SqliteDatabase | undefined;
  /**
   * What the names of the tables begin with: letters, digits and `_`.
   * @defaultValue "mcp_tx"
   */
  readonly table?: string | undefined;
  /**
   * Milliseconds for which the lock of another process is waited for, without blocking this one. At least 0.
   * @defaultValue 5000
   */
  readonly busyTimeoutMs?: number | undefined;
  /**
   * Whose wall clock is the store's clock. All processes that share a file must be on the same one.
   * @defaultValue the process clock
   */
  readonly runtime?: Runtime | undefined;
}

/** The stores in one file. */
export interface SqliteStore {
  /** For `idempotency({ store })`. */
  readonly idempotency: IdempotencyStore;
  /** For `rateLimit({ store })`. */
  readonly rateLimit: RateLimitStore;
  /**
   * For `createSagaRunner({ store })`. What is written within one turn of the event loop shares a transaction, so that the disk is
   * waited for once: many sagas at once cost little more than one.
   */
  readonly saga: SagaStore;
  /** Ends the store; closes the file if it was opened by `path`. More than once is fine. */
  close(): Promise<void>;
}

function filePath(): OptionReader<string | undefined> {
  return (value, path) => {
    if (value === undefined || (typeof value === "string" && value !== "" && !value.includes("\0"))) return value;
    throw new TypeError(`${path} must be the path of a file, got ${typeof value === "string" ? '""' : typeof value}`);
  };
}

function storeOn(connection: Connection, names: Tables): SqliteStore {
  const storeId = migrate(connection, names);
  const identity = { storeId, durable: isInFile(connection.database) };
  const writes = new WriteGroup(connection, endOfTick);
  const saga = new SqliteSagaStore(connection, names, identity);
  return {
    idempotency: new SqliteIdempotencyStore(connection, writes, names.idempotency, identity),
    rateLimit: new SqliteRateLimitStore(connection, writes, names.rateLimit),
    saga,
    async close() {
      writes.flush();
      saga.flush();
      connection.close();
    },
  };
}

/**
 * Keeps idempotency records, rate limits and sagas in a SQLite file, for one process or for several on the same machine.
 *
 * @remarks
 * Opens the file and creates its tables at once. Uses `node:sqlite` where Node has it (22.13 and later), else the package `libsql`.
 *
 * @throws TypeError or RangeError naming the option; Error when there is neither `node:sqlite` nor `libsql`, when the file cannot be
 * opened, or when a newer version of this package made its tables
 */
export function sqliteStore(options: SqliteStoreOptions): SqliteStore {
  const read = readOptions(OWNER, options, {
    path: filePath(),
    database: objectWith<SqliteDatabase>("prepare", "exec", "close"),
    table: tables("mcp_tx"),
    busyTimeoutMs: number({ min: 0 }, 5000),
    runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
  });
  const { path, database, busyTimeoutMs, runtime = defaultRuntime } = read;
  if ((path === undefined) === (database === undefined)) {
    throw new TypeError(`${OWNER}: give either path, the file to open, or database, an open one`);
  }
  const owned = database === undefined;
  const connection = new Connection(database ?? openDatabase(path ?? ""), { owned, busyTimeoutMs, runtime });
  try {
    if (owned) connection.insistently(() => configure(connection.database));
    return storeOn(connection, read.table);
  } catch (error) {
    connection.close();
    throw error;
  }
}

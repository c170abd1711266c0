import { createRequire } from "node:module";

/** What a value in SQLite can be. Booleans cannot: libsql would bind them wrongly. */
export type SqlValue = string | number | null;

/** A prepared statement, as `node:sqlite`, `better-sqlite3` and `libsql` have them. */
export interface SqliteStatement {
  /** Runs a statement that returns no rows. */
  run(...values: SqlValue[]): { readonly changes: number | bigint };
  /** The first row, or `undefined`. */
  get(...values: SqlValue[]): unknown;
  /** All rows. */
  all(...values: SqlValue[]): unknown[];
}

/** An open database: a `DatabaseSync` of `node:sqlite`, or a `Database` of `better-sqlite3` or `libsql`. */
export interface SqliteDatabase {
  prepare(sql: string): SqliteStatement;
  exec(sql: string): unknown;
  close(): unknown;
}

type DatabaseClass = new (path: string) => SqliteDatabase;

/** How long SQLite itself waits for a lock. It blocks the process meanwhile: the long waiting is done without that. */
const NATIVE_WAIT_MS = 5;

/** Loaded on first use, not at import. It is there without a flag from Node 22.13 on. */
function nodeDatabase(): DatabaseClass | undefined {
  // By its documentation this is the module of that name, or undefined where there is none.
  const sqlite = process.getBuiltinModule?.("node:sqlite") as { readonly DatabaseSync: DatabaseClass } | undefined;
  return sqlite?.DatabaseSync;
}

function libsqlDatabase(): DatabaseClass {
  try {
    // The class is the module itself.
    return createRequire(import.meta.url)("libsql") as DatabaseClass;
  } catch (cause) {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "MODULE_NOT_FOUND";
    throw new Error(
      `sqliteStore: this Node (${process.version}) has no node:sqlite, which comes with 22.13, and libsql ` +
        `${isMissing ? "is not installed" : "does not load"}: run \`npm install libsql\``,
      { cause },
    );
  }
}

/**
 * Opens a file with what this Node has.
 *
 * @throws Error when there is neither `node:sqlite` nor `libsql`, or the file cannot be opened
 */
export function openDatabase(path: string): SqliteDatabase {
  const Database = nodeDatabase() ?? libsqlDatabase();
  return new Database(path);
}

/** Sets up a database that we opened. */
export function configure(database: SqliteDatabase): void {
  // EXTRA: after a power cut, too, what was committed is there. A claim that is forgotten lets its call run a second time.
  database.exec(`PRAGMA busy_timeout = ${NATIVE_WAIT_MS}; PRAGMA synchronous = EXTRA`);
  if (nodeDatabase() !== undefined) return;
  // The write-ahead log of libsql is its own: other processes, with other drivers, are to share the file.
  database.exec("PRAGMA journal_mode = DELETE");
  const row = database.prepare("PRAGMA journal_mode").get() as { readonly journal_mode?: unknown } | undefined;
  const mode = row?.journal_mode;
  if (mode === "delete" || mode === "memory") return;
  throw new Error(`sqliteStore: with libsql the file must be in journal mode DELETE, it stays in ${String(mode)}`);
}

/** Whether the data is in a file: `memory` is a member of `better-sqlite3` and `libsql`, `location()` one of `node:sqlite`. */
export function isInFile(database: SqliteDatabase): boolean {
  const { memory, location } = database as { readonly memory?: unknown; readonly location?: unknown };
  if (typeof location === "function") return location.call(database) !== null;
  return memory !== true;
}

/** Whether somebody has a transaction open on this connection. */
export function isInTransaction(database: SqliteDatabase): boolean {
  const { inTransaction, isTransaction } = database as {
    readonly inTransaction?: unknown;
    readonly isTransaction?: unknown;
  };
  return inTransaction === true || isTransaction === true;
}

const SQLITE_BUSY = 5;

/** Whether a statement failed because another connection held the lock: then it changed nothing. */
export function isBusy(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  const { code, errcode } = error as { readonly code?: unknown; readonly errcode?: unknown };
  // Extended codes carry the plain one in their lowest byte.
  if (typeof errcode === "number") return (errcode & 0xff) === SQLITE_BUSY;
  return typeof code === "string" && code.startsWith("SQLITE_BUSY");
}

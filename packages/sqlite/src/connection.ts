import { defaultRuntime, type Runtime } from "@mcp-tx/core";
import { clockOf } from "./clock.js";
import { isBusy, isInTransaction, type SqliteDatabase, type SqlValue } from "./database.js";

/** Values by the names they have in a statement's text. */
export type Values = Readonly<Record<string, SqlValue>>;

/** A row: an object with a member for each column. */
export type Row = Readonly<Record<string, unknown>>;

/** A statement whose values have names: `:key` in its text. */
export interface NamedStatement {
  /** Runs it; how many rows it changed. */
  run(values: Values): number;
  get(values: Values): Row | undefined;
  all(values: Values): readonly Row[];
}

/** Options of a {@link Connection}. */
export interface ConnectionOptions {
  /** Whether we opened the database: nobody else has transactions on it, and it is ours to close. */
  readonly owned: boolean;
  readonly busyTimeoutMs: number;
  readonly runtime: Runtime;
}

/** The longest pause before a locked file is tried again. */
const MAX_PAUSE_MS = 25;

/** Every driver has plain `?`; of numbered and named ones each has its own idea. */
function positional(text: string): { readonly sql: string; readonly names: readonly string[] } {
  const names: string[] = [];
  const sql = text.replaceAll(/:([a-zA-Z]+)/g, (_, name: string) => {
    names.push(name);
    return "?";
  });
  return { sql, names };
}

/** A database, with waiting for the locks of other processes that does not block this one. */
export class Connection {
  readonly database: SqliteDatabase;
  readonly #owned: boolean;
  readonly #busyTimeoutMs: number;
  readonly #clock: () => number;
  #isClosed = false;

  constructor(database: SqliteDatabase, { owned, busyTimeoutMs, runtime }: ConnectionOptions) {
    this.database = database;
    this.#owned = owned;
    this.#busyTimeoutMs = busyTimeoutMs;
    this.#clock = clockOf(runtime);
  }

  prepare(text: string): NamedStatement {
    const { sql, names } = positional(text);
    const statement = this.database.prepare(sql);
    const order = (values: Values): SqlValue[] => names.map((name) => values[name] ?? null);
    return {
      run: (values) => Number(statement.run(...order(values)).changes),
      // Rows are objects unless a driver is told otherwise.
      get: (values) => statement.get(...order(values)) as Row | undefined,
      all: (values) => statement.all(...order(values)) as readonly Row[],
    };
  }

  /**
   * Does some work with statements, at a time on the store's clock; again, from the start, while another process holds the lock.
   *
   * @returns rejects when the store is closed, the file stays locked, or the work throws
   */
  do<T>(work: (now: number) => T): Promise<T> {
    try {
      return Promise.resolve(this.#attempt(work));
    } catch (error) {
      return isBusy(error) ? this.#repeat(work, error) : Promise.reject(error);
    }
  }

  /** The same at once, blocking the process: for opening. */
  doNow<T>(work: () => T): T {
    const until = performance.now() + this.#busyTimeoutMs;
    for (;;) {
      try {
        return work();
      } catch (error) {
        if (!isBusy(error)) throw error;
        if (performance.now() >= until) throw this.#locked(error);
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.random() * MAX_PAUSE_MS);
      }
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#owned) this.database.close();
  }

  #attempt<T>(work: (now: number) => T): T {
    // A statement of libsql works on after its database was closed.
    if (this.#isClosed) throw new Error("sqliteStore: the store is closed");
    if (!this.#owned && isInTransaction(this.database)) {
      throw new Error(
        "sqliteStore: a transaction is open on the given database, and a record that is rolled back with it would let its " +
          "call run twice; give the store a database of its own, or commit before anything is awaited",
      );
    }
    return work(this.#clock());
  }

  async #repeat<T>(work: (now: number) => T, first: unknown): Promise<T> {
    const until = performance.now() + this.#busyTimeoutMs;
    let error = first;
    for (let pauseMs = 1; performance.now() < until; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      // The lock is real, whatever clock the store is on. Nobody orders those who wait, so chance has to.
      await defaultRuntime.sleep(Math.random() * pauseMs);
      try {
        return this.#attempt(work);
      } catch (next) {
        if (!isBusy(next)) throw next;
        error = next;
      }
    }
    throw this.#locked(error);
  }

  #locked(cause: unknown): Error {
    return new Error(`sqliteStore: another process has held the lock on the file for ${this.#busyTimeoutMs} ms`, {
      cause,
    });
  }
}

/** Does some work in a transaction of its own: all of it, or nothing when it throws or cannot be committed. */
export function inTransaction<T>(connection: Connection, work: () => T): T {
  // IMMEDIATE: a transaction that reads first and writes later cannot wait for another one that does the same.
  connection.database.exec("BEGIN IMMEDIATE");
  try {
    const value = work();
    connection.database.exec("COMMIT");
    return value;
  } catch (error) {
    rollBack(connection);
    throw error;
  }
}

function rollBack(connection: Connection): void {
  try {
    connection.database.exec("ROLLBACK");
  } catch {
    // After some failures, such as a full disk, SQLite has done so already.
  }
}

import { setImmediate } from "node:timers/promises";
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
/** For so long those who wait here take the lock one after the other, before others get a chance. */
const SLICE_MS = 25;
/** Others count as waiting, too, for so long after the lock was last found taken. */
const CONTENDED_MS = 1000;

/** Every driver has plain `?`; of numbered and named ones each has its own idea. */
function positional(text: string): { readonly sql: string; readonly names: readonly string[] } {
  const names: string[] = [];
  const sql = text.replaceAll(/:([a-zA-Z]+)/g, (_, name: string) => {
    names.push(name);
    return "?";
  });
  return { sql, names };
}

/** A caller without types can hand in anything; libsql ends the process over a boolean, and takes a list for several values. */
function checked(name: string, value: unknown): SqlValue {
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  throw new TypeError(`sqliteStore: ${name} must be a string, a number or nothing, got ${typeof value}`);
}

/** Those of one kind who wait for the lock. */
interface Line {
  /** Resolves when the last of them has had it. */
  last: Promise<unknown>;
  waiting: number;
}

/** A database, with waiting for the locks of other processes that does not block this one. */
export class Connection {
  readonly database: SqliteDatabase;
  /** For how long the lock is waited for, from when it was last had here. */
  readonly busyTimeoutMs: number;
  readonly #owned: boolean;
  readonly #clock: () => number;
  readonly #writes: Line = { last: Promise.resolve(), waiting: 0 };
  readonly #reads: Line = { last: Promise.resolve(), waiting: 0 };
  /** When the lock was last found taken, when it was last had, and when the present slice began. */
  #takenAt = -Infinity;
  #heldAt = -Infinity;
  #sliceAt = 0;
  #isClosed = false;

  constructor(database: SqliteDatabase, { owned, busyTimeoutMs, runtime }: ConnectionOptions) {
    this.database = database;
    this.busyTimeoutMs = busyTimeoutMs;
    this.#owned = owned;
    this.#clock = clockOf(runtime);
  }

  prepare(text: string): NamedStatement {
    const { sql, names } = positional(text);
    const statement = this.database.prepare(sql);
    function order(values: Values): SqlValue[] {
      const ordered: SqlValue[] = [];
      for (const name of names) ordered.push(checked(name, values[name] ?? null));
      return ordered;
    }
    return {
      run: (values) => Number(statement.run(...order(values)).changes),
      // Rows are objects unless a driver is told otherwise.
      get: (values) => statement.get(...order(values)) as Row | undefined,
      all: (values) => statement.all(...order(values)) as readonly Row[],
    };
  }

  /**
   * Does some work with statements in a transaction of its own, at a time on the store's clock; again, from the start, while another
   * process holds the lock.
   *
   * @returns rejects when the store is closed, the file stays locked, or the work throws
   */
  write<T>(work: (now: number) => T): Promise<T> {
    return this.inLine((now) => inTransaction(this, () => work(now)));
  }

  /** The same for work that only reads. Those that wait to write need not go first: a writer is seldom in the way. */
  read<T>(work: (now: number) => T): Promise<T> {
    return this.#do(this.#reads, (now) => within(this, READ, () => work(now)));
  }

  /** Does some work, as `write` does, that sees to its transactions itself, and has waited since `askedAt`. */
  inLine<T>(work: (now: number) => T, askedAt?: number): Promise<T> {
    return this.#do(this.#writes, work, askedAt);
  }

  /** Writes at once, blocking the process: for opening. */
  writeNow<T>(work: () => T): T {
    return this.insistently(() => inTransaction(this, work));
  }

  /** Reads at once, blocking the process: for opening. */
  readNow<T>(work: () => T): T {
    return this.insistently(() => within(this, READ, work));
  }

  /** Does something that may find the file locked again and again, blocking the process: for opening. */
  insistently<T>(work: () => T): T {
    const until = performance.now() + this.busyTimeoutMs;
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

  /** Of those who wait one tries at a time, in the order in which they came: each attempt blocks the process for a moment. */
  #do<T>(line: Line, work: (now: number) => T, askedAt?: number): Promise<T> {
    if (line.waiting > 0) return this.#queue(line, work, askedAt);
    try {
      return Promise.resolve(this.#attempt(work));
    } catch (error) {
      return isBusy(error) ? this.#queue(line, work, askedAt) : Promise.reject(error);
    }
  }

  #queue<T>(line: Line, work: (now: number) => T, askedAt = performance.now()): Promise<T> {
    line.waiting += 1;
    const turn = line === this.#writes ? line.last.then(() => this.#giveWay()) : line.last;
    const answer = turn.then(() => this.#untilFree(work, askedAt));
    line.last = answer
      .catch(() => undefined)
      .finally(() => {
        line.waiting -= 1;
      });
    return answer;
  }

  async #untilFree<T>(work: (now: number) => T, askedAt: number): Promise<T> {
    for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      try {
        const value = this.#attempt(work);
        this.#heldAt = performance.now();
        return value;
      } catch (error) {
        if (!isBusy(error)) throw error;
        this.#takenAt = performance.now();
        if (this.#takenAt - Math.max(askedAt, this.#heldAt) >= this.busyTimeoutMs) throw this.#locked(error);
      }
      // The lock is real, whatever clock the store is on. Nobody orders those who wait, so chance has to.
      await defaultRuntime.sleep(Math.random() * pauseMs);
      // Timers whose callbacks take as long as they wait would follow each other for ever, and let nothing else run.
      await setImmediate();
      this.#sliceAt = performance.now();
    }
  }

  /** Whoever has just let go of the lock would get it again before all others, who look only now and then. */
  async #giveWay(): Promise<void> {
    const now = performance.now();
    if (now - this.#sliceAt < SLICE_MS || now - this.#takenAt > CONTENDED_MS) return;
    await defaultRuntime.sleep(Math.random() * MAX_PAUSE_MS);
    this.#sliceAt = performance.now();
  }

  #locked(cause: unknown): Error {
    return new Error(`sqliteStore: another process has held the lock on the file for ${this.busyTimeoutMs} ms`, {
      cause,
    });
  }
}

/**
 * How transactions begin. IMMEDIATE: one that reads first and writes later cannot wait for another one that does the same.
 *
 * Either way the lock is had before the first prepared statement. With libsql one that is refused stays active until it is used again:
 * the next write of this connection, though it succeeds, is not committed then, or leaves the file locked for all others.
 */
const WRITE: Kind = { begin: "BEGIN IMMEDIATE", end: "COMMIT" };
const READ: Kind = { begin: "BEGIN", lock: "SELECT 1 FROM sqlite_schema LIMIT 1", end: "ROLLBACK" };

interface Kind {
  readonly begin: string;
  readonly lock?: string;
  readonly end: string;
}

function within<T>(connection: Connection, { begin, lock, end }: Kind, work: () => T): T {
  // What did not begin is not ours to roll back: it may have found a transaction of somebody else.
  connection.database.exec(begin);
  try {
    if (lock !== undefined) connection.database.exec(lock);
    const value = work();
    connection.database.exec(end);
    return value;
  } catch (error) {
    rollBack(connection);
    throw error;
  }
}

/** Does some work in a transaction of its own: all of it, or nothing when it throws or cannot be committed. */
export function inTransaction<T>(connection: Connection, work: () => T): T {
  return within(connection, WRITE, work);
}

function rollBack(connection: Connection): void {
  try {
    connection.database.exec("ROLLBACK");
  } catch {
    // SQLite has done so already, as it does when the disk is full.
  }
}

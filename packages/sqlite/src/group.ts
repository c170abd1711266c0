import { type Connection, inTransaction } from "./connection.js";
import { isBusy } from "./database.js";

/** A write that waits for its transaction. */
interface Job {
  /** Its statements. May run more than once; only the last time stays. */
  readonly work: (now: number) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What became of the writes of one transaction: values, once it is committed, and what the others failed with. */
interface Committed {
  readonly values: ReadonlyMap<Job, unknown>;
  readonly failures: ReadonlyMap<Job, unknown>;
}

/** A statement of one write failed, which is not to fail the others. */
class Failed extends Error {
  readonly job: Job;

  constructor(job: Job, cause: unknown) {
    super("a write failed", { cause });
    this.job = job;
  }
}

function attempt(job: Job, now: number): unknown {
  try {
    return job.work(now);
  } catch (error) {
    if (isBusy(error)) throw error;
    throw new Failed(job, error);
  }
}

/**
 * Group commit: writes that are asked for within one turn of the event loop share a transaction, so that the disk is waited for once.
 *
 * @remarks
 * They run in the order in which they were asked for, and each is answered when the transaction is committed. While another process
 * holds the lock, later writes queue behind those that wait for it.
 */
export class WriteGroup {
  readonly #connection: Connection;
  #queue: Job[] = [];
  #isScheduled = false;
  #isWaiting = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Does some work with statements, at a time on the store's clock: all of it or, when it throws, nothing. */
  do<T>(work: (now: number) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // The value that it is resolved with is the one that its own work gave.
      this.#queue.push({ work, resolve: resolve as (value: unknown) => void, reject });
      this.#schedule();
    });
  }

  /** Commits what has been asked for so far, without waiting for the end of the turn. */
  flush(): void {
    if (this.#isWaiting || this.#queue.length === 0) return;
    const jobs = this.#queue;
    this.#queue = [];
    this.#isWaiting = true;
    this.#connection
      .inLine((now) => this.#commit(jobs, now))
      .then(
        ({ values, failures }) => {
          for (const [job, value] of values) job.resolve(value);
          for (const [job, error] of failures) job.reject(error);
        },
        (error: unknown) => {
          for (const { reject } of jobs) reject(error);
        },
      )
      .finally(() => {
        this.#isWaiting = false;
        if (this.#queue.length > 0) this.#schedule();
      });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isWaiting) return;
    this.#isScheduled = true;
    // Not a microtask: what one message of a socket asks for is followed by what the next one does, in the same turn.
    setImmediate(() => {
      this.#isScheduled = false;
      this.flush();
    });
  }

  #commit(jobs: readonly Job[], now: number): Committed {
    const failures = new Map<Job, unknown>();
    for (;;) {
      const rest = jobs.filter((job) => !failures.has(job));
      if (rest.length === 0) return { values: new Map(), failures };
      try {
        const values = inTransaction(this.#connection, () => new Map(rest.map((job) => [job, attempt(job, now)])));
        return { values, failures };
      } catch (error) {
        if (!(error instanceof Failed)) throw error;
        // It is rolled back with the others, which are done again: failures are rare, and savepoints cost every write.
        failures.set(error.job, error.cause);
      }
    }
  }
}

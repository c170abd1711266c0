import { setImmediate } from "node:timers";
import { type Connection, inTransaction } from "./connection.js";
import { isBusy } from "./database.js";

/** Of more than these the file is let go of in between, so that other processes do not wait for a whole crowd. */
const MAX_TOGETHER = 1024;
/** For so long calls that follow each other without any input or output may keep the event loop from going round. */
const MAX_TICKING_MS = 25;

/** A write that waits for its transaction. */
interface Job {
  /** Its statements. May run more than once; only the last time stays. */
  readonly work: (now: number) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly askedAt: number;
}

/** When a group commits: it is called with what does so. */
export type Moment = (commit: () => void) => void;

/**
 * At the end of the turn of the event loop: what one message of a socket asks for is followed by what the next one does, in the same
 * turn.
 */
export const endOfTurn: Moment = (commit) => {
  setImmediate(commit);
};

/** When the event loop last went round for a commit. */
let turnedAt = -Infinity;

/**
 * When all that can go on without the outside has gone on: calls that were started together ask together. The event loop does not go
 * round for it, which calls that follow each other would notice; but it does now and then, or they would let no timer run.
 */
export const endOfTick: Moment = (commit) => {
  if (performance.now() - turnedAt < MAX_TICKING_MS) {
    process.nextTick(commit);
    return;
  }
  setImmediate(() => {
    turnedAt = performance.now();
    commit();
  });
};

/**
 * Group commit: writes that are asked for until some moment share a transaction, so that the disk is waited for once.
 *
 * @remarks
 * They run in the order in which they were asked for, and each is answered when the transaction is committed. What is asked for while
 * another process holds the lock joins those that wait for it.
 */
export class WriteGroup {
  readonly #connection: Connection;
  readonly #moment: Moment;
  #waiting: Job[] = [];
  #isScheduled = false;
  #isInLine = false;

  constructor(connection: Connection, moment: Moment) {
    this.#connection = connection;
    this.#moment = moment;
  }

  /** Does some work with statements, at a time on the store's clock: all of it or, when it throws, nothing. */
  do<T>(work: (now: number) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // The value that it is resolved with is the one that its own work gave.
      const settle = resolve as (value: unknown) => void;
      this.#waiting.push({ work, resolve: settle, reject, askedAt: performance.now() });
      if (!this.#isInLine) this.#schedule();
    });
  }

  /** Commits what has been asked for so far, without waiting for its moment. */
  flush(): void {
    const [first] = this.#waiting;
    if (this.#isInLine || first === undefined) return;
    this.#isInLine = true;
    this.#connection.inLine(this.#commit, first.askedAt).catch(this.#refuse);
  }

  readonly #flushNow = (): void => {
    this.#isScheduled = false;
    this.flush();
  };

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#moment(this.#flushNow);
  }

  /** All that wait, also those who came while the lock was waited for. */
  readonly #commit = (now: number): void => {
    while (this.#waiting.length > 0) this.#commitTogether(now, MAX_TOGETHER);
    this.#isInLine = false;
  };

  /** As many as go together. Those before one that fails go without it: that is rare, and savepoints would cost every write. */
  #commitTogether(now: number, most: number): void {
    const jobs = this.#waiting.slice(0, most);
    const values: unknown[] = [];
    try {
      inTransaction(this.#connection, () => {
        for (const { work } of jobs) values.push(work(now));
      });
    } catch (error) {
      // They wait on, and the rest with them.
      if (isBusy(error)) throw error;
      const done = values.length;
      if (done > 0 && done < jobs.length) {
        this.#commitTogether(now, done);
        return;
      }
      // What cannot be committed fails all of them, what cannot be done only itself.
      for (const { reject } of this.#waiting.splice(0, Math.max(1, done))) reject(error);
      return;
    }
    this.#waiting.splice(0, jobs.length);
    for (let index = 0; index < jobs.length; index += 1) jobs[index]?.resolve(values[index]);
  }

  readonly #refuse = (error: unknown): void => {
    this.#isInLine = false;
    const isLocked = error instanceof Error && isBusy(error.cause);
    // Who came later than the one that waited for too long has time left.
    const latest = isLocked ? performance.now() - this.#connection.busyTimeoutMs : Infinity;
    const jobs = this.#waiting;
    this.#waiting = jobs.filter(({ askedAt }) => askedAt > latest);
    for (const { askedAt, reject } of jobs) if (askedAt <= latest) reject(error);
    if (this.#waiting.length > 0) this.#schedule();
  };
}

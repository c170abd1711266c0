import type { Runtime } from "../contract.js";

/** Options of {@link virtualTime}. */
export interface VirtualTimeOptions {
  /**
   * Where the monotonic clock starts, in milliseconds.
   * @defaultValue 0
   */
  readonly now?: number | undefined;
  /**
   * Where the wall clock starts, in milliseconds since the epoch.
   * @defaultValue 1700000000000
   */
  readonly wallNow?: number | undefined;
  /**
   * Uniform in [0, 1).
   * @defaultValue a generator that gives the same sequence every time
   */
  readonly random?: (() => number) | undefined;
}

/** A clock that stands still until it is told to go on. */
export interface VirtualTime {
  /** For `WrapOptions.runtime`. */
  readonly runtime: Runtime;
  /** Sleeps that have neither ended nor been aborted. */
  readonly timers: number;
  /** Monotonic milliseconds. */
  now(): number;
  /** Lets time pass: wakes every sleep that falls due, in order, and lets each one's consequences happen before the next. */
  advance(ms: number): Promise<void>;
  /** Sets the wall clock forward or, with a negative number, back. No time passes. */
  stepWall(ms: number): void;
  /**
   * Advances to one sleep after the other until the work settles.
   *
   * @remarks
   * Between two sleeps everything that is ready runs, one turn of the event loop included. Real input and output is waited for
   * only while nothing sleeps, and only for some milliseconds.
   *
   * @returns what the work resolves to
   * @throws what the work rejects with; an Error naming the deadlock when it neither settles nor sleeps
   */
  run<T>(work: Promise<T> | (() => Promise<T>)): Promise<T>;
}

interface Timer {
  readonly due: number;
  /** Sleeps that fall due together wake in the order in which they began. */
  readonly order: number;
  readonly wake: () => void;
}

const WALL_START = 1_700_000_000_000;
/** How often a work without sleeps is looked at again before it counts as deadlocked: a digest or a file may be under way. */
const IDLE_LOOKS = 10;
/** Real milliseconds between two such looks. */
const IDLE_MS = 5;

// Taken once: a test that fakes the process timers must not stop virtual time.
const { setTimeout: later, setImmediate: soon } = globalThis;

/** One turn of the event loop; every microtask that is ready, and what follows from it, runs before. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof soon === "function") soon(resolve);
    else later(resolve, 0);
  });
}

function pause(realMs: number): Promise<void> {
  return new Promise((resolve) => {
    later(resolve, realMs);
  });
}

function watchSettling(work: Promise<unknown>): () => boolean {
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  Promise.resolve(work).then(settle, settle);
  return () => settled;
}

/** Mulberry32: small, and the same on every machine. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Sleeps in the order in which they wake. */
class Schedule {
  readonly #timers: Timer[] = [];
  #count = 0;

  get size(): number {
    return this.#timers.length;
  }

  get next(): Timer | undefined {
    const first = this.#timers[0];
    return first === undefined || first.due === Infinity ? undefined : first;
  }

  add(due: number, wake: () => void): Timer {
    this.#count += 1;
    const timer = { due, order: this.#count, wake };
    this.#timers.splice(this.#indexOf(timer), 0, timer);
    return timer;
  }

  remove(timer: Timer): void {
    const index = this.#indexOf(timer);
    if (this.#timers[index] === timer) this.#timers.splice(index, 1);
  }

  /** Where the timer is, or belongs. */
  #indexOf(timer: Timer): number {
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#timers[middle] as Timer;
      if (other.due < timer.due || (other.due === timer.due && other.order < timer.order)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function checkNumber(path: string, value: number): void {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new RangeError(`${path} must be a finite number, got ${String(value)}`);
  }
}

function deadlock(now: number, endless: number): Error {
  const asleep = endless === 0 ? "" : ` (${endless} sleep without end)`;
  return new Error(
    `virtualTime: deadlock at ${now} ms: the work neither settles nor waits for a sleep of this clock${asleep}; ` +
      "it waits for something that never happens, or for another clock",
  );
}

/** Makes a clock for tests: calls that wait for seconds or hours are over at once, and in the same way every time. */
export function virtualTime(options: VirtualTimeOptions = {}): VirtualTime {
  const { now: start = 0, wallNow: wallStart = WALL_START, random = seededRandom(1) } = options;
  checkNumber("virtualTime: now", start);
  checkNumber("virtualTime: wallNow", wallStart);
  if (typeof random !== "function") throw new TypeError("virtualTime: random must be a function");
  const schedule = new Schedule();
  let now = start;
  let wallOffset = wallStart - start;
  /** How many `advance` are under way: meanwhile `run` leaves the clock alone. */
  let advancing = 0;

  function sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (typeof ms !== "number" || Number.isNaN(ms)) {
        return reject(new RangeError(`virtualTime: sleep must be given a number of milliseconds, got ${String(ms)}`));
      }
      if (signal?.aborted === true) return reject(signal.reason);
      const timer = schedule.add(now + Math.max(0, ms), () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      function onAbort(): void {
        signal?.removeEventListener("abort", onAbort);
        schedule.remove(timer);
        reject(signal?.reason);
      }
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Wakes the next sleep that falls due until then. */
  function wakeNext(until: number): boolean {
    const timer = schedule.next;
    if (timer === undefined || timer.due > until) return false;
    now = Math.max(now, timer.due);
    schedule.remove(timer);
    timer.wake();
    return true;
  }

  async function advance(ms: number): Promise<void> {
    checkNumber("virtualTime: advance(ms)", ms);
    if (ms < 0) throw new RangeError(`virtualTime: advance(ms) must be >= 0, got ${ms}; only stepWall goes back`);
    const until = now + ms;
    advancing += 1;
    try {
      do await turn();
      while (wakeNext(until));
      now = Math.max(now, until);
    } finally {
      advancing -= 1;
    }
  }

  async function run<T>(work: Promise<T> | (() => Promise<T>)): Promise<T> {
    const running = typeof work === "function" ? work() : work;
    const isSettled = watchSettling(running);
    for (let idle = 0; idle <= IDLE_LOOKS; idle += 1) {
      await (idle < 2 ? turn() : pause(IDLE_MS));
      if (isSettled()) return running;
      if (advancing > 0 || wakeNext(Infinity)) idle = 0;
    }
    throw deadlock(now, schedule.size);
  }

  return {
    runtime: { now: () => now, wallNow: () => now + wallOffset, sleep, random: () => random() },
    get timers() {
      return schedule.size;
    },
    now: () => now,
    advance,
    stepWall(ms) {
      checkNumber("virtualTime: stepWall(ms)", ms);
      wallOffset += ms;
    },
    run,
  };
}

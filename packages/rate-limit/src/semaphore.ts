import { Fifo, type FifoNode } from "./fifo.js";

/** Someone in the queue of a {@link Semaphore}. */
export interface Waiter extends FifoNode<Waiter> {
  /** Tells the waiter that it has a slot now and is no longer in the queue. Must neither throw nor run the call itself. */
  grant(): void;
}

/** Slots of one key, given out first come, first served. Waiters are there only while no slot is free. */
export class Semaphore {
  #limit: number;
  #held = 0;
  readonly #queue: Fifo<Waiter> = new Fifo();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Slots in all. */
  get limit(): number {
    return this.#limit;
  }

  /** A lower limit takes no slot away: it holds as slots come back. */
  set limit(limit: number) {
    this.#limit = limit;
    while (this.#held < limit && this.#queue.first !== undefined) {
      this.#held += 1;
      this.#grantTo(this.#queue.first);
    }
  }

  /** Slots that are given out. */
  get held(): number {
    return this.#held;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** Takes a slot if one is free. */
  tryAcquire(): boolean {
    if (this.#held >= this.#limit) return false;
    this.#held += 1;
    return true;
  }

  /** Queues for a slot, after {@link tryAcquire} gave none. */
  enqueue(waiter: Waiter): void {
    this.#queue.push(waiter);
  }

  /** Leaves the queue without a slot. */
  leave(waiter: Waiter): void {
    this.#queue.remove(waiter);
  }

  /** Gives a slot back: straight to the first in the queue, so that nobody gets in between. */
  release(): void {
    const { first } = this.#queue;
    if (first === undefined || this.#held > this.#limit) this.#held -= 1;
    else this.#grantTo(first);
  }

  #grantTo(waiter: Waiter): void {
    this.#queue.remove(waiter);
    waiter.grant();
  }
}

import { Fifo, type FifoNode } from "./fifo.js";
import type { GradientLimit } from "./gradient.js";
import { Semaphore } from "./semaphore.js";

/** The slots of one key. One class for fixed and for adaptive limits: two would make every access to a field of it slow. */
export class Lane extends Semaphore implements FifoNode<Lane> {
  previous: Lane | undefined = undefined;
  next: Lane | undefined = undefined;

  constructor(
    readonly key: string,
    limit: number,
    /** What the limit follows, where it is adaptive. */
    readonly gradient?: GradientLimit | undefined,
  ) {
    super(limit);
  }
}

/** The lanes of all keys. Of those that nobody uses only the last `maxIdle` are kept. */
export class Lanes {
  readonly #lanes = new Map<string, Lane>();
  readonly #idle: Fifo<Lane> = new Fifo();
  readonly #create: (key: string) => Lane;
  readonly #maxIdle: number;

  constructor(create: (key: string) => Lane, maxIdle: number) {
    this.#create = create;
    this.#maxIdle = maxIdle;
  }

  get size(): number {
    return this.#lanes.size;
  }

  /** Looks at a lane without using it. */
  peek(key: string): Lane | undefined {
    return this.#lanes.get(key);
  }

  /** The lane of a key, for someone who takes a slot of it if one is free. */
  of(key: string): Lane {
    const known = this.#lanes.get(key);
    if (known !== undefined) {
      if (known.held === 0) this.#idle.remove(known);
      return known;
    }
    const lane = this.#create(key);
    this.#lanes.set(key, lane);
    return lane;
  }

  /** Gives a slot back. */
  release(lane: Lane): void {
    lane.release();
    if (lane.held > 0) return;
    this.#idle.push(lane);
    const { first } = this.#idle;
    if (first === undefined || this.#idle.size <= this.#maxIdle) return;
    this.#idle.remove(first);
    this.#lanes.delete(first.key);
  }
}

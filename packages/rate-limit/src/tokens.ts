import { GcraTable, type Limit } from "./gcra.js";

/** Where the tokens of a limit are. */
export interface Tokens {
  /**
   * Takes tokens.
   *
   * @returns 0 when they are taken; the milliseconds to wait when they are not; {@link WITHOUT} for a call that passes without.
   *   At once or, where somebody else keeps them, later
   */
  take(key: string, cost: number, now: number): number | Promise<number>;
  /** Hears what a take that took time came to. */
  learn(key: string, cost: number, waitMs: number, now: number): void;
  /** Milliseconds until `cost` tokens can be taken, if nobody else takes any; at least, where somebody else keeps them. */
  waitFor(key: string, cost: number, now: number): number;
  /** Milliseconds until all tokens are back, as far as is known here. */
  fullIn(key: string, now: number): number;
  /** Gives tokens back; a promise where it takes time, which never rejects. */
  refund(key: string, cost: number, takenAt: number, now: number): Promise<void> | undefined;
  /** Lets nothing through for a while. */
  pause(key: string, ms: number, now: number): void;
  /** Whether calls pass while nobody can say whether they may. */
  readonly bypasses: boolean;
}

/** What {@link Tokens.take} gives for a call that passes without tokens. */
export const WITHOUT = -1;

/** Tokens of this process. */
export class LocalTokens implements Tokens {
  readonly #table = new GcraTable();
  readonly #limit: Limit;
  readonly bypasses = false;

  constructor(limit: Limit) {
    this.#limit = limit;
  }

  take(key: string, cost: number, now: number): number {
    return this.#table.take(key, cost, this.#limit, now);
  }
  learn(): void {}
  waitFor(key: string, cost: number, now: number): number {
    return this.#table.waitFor(key, cost, this.#limit, now);
  }
  fullIn(key: string, now: number): number {
    return this.#table.fullIn(key, now);
  }
  refund(key: string, cost: number, takenAt: number, now: number): undefined {
    this.#table.refund(key, cost, this.#limit, takenAt, now);
  }
  pause(key: string, ms: number, now: number): void {
    this.#table.pause(key, ms, this.#limit, now);
  }
}

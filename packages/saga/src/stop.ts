import { type Runtime, startTimer } from "@mcp-tx/core";
import { failureOf } from "./perform.js";

/** What may make a saga stop. */
export interface StopTerms {
  readonly runtime: Runtime;
  readonly signal?: AbortSignal | undefined;
  readonly deadlineAt?: number | undefined;
  readonly graceMs: number;
}

/** A signal with a timer behind it. */
export interface Timed {
  readonly signal: AbortSignal;
  readonly cancel: () => void;
}

/**
 * The wish that a saga stops: its caller aborts, or its deadline passes. No further step begins then; a call that is under way gets
 * some time to answer, because an answer is worth more than an early end.
 */
export class Stop {
  readonly #terms: StopTerms;
  readonly #wanted = new AbortController();
  readonly #late = new AbortController();
  readonly #cancels: (() => void)[] = [];

  constructor(terms: StopTerms) {
    this.#terms = terms;
    const { signal, deadlineAt, runtime } = terms;
    if (deadlineAt !== undefined) {
      this.#after(Math.max(0, deadlineAt - runtime.wallNow()), () => this.#want(deadlinePassed()));
    }
    if (signal === undefined) return;
    const onAbort = (): void => this.#want(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#cancels.push(() => signal.removeEventListener("abort", onAbort));
  }

  /** Whether anything can make the saga stop. */
  get isPossible(): boolean {
    return this.#terms.signal !== undefined || this.#terms.deadlineAt !== undefined;
  }

  /** Aborts as soon as the saga is to stop: ends waits. `undefined` when nothing can. */
  get wanted(): AbortSignal | undefined {
    return this.isPossible ? this.#wanted.signal : undefined;
  }

  /** Aborts some time later: ends calls. */
  get late(): AbortSignal | undefined {
    return this.isPossible ? this.#late.signal : undefined;
  }

  /** Why the saga is to stop, as text; `undefined` while it is not. */
  reason(): string | undefined {
    const { deadlineAt, runtime } = this.#terms;
    if (deadlineAt !== undefined && runtime.wallNow() >= deadlineAt) this.#want(deadlinePassed());
    return this.#wanted.signal.aborted ? JSON.stringify(failureOf(this.#wanted.signal.reason)) : undefined;
  }

  /** A signal of its own that aborts after some time. */
  after(ms: number): Timed {
    const controller = new AbortController();
    if (ms === Infinity) return { signal: controller.signal, cancel: () => undefined };
    const cancel = startTimer(this.#terms.runtime, ms, () =>
      controller.abort(new Error("the time for undoing is over")),
    );
    return { signal: controller.signal, cancel };
  }

  dispose(): void {
    for (const cancel of this.#cancels) cancel();
  }

  #want(reason: unknown): void {
    if (this.#wanted.signal.aborted) return;
    this.#wanted.abort(reason);
    this.#after(this.#terms.graceMs, () => this.#late.abort(reason));
  }

  #after(ms: number, callback: () => void): void {
    if (ms !== Infinity) this.#cancels.push(startTimer(this.#terms.runtime, ms, callback));
  }
}

function deadlinePassed(): Error {
  const error = new Error("the deadline of the saga has passed");
  error.name = "DeadlineError";
  return error;
}

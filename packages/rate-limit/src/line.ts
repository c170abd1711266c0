import { type CallContext, type McpTxError, RateLimitError, type Runtime, startTimer } from "@mcp-tx/core";
import { QueueFullError, storeUnavailable } from "./errors.js";
import { Fifo, type FifoNode } from "./fifo.js";
import type { Tokens } from "./tokens.js";

/** What all lines of one limit share. */
export interface LineRules {
  readonly tokens: Tokens;
  readonly maxQueue: number;
  readonly maxWaitMs: number;
  /** Whether nobody waits. */
  readonly rejects: boolean;
  /** The lines that somebody stands in. */
  readonly lines: Map<string, Line>;
  /** Gives back what was taken for a call that is gone. */
  giveBack(key: string, cost: number, takenAt: number, runtime: Runtime): void;
}

/** A call on its way through a line. */
export class Waiter implements FifoNode<Waiter> {
  previous: Waiter | undefined;
  next: Waiter | undefined;
  /** Whether the tokens were asked for, without an answer so far. */
  isAsking = false;
  /** Whether it was told to wait. Until then it is not counted. */
  isQueued = false;
  isGone = false;
  /** When its tokens were asked for that it got; `undefined` when it passes without. */
  takenAt: number | undefined;
  /** Removes its timer and its listener. */
  detach: () => void = nothing;

  constructor(
    readonly ctx: CallContext,
    readonly cost: number,
    readonly enteredAt: number,
    readonly resolve: (waiter: Waiter) => void,
    readonly reject: (error: unknown) => void,
  ) {}
}

function nothing(): void {}

/**
 * The calls that wait for the tokens of one key, first come, first served.
 *
 * @remarks
 * Nothing is reserved: the first takes its tokens when they are due, and only then the next one is looked at. So whoever leaves
 * has nothing to give back. Where asking takes time, all ask at once until one is told to wait; from then on only the first does.
 */
export class Line {
  readonly #key: string;
  readonly #rules: LineRules;
  readonly #runtime: Runtime;
  readonly #members = new Fifo<Waiter>();
  #queued = 0;
  /** Tokens that the queued ones wait for. */
  #queuedCost = 0;
  #cancelTimer: () => void = nothing;

  constructor(key: string, rules: LineRules, runtime: Runtime) {
    this.#key = key;
    this.#rules = rules;
    this.#runtime = runtime;
  }

  /** Resolves when the call may go on; rejects with its refusal, or with the reason of its signal. */
  join(ctx: CallContext, cost: number, now: number): Promise<Waiter> {
    return new Promise((resolve, reject) => {
      const waiter = new Waiter(ctx, cost, now, resolve, reject);
      if (this.#members.size === 0) this.#rules.lines.set(this.#key, this);
      this.#members.push(waiter);
      if (this.#queued > 0) this.#queue(waiter, now);
      else this.#ask(waiter, now);
      if (waiter.isGone) return;
      this.#watch(waiter, now);
      if (this.#head() === waiter) this.advance(now);
    });
  }

  /** Lets everybody go on whose turn it is. To be called whenever tokens may be there sooner than expected. */
  advance(now: number): void {
    this.#cancelTimer();
    this.#cancelTimer = nothing;
    for (let head = this.#head(); head !== undefined && !head.isAsking; head = this.#head()) {
      const waitMs = this.#rules.tokens.waitFor(this.#key, head.cost, now);
      if (waitMs > 0) {
        this.#cancelTimer = startTimer(this.#runtime, waitMs, () => this.advance(this.#runtime.now()));
        return;
      }
      this.#ask(head, now);
    }
  }

  /** The first that was told to wait. Those before it, if any, have asked for themselves. */
  #head(): Waiter | undefined {
    if (this.#queued === 0) return undefined;
    let waiter = this.#members.first;
    while (waiter?.isQueued === false) waiter = waiter.next;
    return waiter;
  }

  #ask(waiter: Waiter, now: number): void {
    const { tokens } = this.#rules;
    const answer = tokens.take(this.#key, waiter.cost, now);
    if (typeof answer === "number") this.#hear(waiter, answer, now, now);
    else this.#await(waiter, answer, now);
  }

  #await(waiter: Waiter, answer: Promise<number>, askedAt: number): void {
    const { tokens } = this.#rules;
    waiter.isAsking = true;
    answer.then(
      (waitMs) => {
        const heardAt = this.#runtime.now();
        waiter.isAsking = false;
        tokens.learn(this.#key, waiter.cost, waitMs, heardAt);
        this.#hear(waiter, waitMs, askedAt, heardAt);
        this.advance(heardAt);
      },
      (cause) => {
        waiter.isAsking = false;
        this.#refuse(waiter, storeUnavailable(waiter.ctx.tool, cause));
      },
    );
  }

  #hear(waiter: Waiter, waitMs: number, askedAt: number, now: number): void {
    const { giveBack } = this.#rules;
    if (waiter.isGone) {
      if (waitMs === 0) giveBack(this.#key, waiter.cost, askedAt, this.#runtime);
    } else if (waitMs <= 0) this.#admit(waiter, waitMs === 0 ? askedAt : undefined);
    else if (!waiter.isQueued) this.#queue(waiter, now);
  }

  #admit(waiter: Waiter, takenAt: number | undefined): void {
    this.#remove(waiter);
    waiter.takenAt = takenAt;
    waiter.resolve(waiter);
  }

  /** Makes a member wait for its turn, unless it would be in vain. */
  #queue(waiter: Waiter, now: number): void {
    const refusal = this.#refusalOf(waiter, now);
    if (refusal !== undefined) {
      this.#refuse(waiter, refusal);
      return;
    }
    waiter.isQueued = true;
    this.#queued += 1;
    this.#queuedCost += waiter.cost;
  }

  #refusalOf(waiter: Waiter, now: number): McpTxError | undefined {
    const { rejects, maxQueue } = this.#rules;
    const { tool } = waiter.ctx;
    const retryAfterMs = this.#rules.tokens.waitFor(this.#key, this.#queuedCost + waiter.cost, now);
    const isTooLong = retryAfterMs > this.#patience(waiter, now) || now + retryAfterMs >= deadlineOf(waiter.ctx);
    if (rejects || isTooLong) return new RateLimitError(tool, { retryAfterMs });
    if (this.#queued < maxQueue) return undefined;
    const reason =
      maxQueue === 0 ? "its rate limit is reached" : `${this.#queued} calls wait for its rate limit already`;
    return new QueueFullError(tool, reason, { retryAfterMs });
  }

  #patience({ enteredAt }: Waiter, now: number): number {
    return this.#rules.maxWaitMs - (now - enteredAt);
  }

  /** Ends the wait of a member when its caller or its time is gone. */
  #watch(waiter: Waiter, now: number): void {
    const { signal } = waiter.ctx;
    const leftMs = Math.min(this.#patience(waiter, now), deadlineOf(waiter.ctx) - now);
    const cancel = leftMs === Infinity ? nothing : startTimer(this.#runtime, leftMs, () => this.#expire(waiter));
    waiter.detach = cancel;
    if (signal === undefined) return;
    const abort = (): void => {
      // The listener is gone by itself; to look for it among thousands would take its time.
      waiter.detach = cancel;
      this.#refuse(waiter, signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    waiter.detach = () => {
      cancel();
      signal.removeEventListener("abort", abort);
    };
  }

  #expire(waiter: Waiter): void {
    const now = this.#runtime.now();
    // Its turn may have come at this very moment.
    this.advance(now);
    if (waiter.isGone) return;
    const { ctx, isQueued } = waiter;
    if (isQueued) {
      // Whoever comes again stands at the end.
      const retryAfterMs = this.#rules.tokens.waitFor(this.#key, this.#queuedCost, now);
      this.#refuse(waiter, new RateLimitError(ctx.tool, { retryAfterMs }));
    } else if (this.#rules.tokens.bypasses) this.#admit(waiter, undefined);
    else this.#refuse(waiter, storeUnavailable(ctx.tool, undefined));
  }

  #refuse(waiter: Waiter, error: unknown): void {
    const wasHead = this.#head() === waiter;
    this.#remove(waiter);
    waiter.reject(error);
    if (wasHead) this.advance(this.#runtime.now());
  }

  #remove(waiter: Waiter): void {
    if (waiter.isGone) return;
    waiter.isGone = true;
    waiter.detach();
    this.#members.remove(waiter);
    if (waiter.isQueued) {
      this.#queued -= 1;
      // Not by subtraction to the end: fractions would leave a rest.
      this.#queuedCost = this.#queued === 0 ? 0 : this.#queuedCost - waiter.cost;
    }
    if (this.#members.size === 0) this.#rules.lines.delete(this.#key);
  }
}

/** When it is too late for this call, by itself or by its caller. */
function deadlineOf({ deadline, call }: CallContext): number {
  return Math.min(deadline, call.deadline);
}

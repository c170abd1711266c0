import { type CallContext, type Handler, type Runtime, startTimer, type ToolResult, withGate } from "@mcp-tx/core";
import { QueueFullError } from "./errors.js";
import "./events.js";
import type { Lane } from "./lanes.js";
import type { Waiter } from "./semaphore.js";

/** What the passages through one limiter share. */
export interface PassageRules {
  readonly maxQueue: number;
  readonly maxWaitMs: number;
  /** Milliseconds for which abandoned work of a client holds its slot; `undefined` for the attempt timeout. */
  readonly abandonedMs: number | undefined;
  /** Who was admitted last and has not looked yet whether an attempt began. */
  admitted: Passage | undefined;
  /** The time, as precise as the report of a wait needs it. Everybody who comes at once gets the same object. */
  timeOf(runtime: Runtime): Moment;
  release(lane: Lane): void;
}

/** A reading of a clock. Passages share it: a number of its own would cost each of them an allocation. */
export interface Moment {
  readonly runtime: Runtime;
  readonly now: number;
}

const DEFAULT_ABANDONED_MS = 60_000;
const NONE = -1;

/**
 * One way of a call through a limiter: through the queue, with a slot, and on until the work of every attempt in it is over.
 *
 * @remarks
 * The attempts of a call are in one list, also those of a hedge beside this passage. A terminal asks the gates right before it
 * begins an attempt, so the entry that follows is this passage's, unless somebody else is admitted first.
 */
export class Passage implements Waiter {
  previous: Waiter | undefined = undefined;
  next: Waiter | undefined = undefined;
  readonly #rules: PassageRules;
  readonly #lane: Lane;
  readonly #ctx: CallContext;
  readonly #handler: Handler;
  #queuedAt: Moment | undefined = undefined;
  /** Ends the wait, however it ends. */
  #wake: (passage: Passage) => void = nothing;
  /** Why the wait ended without a slot. */
  #failure: unknown = undefined;
  /** Stops what watches over the wait, and later over abandoned work. */
  #unwatch: () => void = nothing;
  #hasSlot = false;
  /** The passage itself and each of its attempts that still works. */
  #holders = 1;
  /** Where in the call's attempts one may begin that is ours. */
  #expected = NONE;

  constructor(rules: PassageRules, lane: Lane, ctx: CallContext, handler: Handler) {
    this.#rules = rules;
    this.#lane = lane;
    this.#ctx = ctx;
    this.#handler = handler;
  }

  /** Takes a slot now, or in the queue. */
  start(): Promise<ToolResult> {
    if (!this.#lane.tryAcquire()) return this.#queue();
    this.#hasSlot = true;
    return this.#run();
  }

  #run(): Promise<ToolResult> {
    const ctx = withGate(this.#ctx, () => this.#admit());
    let running: Promise<ToolResult>;
    try {
      running = Promise.resolve(this.#handler(ctx));
    } catch (error) {
      running = Promise.reject(error);
    }
    // It goes back as it is, which saves a promise: its end is booked before whoever awaits it goes on.
    const end = (): void => this.#end();
    running.then(end, end);
    return running;
  }

  // In the queue

  #queue(): Promise<ToolResult> {
    const { call, signal } = this.#ctx;
    const { maxQueue, maxWaitMs } = this.#rules;
    const lane = this.#lane;
    signal?.throwIfAborted();
    if (lane.waiting >= maxQueue) {
      const slots = `its ${lane.limit} slots`;
      throw this.#refusal(
        maxQueue === 0 ? `${slots} are taken` : `${lane.waiting} calls wait for one of ${slots} already`,
      );
    }
    const queuedAt = this.#rules.timeOf(call.runtime);
    this.#queuedAt = queuedAt;
    const leftMs = Math.min(this.#ctx.deadline, call.deadline) - queuedAt.now;
    if (maxWaitMs <= 0 || leftMs <= 0) throw this.#tooLate(leftMs);
    const granted = new Promise<Passage>(keepResolve);
    this.#wake = kept;
    lane.enqueue(this);
    if (signal !== undefined || leftMs !== Infinity || maxWaitMs !== Infinity) this.#watch(leftMs);
    // Asked for here and not when the slot is there: so what follows runs in the caller's asynchronous context.
    return granted.then(proceed);
  }

  #watch(leftMs: number): void {
    const { call, signal } = this.#ctx;
    const patienceMs = Math.min(leftMs, this.#rules.maxWaitMs);
    const abort = (): void => this.#giveUp(signal?.reason);
    const expire = (): void => this.#giveUp(this.#tooLate(leftMs));
    signal?.addEventListener("abort", abort, { once: true });
    const cancelTimer = patienceMs === Infinity ? undefined : startTimer(call.runtime, patienceMs, expire);
    this.#unwatch = () => {
      cancelTimer?.();
      signal?.removeEventListener("abort", abort);
    };
  }

  #giveUp(failure: unknown): void {
    this.#lane.leave(this);
    this.#failure = failure;
    this.#stopWaiting();
  }

  grant(): void {
    this.#hasSlot = true;
    this.#stopWaiting();
  }

  #stopWaiting(): void {
    this.#unwatch();
    this.#unwatch = nothing;
    this.#wake(this);
  }

  /** What follows the wait. */
  proceed(): Promise<ToolResult> {
    const { call, signal, tool, admit } = this.#ctx;
    // Not the crowd's time: what goes on before this one may work for long at once.
    const now = call.runtime.now();
    const waitMs = now - (this.#queuedAt?.now ?? now);
    call.note({ waitedMs: waitMs });
    if (!this.#hasSlot) throw this.#failure;
    try {
      // Much may have changed meanwhile.
      signal?.throwIfAborted();
      admit?.();
    } catch (error) {
      this.#free();
      throw error;
    }
    if (call.observed) call.emit("limit.wait", { tool, key: this.#lane.key, waitMs });
    return this.#run();
  }

  #tooLate(leftMs: number): QueueFullError {
    const { maxWaitMs } = this.#rules;
    const limit = leftMs < maxWaitMs ? "before the deadline of the call" : `within ${maxWaitMs} ms`;
    return this.#refusal(`none of its ${this.#lane.limit} slots was free ${limit}`);
  }

  #refusal(reason: string): QueueFullError {
    const { call, tool } = this.#ctx;
    const error = new QueueFullError(tool, reason);
    if (call.observed) call.emit("limit.rejected", { tool, key: this.#lane.key, code: error.code });
    return error;
  }

  // With a slot

  /** Asked right before an attempt begins. */
  #admit(): void {
    const { admitted } = this.#rules;
    if (admitted !== undefined) admitted.#takeAttempt();
    this.#rules.admitted = this;
    this.#expected = this.#ctx.call.attempts.length;
  }

  /** Keeps the slot for the attempt that was admitted, if it began. */
  #takeAttempt(): void {
    const attempt = this.#ctx.call.attempts[this.#expected];
    if (attempt === undefined) return;
    this.#holders += 1;
    attempt.onRelease(() => this.#drop());
  }

  /** What is further in has settled: from here on only attempts whose work goes on keep the slot. */
  #end(): void {
    if (this.#rules.admitted === this) {
      this.#rules.admitted = undefined;
      this.#takeAttempt();
    }
    this.#drop();
    if (this.#hasSlot && this.#ctx.side === "client") this.#abandon();
  }

  /** No SDK's server answers a cancelled request: without a limit its slot would be lost. */
  #abandon(): void {
    const { call, options } = this.#ctx;
    const { attemptTimeoutMs = Infinity } = options;
    const usualMs = attemptTimeoutMs === Infinity ? DEFAULT_ABANDONED_MS : attemptTimeoutMs;
    const abandonedMs = this.#rules.abandonedMs ?? usualMs;
    if (abandonedMs !== Infinity) this.#unwatch = startTimer(call.runtime, abandonedMs, () => this.#free());
  }

  #drop(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#free();
  }

  #free(): void {
    if (!this.#hasSlot) return;
    this.#hasSlot = false;
    this.#unwatch();
    this.#rules.release(this.#lane);
  }
}

// One function for all, where each passage in a long queue would hold closures of its own.

let kept: (passage: Passage) => void = nothing;

function keepResolve(resolve: (passage: Passage) => void): void {
  kept = resolve;
}

function proceed(passage: Passage): Promise<ToolResult> {
  return passage.proceed();
}

function nothing(): void {}

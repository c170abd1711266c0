import {
  type CallContext,
  type Handler,
  type Middleware,
  type Outcome,
  replayGate,
  type ToolResult,
} from "@mcp-tx/core";
import { number, objectWith, readOptions } from "@mcp-tx/core/options";
import { deposit, type RetryBudget, withdraws } from "./budget.js";

/** Options of {@link hedge}. */
export interface HedgeOptions {
  /** Milliseconds without an outcome after which one more attempt starts; a high latency quantile is a good choice. */
  readonly delayMs: number;
  /**
   * Attempts in all, the first included. At least 1.
   * @defaultValue 2
   */
  readonly max?: number | undefined;
  /** Shared limit of repetitions. */
  readonly budget?: RetryBudget | undefined;
}

declare module "@mcp-tx/core" {
  interface CallEvents {
    "hedge.started": { readonly tool: string; readonly attempt: number };
  }
}

interface Settings {
  readonly delayMs: number;
  readonly max: number;
  readonly budget: RetryBudget | undefined;
}

/** How one attempt of a race ended. */
interface Finish {
  readonly thrown: boolean;
  readonly value: unknown;
  readonly outcome: Outcome;
}

/** How much a failure tells: an answer of the tool more than an unknown outcome, a refusal the least. */
function weight({ outcome }: Finish): number {
  if (outcome.status === "rejected" || outcome.status === "throttled") return 0;
  return outcome.execution === "executed" ? 2 : 1;
}

/** One call raced by several attempts. */
class Race {
  readonly #ctx: CallContext;
  readonly #next: Handler;
  readonly #settings: Settings;
  readonly #over = new AbortController();
  readonly #failures: Finish[] = [];
  #running = 0;
  #started = 0;
  #starting = false;
  #settle: ((finish: Finish) => void) | undefined;

  constructor(ctx: CallContext, next: Handler, settings: Settings) {
    this.#ctx = ctx;
    this.#next = next;
    this.#settings = settings;
  }

  async run(): Promise<ToolResult> {
    const { signal } = this.#ctx;
    const forward = (): void => this.#over.abort(signal?.reason);
    if (signal?.aborted === true) forward();
    else signal?.addEventListener("abort", forward, { once: true });
    try {
      const finish = await new Promise<Finish>((resolve) => {
        this.#settle = resolve;
        this.#start();
        void this.#hedge();
      });
      if (finish.thrown) throw finish.value;
      return finish.value as ToolResult;
    } finally {
      signal?.removeEventListener("abort", forward);
      // The losers: a success settled the race, nobody waits for them.
      this.#over.abort(new DOMException("another attempt of this call succeeded", "AbortError"));
    }
  }

  #start(): void {
    const { call, attempt } = this.#ctx;
    const ctx: CallContext = { ...this.#ctx, signal: this.#over.signal, attempt: attempt + this.#started };
    this.#started += 1;
    this.#running += 1;
    this.#attempt(ctx).then(
      (result) => this.#finish({ thrown: false, value: result, outcome: call.outcomeOf(result, false) }),
      (error) => this.#finish({ thrown: true, value: error, outcome: call.outcomeOf(error, true) }),
    );
  }

  async #attempt(ctx: CallContext): Promise<ToolResult> {
    return this.#next(ctx);
  }

  #finish(finish: Finish): void {
    this.#running -= 1;
    if (finish.outcome.status === "success") {
      deposit(this.#settings.budget, this.#ctx.call.runtime.now());
      this.#settle?.(finish);
      return;
    }
    this.#failures.push(finish);
    this.#endIfAllFailed();
  }

  /** A failure ends the race only when nobody is left who could still succeed. */
  #endIfAllFailed(): void {
    if (this.#running > 0 || this.#starting) return;
    const [first, ...others] = this.#failures;
    if (first === undefined) return;
    this.#settle?.(others.reduce((best, other) => (weight(other) > weight(best) ? other : best), first));
  }

  /** Starts one more attempt after each delay in which nothing came back. */
  async #hedge(): Promise<void> {
    const { call, tool } = this.#ctx;
    const { delayMs, max, budget } = this.#settings;
    while (this.#started < max && this.#running > 0) {
      try {
        await call.runtime.sleep(delayMs, this.#over.signal);
      } catch {
        return;
      }
      if (this.#running === 0 || !(await this.#mayStart())) return;
      // The last attempt may have ended the race just after the gate had answered.
      if (this.#running === 0 || !withdraws(budget, call.runtime.now())) return;
      if (call.observed) call.emit("hedge.started", { tool, attempt: this.#ctx.attempt + this.#started });
      this.#start();
    }
  }

  /** An attempt in flight has an unknown outcome: the gate decides before anything came back. */
  async #mayStart(): Promise<boolean> {
    const outcome: Outcome = { status: "failure", execution: "unknown", transient: true };
    this.#starting = true;
    try {
      const decision = await replayGate(this.#ctx, { outcome, inFlight: true });
      return decision.replay && this.#running > 0 && !this.#over.signal.aborted;
    } finally {
      this.#starting = false;
      if (this.#running === 0) this.#endIfAllFailed();
    }
  }
}

/**
 * Starts a second attempt when the first one takes long, and takes whichever succeeds first.
 *
 * @remarks
 * Two attempts may run the tool twice, so a hedge starts only where the replay gate allows it with the first still in flight:
 * a key that the server's store covers, or a read-only or idempotent tool of a trusted server. Only a success wins; the losers
 * are aborted. `verify` is never asked.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function hedge(options: HedgeOptions): Middleware {
  const settings: Settings = readOptions("hedge", options, {
    delayMs: requiredDelay,
    max: number({ min: 1, integer: true }, 2),
    budget: objectWith<RetryBudget>("deposit", "withdraw"),
  });
  function hedge(ctx: CallContext, next: Handler): Promise<ToolResult> {
    return settings.max === 1 ? next(ctx) : new Race(ctx, next, settings).run();
  }
  return Object.assign(hedge, { seat: "retry" } as const);
}

function requiredDelay(value: unknown, path: string): number {
  const read = number({ min: 0 }, undefined)(value, path);
  if (read === undefined) throw new TypeError(`${path} is required: milliseconds before the next attempt`);
  return read;
}

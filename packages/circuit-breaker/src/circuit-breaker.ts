import { type CallContext, type Handler, type Middleware, type ToolResult, withGate } from "@mcp-tx/core";
import { Breaker, type StateListener } from "./breaker.js";
import { Admission, type Circuit, type CircuitState } from "./circuit.js";
import { type CircuitBreakerOptions, readSettings } from "./options.js";
import type { BreakerSnapshot } from "./snapshot.js";

/**
 * The middleware with its controls, which need no call before them. A `name` is a key or, with the default key, also a tool's
 * name, which stands for that tool at every server, present and future.
 */
export interface CircuitBreaker extends Middleware {
  /** Refuses all calls until `reset`. */
  isolate(name: string): void;
  /**
   * Closes circuits as if nothing had happened, and ends their isolation; without a name, all of them. What was isolated by
   * a tool's name is released by that name only.
   */
  reset(name?: string): void;
  /** The state; the worst of them, where the name stands for several. An open circuit whose time is over reads half-open. */
  state(name: string): CircuitState;
  /** State as plain JSON, without the windows. */
  snapshot(): BreakerSnapshot;
  /**
   * Puts a snapshot in place of the present state. The wall time that passed since shortens what is left of open times.
   *
   * @throws TypeError naming the field that is wrong; nothing is changed then
   */
  restore(snapshot: BreakerSnapshot): void;
  /**
   * Adds a listener for all changes, those by controls included.
   *
   * @returns its removal
   */
  onStateChange(listener: StateListener): () => void;
}

/** Sends a call on and books how it ends. The promise goes back as it is: the book is kept before whoever awaits it goes on. */
function pass(breaker: Breaker, entered: Circuit, ctx: CallContext, next: Handler): Promise<ToolResult> {
  let circuit = entered;
  const admission = new Admission(circuit.generation, breaker.entryTime());

  function gate(): void {
    if (circuit.isEvicted) circuit = breaker.successorOf(circuit);
    breaker.admit(circuit, admission, ctx);
  }

  let running: Promise<ToolResult>;
  try {
    running = Promise.resolve(next(withGate(ctx, gate)));
  } catch (error) {
    running = Promise.reject(error);
  }
  running.then(
    (result) => breaker.conclude(circuit, admission, ctx, result, false),
    (error) => breaker.conclude(circuit, admission, ctx, error, true),
  );
  return running;
}

/**
 * Stops calling what keeps failing, and finds out by a few calls when it works again.
 *
 * @remarks
 * One circuit for each tool of each server by default. It opens after failures in a row, or by the share of failures or slow
 * calls in a window; while it is open, calls are refused with a `CircuitOpenError` before anything is sent. When its time is
 * over, `halfOpen.probes` calls are let through; all others are refused, nobody waits. Outcomes count only in the state in
 * which their call was sent. Calls that were cancelled or refused by a limit say nothing about the server and never count.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function circuitBreaker(options: CircuitBreakerOptions = {}): CircuitBreaker {
  const breaker = new Breaker(readSettings(options));

  function circuitBreaker(ctx: CallContext, next: Handler): Promise<ToolResult> {
    try {
      const circuit = breaker.circuitOf(ctx);
      const refusal = circuit.isFree ? undefined : breaker.refusal(circuit, ctx);
      return refusal === undefined ? pass(breaker, circuit, ctx, next) : Promise.reject(refusal);
    } catch (error) {
      return Promise.reject(error);
    }
  }
  return Object.assign(circuitBreaker, {
    seat: "breaker",
    isolate: (name: string) => breaker.isolate(name),
    reset: (name?: string) => breaker.reset(name),
    state: (name: string) => breaker.state(name),
    snapshot: () => breaker.snapshot(),
    restore: (snapshot: BreakerSnapshot) => breaker.restore(snapshot),
    onStateChange: (listener: StateListener) => breaker.onStateChange(listener),
  } as const);
}

import type { Call, CallContext, OutcomeCode } from "@mcp-tx/core";
import { endingOf, isReplay } from "./ending.js";
import type { Tool } from "./tools.js";
import type { Sample, Status } from "./window.js";

/** Attempts of this call that left our hands; those of an earlier process have no number. */
function handOvers({ attempts }: Call): number {
  let count = 0;
  for (let index = 0; index < attempts.length; index += 1) {
    const attempt = attempts[index];
    if (attempt?.handedOver === true && attempt.number > 0) count += 1;
  }
  return count;
}

/** A number of milliseconds that can be added up; details of events come from anybody. */
function duration(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) && value > 0 ? value : 0;
}

/**
 * One call on its way through the monitor, and what is kept of it in the end. What its report will say of duplicates and waits is
 * gathered from its events, for inside the pipeline nobody can read it.
 */
export class Passage implements Sample {
  status: Status = "unknown";
  code: OutcomeCode | undefined = undefined;
  attempts: number;
  duplicate = false;
  waitedMs = 0;
  latencyMs = 0;
  readonly tool: Tool;
  readonly #ctx: CallContext;
  readonly #startedAt: number;
  readonly #stopListening: () => void;

  constructor(ctx: CallContext, tool: Tool, startedAt: number) {
    this.tool = tool;
    this.#ctx = ctx;
    this.#startedAt = startedAt;
    this.attempts = -handOvers(ctx.call);
    this.#stopListening = ctx.call.on((name, detail) => this.#hear(name, detail));
  }

  /** Books what the call came to. */
  end(value: unknown, thrown: boolean, now: number): void {
    this.#stopListening();
    const { status, code, isAnswer } = endingOf(this.#ctx, value, thrown);
    this.status = status;
    this.code = code;
    this.attempts += handOvers(this.#ctx.call);
    // Who joined a run may have left before it ended.
    this.duplicate = isAnswer && (this.duplicate || isReplay(value, thrown));
    this.latencyMs = duration(now - this.#startedAt);
    // A backoff is announced before it is slept, and it may be cut short.
    if (this.waitedMs > this.latencyMs) this.waitedMs = this.latencyMs;
  }

  #hear(name: string, detail: object): void {
    // Events of other packages: read as what anybody may have emitted.
    const said = detail as { readonly [member: string]: unknown };
    if (name === "retry.scheduled") this.waitedMs += duration(said.delayMs);
    else if (name === "limit.wait") this.waitedMs += duration(said.waitMs);
    else if (name === "idempotency.outcome") {
      this.duplicate = said.outcome === "replayed" || said.outcome === "joined";
    }
  }
}

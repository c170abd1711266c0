import { McpTxError } from "@mcp-tx/core";
import type { FailedSaga } from "./outcome.js";

const Brand: unique symbol = Symbol.for("@mcp-tx/saga.error");

function hasBrand(value: unknown, brand: string): boolean {
  try {
    return (value as { readonly [Brand]?: unknown } | null | undefined)?.[Brand] === brand;
  } catch {
    // Anything can be thrown, a revoked proxy too.
    return false;
  }
}

/** A saga cannot be run as it is defined. Nothing was run. */
export class SagaDefinitionError extends TypeError {
  override readonly name = "SagaDefinitionError";
  /** Everything that is wrong, each naming its step. */
  readonly problems: readonly string[];

  constructor(saga: string, problems: readonly string[]) {
    super(`saga "${saga}": ${problems.join("; ")}`);
    this.problems = problems;
  }
  static isInstance(value: unknown): value is SagaDefinitionError {
    return hasBrand(value, "definition");
  }
}

/** There is a saga with this id already, of another definition or with another input. */
export class SagaConflictError extends McpTxError {
  override readonly name = "SagaConflictError";

  constructor(id: string, what: string) {
    super(
      `Saga "${id}" exists already ${what}. Nothing was run. Give a new saga an id of its own.`,
      "idempotency_conflict",
      { outcome: { status: "rejected", execution: "not-executed", transient: false } },
    );
  }
  static override isInstance(value: unknown): value is SagaConflictError {
    return hasBrand(value, "conflict");
  }
}

/** Another process, or another call of this one, works on the saga. */
export class SagaInProgressError extends McpTxError {
  override readonly name = "SagaInProgressError";

  constructor(id: string, retryAfterMs: number) {
    super(
      `Saga "${id}" is being run elsewhere. Ask for it again in ${Math.ceil(retryAfterMs)} ms, or read how it stands with get().`,
      "idempotency_in_progress",
      { outcome: { status: "rejected", execution: "unknown", transient: true, retryAfterMs } },
    );
  }
  static override isInstance(value: unknown): value is SagaInProgressError {
    return hasBrand(value, "in-progress");
  }
}

/**
 * This run of a saga cannot go on: its journal could not be written, another process took it over, or the runner was closed. The saga
 * itself is not over: `recover()` carries it on.
 */
export class SagaInterruptedError extends McpTxError {
  override readonly name = "SagaInterruptedError";

  constructor(id: string, why: string, cause?: unknown) {
    super(
      `This run of saga "${id}" was interrupted: ${why}. The saga is kept and recover() carries it on.`,
      "store_unavailable",
      {
        cause,
        outcome: { status: "failure", execution: "unknown", transient: true },
      },
    );
  }
  static override isInstance(value: unknown): value is SagaInterruptedError {
    return hasBrand(value, "interrupted");
  }
}

/** The work of `compensating` failed; what it had done was undone, or is reported. */
export class SagaFailedError extends Error {
  override readonly name = "SagaFailedError";
  readonly outcome: FailedSaga;

  /** @param cause - what the work threw; `undefined` when the process that ran it is gone */
  constructor(outcome: FailedSaga, cause?: unknown) {
    const state = outcome.status === "compensated" ? "what it had done was undone" : "it is stuck: see outcome";
    super(`Saga "${outcome.id}" failed, and ${state}. ${outcome.error.message}`, { cause });
    this.outcome = outcome;
  }
  static isInstance(value: unknown): value is SagaFailedError {
    return hasBrand(value, "failed");
  }
}

const BRANDS = [
  [SagaFailedError, "failed"],
  [SagaDefinitionError, "definition"],
  [SagaConflictError, "conflict"],
  [SagaInProgressError, "in-progress"],
  [SagaInterruptedError, "interrupted"],
] as const;
for (const [errorClass, brand] of BRANDS) Object.defineProperty(errorClass.prototype, Brand, { value: brand });

import type { Execution, OutcomeCode } from "@mcp-tx/core";
import type { ProblemCode, ProblemPointer } from "./problem-codes.js";

/** What a {@link Refusal} says beside its code. */
export interface RefusalDetails {
  /** Instead of the constant text of the code. Written by us: nothing of an error's may go in. */
  readonly detail?: string | undefined;
  readonly errors?: readonly ProblemPointer[] | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly requestId?: string | undefined;
  readonly execution?: Execution | undefined;
  readonly reason?: OutcomeCode | undefined;
  readonly status?: number | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** What is behind it: for `onError`, never for the body. */
  readonly cause?: unknown;
}

/** A request ends with a problem. Internal: it becomes a response, and never leaves the handler. */
export class Refusal {
  // Looked at instead of the prototype: anything can be thrown, also what breaks when it is asked for its prototype.
  readonly #isRefusal = true;

  constructor(
    readonly code: ProblemCode,
    readonly details: RefusalDetails = {},
  ) {}

  static isInstance(value: unknown): value is Refusal {
    return typeof value === "object" && value !== null && #isRefusal in value;
  }
}

import type { Execution, PastAttempt, PinnedRecord } from "@mcp-tx/core";
import type { Arguments } from "./definition.js";
import type { SagaCallOutcome, SagaFailure } from "./outcome.js";

/** How one unit of a saga ended: the action of a step, or its compensation. Plain JSON: engines keep it. */
export interface UnitEnd extends Omit<SagaCallOutcome, "args" | "status"> {
  readonly status: "completed" | "failed" | "unknown";
  /** Whether the tool may have had its effect: `not-executed` proves that it had none. */
  readonly execution: Execution;
  /** The tool reported success, and only its result cannot be used: it is undone like one that completed, and never run again. */
  readonly isDone?: boolean | undefined;
  /** Completion order within the saga, from 1. */
  readonly order: number;
  /** Milliseconds since the epoch. */
  readonly endedAt: number;
  /** Records that are kept for this unit until the saga ends. */
  readonly pins?: readonly PinnedRecord[] | undefined;
  /** As in {@link Intent}, now that the result is known. */
  readonly origin?: Origin | undefined;
}

/** The arguments of a unit, or why there are none. */
export type Prepared = { readonly args: Arguments } | { readonly failure: SagaFailure };

/** What is written down right before a unit's call leaves. */
export interface Intent {
  readonly args: Arguments;
  /** How often the call has been repeated on purpose after it had failed. */
  readonly epoch: number;
  /** Every attempt that nobody knows the outcome of, this one included. */
  readonly attempts: readonly PastAttempt[];
  /** For a step that no definition knows. */
  readonly origin?: Origin | undefined;
}

/** What has to be known of a step to settle and to undo it, where no definition says it. */
export interface Origin {
  readonly tool: string;
  readonly atomic: boolean;
  readonly undo?: Undo | undefined;
}

/** How a step is undone, with everything resolved. */
export interface Undo {
  readonly tool: string;
  readonly args: Arguments;
}

/** What a unit finds of itself from an earlier run, and where it writes its intent. */
export interface UnitMemory {
  /** Attempts of an earlier run whose outcome nobody knows. */
  readonly past: readonly PastAttempt[];
  readonly epoch: number;
  /** Calls that earlier runs made. */
  readonly calls: number;
  /**
   * Only find out what became of the past attempts, by `verify`: the unit must not run any more, because it has been undone already.
   */
  readonly onlyVerify: boolean;
  /**
   * Writes the intent down. Resolves when it is durable; what it throws is a control error.
   *
   * @param calls - calls in all, with the one that is about to leave
   */
  intend(intent: Intent, calls: number): Promise<void>;
  /** Asked right before every dispatch. @throws a control error when this run may not go on */
  check(): void;
}

/**
 * What the interpreter of sagas needs of an engine that outlives a process. In process it is a journal in a store; DBOS is another.
 *
 * @remarks
 * A run that is carried on begins at the start again and asks for the same names in the same order: what is remembered is given back
 * without running. Functions are asked for one after the other, except that the units of a parallel group are started together, in
 * order. Whatever `isControlError` says yes to is the engine's own: it is neither a failure of a step nor a reason to compensate, and
 * passes untouched.
 */
export interface SagaPort {
  /** Gives what the function gave the first time. Remembered at once. */
  remember<T>(name: string, make: () => T): Promise<T>;
  /** What is remembered under a name by an earlier run, for engines that let an operator open a saga again. */
  recall?(name: string): unknown;
  /**
   * Decides something that depends on the moment, such as whether time is up. Not asked again when the run went on behind it before.
   *
   * @param units - the units that come next
   */
  decide(name: string, units: readonly string[], make: () => string | undefined): Promise<string | undefined>;
  /** Gives what the function gave the first time; arguments are remembered at the latest with the unit's intent. */
  prepare(unit: string, make: () => Prepared): Promise<Prepared>;
  /** Runs the unit, once: what it ended with is remembered. */
  unit(unit: string, run: (memory: UnitMemory) => Promise<UnitEnd>): Promise<UnitEnd>;
  isControlError(error: unknown): boolean;
}

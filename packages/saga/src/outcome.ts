import type { CallReport } from "@mcp-tx/core";

/** An error as it is kept: what it was called, and what it said. */
export interface SagaFailure {
  readonly name: string;
  readonly message: string;
  /** Its `code`, where it is an error of mcp-tx. */
  readonly code?: string | undefined;
}

/** How a step, or the undoing of one, ended. */
export interface SagaCallOutcome {
  readonly tool: string;
  /** `not-run`: certain that it had no effect; `unknown`: nobody knows. */
  readonly status: "completed" | "failed" | "unknown" | "not-run";
  readonly args?: Readonly<Record<string, unknown>> | undefined;
  readonly result?: unknown;
  readonly error?: SagaFailure | undefined;
  /** Calls in all, over all processes that worked on the saga. */
  readonly calls: number;
  /** The report of the last call. */
  readonly report?: CallReport | undefined;
}

/** How one step ended. */
export interface SagaStepOutcome extends SagaCallOutcome {
  /** Its name; the steps of a nested saga have the names of both, with a dot between. */
  readonly step: string;
  /** How its compensation ended; `undefined` when there was none to run. */
  readonly compensation?: SagaCallOutcome | undefined;
}

interface Ended {
  readonly id: string;
  readonly name: string;
  /** Every step that was begun, in the order of the definition. */
  readonly steps: readonly SagaStepOutcome[];
  /** Names of the steps that were undone, in the order in which that happened. */
  readonly compensated: readonly string[];
  /** Names of the steps whose compensation failed, or ended without anybody knowing how. */
  readonly failedCompensations: readonly string[];
  /** Names of the steps of which nobody knows whether they had their effect. */
  readonly unknown: readonly string[];
}

/** A saga whose steps are all done. */
export interface CompletedSaga<Results = unknown> extends Ended {
  readonly status: "completed";
  /** The results of all steps, by name. */
  readonly results: Results;
  readonly error?: undefined;
}

/** A saga that did not get through. */
export interface FailedSaga<Results = unknown> extends Ended {
  /**
   * `compensated`: every effect is undone. `stuck`: some step is unknown, some compensation failed, or a step behind the point of no
   * return does not get done; the lists say which.
   */
  readonly status: "compensated" | "stuck";
  /** The results of the steps that completed, undone or not. */
  readonly results: Partial<Results>;
  /** What made it fail. */
  readonly error: SagaFailure;
}

/** How a saga ended. */
export type SagaOutcome<Results = unknown> = CompletedSaga<Results> | FailedSaga<Results>;

import type { SagaFailure, SagaOutcome } from "./outcome.js";

/** What happens to sagas, for logs and telemetry. Times are milliseconds since the epoch. */
export interface SagaEvents {
  /** A saga begins, or is carried on by this process. */
  "saga.start": { readonly saga: string; readonly id: string; readonly recovered: boolean; readonly at: number };
  /** A step or its compensation begins. */
  "saga.step.start": SagaStepEvent;
  /** A step or its compensation ended. */
  "saga.step.end": SagaStepEvent & {
    readonly status: "completed" | "failed" | "unknown";
    readonly calls: number;
    readonly error?: SagaFailure | undefined;
  };
  /** The saga turns round: what was done is undone from here on. */
  "saga.turn": { readonly saga: string; readonly id: string; readonly error: SagaFailure; readonly at: number };
  "saga.end": {
    readonly saga: string;
    readonly id: string;
    readonly status: SagaOutcome["status"];
    readonly outcome: SagaOutcome;
    readonly at: number;
  };
  /** This process stops working on the saga; it is not over. */
  "saga.interrupted": { readonly saga: string; readonly id: string; readonly error: unknown; readonly at: number };
  /** Something in a definition that need not be wrong. */
  "saga.warning": { readonly saga: string; readonly message: string };
}

/** What is said of a step. */
export interface SagaStepEvent {
  readonly saga: string;
  readonly id: string;
  readonly step: string;
  readonly phase: "action" | "compensation";
  readonly tool: string;
  readonly at: number;
}

/** Receives every event of a runner; whatever it throws is swallowed. */
export type SagaListener = <K extends keyof SagaEvents>(name: K, detail: SagaEvents[K]) => void;

/** Tells a listener; an observer never replaces an outcome. */
export function tell<K extends keyof SagaEvents>(
  listener: SagaListener | undefined,
  name: K,
  detail: SagaEvents[K],
): void {
  try {
    listener?.(name, detail);
  } catch {
    // Not ours to handle.
  }
}

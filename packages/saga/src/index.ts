export {
  type CompensatingOptions,
  type CompensatingScope,
  type CompensatingStepOptions,
  compensating,
} from "./compensating.js";
export {
  type Arguments,
  type Compensation,
  defineSaga,
  type NestedStep,
  type Original,
  type ParallelResults,
  type Resolver,
  type SagaBuilder,
  type SagaDefinition,
  type SagaOptions,
  type SagaState,
  type ToolStep,
  unchecked,
} from "./definition.js";
export {
  SagaConflictError,
  SagaDefinitionError,
  SagaFailedError,
  SagaInProgressError,
  SagaInterruptedError,
} from "./errors.js";
export type { SagaEvents, SagaListener, SagaStepEvent } from "./events.js";
export { type MemorySagaStoreOptions, memorySagaStore } from "./memory-saga-store.js";
export type {
  CompletedSaga,
  FailedSaga,
  SagaCallOutcome,
  SagaFailure,
  SagaOutcome,
  SagaStepOutcome,
} from "./outcome.js";
export type { StepFailure, StepRetry } from "./policy.js";
export type { ToolInfo, ToolSource } from "./preflight.js";
export { createSagaRunner } from "./runner.js";
export type {
  RecoverOptions,
  SagaInfo,
  SagaListOptions,
  SagaRunner,
  SagaRunnerOptions,
  SagaRunOptions,
} from "./runner-types.js";
export { type SagaCall, saga } from "./saga.js";
export type { PlainSaga, PlainStep, PlannedStep, SagaNode } from "./structure.js";
export { formatTimeline, type SagaTimeline, type TimelineEvent, timelineOf } from "./timeline.js";

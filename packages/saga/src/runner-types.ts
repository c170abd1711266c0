import type { Caller, Runtime } from "@mcp-tx/core";
import type { SagaStatus, SagaStore } from "@mcp-tx/core/stores";
import type { SagaDefinition } from "./definition.js";
import type { SagaListener } from "./events.js";
import type { SagaOutcome } from "./outcome.js";
import type { StepRetry } from "./policy.js";
import type { ToolSource } from "./preflight.js";
import type { SagaTimeline } from "./timeline.js";

/** Options of {@link createSagaRunner}. */
export interface SagaRunnerOptions {
  /**
   * Through whom the tools are called: a wrapped client, or anything that calls tools by name. Best with `idempotency()` on a durable
   * store, or a server that announces one: then a step whose process died is asked after, not guessed at.
   */
  readonly caller: Caller<unknown>;
  /**
   * Where sagas and their journals are kept: `sqliteStore(...).saga`, `postgresStore(...).saga`.
   * @defaultValue `memorySagaStore()`, which survives nothing
   */
  readonly store?: SagaStore | undefined;
  /** The definitions that `recover` may meet, all versions of which sagas are unfinished. Those given to `run` are known from then on. */
  readonly sagas?: readonly SagaDefinition[] | undefined;
  /** The tools that there are, for checks before anything runs: a list, or a function that gives it (asked once). */
  readonly tools?: ToolSource | undefined;
  /**
   * Milliseconds after which a saga whose process is gone may be carried on by another one. At least 100.
   * @defaultValue 30000
   */
  readonly leaseMs?: number | undefined;
  /**
   * Milliseconds for which an ended saga is kept: so long, `run` with its id gives its outcome again. `recover` forgets older ones.
   * @defaultValue Infinity
   */
  readonly retentionMs?: number | undefined;
  /**
   * Milliseconds for which a call that is under way may still answer when the saga is to stop (abort, deadline).
   * @defaultValue 30000
   */
  readonly graceMs?: number | undefined;
  /**
   * How compensations are repeated that say nothing themselves.
   * @defaultValue `{ maxAttempts: 5 }`
   */
  readonly compensationRetry?: StepRetry | undefined;
  /**
   * Milliseconds for undoing a whole saga; what is not undone by then is left to an operator.
   * @defaultValue 300000
   */
  readonly compensationBudgetMs?: number | undefined;
  /**
   * How steps are repeated that can only go forward and say nothing themselves.
   * @defaultValue `{ maxAttempts: 5 }`
   */
  readonly forwardRetry?: StepRetry | undefined;
  /**
   * How a call is asked after of which nobody knows whether it ran: sent again under its key, where the replay gate allows it.
   * @defaultValue `{ maxAttempts: 5 }`
   */
  readonly settleRetry?: StepRetry | undefined;
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
  readonly onEvent?: SagaListener | undefined;
}

/** Options of {@link SagaRunner.run}. */
export interface SagaRunOptions {
  /**
   * Names the saga: the same id is the same saga, whichever process asks for it. From 1 to 256 characters.
   * @defaultValue a random UUID
   */
  readonly id?: string | undefined;
  /** Stops the saga: before the point of no return what was done is undone, behind it nothing is stopped. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds after which the saga stops by itself, also when another process carries it on. Greater than 0. */
  readonly timeoutMs?: number | undefined;
}

/** Options of {@link SagaRunner.recover}. */
export interface RecoverOptions {
  /**
   * Sagas carried on at the same time. At least 1.
   * @defaultValue 16
   */
  readonly concurrency?: number | undefined;
  /** Ends looking for more; those that are carried on go on. */
  readonly signal?: AbortSignal | undefined;
}

/** Which sagas {@link SagaRunner.list} gives. */
export interface SagaListOptions {
  readonly status?: SagaStatus | undefined;
  readonly name?: string | undefined;
  /** The id after which to go on. */
  readonly after?: string | undefined;
  /** @defaultValue 100 */
  readonly limit?: number | undefined;
}

/** How a saga stands. */
export interface SagaInfo {
  readonly id: string;
  readonly name: string;
  readonly status: SagaStatus;
  readonly input: unknown;
  /** Once it has ended or is stuck. */
  readonly outcome?: SagaOutcome | undefined;
  /** Whether this runner knows its definition, so that it can carry it on. */
  readonly isKnown: boolean;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Until when its present owner has it, on the store's clock. */
  readonly leaseUntil: number;
}

/** Runs sagas, carries them on, and shows them. */
export interface SagaRunner {
  /**
   * Runs a saga to its end. The same id again gives the recorded outcome, joins the run in this process, or carries on what a dead
   * process left.
   *
   * @returns the outcome, also of a saga that was compensated or is stuck
   * @throws SagaDefinitionError before anything runs; SagaConflictError for an id that is another saga's; SagaInProgressError while
   *   another process runs it; SagaInterruptedError when this process cannot go on: the saga is not over then
   */
  run<Input, Results>(
    definition: SagaDefinition<Input, Results>,
    input: Input,
    options?: SagaRunOptions,
  ): Promise<SagaOutcome<Results>>;
  /**
   * Carries on every unfinished saga that nobody works on. To be called when a process starts, and from time to time.
   *
   * @returns their outcomes
   * @throws AggregateError, after all others were carried on, with one error for each saga that could not be, such as for a definition
   *   that this runner does not know
   */
  recover(options?: RecoverOptions): Promise<readonly SagaOutcome[]>;
  /** `undefined` for an id that there is no saga with. */
  get(id: string): Promise<SagaInfo | undefined>;
  list(options?: SagaListOptions): Promise<readonly SagaInfo[]>;
  /**
   * Lets a stuck saga go on: failed compensations and steps behind the point of no return are tried again, and it is asked anew what
   * became of unknown ones.
   *
   * @throws TypeError for a saga that is not stuck
   */
  resume(id: string): Promise<SagaOutcome>;
  /** Gives a stuck saga, or one that nobody works on, up: it is kept as `abandoned` and nothing of it is run any more. */
  abandon(id: string): Promise<SagaInfo>;
  /** What happened to a saga, for operators; `formatTimeline` makes text of it. */
  timeline(id: string): Promise<SagaTimeline | undefined>;
  /** Lets the running sagas come to their next step and leaves them there, for others to carry on; resolves when all have. */
  close(): Promise<void>;
}

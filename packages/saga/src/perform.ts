import {
  type Caller,
  type CallOptions,
  type CallReport,
  type Execution,
  invokeThrough,
  McpTxError,
  type Middleware,
  middlewareOf,
  type Outcome,
  OutcomeUnknownError,
  type OutputSchema,
  type PastAttempt,
  type PinnedRecord,
  type Runtime,
  reportOf,
  type ToolResult,
} from "@mcp-tx/core";
import type { Arguments } from "./definition.js";
import { asKept } from "./json.js";
import type { SagaFailure } from "./outcome.js";
import { delayBefore, type StepPolicy } from "./policy.js";
import type { UnitEnd, UnitMemory } from "./port.js";
import { SagaCall, saga } from "./saga.js";

/** A bad value of a server does not stop a saga for a year. */
const MAX_RETRY_AFTER_MS = 300_000;

/** The least that a question gets: one without time to be answered is none. */
const MIN_QUESTION_MS = 1000;

/** What a unit calls, and how patiently. */
export interface UnitTerms {
  readonly saga: string;
  readonly id: string;
  readonly step: string;
  readonly phase: "action" | "compensation";
  readonly tool: string;
  readonly key: string;
  readonly output: OutputSchema | undefined;
  readonly policy: StepPolicy;
  /** How an outcome that nobody knows is asked after. */
  readonly settling: StepPolicy;
  readonly timeoutMs: number | undefined;
  /** Ends repetitions: the saga does not want the step any more. */
  readonly stop: AbortSignal | undefined;
  /** Aborts the call itself. */
  readonly signal: AbortSignal | undefined;
  /**
   * Milliseconds for each question after a call that nobody knows the outcome of, once the saga does not want the step any more, where the
   * step has no `timeoutMs`. `undefined`: it is not asked then.
   */
  readonly lateQuestionMs?: number | undefined;
  /** Told of the error that the unit ends with: what is kept of it is only its name and message. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** Through whom the calls go. */
export interface Surroundings {
  readonly caller: Caller<unknown>;
  readonly runtime: Runtime;
  /** Whether records of the calls have to outlast the process. */
  readonly pins: boolean;
  /** Whether an error is the engine's own, which says nothing about the call. */
  readonly isControlError: (error: unknown) => boolean;
}

/** What one call came to. */
type Said =
  | { readonly status: "completed"; readonly value: unknown; readonly report: CallReport | undefined }
  | {
      readonly status: "failed" | "unknown";
      readonly error: unknown;
      readonly outcome: Outcome;
      readonly execution: Execution;
      /** Nobody will ever know more. */
      readonly isFinal: boolean;
      /** The tool reported success: the failure is in what it gave. */
      readonly isDone: boolean;
      readonly unresolved: readonly PastAttempt[];
      readonly report: CallReport | undefined;
    };

/** A call that did not complete. */
type Unfinished = Exclude<Said, { readonly status: "completed" }>;

const FAILED: Outcome = { status: "failure", execution: "unknown", transient: false };
const OUTERMOST: Middleware = saga();

/** An error as it is kept. */
export function failureOf(error: unknown): SagaFailure {
  try {
    const { name, message } = error as Partial<Error>;
    const code = McpTxError.isInstance(error) ? error.code : undefined;
    return {
      name: typeof name === "string" ? name : "Error",
      message: typeof message === "string" ? message : String(error),
      ...(code !== undefined && { code }),
    };
  } catch {
    // Anything can be thrown, so that even looking may throw.
    return { name: "Error", message: "something was thrown that cannot be read" };
  }
}

/** Whether the caller's own pipeline has a place for sagas. */
function hasSeat(caller: object): boolean {
  return middlewareOf(caller)?.some(({ seat }) => seat === "saga") === true;
}

/** Callers of another making that were seen to send a call through its own middleware. */
const OBEDIENT = new WeakSet<object>();

function cannotAsk(tool: string, past: readonly PastAttempt[]): Said {
  return {
    status: "unknown",
    error: new OutcomeUnknownError(tool),
    outcome: FAILED,
    execution: "unknown",
    isFinal: true,
    isDone: false,
    unresolved: past,
    report: undefined,
  };
}

/** One call on its way, and what came back. */
class Sending {
  report: CallReport | undefined;
  /** A result came back. */
  isAnswered = false;
  /** The tool reported success. */
  isDone = false;

  constructor(
    readonly caller: Caller<unknown>,
    readonly tool: string,
    readonly args: Arguments,
  ) {}

  async send(options: CallOptions | undefined): Promise<ToolResult> {
    try {
      // What any caller's `call` gives is a ToolResult.
      const result = (await this.caller.call(this.tool, this.args, options)) as ToolResult;
      this.report = reportOf(result);
      this.isAnswered = true;
      this.isDone = result.isError !== true;
      return result;
    } catch (error) {
      this.report = reportOf(error);
      throw error;
    }
  }
}

/** The calls of one unit, one after the other. */
class Performance {
  readonly pins: PinnedRecord[] = [];
  readonly #terms: UnitTerms;
  readonly #args: Arguments;
  readonly #memory: UnitMemory;
  readonly #surroundings: Surroundings;

  constructor(terms: UnitTerms, args: Arguments, memory: UnitMemory, surroundings: Surroundings) {
    this.#terms = terms;
    this.#args = args;
    this.#memory = memory;
    this.#surroundings = surroundings;
  }

  async call(past: readonly PastAttempt[], epoch: number, calls: number): Promise<Said> {
    const { caller, runtime } = this.#surroundings;
    const { saga: name, id, step, phase, key, tool, policy, output } = this.#terms;
    const isLate = this.#isLate(past);
    const sagaCall = new SagaCall({
      saga: name,
      id,
      step,
      phase,
      key,
      args: this.#args,
      epoch,
      calls,
      past,
      replay: policy.replay,
      memory: this.#memory,
      isUnwanted: isLate,
    });
    const isKnown = middlewareOf(caller) !== undefined;
    const sentAtWall = runtime.wallNow();
    if (!isKnown) {
      // Of another making: it may dispatch without telling, and so it must not get what may have been sent already.
      if (past.length > 0 && !OBEDIENT.has(caller)) return cannotAsk(tool, past);
      await sagaCall.intendEarly(sentAtWall);
    }
    const sending = new Sending(caller, tool, this.#args);
    try {
      const value = await invokeThrough((options) => sending.send(options), tool, {
        ...this.#options(sagaCall, isLate),
        output,
      });
      if (sagaCall.call !== undefined) OBEDIENT.add(caller);
      return { status: "completed", value: asKept(value, `the result of step "${step}"`), report: sending.report };
    } catch (error) {
      if (sagaCall.interruption !== undefined) throw sagaCall.interruption.error;
      if (this.#surroundings.isControlError(error)) throw error;
      // It is undone, whatever it said of it.
      if (sending.isDone && phase === "compensation") {
        return { status: "completed", value: undefined, report: sending.report };
      }
      return this.#unfinished(error, sagaCall, sending, sentAtWall);
    }
  }

  #unfinished(error: unknown, call: SagaCall, { report, isDone, isAnswered }: Sending, sentAtWall: number): Unfinished {
    const execution = this.#executionOf(call, report, isAnswered);
    const outcome = call.outcome ?? FAILED;
    return {
      status: execution === "unknown" ? "unknown" : "failed",
      error,
      execution,
      outcome,
      isFinal: call.isFinallyUnknown || outcome.code === "outcome_unknown",
      unresolved: call.unresolved(sentAtWall),
      isDone,
      report,
    };
  }

  /** Whether the saga only wants to know what became of the step. */
  #isLate(past: readonly PastAttempt[]): boolean {
    return past.length > 0 && asksLate(this.#terms);
  }

  #options(call: SagaCall, isLate: boolean): CallOptions {
    const { caller, pins } = this.#surroundings;
    const { key, id, lateQuestionMs = Infinity } = this.#terms;
    const signal = isLate ? undefined : this.#terms.signal;
    const lateMs = isLate && lateQuestionMs !== Infinity ? Math.max(lateQuestionMs, MIN_QUESTION_MS) : undefined;
    const { timeoutMs = lateMs } = this.#terms;
    return {
      idempotencyKey: key,
      transactionId: id,
      saga: call,
      ...(hasSeat(caller) ? {} : { middleware: OUTERMOST }),
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(signal !== undefined && { signal }),
      ...(pins && { pinned: (record: PinnedRecord) => this.pins.push(record) }),
    };
  }

  /** Whether the tool may have had its effect, now that the call has failed. */
  #executionOf(call: SagaCall, report: CallReport | undefined, isAnswered: boolean): Execution {
    if (call.isNotNeeded) return "not-executed";
    if (report !== undefined) return report.execution;
    if (call.call !== undefined) return call.call.execution;
    if (isAnswered) return "executed";
    // It was refused before it began, such as for an option that nothing takes.
    return middlewareOf(this.#surroundings.caller) !== undefined ? "not-executed" : "unknown";
  }
}

/** Whether the saga has stopped, and it is still asked what became of a call. */
function asksLate({ stop, lateQuestionMs }: UnitTerms): boolean {
  return stop?.aborted === true && lateQuestionMs !== undefined;
}

function isWanted({ policy, tool }: UnitTerms, said: Unfinished, call: number): boolean {
  const { outcome, execution, error } = said;
  try {
    const opinion = policy.retryOn?.({ ...outcome, execution }, { tool, call, error });
    if (typeof opinion === "boolean") return opinion;
  } catch {
    // An opinion that could not be given is none.
  }
  // What was done is not done once more because its result is of no use.
  return !said.isDone && (execution === "executed" || outcome.transient);
}

function mayRepeat(terms: UnitTerms, said: Unfinished, call: number): boolean {
  const { maxAttempts } = terms.policy;
  if (terms.stop?.aborted === true && !(said.status === "unknown" && asksLate(terms))) return false;
  if (said.status === "unknown") return !said.isFinal && call < Math.max(maxAttempts, terms.settling.maxAttempts);
  return call < maxAttempts && isWanted(terms, said, call);
}

/** @param wasLate - whether that call was a question after the stop already: the first one comes at once */
function delayAfter(terms: UnitTerms, said: Unfinished, call: number, wasLate: boolean, runtime: Runtime): number {
  const { policy, settling } = terms;
  if (asksLate(terms) && !wasLate) return 0;
  const own = delayBefore(call, said.status === "unknown" ? settling : policy, () => runtime.random());
  return Math.max(own, Math.min(said.outcome.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS));
}

/** Waits before a repetition; `false` when the saga does not want it any more. A question comes sooner then, but it comes. */
async function pause(ms: number, terms: UnitTerms, said: Unfinished, { runtime }: Surroundings): Promise<boolean> {
  const { stop } = terms;
  try {
    await runtime.sleep(ms, stop?.aborted === true ? undefined : stop);
    return true;
  } catch (error) {
    if (stop?.aborted === true) return said.status === "unknown" && asksLate(terms);
    throw error;
  }
}

function endOf(said: Unfinished, epoch: number): Pick<UnitEnd, "status" | "execution" | "isDone" | "error"> {
  const { status, isDone, error } = said;
  // An earlier call ran and failed: that the last one did not run proves nothing.
  const execution = said.execution === "not-executed" && epoch > 0 ? "executed" : said.execution;
  return { status, execution, ...(isDone && { isDone }), error: failureOf(error) };
}

/**
 * Runs one unit to its end: calls, and calls again as its policy says. A repetition of what ran and failed raises the epoch; one of what
 * nobody knows passes the replay gate.
 *
 * @throws only what interrupts the saga in this process
 */
export async function perform(
  terms: UnitTerms,
  args: Arguments,
  memory: UnitMemory,
  surroundings: Surroundings,
): Promise<Omit<UnitEnd, "order" | "endedAt">> {
  const performance = new Performance(terms, args, memory, surroundings);
  let { past, epoch } = memory;
  for (let call = 1; ; call += 1) {
    const calls = memory.calls + call;
    const wasLate = past.length > 0 && asksLate(terms);
    const said = await performance.call(past, epoch, calls);
    const { pins } = performance;
    const common = {
      tool: terms.tool,
      calls,
      ...(said.report !== undefined && { report: said.report }),
      ...(pins.length > 0 && { pins: [...pins] }),
    };
    if (said.status === "completed") {
      return { ...common, status: "completed", execution: "executed", result: said.value };
    }
    const repeats = !memory.onlyVerify && mayRepeat(terms, said, call);
    const delayMs = delayAfter(terms, said, call, wasLate, surroundings.runtime);
    if (!repeats || !(await pause(delayMs, terms, said, surroundings))) {
      terms.onError?.(said.error);
      return { ...common, ...endOf(said, epoch) };
    }
    past = said.status === "unknown" ? said.unresolved : [];
    if (said.execution === "executed") epoch += 1;
  }
}

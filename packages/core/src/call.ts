import { AttemptState } from "./attempt.js";
import type {
  Call,
  CallContext,
  CallEvents,
  CallListener,
  CallReport,
  CallRequest,
  Classifier,
  Endpoint,
  Execution,
  Key,
  Outcome,
  PastAttempt,
  Peer,
  Runtime,
  Side,
  ToolResult,
  Verify,
} from "./contract.js";
import { causesOf, McpTxError } from "./errors.js";
import { frozen } from "./frozen.js";
import { outcomeOfResult } from "./outcome.js";
import { quietly } from "./quietly.js";
import type { Reporter } from "./report.js";
import { textOf } from "./value.js";
import { asBag } from "./wire.js";

/** What all calls of one wrapper share. */
export interface CallSettings {
  readonly runtime: Runtime;
  readonly peer: Peer | (() => Peer);
  readonly classifiers: readonly Classifier[];
  readonly trustAnnotations: boolean | ((peer: Peer) => boolean);
  readonly verify: Verify | undefined;
  readonly endpoint: Endpoint | undefined;
  readonly side: Side;
  readonly onReport: ((report: CallReport) => void) | undefined;
  readonly onEvent: CallListener | undefined;
}

const NO_ATTEMPTS: readonly AttemptState[] = frozen([]);

/** The one implementation of {@link Call}. */
export class CallState implements Call, Reporter {
  handOvers = 0;
  /** Whether a response arrived for any attempt. */
  acknowledged = false;
  epoch = 0;
  #id: string | undefined;
  #attempts: AttemptState[] | undefined;
  #scratch: Map<symbol, unknown> | undefined;
  #listeners: CallListener[] | undefined;
  #notes: Partial<CallReport> | undefined;
  #startedAt: number | undefined;
  #end: End | undefined;
  #report: CallReport | undefined;

  constructor(
    readonly settings: CallSettings,
    readonly request: CallRequest,
    readonly deadline: number,
  ) {
    if (settings.onEvent !== undefined) this.#listeners = [settings.onEvent];
    if (settings.onReport !== undefined) this.#startedAt = settings.runtime.now();
  }

  get id(): string {
    this.#id ??= crypto.randomUUID();
    return this.#id;
  }
  get transactionId(): string | undefined {
    return this.request.options.transactionId;
  }
  get runtime(): Runtime {
    return this.settings.runtime;
  }
  get peer(): Peer {
    const { peer } = this.settings;
    const known = typeof peer === "function" ? peer() : peer;
    return this.request.peer === undefined ? known : { ...this.request.peer, ...known };
  }
  get side(): Side {
    return this.settings.side;
  }
  get signal(): AbortSignal | undefined {
    return this.request.options.signal;
  }
  get endpoint(): Endpoint | undefined {
    return this.settings.endpoint;
  }
  get verify(): Verify | undefined {
    return this.settings.verify;
  }
  get classifiers(): readonly Classifier[] {
    return this.settings.classifiers;
  }
  get trustsAnnotations(): boolean {
    const trust = this.settings.trustAnnotations;
    return typeof trust === "function" ? trust(this.peer) === true : trust;
  }

  raiseEpoch(): number {
    this.epoch += 1;
    return this.epoch;
  }

  get attempts(): readonly AttemptState[] {
    return this.#attempts ?? NO_ATTEMPTS;
  }

  beginAttempt(ctx: CallContext): AttemptState {
    const attempt = new AttemptState(this, ctx.attempt);
    if (this.#attempts === undefined) this.#attempts = [attempt];
    else this.#attempts.push(attempt);
    if (this.observed) this.emit("attempt.start", { tool: ctx.tool, attempt: ctx.attempt });
    return attempt;
  }

  adoptAttempt(past: PastAttempt): void {
    const attempt = AttemptState.leftBy(this, past);
    if (this.#attempts === undefined) this.#attempts = [attempt];
    else this.#attempts.push(attempt);
  }

  get execution(): Execution {
    let execution: Execution = "not-executed";
    for (const attempt of this.attempts) {
      if (attempt.outcome?.status === "success") return "executed";
      if (attempt.execution === "unknown") execution = "unknown";
      else if (attempt.execution === "executed" && execution === "not-executed") execution = "executed";
    }
    return execution;
  }

  resolveAttempts(execution: "executed" | "not-executed"): void {
    for (const attempt of this.attempts) {
      if (attempt.execution !== "unknown") continue;
      const outcome: Outcome = attempt.outcome ?? { status: "failure", execution, transient: true };
      attempt.outcome = { ...outcome, execution };
    }
  }

  outcomeOf(value: unknown, thrown: boolean): Outcome {
    const known = this.#attemptWith(value)?.outcome;
    if (known !== undefined) return known;
    if (!thrown) return outcomeOfResult(value as ToolResult | undefined);
    // The caller's reason may be an error of ours, about another call: of this one it says that it was cancelled.
    if (this.#isAbortedWith(value)) return this.#outcomeOfForeign();
    if (McpTxError.isInstance(value)) return value.outcome;
    // A middleware may have wrapped what an attempt threw.
    for (const cause of causesOf(value)) {
      const outcome = this.#attemptWith(cause)?.outcome;
      if (outcome !== undefined) return outcome;
    }
    return this.#outcomeOfForeign();
  }

  #attemptWith(value: unknown): AttemptState | undefined {
    const attempts = this.#attempts;
    if (attempts === undefined) return undefined;
    for (let index = attempts.length - 1; index >= 0; index -= 1) {
      const attempt = attempts[index];
      if (attempt?.outcome !== undefined && attempt.value === value) return attempt;
    }
    return undefined;
  }

  #isAbortedWith(value: unknown): boolean {
    return this.signal?.aborted === true && this.signal.reason === value;
  }

  /** Something thrown by a middleware, not by an attempt. */
  #outcomeOfForeign(): Outcome {
    if (this.signal?.aborted === true) {
      return { status: "cancelled", execution: this.execution, transient: false, code: "cancelled" };
    }
    return { status: "failure", execution: this.execution, transient: false, code: "tool_error" };
  }

  /** Asks the user's classifiers; one that throws has no opinion. */
  corrected(outcome: Outcome, value: unknown): Outcome {
    const thrown = outcome.status !== "success" && quietly(() => asBag(value)?.isError) !== true;
    const input = thrown
      ? { tool: this.request.tool, error: value, outcome }
      : { tool: this.request.tool, result: value as ToolResult, outcome };
    for (const classify of this.classifiers) {
      const opinion = quietly(() => classify(input));
      if (opinion !== undefined) return { ...outcome, ...opinion };
    }
    return outcome;
  }

  get<T>(key: Key<T>): T | undefined {
    return this.#scratch?.get(key) as T | undefined;
  }
  set<T>(key: Key<T>, value: T): void {
    this.#scratch ??= new Map();
    this.#scratch.set(key, value);
  }

  get observed(): boolean {
    return this.#listeners !== undefined;
  }
  emit<K extends keyof CallEvents>(name: K, detail: CallEvents[K]): void {
    for (const listener of this.#listeners ?? []) quietly(() => listener(name, detail));
  }
  on(listener: CallListener): () => void {
    this.#listeners = [...(this.#listeners ?? []), listener];
    return () => {
      const rest = this.#listeners?.filter((other) => other !== listener);
      this.#listeners = rest === undefined || rest.length === 0 ? undefined : rest;
    };
  }

  note(patch: Partial<CallReport>): void {
    if (this.#end !== undefined) return;
    const waitedMs = (this.#notes?.waitedMs ?? 0) + (patch.waitedMs ?? 0);
    this.#notes = { ...this.#notes, ...patch, waitedMs };
  }

  /** Ends the call. What happens afterwards (a late answer, a loser of a hedge) no longer changes its report. */
  finish(thrown: boolean, value: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = this.#snapshot(thrown, value);
    if (this.settings.onReport === undefined) return;
    quietly(() => this.settings.onReport?.(this.report()));
  }

  #snapshot(thrown: boolean, value: unknown): End {
    return {
      value,
      // Of what was thrown it may depend on the caller's signal: settled now. Of a result it cannot change any more.
      error: thrown ? { outcome: this.outcomeOf(value, true), aborted: this.signal?.aborted === true } : undefined,
      execution: this.execution,
      attempts: this.handOvers,
      acknowledged: this.acknowledged,
      durationMs: this.#startedAt === undefined ? undefined : this.runtime.now() - this.#startedAt,
    };
  }

  /** The report; of a call that has not ended yet, what is known so far. */
  report(): CallReport {
    if (this.#report !== undefined) return this.#report;
    if (this.#end === undefined) return this.#describe(this.#snapshot(false, undefined), "unknown");
    this.#report = this.#describe(this.#end, this.#statusOf(this.#end));
    return this.#report;
  }

  #describe(end: End, status: CallReport["status"]): CallReport {
    const { transactionId, idempotencyKey } = this.request.options;
    return Object.freeze({
      requestId: this.id,
      ...(transactionId !== undefined && { transactionId }),
      ...(idempotencyKey !== undefined && { idempotencyKey }),
      tool: this.request.tool,
      attempts: end.attempts,
      duplicate: false,
      ack: end.acknowledged,
      execution: this.#executionAt(end),
      status,
      ...(this.#end !== undefined && end.durationMs !== undefined && { durationMs: end.durationMs }),
      ...(status !== "completed" && end.value !== undefined && { error: errorOf(end, this.#outcomeAt(end)) }),
      waitedMs: 0,
      ...this.#notes,
    });
  }

  /** Whether the end came from a record. A record of an earlier attempt says nothing about one that is unresolved. */
  #isReplay(end: End): boolean {
    if (this.#notes?.duplicate !== true) return false;
    return end.execution !== "unknown" || this.#outcomeAt(end).status === "success";
  }

  #executionAt(end: End): Execution {
    if (this.#isReplay(end)) return "executed";
    // The aggregate is of this call's own attempts. But whoever reads the report must not take it for proof that nothing happens.
    const isElsewhere = end.error !== undefined && this.#outcomeAt(end).code === "idempotency_in_progress";
    return isElsewhere && end.execution === "not-executed" ? "unknown" : end.execution;
  }

  #outcomeAt({ error, value }: End): Outcome {
    return error?.outcome ?? this.outcomeOf(value, false);
  }

  #statusOf(end: End): CallReport["status"] {
    const { error, value, execution } = end;
    const outcome = this.#outcomeAt(end);
    if (outcome.status === "success") return "completed";
    if (error !== undefined) {
      if (outcome.status === "cancelled" && error.aborted) return "cancelled";
      if (this.#timedOut(value)) return "timeout";
      if (execution === "unknown") return "unknown";
    }
    const refused = outcome.status === "rejected" || outcome.status === "throttled";
    return refused && execution === "not-executed" ? "rejected" : "failed";
  }

  #timedOut(error: unknown): boolean {
    for (const current of causesOf(error)) {
      const { code } = this.outcomeOf(current, true);
      if (code === "attempt_timeout" || code === "deadline") return true;
      // What lies behind an attempt's own error is another call's business.
      if (this.#attemptWith(current) !== undefined) return false;
    }
    return false;
  }
}

/** How a call ended, frozen at that moment. */
interface End {
  readonly value: unknown;
  /** `undefined` when it ended with a result. */
  readonly error: { readonly outcome: Outcome; readonly aborted: boolean } | undefined;
  readonly execution: Execution;
  readonly attempts: number;
  readonly acknowledged: boolean;
  readonly durationMs: number | undefined;
}

function errorOf({ error, value }: End, { code, retryAfterMs }: Outcome): NonNullable<CallReport["error"]> {
  const message = error !== undefined ? messageOf(value) : textOf(value as ToolResult);
  return { ...(code !== undefined && { code }), message, ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

/** The message of whatever was thrown; some values have none, and some cannot even be made a string. */
function messageOf(error: unknown): string {
  const message = quietly(() => asBag(error)?.message);
  return typeof message === "string" ? message : (quietly(() => String(error)) ?? "");
}

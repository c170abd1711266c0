import type {
  Attempt,
  CallEvents,
  CallRequest,
  Classifier,
  Execution,
  Outcome,
  PastAttempt,
  Runtime,
} from "./contract.js";
import { frozen } from "./frozen.js";
import { quietly } from "./quietly.js";

/** The call that an attempt belongs to, as far as the attempt is concerned. */
export interface AttemptOwner {
  handOvers: number;
  acknowledged: boolean;
  readonly request: CallRequest;
  readonly runtime: Runtime;
  readonly classifiers: readonly Classifier[];
  readonly observed: boolean;
  corrected(outcome: Outcome, value: unknown): Outcome;
  emit<K extends keyof CallEvents>(name: K, detail: CallEvents[K]): void;
}

const LEFT_UNKNOWN: Outcome = frozen({
  status: "failure",
  execution: "unknown",
  transient: true,
  code: "outcome_unknown",
});
const RELEASED: readonly (() => void)[] = frozen([]);

/** The one implementation of {@link Attempt}. */
export class AttemptState implements Attempt {
  handedOver = false;
  outcome: Outcome | undefined;
  key: string | undefined;
  storeId: string | undefined;
  sentAt: number | undefined;
  sentAtWall: number | undefined;
  /** What the attempt gave or threw: how a value that comes back out of the pipeline is recognised. */
  value: unknown;
  #waiting: readonly (() => void)[] | undefined;

  constructor(
    readonly call: AttemptOwner,
    readonly number: number,
  ) {}

  /** An attempt that was made elsewhere and never answered. */
  static leftBy(call: AttemptOwner, { key, storeId, sentAtWall }: PastAttempt): AttemptState {
    const attempt = new AttemptState(call, 0);
    // Nothing is ever thrown or returned that is this attempt: no value is taken for its own.
    attempt.value = attempt;
    attempt.handedOver = true;
    attempt.key = key;
    attempt.storeId = storeId;
    attempt.sentAt = call.runtime.now();
    attempt.sentAtWall = sentAtWall;
    attempt.outcome = LEFT_UNKNOWN;
    attempt.release();
    return attempt;
  }

  handOver(sent?: { readonly key?: string | undefined; readonly storeId?: string | undefined }): void {
    if (this.handedOver) return;
    this.handedOver = true;
    this.call.handOvers += 1;
    if (sent === undefined) return;
    this.key = sent.key;
    this.storeId = sent.storeId;
    this.sentAt = this.call.runtime.now();
    this.sentAtWall = this.call.runtime.wallNow();
  }

  end(outcome: Outcome, value: unknown, acknowledged: boolean = outcome.execution === "executed"): void {
    if (this.outcome !== undefined) return;
    if (acknowledged) this.call.acknowledged = true;
    this.outcome = this.call.classifiers.length === 0 ? outcome : this.call.corrected(outcome, value);
    this.value = value;
    if (outcome.execution !== "unknown") this.release();
    if (this.call.observed) {
      this.call.emit("attempt.end", { tool: this.call.request.tool, attempt: this.number, outcome: this.outcome });
    }
  }

  release(): void {
    const waiting = this.#waiting;
    this.#waiting = RELEASED;
    if (waiting === undefined) return;
    for (const listener of waiting) quietly(listener);
  }

  onRelease(listener: () => void): void {
    if (this.#waiting === RELEASED) listener();
    else this.#waiting = [...(this.#waiting ?? []), listener];
  }

  /** What this attempt adds to the aggregate: one that only found the key in progress adds nothing. */
  get execution(): Execution {
    if (this.outcome === undefined) return this.handedOver ? "unknown" : "not-executed";
    return this.outcome.code === "idempotency_in_progress" ? "not-executed" : this.outcome.execution;
  }
}

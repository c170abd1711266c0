import {
  type Call,
  type CallContext,
  type Handler,
  Lease,
  type Moment,
  momentOf,
  type Outcome,
  OutcomeUnknownError,
  replayGate,
  type ToolResult,
} from "@mcp-tx/core";
import type { IdempotencyClaim, IdempotencyRecord } from "@mcp-tx/core/stores";
import { Ending, type EndingFacts, pastOf } from "./ending.js";
import { epochAfter, epochOf, raiseEpochTo } from "./epoch.js";
import {
  IdempotencyConflictError,
  IdempotencyInProgressError,
  StoreMismatchError,
  storeUnavailable,
} from "./errors.js";
import type { IdempotencyOutcome } from "./events.js";
import type { Flight } from "./flight.js";
import { endingOfResult, endingOfThrow, isOpenRound } from "./judge.js";
import { encodeResult, replay } from "./outcome-codec.js";
import type { StoredRecord } from "./records.js";
import { retentionMs } from "./retention.js";

/** What holds for every call of one middleware. */
export interface Rules {
  readonly ttlMs: number;
  readonly leaseMs: number;
  /** Whether a call waits for the same call elsewhere. */
  readonly waits: boolean;
  /** Whether a call runs without a record when the store fails. */
  readonly bypasses: boolean;
  /** Whether a call that failed runs again. */
  readonly reclaims: boolean;
}

/** One call with a key. */
export interface KeyedCall {
  readonly ctx: CallContext;
  /** The key as it travels. */
  readonly key: string;
  readonly fingerprint: string;
  /** On a server: the store that an earlier request of this call relied on, where this is a resend. */
  readonly expectedStore: string | undefined;
  /** What `next` gets; the signal, the deadline and the gates are the run's. */
  readonly inner: CallContext;
  readonly record: StoredRecord;
}

/** What a claim says beside the usual. */
interface Terms {
  readonly takeover?: string | undefined;
  readonly epoch?: number | undefined;
  /** When and where an earlier attempt went that may be unresolved. */
  readonly past?: Pick<IdempotencyRecord, "sentAtWall" | "sentTo"> | undefined;
}

/** A claim that won. */
interface Won {
  readonly claim: IdempotencyClaim;
  readonly since: Moment;
}

/** The settled record that a run came to. */
interface Kept {
  readonly token: string;
  /** Whether it stays until somebody lets it go. */
  readonly isPinned: boolean;
}

/** Pauses between two looks at a record that somebody else owns. */
const FIRST_PAUSE_MS = 25;
const MAX_PAUSE_MS = 1000;
/** How often a record may turn out other than a moment before: no sound store gets near. */
const MAX_CLAIMS = 1000;

const LEFT_UNKNOWN: Outcome = { status: "failure", execution: "unknown", transient: true, code: "outcome_unknown" };

/** Finds the record of a call, and runs the call or gives its outcome again. */
export class KeyedRun {
  readonly #keyed: KeyedCall;
  readonly #ctx: CallContext;
  readonly #call: Call;
  readonly #flight: Flight;
  readonly #rules: Rules;
  readonly #next: Handler;
  #patienceEnds: number | undefined;
  #kept: Kept | undefined;

  constructor(keyed: KeyedCall, flight: Flight, rules: Rules, next: Handler) {
    this.#keyed = keyed;
    this.#ctx = keyed.ctx;
    this.#call = keyed.ctx.call;
    this.#flight = flight;
    this.#rules = rules;
    this.#next = next;
  }

  /** Never rejects. */
  async perform(): Promise<Ending> {
    try {
      return await this.#claimUntilClear();
    } catch (error) {
      const { execution } = this.#call;
      const isElsewhere = IdempotencyInProgressError.isInstance(error);
      return this.#ended(true, error, { outcome: this.#call.outcomeOf(error, true), execution, isElsewhere });
    }
  }

  /** Pins the record for those who asked for it, unless it is pinned already, and tells them. Never rejects. */
  async pin(): Promise<void> {
    const { record } = this.#keyed;
    const kept = this.#kept;
    if (kept !== undefined && !kept.isPinned) this.#kept = { ...kept, isPinned: await record.pin(kept.token) };
    this.#flight.pins.tell(this.#kept?.isPinned === true ? record.pinned(this.#kept.token) : undefined);
  }

  async #claimUntilClear(): Promise<Ending> {
    let terms: Terms = {};
    for (let claims = 0; claims < MAX_CLAIMS; claims += 1) {
      const claimed = await this.#claim(terms);
      if (claimed === undefined) return this.#runUnrecorded();
      if ("claim" in claimed) return this.#runRecorded(claimed, terms);
      const met = await this.#meet(claimed.record);
      if (met instanceof Ending) return met;
      terms = met;
    }
    throw storeUnavailable(this.#ctx.tool, new Error("the record changed at every look"));
  }

  /** Asks for the record; `undefined` where the store fails and the call runs without. */
  async #claim({ takeover, epoch, past }: Terms): Promise<Won | { readonly record: IdempotencyRecord } | undefined> {
    const { record, fingerprint } = this.#keyed;
    const since = momentOf(this.#call.runtime);
    const claim: IdempotencyClaim = {
      fingerprint,
      token: crypto.randomUUID(),
      leaseMs: this.#rules.leaseMs,
      epoch: epoch ?? epochOf(this.#ctx),
      sentAtWall: past?.sentAtWall ?? since.wall,
      sentTo: past === undefined ? this.#call.endpoint?.announcement()?.idempotency?.storeId : past.sentTo,
      takeover,
    };
    const { answer, eventually } = record.claim(claim);
    try {
      const claimed = await answer;
      return claimed.won ? { claim, since } : { record: claimed.record };
    } catch (cause) {
      if (this.#rules.bypasses) return undefined;
      // It may have been heard all the same, or be heard later.
      void this.#giveBack(claim.token);
      eventually.then(({ won }) => won && this.#giveBack(claim.token)).catch(() => undefined);
      throw storeUnavailable(this.#ctx.tool, cause);
    }
  }

  /** Leaves a record as it was before the claim: nothing was sent under it. */
  #giveBack(token: string): Promise<boolean> {
    const { record } = this.#keyed;
    if (this.#call.execution === "not-executed") return record.release(token);
    return record.settle(token, { state: "unknown", ttlMs: this.#rules.ttlMs });
  }

  /** Decides by the record of an earlier call: its outcome again, or the terms of another claim. */
  async #meet(record: IdempotencyRecord): Promise<Ending | Terms> {
    if (record.fingerprint !== this.#keyed.fingerprint) {
      this.#emit("conflict", "idempotency_conflict");
      throw new IdempotencyConflictError(this.#ctx.tool);
    }
    switch (record.state) {
      case "done":
        return this.#replay(record);
      case "failed":
        // A resend asks what became of its first sending; only a call that is made anew reclaims.
        return this.#rules.reclaims && this.#keyed.expectedStore === undefined
          ? { takeover: record.token, epoch: epochAfter(record.epoch) }
          : this.#replay(record);
      case "pending":
        return this.#outwait(record);
      case "unknown":
        return this.#resolve(record);
    }
  }

  #replay({ outcome: text, epoch, token }: IdempotencyRecord): Ending {
    this.#kept = { token, isPinned: false };
    // The record is about what this call had taken over, if it had.
    this.#call.resolveAttempts("executed");
    this.#emit("replayed");
    let thrown = false;
    let value: unknown;
    try {
      value = replay(text, this.#ctx.tool);
    } catch (error) {
      thrown = true;
      value = error;
    }
    const outcome = this.#call.outcomeOf(value, thrown);
    const ending = this.#ended(thrown, value, { outcome, execution: "executed", text, isReplay: true, epoch });
    ending.recorded = true;
    return ending;
  }

  /** Waits until a record that somebody else owns has changed. */
  async #outwait(record: IdempotencyRecord): Promise<Terms> {
    const { runtime } = this.#call;
    const flight = this.#flight;
    const start = runtime.now();
    this.#patienceEnds ??= start + (this.#rules.waits ? this.#rules.leaseMs : 0);
    let pauseMs = FIRST_PAUSE_MS;
    flight.waitsFor = record;
    try {
      while (flight.waitsFor?.state === "pending") {
        const left = this.#patienceEnds - runtime.now();
        if (left <= 0) throw inProgress(this.#ctx, flight.waitsFor, this.#rules.leaseMs);
        await runtime.sleep(Math.min(pauseMs, left), flight.signal);
        if (flight.isAbandoned) throw this.#abandoned();
        pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
        flight.waitsFor = await this.#keyed.record.get(left).catch(() => flight.waitsFor);
      }
      return {};
    } finally {
      flight.waitsFor = undefined;
      this.#call.note({ waitedMs: runtime.now() - start });
    }
  }

  #abandoned(): unknown {
    return this.#flight.signal?.reason ?? this.#ctx.signal?.reason ?? new Error("nobody waits for this call any more");
  }

  /** Passes the replay gate with what an earlier owner of the record left behind. */
  async #resolve(record: IdempotencyRecord): Promise<Ending | Terms> {
    const { sentAtWall, sentTo, token } = record;
    this.#call.adoptAttempt({ key: this.#keyed.key, storeId: sentTo, sentAtWall });
    const { runtime } = this.#call;
    // A `verify` that hangs must not keep everybody who comes later.
    const deadline = Math.min(this.#ctx.deadline, runtime.now() + this.#rules.leaseMs);
    const ctx = { ...this.#ctx, signal: this.#flight.signal, deadline };
    const decision = await replayGate(ctx, { outcome: LEFT_UNKNOWN });
    if (decision.replay) {
      // Where `verify` found that it can no longer happen, nothing old is left.
      const past = this.#call.execution === "unknown" ? record : undefined;
      return { takeover: token, epoch: Math.max(record.epoch, epochOf(this.#ctx)), past };
    }
    if (decision.reason === "verified") return this.#settleVerified(decision.result, token);
    if (decision.reason === "cancelled") throw this.#call.signal?.reason ?? this.#abandoned();
    throw new OutcomeUnknownError(this.#ctx.tool);
  }

  async #settleVerified(result: ToolResult, token: string): Promise<Ending> {
    const outcome = this.#call.outcomeOf(result, false);
    const text = encodeResult(result, this.#ctx.side);
    const ending = this.#ended(false, result, { outcome, execution: "executed", text });
    this.#flight.ending = ending;
    await this.#settle(ending, token, () => false);
    return ending;
  }

  async #runRecorded(won: Won, terms: Terms): Promise<Ending> {
    const { claim, since } = won;
    if (!this.#keyed.record.isOf(this.#keyed.expectedStore)) {
      // The data was lost, and the loss noticed, while the claim was under way.
      await this.#giveBack(claim.token);
      throw new StoreMismatchError(this.#ctx.tool);
    }
    if (this.#flight.isAbandoned) {
      await this.#giveBack(claim.token);
      throw this.#abandoned();
    }
    raiseEpochTo(claim.epoch, this.#ctx);
    this.#emit(terms.takeover === undefined ? "miss" : "takeover");
    const { record } = this.#keyed;
    const { leaseMs } = this.#rules;
    const extend = (): Promise<boolean> => record.extend(claim.token);
    const lease = new Lease({ runtime: this.#call.runtime, leaseMs, extend }, since);
    const ending = await this.#run(() => this.#admit(lease));
    lease.stop();
    await this.#conclude(ending, claim, () => !lease.isOver);
    return ending;
  }

  async #runUnrecorded(): Promise<Ending> {
    if (this.#flight.isAbandoned) throw this.#abandoned();
    this.#emit("miss", "store_unavailable");
    const ending = await this.#run(this.#ctx.admit);
    ending.recorded = false;
    return ending;
  }

  /** Asked right before every dispatch: a run that has slept too long may have been taken over. */
  #admit(lease: Lease): void {
    this.#ctx.admit?.();
    if (!lease.isOver) return;
    const reason = "its lease ran out before it was sent, and somebody else may be calling it now";
    throw new IdempotencyInProgressError(this.#ctx.tool, { reason });
  }

  async #run(admit: CallContext["admit"]): Promise<Ending> {
    const attempts = this.#call.attempts.length;
    // Not the deadline of one caller: others may still be there when it has passed.
    const ctx = { ...this.#keyed.inner, signal: this.#flight.signal, deadline: Infinity, admit };
    let ending: Ending;
    try {
      ending = endingOfResult(this.#ctx, await this.#next(ctx));
    } catch (error) {
      const hasAttempts = this.#call.attempts.length > attempts;
      ending = endingOfThrow(this.#ctx, error, { hasAttempts, abort: this.#flight.signal });
    }
    this.#flight.ending = ending;
    return ending;
  }

  /** Brings the record to where the run has come. */
  async #conclude(ending: Ending, claim: IdempotencyClaim, isSole: () => boolean): Promise<void> {
    const { record } = this.#keyed;
    const { execution } = ending.facts;
    if (execution === "executed" && !isOpenRound(ending)) return this.#settle(ending, claim.token, isSole);
    if (execution !== "unknown") {
      await record.release(claim.token);
      return;
    }
    // Attempts may have gone to another store than the one that was announced when the claim was made.
    const { storeId } = pastOf(this.#call, this.#keyed.key, claim.sentAtWall);
    if (storeId !== claim.sentTo) await record.claim({ ...claim, sentTo: storeId }).answer.catch(() => undefined);
    await record.settle(claim.token, { state: "unknown", ttlMs: this.#rules.ttlMs, epoch: epochOf(this.#ctx) });
    ending.recorded = false;
  }

  /** @param isSole - asked afterwards: whether nobody else can have settled the record before, as they saw fit */
  async #settle(ending: Ending, token: string, isSole: () => boolean): Promise<void> {
    const { isWanted } = this.#flight.pins;
    const ttlMs = isWanted ? Infinity : retentionMs(this.#ctx.side, this.#rules.ttlMs);
    const state = ending.isFailure ? "failed" : "done";
    const { text: outcome, epoch } = ending.facts;
    ending.recorded = await this.#keyed.record.settle(token, { state, outcome, ttlMs, epoch });
    if (ending.recorded) this.#kept = { token, isPinned: isWanted && isSole() };
  }

  #ended(
    thrown: boolean,
    value: unknown,
    facts: Omit<EndingFacts, "epoch"> & { readonly epoch?: number | undefined },
  ): Ending {
    return new Ending(thrown, value, { ...facts, epoch: facts.epoch ?? epochOf(this.#ctx) });
  }

  #emit(outcome: IdempotencyOutcome["outcome"], code?: IdempotencyOutcome["code"]): void {
    emitOutcome(this.#ctx, outcome, code);
  }
}

/** Tells whoever listens what became of a call. */
export function emitOutcome(
  { call, tool }: CallContext,
  outcome: IdempotencyOutcome["outcome"],
  code?: IdempotencyOutcome["code"],
): void {
  if (!call.observed) return;
  call.emit("idempotency.outcome", { tool, outcome, at: call.runtime.now(), ...(code !== undefined && { code }) });
}

/** The refusal of a call that somebody else makes; when to ask again is when their lease is over. */
export function inProgress(
  { tool, call }: CallContext,
  { leaseUntil }: Pick<IdempotencyRecord, "leaseUntil">,
  leaseMs: number,
): IdempotencyInProgressError {
  // The lease is on the store's clock, which may differ from ours.
  const rest = Math.min(Math.max(leaseUntil - call.runtime.wallNow(), 0), leaseMs);
  return new IdempotencyInProgressError(tool, { retryAfterMs: Number.isNaN(rest) ? leaseMs : rest });
}

import type { Attempt, Call, CallContext, Outcome, ToolAnnotations, ToolResult, Verification } from "./contract.js";
import { frozen } from "./frozen.js";
import { startTimer } from "./runtime.js";

/** What somebody who wants to send a call again says about it. */
export interface ReplayQuestion {
  /** The outcome that makes one want to repeat the call. */
  readonly outcome: Outcome;
  /**
   * What to do when nobody knows whether the call ran: `safe` repeats only on evidence, `always` in any case, `never` not at all.
   * @defaultValue "safe"
   */
  readonly replay?: "safe" | "always" | "never" | undefined;
  /** Whether the user asks to repeat a call that ran and failed. */
  readonly repeatFailures?: boolean | undefined;
  /**
   * Whether an attempt is still under way (a hedge): then the outcome counts as unknown, also while that attempt waits in some
   * queue, and `verify` is not asked.
   */
  readonly inFlight?: boolean | undefined;
}

/** The gate's answer: send again, do not, or the result that `verify` found. */
export type ReplayDecision =
  | { readonly replay: true }
  | { readonly replay: false; readonly reason: "cancelled" | "executed" | "unknown" }
  | { readonly replay: false; readonly reason: "verified"; readonly result: ToolResult };

const YES: ReplayDecision = frozen({ replay: true });
const CANCELLED: ReplayDecision = frozen({ replay: false, reason: "cancelled" });
const EXECUTED: ReplayDecision = frozen({ replay: false, reason: "executed" });
const UNKNOWN: ReplayDecision = frozen({ replay: false, reason: "unknown" });

function isAborted(call: Call): boolean {
  return call.signal?.aborted === true;
}

function isUnresolved(attempt: Attempt): boolean {
  if (attempt.outcome === undefined) return attempt.handedOver;
  return attempt.outcome.execution === "unknown" && attempt.outcome.code !== "idempotency_in_progress";
}

/** The larger age of both clocks: the monotonic one stops while a machine is suspended, the wall clock may be set back. */
function ageOf({ sentAt, sentAtWall }: Attempt, { runtime }: Call): number {
  if (sentAt === undefined || sentAtWall === undefined) return Infinity;
  return Math.max(runtime.now() - sentAt, runtime.wallNow() - sentAtWall);
}

/** Whether the server's store recognises a resend: every unresolved attempt carried the key to this very store, within its window. */
export function storeCovers(call: Call): boolean {
  const store = call.endpoint?.announcement()?.idempotency;
  if (store === undefined) return false;
  // The server itself said that it no longer has the store it announced.
  if (call.attempts.some((attempt) => attempt.outcome?.code === "store_mismatch")) return false;
  return call.attempts
    .filter(isUnresolved)
    .every(
      (attempt) =>
        attempt.key !== undefined && attempt.storeId === store.storeId && ageOf(attempt, call) < store.windowMs,
    );
}

function isSafeToRepeat(annotations: ToolAnnotations | undefined): boolean {
  return annotations?.readOnlyHint === true || annotations?.idempotentHint === true;
}

/** Waits for `work`, but no longer than the call lives: a hanging server or `verify` must not hang the call. */
function whileAlive<T>(work: Promise<T>, ctx: CallContext, otherwise: T): Promise<T> {
  if (ctx.signal === undefined && ctx.deadline === Infinity) return work;
  return new Promise((resolve, reject) => {
    const left = ctx.deadline - ctx.call.runtime.now();
    const cancel = ctx.deadline === Infinity ? undefined : startTimer(ctx.call.runtime, left, giveUp);
    function giveUp(): void {
      cancel?.();
      ctx.signal?.removeEventListener("abort", giveUp);
      resolve(otherwise);
    }
    ctx.signal?.addEventListener("abort", giveUp, { once: true });
    if (ctx.signal?.aborted === true) giveUp();
    work.then(resolve, reject).finally(giveUp);
  });
}

async function annotationsAllow(ctx: CallContext): Promise<boolean> {
  const { call } = ctx;
  try {
    if (!call.trustsAnnotations || call.endpoint === undefined) return false;
    return isSafeToRepeat(await whileAlive(call.endpoint.annotations(ctx.tool, ctx), ctx, undefined));
  } catch {
    return false;
  }
}

const NOBODY_KNOWS: Verification = frozen({ execution: "unknown" });

async function verify(ctx: CallContext, outcome: Outcome): Promise<Verification> {
  const { call } = ctx;
  if (call.verify === undefined) return NOBODY_KNOWS;
  const sent = call.attempts.filter(isUnresolved).map((attempt) => attempt.sentAtWall ?? Infinity);
  const question = {
    reason: outcome.code,
    sentAtWall: Math.min(...sent, call.runtime.wallNow()),
    attempt: ctx.attempt,
  };
  try {
    const answer = await whileAlive(Promise.resolve(call.verify(ctx, question)), ctx, NOBODY_KNOWS);
    if (answer?.execution === "executed" && typeof answer.result === "object" && answer.result !== null) return answer;
    return answer?.execution === "not-executed" ? answer : NOBODY_KNOWS;
  } catch {
    return NOBODY_KNOWS;
  }
}

/**
 * Decides whether a call may be sent again. Every repetition, by whatever middleware, passes here.
 *
 * @remarks
 * 1. The caller aborted: never. 2. Nothing ran: yes. 3. It ran and failed: only when throttled or asked for. 4. Unknown: only
 * with `replay: "always"`, with a key and a store that covers every unresolved attempt, or for a read-only or idempotent tool
 * of a trusted server; else `verify` is asked.
 */
export async function replayGate(ctx: CallContext, question: ReplayQuestion): Promise<ReplayDecision> {
  const { call } = ctx;
  if (isAborted(call) || question.outcome.status === "cancelled") return CANCELLED;
  const execution = question.inFlight === true ? "unknown" : call.execution;
  if (execution === "not-executed") return YES;
  if (execution === "executed") {
    return question.outcome.status === "throttled" || question.repeatFailures === true ? YES : EXECUTED;
  }
  const decision = await decideUnknown(ctx, question);
  // What is found out while the caller gives up still counts, but nothing is sent any more.
  return isAborted(call) && !("result" in decision) ? CANCELLED : decision;
}

/** Rule 4. */
async function decideUnknown(ctx: CallContext, { outcome, replay, inFlight }: ReplayQuestion): Promise<ReplayDecision> {
  const { call } = ctx;
  if (replay === "always") return YES;
  if (replay !== "never" && (storeCovers(call) || (await annotationsAllow(ctx)))) return YES;
  if (inFlight === true || isAborted(call)) return UNKNOWN;
  const answer = await verify(ctx, outcome);
  if (answer.execution === "unknown") return UNKNOWN;
  call.resolveAttempts(answer.execution);
  return answer.execution === "executed" ? { replay: false, reason: "verified", result: answer.result } : YES;
}

import {
  type Call,
  type CallContext,
  DeadlineError,
  type Execution,
  type Handler,
  type IdempotencyAnnouncement,
  type Middleware,
  oneRuntime,
  type Peer,
  type RecordKeeper,
  type Runtime,
  readCallMeta,
  type ToolResult,
} from "@mcp-tx/core";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { type Ending, pastOf } from "./ending.js";
import { epochOf } from "./epoch.js";
import {
  IdempotencyConflictError,
  IdempotencyInProgressError,
  StoreMismatchError,
  storeUnavailable,
  unfitCall,
} from "./errors.js";
import { fingerprintOf } from "./fingerprint.js";
import { Flight } from "./flight.js";
import { emitOutcome, inProgress, type KeyedCall, KeyedRun, type Rules } from "./keyed-run.js";
import { memoryStore } from "./memory-store.js";
import { beginPassage, endPassage, noteExecution } from "./notes.js";
import { type IdempotencyOptions, readSettings, type Settings } from "./options.js";
import { recordKeeper } from "./record-keeper.js";
import { argumentOf, keyOf, recordKeyOf, scopeOf, travellingKeyOf } from "./record-key.js";
import { StoredRecord } from "./records.js";

const OWNER = "idempotency";

/** Everything that the calls of one middleware share. */
class Desk {
  readonly records: RecordKeeper;
  readonly #settings: Settings;
  readonly #rules: Rules;
  readonly #runtimeOf: (call: Call) => Runtime = oneRuntime(OWNER);
  readonly #flights = new Map<string, Flight>();
  #store: IdempotencyStore | undefined;

  constructor(options: IdempotencyOptions) {
    const settings = readSettings(options);
    this.#settings = settings;
    this.#store = settings.store;
    this.records = recordKeeper(settings);
    this.#rules = {
      ttlMs: settings.ttlMs,
      leaseMs: settings.leaseMs,
      waits: settings.onConcurrent === "wait",
      bypasses: settings.storeErrors === "bypass",
      reclaims: settings.toolErrors === "reclaim",
    };
  }

  announces(peer: Peer): IdempotencyAnnouncement | undefined {
    const { store, ttlMs, storeErrors } = this.#settings;
    if (store === undefined) {
      throw new TypeError(
        `${OWNER}: store is required on a server, which may be built anew for each request and would find a store in memory empty each time`,
      );
    }
    if (storeErrors === "bypass" || this.#lacksScope(peer)) return undefined;
    const { storeId, durable } = store;
    // JSON has no infinity.
    return { storeId, windowMs: Math.min(ttlMs, Number.MAX_SAFE_INTEGER), durable };
  }

  /** Two callers who authenticate must not share records unless somebody said so: one would get the other's results. */
  #lacksScope({ authInfo }: Peer): boolean {
    return authInfo !== undefined && this.#settings.scope === undefined;
  }

  /** @throws what stops the call before anything is asked */
  enter(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const readKey = (): string | undefined => keyOf(ctx, this.#settings.key);
    const key = ctx.options.idempotencyKey === undefined ? readKey() : readInput(ctx, readKey);
    this.#checkStore(ctx, key);
    if (key === undefined) return next(ctx);
    this.#checkPinned(ctx);
    const keyed = this.#prepare(ctx, key);
    beginPassage(ctx.call);
    ctx.signal?.throwIfAborted();
    if (ctx.deadline !== Infinity && ctx.deadline <= ctx.call.runtime.now()) throw deadlineError(ctx, "not-executed");
    return this.#take(keyed, next);
  }

  /** A resend to this server relies on the record of an earlier request: without that very record it must not run. */
  #checkStore(ctx: CallContext, key: string | undefined): void {
    const expected = expectedStoreOf(ctx);
    if (expected === undefined) return;
    if (key === undefined || expected !== this.#storeIdFor(ctx)) throw new StoreMismatchError(ctx.tool);
  }

  /** A caller that remembers the call itself relies on its record: it must be there as long as the caller's own memory. */
  #checkPinned({ options, tool }: CallContext): void {
    if (options.pinned === undefined) return;
    const why = `for tool "${tool}", because its caller relies on the record (option "pinned")`;
    if (!this.records.durable) {
      throw new TypeError(
        `${OWNER}: store must be durable ${why}; give one that survives the process. Nothing was sent`,
      );
    }
    if (this.records.bypasses) throw new TypeError(`${OWNER}: storeErrors must be "fail" ${why}. Nothing was sent`);
  }

  #storeIdFor(ctx: CallContext): string | undefined {
    try {
      return this.#store?.storeId;
    } catch (cause) {
      // Not known yet.
      throw storeUnavailable(ctx.tool, cause);
    }
  }

  #prepare(ctx: CallContext, key: string): KeyedCall {
    const { call, tool } = ctx;
    if (ctx.side === "server" && this.#lacksScope(call.peer)) {
      throw new TypeError(
        `${OWNER}: scope is required for callers that authenticate, so that none gets the result of another; tool "${tool}" was not called`,
      );
    }
    const runtime = this.#runtimeOf(call);
    this.#store ??= memoryStore({ runtime });
    const scope = scopeOf(ctx, this.#settings.scope);
    const fingerprint = readInput(ctx, () => fingerprintOf(ctx.args));
    const recordKey = readInput(ctx, () => recordKeyOf(ctx, key, scope));
    const record = new StoredRecord(this.#store, recordKey, runtime, this.#rules.leaseMs);
    const travelling = travellingKeyOf(key, scope);
    const given = call.request.options.idempotencyKey;
    if (given === undefined) call.note({ idempotencyKey: key });
    const inner = this.#innerOf(ctx, travelling);
    return { ctx, key: travelling, fingerprint, expectedStore: expectedStoreOf(ctx), inner, record };
  }

  #innerOf(ctx: CallContext, key: string): CallContext {
    const { keyArgument } = this.#settings;
    const name = typeof keyArgument === "function" ? argumentOf(ctx, keyArgument) : keyArgument;
    const options = ctx.options.idempotencyKey === key ? ctx.options : { ...ctx.options, idempotencyKey: key };
    return { ...ctx, options, args: name === undefined ? ctx.args : { ...ctx.args, [name]: key } };
  }

  async #take(keyed: KeyedCall, next: Handler): Promise<ToolResult> {
    const { ctx, record } = keyed;
    for (;;) {
      const present = this.#flights.get(record.key);
      if (present === undefined) {
        const flight = this.#launch(keyed, next);
        const ending = await flight.attend(
          ctx,
          (isDeadline) => farewell(keyed, flight, isDeadline),
          () => true,
        );
        return ending.forLeader(ctx.call);
      }
      this.#board(present, keyed);
      const accepts = (ending: Ending): boolean => isShared(ending, present, ctx);
      const ending = await present.attend(ctx, (isDeadline) => farewell(keyed, present, isDeadline), accepts);
      if (accepts(ending)) {
        return ending.forParticipant(ctx.call, ctx.tool, () =>
          pastOf(present.leader.call, keyed.key, present.startedAtWall),
        );
      }
    }
  }

  #launch(keyed: KeyedCall, next: Handler): Flight {
    const { key } = keyed.record;
    const flight = new Flight(keyed.ctx, keyed.fingerprint);
    flight.pins.add(keyed.ctx.options.pinned);
    this.#flights.set(key, flight);
    const run = new KeyedRun(keyed, flight, this.#rules, next);
    flight.start(async () => {
      const ending = await run.perform();
      flight.ending = ending;
      // Whoever is told may call again at once, and joins.
      while (flight.pins.isOwed) await run.pin();
      // Before anybody hears of it: who comes back at once must find the record, not this run.
      this.#flights.delete(key);
      return ending;
    });
    return flight;
  }

  /** @throws what keeps a call from sharing a run */
  #board(flight: Flight, { ctx, fingerprint }: KeyedCall): void {
    if (flight.fingerprint !== fingerprint) {
      emitOutcome(ctx, "conflict", "idempotency_conflict");
      throw new IdempotencyConflictError(ctx.tool);
    }
    if (!this.#rules.waits) {
      noteExecution(ctx.call, "unknown");
      throw new IdempotencyInProgressError(ctx.tool);
    }
    flight.pins.add(ctx.options.pinned);
    emitOutcome(ctx, "joined");
  }
}

/**
 * Reads what the caller sent. A client hears what is wrong with it: without an answer of ours it would take the call for one
 * that ran.
 *
 * @throws what the reading throws; on a server a refusal
 */
function readInput<T>(ctx: CallContext, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw ctx.side === "server" && error instanceof Error ? unfitCall(ctx.tool, error) : error;
  }
}

/**
 * Whether the end of a run is the end of a call that joined it: not when whoever made the run gave up, so that it was not
 * carried through, nor when the call is a repetition of it on purpose.
 */
function isShared(ending: Ending, { leaderLeft }: Flight, ctx: CallContext): boolean {
  if (ending.isFailure && epochOf(ctx) > ending.facts.epoch) return false;
  return ending.isFinal || !leaderLeft;
}

/** On a server: the store that an earlier request of this call relied on. Only a resend has one. */
function expectedStoreOf({ side, meta }: CallContext): string | undefined {
  return side === "server" ? readCallMeta(meta)?.expectStore : undefined;
}

/** What a call rejects with that leaves before the end, and what its report says of the work it leaves. */
function farewell(keyed: KeyedCall, flight: Flight, isDeadline: boolean): unknown {
  const { ctx, key } = keyed;
  const { call } = ctx;
  const execution = executionAtDeparture(flight);
  const isLeader = call === flight.leader.call;
  const isLost = !isLeader && flight.waitsFor === undefined && execution === "unknown";
  if (isLost) call.adoptAttempt(pastOf(flight.leader.call, key, flight.startedAtWall));
  endPassage(call, false);
  if (execution !== call.execution) noteExecution(call, execution);
  if (!isDeadline) return ctx.signal?.reason;
  if (flight.waitsFor !== undefined) return inProgress(ctx, flight.waitsFor, keyed.record.leaseMs);
  return deadlineError(ctx, execution);
}

/** Whether the work was done that goes on, or not, without the one that leaves. */
function executionAtDeparture(flight: Flight): Execution {
  if (flight.waitsFor !== undefined) return "unknown";
  const { execution } = flight.leader.call;
  // What has not been sent yet may still be, for the others.
  return execution === "not-executed" && !flight.isAbandoned ? "unknown" : execution;
}

function deadlineError({ tool }: CallContext, execution: Execution): DeadlineError {
  const what: Readonly<Record<Execution, string>> = {
    executed: "ran and failed, and the deadline of the call passed before it could be repeated",
    unknown:
      "did not answer before the deadline of the call. It may still be running; ask for its result with the same idempotency key",
    "not-executed": "was not called: the deadline of the call had passed",
  };
  return new DeadlineError(`Tool "${tool}" ${what[execution]}.`, { execution });
}

/**
 * Makes a call with an idempotency key happen once, however often it is made: duplicates share its run or get its recorded
 * outcome, and one whose outcome nobody knows is not made again without evidence that this is safe.
 *
 * @remarks
 * On the client, on the server, or both. Calls without a key pass untouched. A crash between the effect of a tool and its record
 * leaves an `unknown` record: the call is made again only where the server's own store covers it, a trusted annotation says that
 * it is harmless, or `verify` finds out what happened.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function idempotency(options: IdempotencyOptions = {}): Middleware {
  const desk = new Desk(options);

  function idempotency(ctx: CallContext, next: Handler): Promise<ToolResult> {
    try {
      return desk.enter(ctx, next);
    } catch (error) {
      return Promise.reject(error);
    }
  }
  return Object.assign(idempotency, {
    seat: "idempotency",
    optionKeys: ["idempotencyKey"],
    announces: (peer: Peer) => desk.announces(peer),
    records: desk.records,
  } as const);
}

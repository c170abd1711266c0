/**
 * The contract between the core, every middleware and every wrapper. Third parties build on this file alone: changing it
 * needs a record in `docs/decisions/`.
 */

/** What a tool call yields: structurally the result of both SDK lines. */
export interface ToolResult {
  /** Content blocks. Absent on task handles and input-required rounds. */
  readonly content?: readonly { readonly type: string; readonly [key: string]: unknown }[] | undefined;
  readonly structuredContent?: unknown;
  /** `true` when the tool ran and reports a failure. */
  readonly isError?: boolean | undefined;
  readonly _meta?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Per-call options. A middleware adds one key, named after itself, by declaration merging, and claims it through
 * {@link Middleware.optionKeys}; a key that nothing claims is a `TypeError` before anything is sent.
 */
export interface CallOptions {
  /** Aborts the whole call: attempts, waits and queues. */
  readonly signal?: AbortSignal | undefined;
  /** Names the logical call, so that a duplicate of it can be recognised. Refused when nothing honours it. */
  readonly idempotencyKey?: string | undefined;
  /** Groups calls in reports and on the wire. */
  readonly transactionId?: string | undefined;
  /** Milliseconds for the whole call, all attempts and waits. Greater than 0. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for one attempt. Greater than 0. */
  readonly attemptTimeoutMs?: number | undefined;
  /** A middleware for this call alone, outside all others. The options that it claims are honoured for this call. */
  readonly middleware?: Middleware | undefined;
  /** For a caller that remembers the call itself: told of each record, which then stays. A keeper that may lose it refuses the call. */
  readonly pinned?: ((record: PinnedRecord) => void) | undefined;
}

/** A record of a call that stays until {@link RecordKeeper.letGo} is told. Plain data, to be kept with what is known of the call. */
export interface PinnedRecord {
  /** The store that it is in. */
  readonly storeId: string;
  readonly key: string;
  /** Fencing token under which it was settled. */
  readonly token: string;
}

/** A middleware's records of calls, for a caller that pins them. */
export interface RecordKeeper {
  /** Whether records survive the process. */
  readonly durable: boolean;
  /** Whether a call goes on without a record when the store fails. */
  readonly bypasses: boolean;
  /** Gives a pinned record its usual time to live, from now on; `false` when it is not kept here or not settled. */
  letGo(record: PinnedRecord): Promise<boolean>;
}

/** Where in the path of a call the pipeline stands. */
export type Side = "client" | "server" | "local";

/** Whether the tool ran. The one vocabulary of outcomes, reports, records, `verify` and the wire. */
export type Execution = "executed" | "not-executed" | "unknown";

/** One enumeration for errors, receipts, `error.type` and HTTP problem types. */
export type OutcomeCode =
  | "circuit_open"
  | "rate_limited"
  | "queue_full"
  | "deadline"
  | "attempt_timeout"
  | "cancelled"
  | "outcome_unknown"
  | "idempotency_conflict"
  | "idempotency_in_progress"
  | "store_unavailable"
  | "store_mismatch"
  | "tool_error"
  | "protocol_error"
  | "transport_error"
  | "session_expired";

/** What became of one attempt, read from wire evidence and structure, never from prose. */
export interface Outcome {
  readonly status: "success" | "failure" | "throttled" | "rejected" | "cancelled";
  readonly execution: Execution;
  /** Whether the same call may well succeed later. */
  readonly transient: boolean;
  /** Milliseconds after which the server, or the middleware that refused, wants to be asked again. */
  readonly retryAfterMs?: number | undefined;
  readonly code?: OutcomeCode | undefined;
}

/** Clock, timer and randomness of one call. Tests inject a virtual one. */
export interface Runtime {
  /** Monotonic milliseconds. */
  now(): number;
  /** Milliseconds since the epoch; may step. */
  wallNow(): number;
  /** Resolves after `ms`; rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Uniform in [0, 1). */
  random(): number;
}

/** Who is at the other end of a call. */
export interface Peer {
  /** The server's name, as it gave it or as {@link WrapOptions.peer} says. */
  readonly server?: string | undefined;
  readonly sessionId?: string | undefined;
  /** The SDK's authentication info, on the server side. */
  readonly authInfo?: unknown;
}

/** Behaviour hints of a tool, as the protocol names them. Untrusted unless the server is. */
export interface ToolAnnotations {
  readonly readOnlyHint?: boolean | undefined;
  readonly destructiveHint?: boolean | undefined;
  readonly idempotentHint?: boolean | undefined;
}

/** The idempotency store that a server announces. */
export interface IdempotencyAnnouncement {
  /** Identity of the store; changes when a volatile store is lost. */
  readonly storeId: string;
  /** Milliseconds for which the store keeps a record, counted from the first send. */
  readonly windowMs: number;
  /** Whether the store survives the server's process. */
  readonly durable: boolean;
}

/** What a server says about its reliability when the session starts. */
export interface Announcement {
  readonly version: number;
  readonly idempotency?: IdempotencyAnnouncement | undefined;
}

/** What a wrapper knows about the server its terminal talks to. */
export interface Endpoint {
  /** The server's announcement, `undefined` for a plain server or before it is known. */
  announcement(): Announcement | undefined;
  /** Looks the tool's annotations up, bounded in time and pages; `undefined` when they cannot be had. */
  annotations(tool: string, ctx: CallContext): Promise<ToolAnnotations | undefined>;
}

/** What the wrapper got, before any middleware. */
export interface CallRequest {
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly options: CallOptions;
  /** What the wrapper knows of the peer of this very request. */
  readonly peer?: Peer | undefined;
  /** What the request answers to an earlier `input_required` result: such a round is a piece of work of its own. */
  readonly round?: InputRound | undefined;
}

/** The protocol's fields by which a tool call goes on after `input_required`. */
export interface InputRound {
  readonly inputResponses?: unknown;
  readonly requestState?: unknown;
}

declare const KeyType: unique symbol;
/** A typed key of a call's scratch space, made by `createKey`. */
export type Key<T> = symbol & { readonly [KeyType]?: T };

/** Plain data about one finished call. */
export interface CallReport {
  readonly requestId: string;
  readonly transactionId?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly tool: string;
  /** Hand-overs to the transport, or runs of a local function. */
  readonly attempts: number;
  /** Whether the answer came from a record, not from running the tool. */
  readonly duplicate: boolean;
  /** Whether a response to this request arrived. */
  readonly ack: boolean;
  /** Aggregated over all attempts. */
  readonly execution: Execution;
  readonly status: "completed" | "failed" | "rejected" | "cancelled" | "timeout" | "unknown";
  /** Milliseconds spent in backoff, queues and limits. */
  readonly waitedMs: number;
  /** Milliseconds from start to finish; measured only when somebody listens (`onReport`). */
  readonly durationMs?: number | undefined;
  /** Whether the outcome is kept in a store. */
  readonly recorded?: boolean | undefined;
  readonly error?: CallReportError | undefined;
}

/** Why a call did not complete. The message is the error's own: do not show it to strangers. */
export interface CallReportError {
  readonly code?: OutcomeCode | undefined;
  readonly message: string;
  readonly retryAfterMs?: number | undefined;
}

/** Events of a call. Packages add theirs by declaration merging. */
export interface CallEvents {
  "attempt.start": { readonly tool: string; readonly attempt: number };
  "attempt.end": { readonly tool: string; readonly attempt: number; readonly outcome: Outcome };
}

/** Receives every event of a call; whatever it throws is swallowed. */
export type CallListener = <K extends keyof CallEvents>(name: K, detail: CallEvents[K]) => void;

/** One hand-over of a call to a transport or a function. Terminals make them; everybody else reads. */
export interface Attempt {
  readonly number: number;
  /** Whether the request left our hands. Until then it is certain that nothing ran. */
  readonly handedOver: boolean;
  /** What is known about this attempt; `undefined` while it is in flight. */
  readonly outcome: Outcome | undefined;
  /** The key that travelled with the request. */
  readonly key: string | undefined;
  /** The announced store the request was sent to. */
  readonly storeId: string | undefined;
  /** When the request left, on the monotonic and on the wall clock. */
  readonly sentAt: number | undefined;
  readonly sentAtWall: number | undefined;
  /** Marks the hand-over. Call it immediately before dispatch. */
  handOver(sent?: { readonly key?: string | undefined; readonly storeId?: string | undefined }): void;
  /**
   * Ends the attempt with the value it gave or threw. Only the first end counts.
   *
   * @param acknowledged - whether a response to this request arrived; by default, whether the tool ran
   */
  end(outcome: Outcome, value: unknown, acknowledged?: boolean): void;
  /**
   * Says that the work behind the attempt is over: a local function settled, an answer arrived or the transport closed. An
   * attempt that ends with a known outcome is released with it; a timed-out one is released by its terminal, later.
   */
  release(): void;
  /** Calls back once the attempt is released, at once if it is already. A concurrency slot is held until then. */
  onRelease(listener: () => void): void;
}

/** An attempt that an earlier process, or an earlier call under the same key, left without an outcome. */
export interface PastAttempt {
  /** The key that travelled with it. */
  readonly key?: string | undefined;
  /** The announced store that it was sent to; `undefined` for a plain server or a local tool. */
  readonly storeId?: string | undefined;
  /** When it was sent at the earliest, in milliseconds since the epoch. */
  readonly sentAtWall: number;
}

/** One logical call, shared by all its attempts and by every middleware. */
export interface Call {
  /** UUID of the call, made when first asked for; also the report's `requestId`. */
  readonly id: string;
  readonly transactionId: string | undefined;
  readonly peer: Peer;
  readonly runtime: Runtime;
  readonly request: CallRequest;
  readonly side: Side;
  /** The caller's own signal, as opposed to one that a middleware derived. */
  readonly signal: AbortSignal | undefined;
  /**
   * When the caller stops waiting, on the runtime's clock; `Infinity` if never. A context's deadline may be later: work that is
   * detached from its callers. Waits are planned by the earlier of both.
   */
  readonly deadline: number;
  /** The server behind the terminal; `undefined` for local tools. */
  readonly endpoint: Endpoint | undefined;
  /** Whether annotations of this peer count as evidence. */
  readonly trustsAnnotations: boolean;
  readonly verify: Verify | undefined;
  /** Starts at 0 and grows each time a call that finished in failure is repeated on purpose. */
  readonly epoch: number;
  raiseEpoch(): number;
  /** Whether the tool ran, aggregated over all attempts. No later refusal lowers it. */
  readonly execution: Execution;
  /** All attempts so far. */
  readonly attempts: readonly Attempt[];
  /** Opens an attempt. For terminals. */
  beginAttempt(ctx: CallContext): Attempt;
  /**
   * Takes over an unresolved attempt that was made elsewhere: from now on the call's outcome is unknown until an attempt
   * succeeds or `resolveAttempts` says otherwise, and a resend passes the replay gate like any other.
   */
  adoptAttempt(past: PastAttempt): void;
  /** What a value that came out of `next`, returned or thrown, means. */
  outcomeOf(value: unknown, thrown: boolean): Outcome;
  /** Settles every unresolved attempt, for someone who found out otherwise (`verify`, a store). */
  resolveAttempts(execution: "executed" | "not-executed"): void;
  get<T>(key: Key<T>): T | undefined;
  set<T>(key: Key<T>, value: T): void;
  /** Whether anybody listens: lets a middleware skip building an event's detail. */
  readonly observed: boolean;
  emit<K extends keyof CallEvents>(name: K, detail: CallEvents[K]): void;
  /** Adds a listener; returns its removal. */
  on(listener: CallListener): () => void;
  /** Merges facts into the report; `waitedMs` adds up. */
  note(patch: Partial<CallReport>): void;
}

/** One attempt of one tool call, travelling inwards. Derive with a spread; never mutate. Closed: no merging. */
export interface CallContext {
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  /** Becomes `params._meta`. */
  readonly meta: Readonly<Record<string, unknown>>;
  /** `undefined` when nothing can abort. */
  readonly signal: AbortSignal | undefined;
  /** On the call's runtime clock (`now()`); `Infinity` if there is none. */
  readonly deadline: number;
  /** 1-based; set by whoever repeats. */
  readonly attempt: number;
  readonly side: Side;
  readonly options: CallOptions;
  readonly call: Call;
  /** Gates to ask again after a wait; throws their refusal. The terminal calls it right before dispatch. */
  readonly admit?: (() => void) | undefined;
  /**
   * Runs inside all other middleware, round each dispatch, for what must be done last, such as a durable intent. `admit` is asked again
   * after it. Set it with `withInnermost`.
   */
  readonly innermost?: Middleware | undefined;
}

/** Runs a call: a terminal, or a pipeline round one. */
export type Handler = (ctx: CallContext) => Promise<ToolResult>;

/** Where a middleware belongs in the standard order. */
export type Seat =
  | "call-telemetry"
  | "monitor"
  | "saga"
  | "idempotency"
  | "retry"
  | "attempt-telemetry"
  | "breaker"
  | "rate-limit"
  | "concurrency"
  | undefined;

/** Wraps a call. May invoke `next` zero times, once, or many times, each with its own context. */
export interface Middleware {
  (ctx: CallContext, next: Handler): Promise<ToolResult>;
  /** Keys of {@link CallOptions} that this middleware honours. */
  readonly optionKeys?: readonly string[] | undefined;
  /** Its place in the standard order. */
  readonly seat?: Seat;
  /** On the server side: the store that `wrapServer` announces to a client; `undefined` for one to whom nothing is promised. */
  readonly announces?: ((peer: Peer) => IdempotencyAnnouncement | undefined) | undefined;
  /** What it keeps of calls, for callers that pin their records. */
  readonly records?: RecordKeeper | undefined;
}

/** Why `verify` is asked, and about which attempt. */
export interface VerifyQuestion {
  readonly reason: OutcomeCode | undefined;
  /** When the oldest unresolved attempt was sent, in milliseconds since the epoch. */
  readonly sentAtWall: number;
  readonly attempt: number;
}

/** `not-executed` means that it can no longer happen: a timed-out handler may still be running. */
export type Verification =
  | { readonly execution: "executed"; readonly result: ToolResult }
  | { readonly execution: "not-executed" | "unknown" };

/** Finds out whether a call of unknown outcome happened. */
export type Verify = (ctx: CallContext, question: VerifyQuestion) => Promise<Verification> | Verification;

/** What a classifier looks at. */
export interface ClassifierInput {
  readonly tool: string;
  /** The value, when the attempt returned one. */
  readonly result?: ToolResult | undefined;
  /** What the attempt threw, when it threw. */
  readonly error?: unknown;
  /** What the core makes of it. */
  readonly outcome: Outcome;
}

/** Corrects the core's reading of an attempt (a 429 inside a 200, a vendor's code); `undefined` means no opinion. */
export type Classifier = (input: ClassifierInput) => Partial<Outcome> | undefined;

/** The last argument of every wrapper. */
export interface WrapOptions {
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
  readonly peer?: Peer | undefined;
  /** Asked in order; the first opinion counts. */
  readonly classifiers?: readonly Classifier[] | undefined;
  /**
   * Whether tool annotations of this server are evidence for the replay gate.
   * @defaultValue false
   */
  readonly trustAnnotations?: boolean | ((peer: Peer) => boolean) | undefined;
  readonly verify?: Verify | undefined;
  /** Default of {@link CallOptions.timeoutMs}. */
  readonly timeoutMs?: number | undefined;
  /** Default of {@link CallOptions.attemptTimeoutMs}. */
  readonly attemptTimeoutMs?: number | undefined;
  /** Gets the report of every finished call, also where a value cannot be stamped; whatever it throws is swallowed. */
  readonly onReport?: ((report: CallReport) => void) | undefined;
  readonly onEvent?: CallListener | undefined;
}

import { type CallSettings, CallState } from "./call.js";
import type {
  CallContext,
  CallOptions,
  CallRequest,
  Endpoint,
  Handler,
  Middleware,
  Peer,
  Runtime,
  Side,
  ToolResult,
  WrapOptions,
} from "./contract.js";
import { frozen } from "./frozen.js";
import { callback, number, type OptionReader, objectWith, readOptions } from "./options.js";
import { claims, dismantle, fold } from "./pipeline.js";
import { stamp, stampResult } from "./report.js";
import { defaultRuntime } from "./runtime.js";
import { type Conclusion, conclude, localTerminal, type Terminal } from "./terminal.js";

const timeout: OptionReader<number | undefined> = number({ min: 0, above: true, infinite: true }, undefined);

const trust: OptionReader<NonNullable<WrapOptions["trustAnnotations"]>> = (value, path) => {
  if (value === undefined) return false;
  if (typeof value === "boolean" || typeof value === "function") return value as boolean;
  throw new TypeError(`${path} must be true, false or a function (peer) => boolean`);
};

const classifiers: OptionReader<NonNullable<WrapOptions["classifiers"]>> = (value, path) => {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((entry) => typeof entry === "function")) return value;
  throw new TypeError(`${path} must be an array of functions`);
};

const WRAP_OPTIONS = {
  runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
  peer: objectWith<NonNullable<WrapOptions["peer"]>>(),
  classifiers,
  trustAnnotations: trust,
  verify: callback<NonNullable<WrapOptions["verify"]>>(),
  timeoutMs: timeout,
  attemptTimeoutMs: timeout,
  onReport: callback<NonNullable<WrapOptions["onReport"]>>(),
  onEvent: callback<NonNullable<WrapOptions["onEvent"]>>(),
};

/** How a wrapper describes its entry. */
export interface EntrySpec<T = ToolResult> {
  /** Who is being configured, for messages: `"wrapClient"`. */
  readonly owner: string;
  readonly middleware: readonly Middleware[];
  /** A terminal that keeps the book of its attempts. */
  readonly terminal: Terminal;
  /** Makes what the caller gets of the result. */
  readonly present?: ((result: ToolResult) => T) | undefined;
  readonly side: Side;
  readonly endpoint?: Endpoint | undefined;
  readonly peer?: CallSettings["peer"] | undefined;
  readonly options?: WrapOptions | undefined;
  /** `timeoutMs` where neither the call nor the options say. */
  readonly defaultTimeoutMs?: number | undefined;
}

/** Starts calls through one pipeline. Never throws: bad input rejects before anything is sent. */
export type Entry<T = ToolResult> = (request: CallRequest) => Promise<T>;

/** Symbol-keyed option by which `transaction` says that it answers for the keys it made. */
export const ClaimedKeys: unique symbol = Symbol.for("@mcp-tx/core.claimed");

const CORE_KEYS: ReadonlySet<string> = new Set([
  "signal",
  "transactionId",
  "timeoutMs",
  "attemptTimeoutMs",
  "middleware",
  "pinned",
]);
const NO_PEER = frozen({});

/** Builds the entry of a wrapper, once. */
export function createEntry<T = ToolResult>(spec: EntrySpec<T>): Entry<T> {
  const { owner, middleware, side, endpoint, present } = spec;
  const read = readOptions(owner, spec.options, WRAP_OPTIONS);
  const settings: CallSettings = {
    runtime: read.runtime ?? defaultRuntime,
    peer: peerOf(read.peer, spec.peer),
    classifiers: read.classifiers,
    trustAnnotations: read.trustAnnotations,
    verify: read.verify,
    endpoint,
    side,
    onReport: read.onReport,
    onEvent: read.onEvent,
  };
  const conclusion: Conclusion<EntryContext, T> = {
    completed: ({ call }, result) => completed(call, result, present),
    failed: ({ call }, error) => failed(call, error),
  };
  const handler = fold(middleware, spec.terminal);
  const start = startOf(middleware, spec.terminal, handler, conclusion);
  const { timeoutMs = spec.defaultTimeoutMs, attemptTimeoutMs } = read;
  const hasDefaults = timeoutMs !== undefined || attemptTimeoutMs !== undefined;

  function optionsOf(given: CallOptions): CallOptions {
    if (!hasDefaults) return given;
    return {
      ...given,
      timeoutMs: given.timeoutMs ?? timeoutMs,
      attemptTimeoutMs: given.attemptTimeoutMs ?? attemptTimeoutMs,
    };
  }

  function begin(request: CallRequest): EntryContext {
    checkRequest(owner, request);
    const options = optionsOf(request.options);
    const limit = options.timeoutMs;
    const deadline = limit === undefined ? Infinity : settings.runtime.now() + limit;
    const call = new CallState(settings, request, deadline);
    const ctx: EntryContext = {
      tool: request.tool,
      args: request.args,
      meta: request.meta,
      signal: options.signal,
      deadline,
      attempt: 1,
      side,
      options,
      call,
      admit: undefined,
      innermost: undefined,
    };
    if (request.options !== NO_OPTIONS) checkCallOptions(owner, ctx, middleware);
    return ctx;
  }

  return (request) => {
    try {
      const ctx = begin(request);
      const own = ctx.options.middleware;
      return own === undefined ? start(ctx) : conclude((inner) => own(inner, handler), ctx, conclusion);
    } catch (error) {
      return Promise.reject(error);
    }
  };
}

/** What the user says about the peer, over what the wrapper knows. */
function peerOf(said: Peer | undefined, known: EntrySpec["peer"]): CallSettings["peer"] {
  if (said === undefined || known === undefined) return said ?? known ?? NO_PEER;
  return () => ({ ...(typeof known === "function" ? known() : known), ...said });
}

function startOf<T>(
  middleware: readonly Middleware[],
  terminal: Terminal,
  handler: Handler,
  conclusion: Conclusion<EntryContext, T>,
): (ctx: EntryContext) => Promise<T> {
  if (middleware.length === 0 && terminal.alone !== undefined) return terminal.alone(conclusion);
  return (ctx) => conclude(handler, ctx, conclusion);
}

/** The options of a call that was given none. */
export const NO_OPTIONS: CallOptions = frozen({});

/** The context of an entry, whose call is our own. */
interface EntryContext extends CallContext {
  readonly call: CallState;
}

function completed<T>(call: CallState, result: ToolResult, present: EntrySpec<T>["present"]): T {
  if (typeof result !== "object" || result === null) {
    const error = new TypeError(
      `The pipeline for tool "${call.request.tool}" gave no result; does a middleware forget to return next(ctx)?`,
    );
    throw failed(call, error);
  }
  call.finish(false, result);
  const value = present === undefined ? result : present(result);
  if (value === result) return stampResult(result, call) as T;
  stamp(value, call);
  return value as T;
}

function failed(call: CallState, error: unknown): unknown {
  call.finish(true, error);
  stamp(error, call);
  return error;
}

function checkRequest(owner: string, { tool, args, meta, options }: CallRequest): void {
  if (typeof tool !== "string" || tool === "") throw new TypeError(`${owner}: tool must be a non-empty string`);
  if (typeof args !== "object" || args === null || Array.isArray(args)) {
    throw new TypeError(`${owner}: arguments of tool "${tool}" must be an object`);
  }
  if (typeof meta !== "object" || meta === null) throw new TypeError(`${owner}: meta must be an object`);
  if (typeof options !== "object" || options === null) throw new TypeError(`${owner}: options must be an object`);
}

function checkString(owner: string, name: string, value: unknown): void {
  if (value === undefined || (typeof value === "string" && value !== "")) return;
  throw new TypeError(`${owner}: ${name} must be a non-empty string`);
}

function checkSignal(owner: string, signal: unknown): void {
  if (signal === undefined) return;
  const { aborted, addEventListener } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof aborted === "boolean" && typeof addEventListener === "function") return;
  throw new TypeError(`${owner}: signal must be an AbortSignal`);
}

/** Nothing that the caller asked for may be swallowed: every option is honoured by somebody or refused. */
function checkCallOptions(owner: string, ctx: CallContext, middleware: readonly Middleware[]): void {
  const options: Readonly<Record<string, unknown>> = { ...ctx.call.request.options };
  checkSignal(owner, options.signal);
  checkString(owner, "idempotencyKey", options.idempotencyKey);
  checkString(owner, "transactionId", options.transactionId);
  timeout(options.timeoutMs, `${owner}: timeoutMs`);
  timeout(options.attemptTimeoutMs, `${owner}: attemptTimeoutMs`);
  const own = callback<Middleware>()(options.middleware, `${owner}: middleware`);
  callback()(options.pinned, `${owner}: pinned`);
  const layers = own === undefined ? middleware : [own, ...middleware];
  for (const key of Object.keys(options)) {
    if (options[key] === undefined || CORE_KEYS.has(key) || claims(layers, key, ctx)) continue;
    if (key === "idempotencyKey") {
      if (keyIsHonoured(ctx)) continue;
      throw new TypeError(
        `${owner}: nothing honours idempotencyKey for tool "${ctx.tool}"; add idempotency() to the pipeline, or call a server that announces a store`,
      );
    }
    throw new TypeError(`${owner}: nothing in the pipeline takes the call option "${key}"`);
  }
}

function keyIsHonoured(ctx: CallContext): boolean {
  const claimed: unknown = (ctx.options as { readonly [ClaimedKeys]?: unknown })[ClaimedKeys];
  return claimed === true || ctx.call.endpoint?.announcement()?.idempotency !== undefined;
}

/** What {@link run} starts. */
export interface RunRequest {
  readonly tool: string;
  readonly args?: Readonly<Record<string, unknown>> | undefined;
  readonly meta?: Readonly<Record<string, unknown>> | undefined;
  readonly options?: CallOptions | undefined;
  /** @defaultValue "local" */
  readonly side?: Side | undefined;
}

const entries = new WeakMap<Handler, Entry>();

function entryOf(handler: Handler, side: Side, options: WrapOptions | undefined): Entry {
  const build = (): Entry => {
    const { middleware, terminal } = dismantle(handler);
    return createEntry({ owner: "run", middleware, terminal: localTerminal(terminal), side, options });
  };
  if (options !== undefined || side !== "local") return build();
  const entry = entries.get(handler) ?? build();
  entries.set(handler, entry);
  return entry;
}

/** Empty arguments and metadata, shared. */
export const NOTHING: Readonly<Record<string, unknown>> = frozen({});

const RUN_KEYS: readonly string[] = ["tool", "args", "meta", "options", "side"];
const SIDES: readonly unknown[] = ["client", "server", "local"];

function checkRun(request: object, side: unknown): void {
  const unknown = Object.keys(request).find((key) => !RUN_KEYS.includes(key));
  if (unknown !== undefined) throw new TypeError(`run: unknown property "${unknown}"; it takes ${RUN_KEYS.join(", ")}`);
  if (!SIDES.includes(side)) throw new TypeError(`run: side must be one of ${SIDES.join(", ")}`);
}

/**
 * Starts one call through a handler, usually a `pipeline`.
 *
 * @returns the result, stamped with its report (`reportOf`)
 * @throws what the pipeline threw, stamped alike; a TypeError or RangeError for bad input, before anything runs
 */
export function run(handler: Handler, request: RunRequest, options?: WrapOptions): Promise<ToolResult> {
  try {
    if (typeof handler !== "function") throw new TypeError("run: handler must be a function, such as a pipeline()");
    const { tool, args = NOTHING, meta = NOTHING, options: callOptions = NO_OPTIONS, side = "local" } = request ?? {};
    checkRun(request ?? NOTHING, side);
    return entryOf(handler, side, options)({ tool, args, meta, options: callOptions });
  } catch (error) {
    return Promise.reject(error);
  }
}

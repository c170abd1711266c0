import { CallState, type CallSettings } from "./call.js";
import type {
  CallContext,
  CallOptions,
  CallRequest,
  Endpoint,
  Handler,
  Middleware,
  Side,
  ToolResult,
  WrapOptions,
} from "./contract.js";
import { callback, number, objectWith, type OptionReader, readOptions } from "./options.js";
import { claims, dismantle, fold } from "./pipeline.js";
import { stamp, stampResult } from "./report.js";
import { defaultRuntime } from "./runtime.js";
import { localTerminal } from "./terminal.js";
import type { Runtime } from "./contract.js";

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
export interface EntrySpec {
  /** Who is being configured, for messages: `"wrapClient"`. */
  readonly owner: string;
  readonly middleware: readonly Middleware[];
  /** A terminal that keeps the book of its attempts. */
  readonly terminal: Handler;
  readonly side: Side;
  readonly endpoint?: Endpoint | undefined;
  readonly peer?: CallSettings["peer"] | undefined;
  readonly options?: WrapOptions | undefined;
}

/** Starts calls through one pipeline. Never throws: bad input rejects before anything is sent. */
export type Entry = (request: CallRequest) => Promise<ToolResult>;

/** Symbol-keyed option by which `transaction` says that it answers for the keys it made. */
export const ClaimedKeys: unique symbol = Symbol.for("@mcp-tx/core.claimed");

const CORE_KEYS: ReadonlySet<string> = new Set(["signal", "transactionId", "timeoutMs", "attemptTimeoutMs"]);
const NO_PEER = Object.freeze({});

/** Builds the entry of a wrapper, once. */
export function createEntry(spec: EntrySpec): Entry {
  const { owner, middleware, side, endpoint } = spec;
  const read = readOptions(owner, spec.options, WRAP_OPTIONS);
  const settings: CallSettings = {
    runtime: read.runtime ?? defaultRuntime,
    peer: read.peer ?? spec.peer ?? NO_PEER,
    classifiers: read.classifiers,
    trustAnnotations: read.trustAnnotations,
    verify: read.verify,
    endpoint,
    side,
    onReport: read.onReport,
    onEvent: read.onEvent,
  };
  const handler = fold(middleware, spec.terminal);
  const { timeoutMs, attemptTimeoutMs } = read;
  const hasDefaults = timeoutMs !== undefined || attemptTimeoutMs !== undefined;

  function optionsOf(given: CallOptions): CallOptions {
    if (!hasDefaults) return given;
    return {
      ...given,
      timeoutMs: given.timeoutMs ?? timeoutMs,
      attemptTimeoutMs: given.attemptTimeoutMs ?? attemptTimeoutMs,
    };
  }

  function begin(request: CallRequest): { readonly call: CallState; readonly ctx: CallContext } {
    checkRequest(owner, request);
    const options = optionsOf(request.options);
    const call = new CallState(settings, request);
    const limit = options.timeoutMs;
    const ctx: CallContext = {
      tool: request.tool,
      args: request.args,
      meta: request.meta,
      signal: options.signal,
      deadline: limit === undefined ? Infinity : settings.runtime.now() + limit,
      attempt: 1,
      side,
      options,
      call,
      admit: undefined,
    };
    if (request.options !== NO_OPTIONS) checkCallOptions(owner, ctx, middleware);
    return { call, ctx };
  }

  return (request) => {
    let started: { readonly call: CallState; readonly ctx: CallContext };
    try {
      started = begin(request);
    } catch (error) {
      return Promise.reject(error);
    }
    const { call, ctx } = started;
    let running: Promise<ToolResult>;
    try {
      running = handler(ctx);
      if (typeof running?.then !== "function") running = Promise.resolve(running);
    } catch (error) {
      return Promise.reject(failed(call, error));
    }
    return running.then(
      (result) => completed(call, result),
      (error) => {
        throw failed(call, error);
      },
    );
  };
}

/** The options of a call that was given none. */
export const NO_OPTIONS: CallOptions = Object.freeze({});

function completed(call: CallState, result: ToolResult): ToolResult {
  if (typeof result !== "object" || result === null) {
    const error = new TypeError(
      `The pipeline for tool "${call.request.tool}" gave no result; does a middleware forget to return next(ctx)?`,
    );
    throw failed(call, error);
  }
  call.finish(false, result);
  return stampResult(result, call);
}

function failed(call: CallState, error: unknown): unknown {
  call.finish(true, error);
  stamp(error, call);
  return error;
}

function checkRequest(owner: string, { tool, args, options }: CallRequest): void {
  if (typeof tool !== "string" || tool === "") throw new TypeError(`${owner}: tool must be a non-empty string`);
  if (typeof args !== "object" || args === null || Array.isArray(args)) {
    throw new TypeError(`${owner}: arguments of tool "${tool}" must be an object`);
  }
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
  for (const key of Object.keys(options)) {
    if (options[key] === undefined || CORE_KEYS.has(key) || claims(middleware, key, ctx)) continue;
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
export const NOTHING: Readonly<Record<string, unknown>> = Object.freeze({});

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
    return entryOf(handler, side, options)({ tool, args, meta, options: callOptions });
  } catch (error) {
    return Promise.reject(error);
  }
}

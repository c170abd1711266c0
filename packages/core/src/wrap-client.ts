import { AnnotationCache } from "./annotations.js";
import { type Caller, callerOf } from "./caller.js";
import { classifyThrow } from "./classify.js";
import type {
  Announcement,
  CallContext,
  CallOptions,
  CallRequest,
  Endpoint,
  Handler,
  Middleware,
  Outcome,
  Peer,
  ToolAnnotations,
  ToolResult,
  WrapOptions,
} from "./contract.js";
import { facade } from "./facade.js";
import { overRounds } from "./input-rounds.js";
import { ANYTHING } from "./list-tools.js";
import { flatten, withParts } from "./pipeline.js";
import { reportOf } from "./report.js";
import { ClaimedKeys, createEntry, NO_OPTIONS, NOTHING } from "./run.js";
import { defaultRuntime, MAX_TIMER_MS, startTimer } from "./runtime.js";
import { type Watch, watch } from "./tap.js";
import { type Limit, timeoutOutcome } from "./terminal.js";
import { asBag, type Bag, CALL_META_KEY, type CallMeta, inputRoundOf, readAnnouncement } from "./wire.js";
import { markedParams, type OpenAttempt, openAttempt, type Wire } from "./wire-attempt.js";

/** The part of an MCP client, of either SDK line, that is used here. */
export interface ClientLike {
  /** The parameters differ between the SDK lines. */
  callTool(...args: never): Promise<unknown>;
}

/** What the SDK's `callTool` resolves to. */
export type SdkResult<C extends ClientLike> = Awaited<ReturnType<C["callTool"]>>;

type WithOptions<A extends readonly unknown[]> = A extends readonly [infer P, (infer O)?]
  ? [params: P, options?: (O & CallOptions) | CallOptions]
  : A extends readonly [infer P, (infer S)?, (infer O)?]
    ? [params: P, resultSchema?: S, options?: (O & CallOptions) | CallOptions]
    : A;

/** A client of either SDK line with a pipeline round its tool calls; fits wherever the client fits. */
export type WrappedClient<C extends ClientLike> = C &
  Caller<SdkResult<C>> & { callTool(...args: WithOptions<Parameters<C["callTool"]>>): Promise<SdkResult<C>> };

/** Internal view of a client. Whatever a line lacks is optional. */
interface Sdk {
  readonly transport?: object | undefined;
  callTool(...args: readonly unknown[]): Promise<ToolResult>;
  request?(request: unknown, schema: unknown, options?: unknown): Promise<unknown>;
  getServerCapabilities?(): unknown;
  getServerVersion?(): { readonly name?: string } | undefined;
  /** Only SDK v2 has it. */
  getProtocolEra?(): unknown;
}

/** A call that came through `callTool`: what of it is the SDK's business travels beside ours. */
interface ClientRequest extends CallRequest {
  readonly params?: Bag | undefined;
  readonly resultSchema?: unknown;
  readonly sdkOptions?: Bag | undefined;
}

/** Request options of both SDK lines. They pass through; every other key must be claimed. */
export const SDK_OPTION_KEYS: ReadonlySet<string> = new Set([
  "timeout",
  "resetTimeoutOnProgress",
  "maxTotalTimeout",
  "onprogress",
  "resumptionToken",
  "onresumptiontoken",
  "relatedRequestId",
  "requestSignal",
  "onRequestStreamEnd",
  "task",
  "relatedTask",
  "allowInputRequired",
  "toolDefinition",
  "headers",
  "cacheMode",
]);

const Wrapped: unique symbol = Symbol.for("@mcp-tx/core.wrapped");

/** What is known about the server behind a client, for as long as one connection lasts. */
class ClientEndpoint implements Endpoint {
  readonly #client: Sdk;
  readonly #annotations = new AnnotationCache((cursor, timeoutMs) => this.#page(cursor, timeoutMs));
  #transport: object | undefined;
  #watch: Watch | undefined;

  constructor(client: Sdk) {
    this.#client = client;
  }

  /** Watches the client's present transport. */
  observe(): void {
    const { transport } = this.#client;
    if (transport === undefined || transport === this.#transport) return;
    this.#transport = transport;
    this.#annotations.clear();
    this.#watch = watch(transport);
  }

  announcement(): Announcement | undefined {
    return readAnnouncement(this.#client.getServerCapabilities?.());
  }

  annotations(tool: string, ctx: CallContext): Promise<ToolAnnotations | undefined> {
    return this.#annotations.get(tool, ctx, this.#watch?.toolChanges ?? 0);
  }

  #page(cursor: string | undefined, timeout: number): Promise<unknown> {
    if (this.#client.request === undefined) return Promise.reject(new TypeError("client cannot send tools/list"));
    const params = cursor === undefined ? undefined : { cursor };
    return this.#client.request({ method: "tools/list", ...(params && { params }) }, ANYTHING, { timeout });
  }

  peer(): Peer {
    const server = this.#client.getServerVersion?.()?.name;
    const sessionId = asBag(this.#client.transport)?.sessionId;
    return { server, sessionId: typeof sessionId === "string" ? sessionId : undefined };
  }
}

/** The `params` of an attempt: the caller's own where nothing changed them, so that the traffic stays the same. */
function paramsOf(
  ctx: CallContext,
  callMeta: CallMeta | undefined,
  wire: Wire,
): Readonly<Record<PropertyKey, unknown>> {
  const request: ClientRequest = ctx.call.request;
  const given: Bag = request.params ?? { name: ctx.tool, arguments: request.args };
  const params = markedParams(given, wire);
  if (ctx.tool !== request.tool) params.name = ctx.tool;
  if (ctx.args !== request.args) params.arguments = ctx.args;
  if (callMeta !== undefined) params._meta = { ...ctx.meta, [CALL_META_KEY]: callMeta };
  else if (ctx.meta !== request.meta || (request.params === undefined && ctx.meta !== NOTHING)) params._meta = ctx.meta;
  return params;
}

/** What an attempt may take, in the SDK's own terms where it can enforce it: its timer is nearly free. */
interface Timing {
  readonly sdkOptions: Bag | undefined;
  /** A limit that the SDK cannot enforce, on our own timer. */
  readonly hard: Limit | undefined;
  /** The limit that a timeout of the SDK stands for. */
  readonly delegated: Limit | undefined;
}

function timingOf(ctx: CallContext, limit: Limit | undefined): Timing {
  const request: ClientRequest = ctx.call.request;
  const given = request.sdkOptions;
  const signal = ctx.signal === undefined ? undefined : { signal: ctx.signal };
  const own = typeof given?.timeout === "number" ? given.timeout : Infinity;
  if (limit === undefined) {
    // Detached from a deadline that the caller did give: the SDK's own default of a minute is not what was asked for.
    const patient = ctx.call.deadline !== Infinity && own === Infinity ? { timeout: MAX_TIMER_MS } : undefined;
    return { sdkOptions: merge(merge(given, signal), patient), hard: undefined, delegated: undefined };
  }
  const ownLimit: Limit | undefined = own < limit.ms ? { ms: own, isDeadline: false } : undefined;
  const sdkCannot = ctx.call.runtime !== defaultRuntime || given?.resetTimeoutOnProgress === true;
  if (sdkCannot) {
    const timeout = ownLimit === undefined ? { timeout: MAX_TIMER_MS } : undefined;
    return { sdkOptions: merge(merge(given, signal), timeout), hard: limit, delegated: ownLimit };
  }
  const delegated = ownLimit ?? limit;
  const timeout = Math.min(Math.max(1, Math.ceil(delegated.ms)), MAX_TIMER_MS);
  return { sdkOptions: merge(merge(given, signal), { timeout }), hard: undefined, delegated };
}

function merge(first: Bag | undefined, second: Bag | undefined): Bag | undefined {
  if (first === undefined) return second;
  return second === undefined ? first : { ...first, ...second };
}

function clientTerminal(client: Sdk, endpoint: ClientEndpoint, isV2: boolean): Handler {
  const isNested = (client as { readonly [Wrapped]?: unknown })[Wrapped] === true;
  const isObservable = !isNested && "transport" in client;

  function dispatch(
    ctx: CallContext,
    wire: Wire,
    callMeta: CallMeta | undefined,
    sdkOptions: Bag | undefined,
  ): Promise<ToolResult> {
    const params = paramsOf(ctx, callMeta, wire);
    const { resultSchema } = ctx.call.request as ClientRequest;
    try {
      if (isV2) return client.callTool(params, sdkOptions);
      return client.callTool(params, resultSchema, sdkOptions);
    } catch (error) {
      // A client that is no SDK's may also throw.
      return Promise.reject(error);
    }
  }

  function outcomeOfThrow(
    error: unknown,
    wire: Wire,
    ctx: CallContext,
    { delegated }: Timing,
    passed: Limit | undefined,
  ): Outcome {
    const inner = isNested ? reportOf(error) : undefined;
    if (inner !== undefined) return outcomeOfReport(inner);
    if (!wire.sent && isObservable && client.transport === undefined) wire.closed = true;
    const aborted = ctx.signal?.aborted === true;
    const outcome = classifyThrow(error, wire, aborted, ctx.call.runtime.wallNow());
    const timedOut = passed ?? (outcome.code === "attempt_timeout" ? delegated : undefined);
    return timedOut === undefined || outcome.execution !== "unknown" || aborted ? outcome : timeoutOutcome(timedOut);
  }

  return (ctx) => {
    let opened: OpenAttempt;
    try {
      endpoint.observe();
      // An aborted call is left to the SDK, so that it rejects as it always does.
      opened = openAttempt(ctx, endpoint.announcement(), ctx.signal?.aborted !== true);
    } catch (error) {
      return Promise.reject(error);
    }
    const { wire, callMeta, limit } = opened;
    if (!isObservable) wire.leave(false);
    const timing = timingOf(ctx, limit);
    if (timing.hard !== undefined) return withHardLimit(ctx, timing, timing.hard, wire, callMeta);
    const answer = dispatch(ctx, wire, callMeta, timing.sdkOptions);
    if (!isV2 || (limit === undefined && ctx.signal === undefined))
      return settle(answer, ctx, wire, timing, () => undefined);
    let passed: Limit | undefined;
    const onExpire = (): void => {
      passed = limit;
    };
    const bounded = overRounds(answer, ctx, wire, { signal: ctx.signal, limit, onExpire });
    return settle(bounded, ctx, wire, timing, () => passed);
  };

  function settle(
    answer: Promise<ToolResult>,
    ctx: CallContext,
    wire: Wire,
    timing: Timing,
    passed: () => Limit | undefined,
  ): Promise<ToolResult> {
    return answer.then(
      (result) => {
        wire.endWith(result, ctx);
        return result;
      },
      (error) => {
        const outcome = outcomeOfThrow(error, wire, ctx, timing, passed());
        wire.endWithError(error, outcome, ctx);
        if (!isObservable) wire.attempt.release();
        throw error;
      },
    );
  }

  /** Where the SDK's timer does not do: a virtual clock, or a timeout that progress resets. */
  function withHardLimit(
    ctx: CallContext,
    timing: Timing,
    limit: Limit,
    wire: Wire,
    callMeta: CallMeta | undefined,
  ): Promise<ToolResult> {
    const controller = new AbortController();
    let passed: Limit | undefined;
    const forward = (): void => controller.abort(ctx.signal?.reason);
    const cancelTimer = startTimer(ctx.call.runtime, limit.ms, () => {
      passed = limit;
      controller.abort(new Error("Request timed out"));
    });
    ctx.signal?.addEventListener("abort", forward, { once: true });
    if (ctx.signal?.aborted === true) forward();
    const { signal } = controller;
    const answer = dispatch(ctx, wire, callMeta, merge(timing.sdkOptions, { signal }));
    const bounded = isV2
      ? overRounds(answer, ctx, wire, { signal, limit: undefined, onExpire: () => undefined })
      : answer;
    return settle(bounded, ctx, wire, timing, () => passed).finally(() => {
      cancelTimer();
      ctx.signal?.removeEventListener("abort", forward);
    });
  }
}

/** The outcome of a call that another pipeline of ours ran below this one. */
function outcomeOfReport(report: NonNullable<ReturnType<typeof reportOf>>): Outcome {
  const { code, retryAfterMs } = report.error ?? {};
  const status = report.status === "cancelled" ? "cancelled" : report.status === "rejected" ? "rejected" : "failure";
  return { status, execution: report.execution, transient: report.execution !== "executed", code, retryAfterMs };
}

function splitOptions(given: unknown): { readonly options: CallOptions; readonly sdkOptions: Bag | undefined } {
  const bag = asBag(given);
  if (bag === undefined) return { options: NO_OPTIONS, sdkOptions: undefined };
  const options: Record<PropertyKey, unknown> = ClaimedKeys in bag ? { [ClaimedKeys]: true } : {};
  let sdkOptions: Record<string, unknown> | undefined;
  for (const key of Object.keys(bag)) {
    if (SDK_OPTION_KEYS.has(key)) {
      sdkOptions ??= {};
      sdkOptions[key] = bag[key];
    } else options[key] = bag[key];
  }
  return { options, sdkOptions };
}

/**
 * Puts a pipeline round the tool calls of an SDK client, v1 or v2.
 *
 * @remarks
 * The result fits wherever the client fits: `callTool` keeps its signature and result, and takes our options beside the SDK's
 * in its options argument; every other member is the client's own. With an empty pipeline the traffic is the same.
 *
 * @throws TypeError for something that is no client or no middleware, RangeError for an option out of range
 */
export function wrapClient<C extends ClientLike>(
  client: C,
  middleware: Middleware | readonly Middleware[],
  options?: WrapOptions,
): WrappedClient<C> {
  if (typeof client?.callTool !== "function") {
    throw new TypeError("wrapClient: client must be an MCP SDK client with a callTool method");
  }
  // What any SDK's callTool gives is a ToolResult; nothing at run time relies on more.
  const sdk = client as ClientLike as Sdk;
  const isV2 = typeof sdk.getProtocolEra === "function";
  const endpoint = new ClientEndpoint(sdk);
  const layers = flatten(middleware, "wrapClient");
  const enter = createEntry({
    owner: "wrapClient",
    middleware: layers,
    terminal: clientTerminal(sdk, endpoint, isV2),
    side: "client",
    endpoint,
    peer: () => endpoint.peer(),
    options,
  });

  function callTool(params: unknown, ...rest: readonly unknown[]): Promise<ToolResult> {
    const bag = asBag(params);
    const { options: callOptions, sdkOptions } = splitOptions(isV2 ? rest[0] : rest[1]);
    const request: ClientRequest = {
      tool: bag?.name as string,
      args: (bag?.arguments ?? NOTHING) as Bag,
      meta: (bag?._meta ?? NOTHING) as Bag,
      options: callOptions,
      round: inputRoundOf(bag),
      params: bag,
      resultSchema: isV2 ? undefined : rest[0],
      sdkOptions,
    };
    return enter(request);
  }

  const caller = callerOf((tool, args, given) => {
    const { options: callOptions, sdkOptions } = splitOptions(given);
    const request: ClientRequest = { tool, args, meta: NOTHING, options: callOptions, sdkOptions };
    return enter(request);
  });
  return facade(client, { ...caller, ...withParts(layers), callTool, [Wrapped]: true }) as WrappedClient<C>;
}

import { AnnotationCache } from "./annotations.js";
import { classifyThrow } from "./classify.js";
import type {
  Announcement,
  CallContext,
  Endpoint,
  Handler,
  Middleware,
  Outcome,
  ToolAnnotations,
  ToolResult,
  WrapOptions,
} from "./contract.js";
import { facade } from "./facade.js";
import {
  type ActiveCall,
  type Content,
  contentOf,
  envelopeOf,
  forHost,
  type HostRequest,
  type Id,
  JsonRpcError,
  LastingSet,
  SendFailure,
  type Waiting,
} from "./host-call.js";
import { flatten } from "./pipeline.js";
import { createEntry, type Entry, NOTHING } from "./run.js";
import { startTimer } from "./runtime.js";
import { type TransportLike, type Watch, watch } from "./tap.js";
import { type Limit, timeoutError, timeoutOutcome } from "./terminal.js";
import { asBag, type Bag, CALL_META_KEY, inputRoundOf, isCallable, type Message, readAnnouncement } from "./wire.js";
import { markedParams, type OpenAttempt, openAttempt, type Wire } from "./wire-attempt.js";

/** Hosts give up after 60 s, and the model then calls again: be done before. */
const HOST_DEADLINE_MS = 55_000;

/** What one side sets on a transport to be called back. */
interface Callbacks {
  onmessage?: ((message: Message, extra?: unknown) => void) | undefined;
  onclose?: (() => void) | undefined;
  onerror?: ((error: unknown) => void) | undefined;
}

/** Structural view of the inner transport with its parameters open. */
interface Inner extends Callbacks {
  send(message: Message, options?: unknown): Promise<void>;
  readonly sessionId?: string | undefined;
}

class TransportPipeline implements Endpoint {
  /** What the host set on the transport. */
  readonly host: Callbacks = {};
  readonly #inner: Inner;
  readonly #watch: Watch;
  readonly #enter: Entry;
  readonly #waiting = new Map<string, Waiting>();
  readonly #active = new Map<string, ActiveCall>();
  readonly #abandoned = new LastingSet();
  /** Progress tokens of abandoned attempts. */
  readonly #staleTokens = new LastingSet();
  readonly #progress = new Map<string, unknown>();
  readonly #handshakes = new Set<string>();
  readonly #annotations = new AnnotationCache((cursor, timeoutMs, ctx) => this.#page(cursor, timeoutMs, ctx));
  #announcement: Announcement | undefined;
  #server: string | undefined;
  /** Random, because ids of another wrapped transport, above or below, must differ. */
  readonly #idPrefix = `mcp-tx/${crypto.randomUUID().slice(0, 8)}/`;
  #lastId = 0;
  #closes = 0;

  constructor(inner: Inner, middleware: readonly Middleware[], options: WrapOptions | undefined) {
    this.#inner = inner;
    inner.onmessage = (message, extra) => this.#receive(message, extra);
    inner.onclose = () => this.#close();
    inner.onerror = (error) => this.host.onerror?.(error);
    this.#watch = watch(inner);
    this.#enter = createEntry({
      owner: "wrapTransport",
      middleware,
      terminal: this.#terminal,
      side: "client",
      endpoint: this,
      peer: () => ({ server: this.#server, sessionId: inner.sessionId }),
      options,
      defaultTimeoutMs: HOST_DEADLINE_MS,
    });
  }

  // From the host

  send(message: Message, options?: unknown): Promise<void> {
    if (message?.method === "notifications/cancelled" && this.#cancel(message)) return Promise.resolve();
    // An id that the host uses again stands for its new request.
    if (message?.method !== undefined) this.#abandoned.delete(String(message.id));
    if (
      message?.method === "tools/call" &&
      isCallable(message.params) &&
      message.id !== undefined &&
      message.id !== null
    ) {
      return this.#call(message, message.id, asBag(options));
    }
    const isHandshake = message?.method === "initialize" || message?.method === "server/discover";
    if (isHandshake) this.#handshakes.add(String(message.id));
    return this.#inner.send(message, options);
  }

  #cancel(message: Message): boolean {
    const active = this.#active.get(String(message.params?.requestId));
    if (active === undefined) return false;
    active.cancellation = message.params;
    active.controller.abort(message.params?.reason);
    return true;
  }

  async #call(message: Message, id: Id, sendOptions: Bag | undefined): Promise<void> {
    const controller = new AbortController();
    // SDK v2 calls it `requestSignal`, the Vercel AI SDK `signal`; the latter sends no cancellation of its own.
    const hostSignal = (sendOptions?.requestSignal ?? sendOptions?.signal) as AbortSignal | undefined;
    const abort = (): void => controller.abort(hostSignal?.reason);
    hostSignal?.addEventListener("abort", abort, { once: true });
    if (hostSignal?.aborted === true) abort();
    const active: ActiveCall = { controller, cancellation: undefined };
    this.#active.set(String(id), active);
    const params = message.params ?? NOTHING;
    const request: HostRequest = {
      tool: params.name as string,
      args: (params.arguments ?? NOTHING) as Bag,
      meta: (params._meta ?? NOTHING) as Bag,
      options: { signal: controller.signal },
      round: inputRoundOf(params),
      message,
      id,
      sendOptions,
      active,
      attempts: 0,
      answer: undefined,
      extra: undefined,
      closes: this.#closes,
    };
    try {
      const content = await this.#enter(request).then((result) => ({ result }), contentOf);
      this.#answer(content, request);
    } finally {
      this.#active.delete(String(id));
      hostSignal?.removeEventListener("abort", abort);
    }
  }

  /** Answers the host: with the server's own message, under the host's id, where the pipeline left its content alone. */
  #answer(content: Content, request: HostRequest): void {
    const { id, active, answer, extra, closes } = request;
    // A cancelled request gets no answer, nor does one whose host has heard that the connection closed.
    if (active.controller.signal.aborted || closes !== this.#closes) return;
    const isTheirs = answer !== undefined && answer.result === content.result && answer.error === content.error;
    const plain = forHost(content, request);
    this.host.onmessage?.({ ...(isTheirs ? answer : { jsonrpc: "2.0" }), id, ...plain }, extra);
  }

  // From the server

  #receive(message: Message, extra: unknown): void {
    if (message?.method === undefined && message?.id !== undefined) this.#receiveAnswer(message, extra);
    else if (message?.method === "notifications/progress") this.#receiveProgress(message, extra);
    else this.host.onmessage?.(message, extra);
  }

  #receiveAnswer(message: Message, extra: unknown): void {
    const key = String(message.id);
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) waiting.settle(message, extra);
    else if (!this.#abandoned.has(key)) {
      if (this.#handshakes.delete(key)) this.#readHandshake(message.result);
      this.host.onmessage?.(message, extra);
    }
  }

  #readHandshake(result: unknown): void {
    const bag = asBag(result);
    if (bag?.capabilities === undefined) return;
    this.#announcement = readAnnouncement(bag.capabilities);
    const name = asBag(bag.serverInfo)?.name;
    this.#server = typeof name === "string" ? name : undefined;
  }

  #receiveProgress(message: Message, extra: unknown): void {
    const token = String(message.params?.progressToken);
    // Progress of an attempt that was given up must not pass for progress of the live one.
    if (this.#staleTokens.has(token)) return;
    const theirs = this.#progress.get(token);
    const mapped =
      theirs === undefined ? message : { ...message, params: { ...message.params, progressToken: theirs } };
    this.host.onmessage?.(mapped, extra);
  }

  #close(): void {
    this.#closes += 1;
    for (const waiting of [...this.#waiting.values()]) waiting.close();
    this.#abandoned.clear();
    this.#staleTokens.clear();
    this.#handshakes.clear();
    this.#announcement = undefined;
    this.#annotations.clear();
    this.host.onclose?.();
  }

  // Attempts

  readonly #terminal: Handler = (ctx) => {
    let opened: OpenAttempt;
    try {
      opened = openAttempt(ctx, this.#announcement);
    } catch (error) {
      return Promise.reject(error);
    }
    const { wire, limit } = opened;
    let expired = false;
    const expire = (): void => {
      expired = true;
    };
    return this.#attempt(ctx, opened, expire).then(
      (result) => {
        wire.endWith(result, ctx);
        return result;
      },
      (error) => {
        wire.endWithError(error, this.#outcomeOf(error, wire, ctx, expired ? limit : undefined), ctx);
        throw error;
      },
    );
  };

  #outcomeOf(error: unknown, wire: Wire, ctx: CallContext, passed: Limit | undefined): Outcome {
    if (passed !== undefined) return timeoutOutcome(passed);
    if (!wire.sent && this.#closes > 0) wire.closed = true;
    const thrown = error instanceof SendFailure ? error.cause : error;
    return classifyThrow(thrown, wire, ctx.signal?.aborted === true, ctx.call.runtime.wallNow());
  }

  #attempt(ctx: CallContext, { wire, callMeta, limit }: OpenAttempt, expired: () => void): Promise<ToolResult> {
    const request = ctx.call.request as HostRequest;
    request.attempts += 1;
    const id: Id = request.attempts === 1 ? request.id : this.#newId();
    const params = this.#paramsOf(ctx, request, id, callMeta, wire);
    // Where the host cancels by closing the stream, so do we; elsewhere by notification.
    const stream = request.sendOptions?.requestSignal === undefined ? undefined : new AbortController();
    const sendOptions =
      stream === undefined ? request.sendOptions : { ...request.sendOptions, requestSignal: stream.signal };

    return new Promise((resolve, reject) => {
      const cancelTimer = limit === undefined ? undefined : startTimer(ctx.call.runtime, limit.ms, () => expire(limit));
      ctx.signal?.addEventListener("abort", abort, { once: true });
      const stop = (): void => {
        cancelTimer?.();
        ctx.signal?.removeEventListener("abort", abort);
        this.#waiting.delete(String(id));
        this.#progress.delete(String(id));
      };
      const giveUp = (reason: unknown, error: unknown): void => {
        stop();
        this.#abandon(request, id, stream, reason);
        reject(error);
      };
      function abort(): void {
        giveUp(ctx.signal?.reason, ctx.signal?.reason);
      }
      function expire(passed: Limit): void {
        expired();
        giveUp("Request timed out", timeoutError(ctx, passed));
      }
      this.#waiting.set(String(id), {
        settle: (answer, extra) => {
          const { result, error } = answer;
          stop();
          request.answer = answer;
          request.extra = extra;
          // What is no result goes to the host as it came, as an error does.
          if (error === undefined && asBag(result) !== undefined) resolve(result as ToolResult);
          else reject(new JsonRpcError(answer));
        },
        close: () => {
          stop();
          reject(new SendFailure(new Error("Connection closed")));
        },
      });
      this.#inner.send({ ...request.message, id, params }, sendOptions).catch((error) => {
        stop();
        reject(new SendFailure(error));
      });
    });
  }

  #newId(): string {
    this.#lastId += 1;
    return `${this.#idPrefix}${this.#lastId}`;
  }

  #paramsOf(ctx: CallContext, request: HostRequest, id: Id, callMeta: unknown, wire: Wire): Bag {
    const params = markedParams(request.message.params, wire);
    if (ctx.tool !== request.tool) params.name = ctx.tool;
    if (ctx.args !== request.args) params.arguments = ctx.args;
    const token = ctx.meta.progressToken;
    const ownToken = token === undefined || id === request.id ? undefined : { progressToken: id };
    if (ownToken !== undefined) this.#progress.set(String(id), token);
    // A host may use a token again: from here on it stands for this call.
    else if (token !== undefined) this.#staleTokens.delete(String(token));
    if (ctx.meta !== request.meta || callMeta !== undefined || ownToken !== undefined) {
      params._meta = { ...ctx.meta, ...ownToken, ...(callMeta !== undefined && { [CALL_META_KEY]: callMeta }) };
    }
    return params;
  }

  /** Tells the server that nobody waits any more, and remembers to drop what it may still answer. */
  #abandon(request: HostRequest, id: Id, stream: AbortController | undefined, reason: unknown): void {
    const token = id === request.id ? request.meta.progressToken : id;
    this.#abandoned.add(String(id));
    if (token !== undefined) this.#staleTokens.add(String(token));
    if (stream === undefined) this.#sendCancellation(request, id, reason);
    else stream.abort(reason);
  }

  #sendCancellation({ active, meta }: HostRequest, id: Id, reason: unknown): void {
    const ours = { requestId: id, ...(reason !== undefined && { reason: String(reason) }), ...envelopeOf(meta) };
    const params = { ...(active.cancellation ?? ours), requestId: id };
    const message: Message = { jsonrpc: "2.0", method: "notifications/cancelled", params };
    this.#send(message).catch((error) => this.host.onerror?.(error));
  }

  /** Sends a message of our own. Async, because a transport may also throw instead of rejecting. */
  async #send(message: Message): Promise<void> {
    await this.#inner.send(message);
  }

  // Endpoint

  announcement(): Announcement | undefined {
    return this.#announcement;
  }

  annotations(tool: string, ctx: CallContext): Promise<ToolAnnotations | undefined> {
    return this.#annotations.get(tool, ctx, this.#watch.toolChanges);
  }

  #page(cursor: string | undefined, timeoutMs: number, ctx: CallContext): Promise<unknown> {
    const id = this.#newId();
    const params = { ...(cursor !== undefined && { cursor }), ...envelopeOf(ctx.call.request.meta) };
    const message: Message = {
      jsonrpc: "2.0",
      id,
      method: "tools/list",
      ...(Object.keys(params).length > 0 && { params }),
    };
    return new Promise((resolve, reject) => {
      const cancelTimer = startTimer(ctx.call.runtime, timeoutMs, () => fail(new Error("tools/list timed out")));
      const fail = (error: unknown): void => {
        cancelTimer();
        this.#waiting.delete(id);
        reject(error);
      };
      this.#waiting.set(id, {
        settle: (answer) => {
          cancelTimer();
          this.#waiting.delete(id);
          if (answer.error === undefined) resolve(answer.result);
          else reject(new JsonRpcError(answer));
        },
        close: () => fail(new Error("Connection closed")),
      });
      this.#send(message).catch(fail);
    });
  }
}

/**
 * Puts a pipeline between a host that builds its own MCP client and the transport it talks over.
 *
 * @remarks
 * Hand the result to the host in the transport's place (Vercel AI SDK, LangChain.js, OpenAI Agents). Each repetition gets a
 * JSON-RPC id of its own; cancellation and progress are mapped to the live attempt; everything that is no tool call passes
 * untouched in both directions. Unless `timeoutMs` says otherwise a call has 55 s in all, because hosts give up after 60 s.
 *
 * @throws TypeError for something that is no transport or no middleware
 */
export function wrapTransport<T extends TransportLike>(
  transport: T,
  middleware: Middleware | readonly Middleware[],
  options?: WrapOptions,
): T {
  if (typeof transport?.send !== "function") {
    throw new TypeError("wrapTransport: transport must be an MCP transport with a send method");
  }
  const layers = flatten(middleware, "wrapTransport");
  const state = new TransportPipeline(transport as unknown as Inner, layers, options);
  const send = state.send.bind(state);
  return facade(transport, { send }, state.host) as T;
}

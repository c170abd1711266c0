import { type IdempotencyAnnouncement, type Middleware, type WrapOptions, wrapTransport } from "@mcp-tx/core";
import { announced } from "./announce.js";
import { HostCalls } from "./announce-calls.js";
import type { HostChannel } from "./downstream.js";
import { Handshake } from "./handshake.js";
import {
  asBag,
  type Bag,
  errorAnswer,
  type Id,
  isAnswer,
  isOpening,
  isRequest,
  type Message,
  messageOf,
  type Request,
} from "./proxy-messages.js";
import { Upstream } from "./upstream.js";
import { upstreamGate } from "./upstream-gate.js";
import type { Loss, OpenLink } from "./upstream-link.js";

/** What a {@link ProxySession} is made of. */
export interface SessionSpec {
  readonly host: HostChannel;
  readonly open: OpenLink;
  readonly middleware: readonly Middleware[];
  readonly wrapOptions: WrapOptions | undefined;
  readonly announcement: IdempotencyAnnouncement | undefined;
  readonly replayAcrossSessions: boolean | undefined;
  readonly onDiagnostic: (line: string) => void;
  /** The server never answered anything and cannot be reached. */
  readonly onGiveUp: (loss: Loss) => void;
}

const GREET_TIMEOUT_MS = 30_000;
/** How long calls that a closed server left without an answer have to end. Some may be about to try again, in vain. */
const LAST_ANSWERS_MS = 100;

/** A request of the proxy's own. */
interface OwnRequest {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** A transport with its parameters open, as `wrapTransport` gives it back. */
interface Wrapped {
  send(message: Message): Promise<void>;
  onmessage?: ((message: Message) => void) | undefined;
}

/** One host and its server: messages in both directions, tool calls through the pipeline. */
export class ProxySession {
  readonly #host: HostChannel;
  readonly #upstream: Upstream;
  readonly #wrapped: Wrapped;
  readonly #calls: HostCalls;
  readonly #handshake = new Handshake();
  readonly #announcement: IdempotencyAnnouncement | undefined;
  readonly #onDiagnostic: (line: string) => void;
  /** Requests of the host that open its session. */
  readonly #openings = new Map<Id, Request>();
  readonly #own = new Map<Id, OwnRequest>();
  /** Said for the core alone, which reads tool annotations anew. */
  readonly #silent = new WeakSet<Message>();
  readonly #ownPrefix = `mcp-tx/greet/${crypto.randomUUID().slice(0, 8)}/`;
  #lastOwn = 0;
  #isOver = false;

  constructor(spec: SessionSpec) {
    const { host, wrapOptions } = spec;
    this.#host = host;
    this.#announcement = spec.announcement;
    this.#onDiagnostic = spec.onDiagnostic;
    this.#calls = new HostCalls(spec.announcement?.storeId);
    this.#upstream = new Upstream({
      open: spec.open,
      greet: () => this.#greet(),
      onDiagnostic: spec.onDiagnostic,
      onGiveUp: (loss) => {
        if (this.wasAnswered) spec.onDiagnostic(`${loss.reason}; giving up until the server is asked for again`);
        else spec.onGiveUp(loss);
      },
      onFlow: (isFree) => host.flow(isFree),
      greetTimeoutMs: GREET_TIMEOUT_MS,
      random: Math.random,
    });
    const layers = [
      this.#calls.middleware,
      ...spec.middleware,
      upstreamGate(this.#upstream, spec.replayAcrossSessions),
    ];
    const onReport: WrapOptions["onReport"] = (report) => {
      this.#calls.onReport(report);
      wrapOptions?.onReport?.(report);
    };
    this.#wrapped = wrapTransport(this.#upstream, layers, { ...wrapOptions, onReport });
    this.#wrapped.onmessage = (message) => this.#fromServer(message);
    host.onmessage = (message) => this.#fromHost(message);
    host.onflow = (isFree) => this.#upstream.flow(isFree);
  }

  /** Whether a server has ever answered this host. */
  get wasAnswered(): boolean {
    return this.#upstream.wasEverAnswered;
  }

  /** Connects without waiting for the host to say something, so that a mistake shows at once. */
  connect(): void {
    this.#upstream.connect();
  }

  // From the host

  #fromHost(message: Message): void {
    if (this.#isOver) return;
    if (isRequest(message)) this.#request(message);
    else {
      this.#handshake.noteFromHost(message);
      if (message.method === "notifications/cancelled") this.#calls.cancel(message.params?.requestId);
      this.#wrapped.send(message).catch((error) => this.#onDiagnostic(`not delivered: ${messageOf(error)}`));
    }
  }

  #request(request: Request): void {
    if (request.method === "tools/call") this.#calls.begin(request);
    else if (isOpening(request)) this.#openings.set(request.id, request);
    this.#handshake.noteRequest(request);
    this.#wrapped.send(request).catch((error) => this.#fromServer(errorAnswer(request.id, messageOf(error))));
  }

  // From the server

  #fromServer(message: Message): void {
    if (this.#silent.has(message)) return;
    const shown = isAnswer(message) ? this.#answer(message) : message;
    if (shown === undefined || this.#isOver) return;
    this.#host.send(shown).catch((error) => this.#onDiagnostic(`the host did not take a message: ${messageOf(error)}`));
  }

  #answer(message: Message): Message | undefined {
    const { id } = message;
    if (id === undefined || id === null) return message;
    const own = this.#own.get(id);
    if (own !== undefined) return this.#ownAnswer(id, own, message);
    this.#handshake.noteAnswer(message);
    const opening = this.#openings.get(id);
    if (opening === undefined) return this.#calls.present(message);
    this.#openings.delete(id);
    if (this.#handshake.protocolVersion !== undefined)
      this.#upstream.setProtocolVersion(this.#handshake.protocolVersion);
    return announced(message, opening, this.#announcement);
  }

  // Greeting a new server

  async #greet(): Promise<void> {
    if (!this.#handshake.isUnderWay) return;
    const changes = await this.#handshake.replay({
      request: (method, params) => this.#ask(method, params),
      notify: (method, params) => this.#wrapped.send(this.#upstream.greeting(outgoing(method, params))),
      negotiated: (version) => this.#upstream.setProtocolVersion(version),
    });
    const reread: Message = outgoing("notifications/tools/list_changed", undefined);
    this.#silent.add(reread);
    this.#upstream.inject(reread);
    for (const change of changes) this.#upstream.inject(change);
  }

  #ask(method: string, params: Bag | undefined): Promise<unknown> {
    this.#lastOwn += 1;
    const id = `${this.#ownPrefix}${this.#lastOwn}`;
    return new Promise((resolve, reject) => {
      this.#own.set(id, { resolve, reject });
      this.#wrapped.send(this.#upstream.greeting({ ...outgoing(method, params), id })).catch((error) => {
        this.#own.delete(id);
        reject(error);
      });
    });
  }

  #ownAnswer(id: Id, { resolve, reject }: OwnRequest, { result, error }: Message): undefined {
    this.#own.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(`the server refused to go on with the session: ${asBag(error)?.message}`));
  }

  // Ending

  /** Lets calls that are under way come to their end, for so long, and then closes the server. */
  async close(drainMs: number, graceMs: number): Promise<void> {
    if (drainMs > 0 && this.#calls.size > 0) await withinMs(this.#calls.idle(), drainMs);
    await this.#upstream.close(graceMs);
    await withinMs(this.#calls.idle(), LAST_ANSWERS_MS);
    this.#isOver = true;
    await this.#host.close();
  }
}

function outgoing(method: string, params: Bag | undefined): Message {
  return { jsonrpc: "2.0", method, ...(params !== undefined && { params }) };
}

function withinMs(work: Promise<void>, limitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, limitMs);
    void work.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

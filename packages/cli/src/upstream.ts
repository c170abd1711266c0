import { setTimeout as sleep } from "node:timers/promises";
import {
  asBag,
  errorAnswer,
  isAnswer,
  isOpening,
  isRequest,
  lostAnswer,
  type Message,
  messageOf,
  notConnected,
  type Request,
} from "./proxy-messages.js";
import { MAX_FAILURES, restartDelayMs } from "./upstream-backoff.js";
import { EXIT, LaunchError, type Link, type LinkEvents, type Loss, type OpenLink } from "./upstream-link.js";
import { PendingRequests } from "./upstream-pending.js";
import { ServerRequests } from "./upstream-requests.js";

/** What an {@link Upstream} is made of. */
export interface UpstreamOptions {
  readonly open: OpenLink;
  /** Makes a new connection know what its predecessor was told, by messages that are a `greeting`; nothing on the first one. */
  readonly greet: () => Promise<void>;
  readonly onDiagnostic: (line: string) => void;
  /** Nothing is tried any more until the server is asked for again. */
  readonly onGiveUp: (loss: Loss) => void;
  /** Whether the server keeps up with what is sent to it. */
  readonly onFlow: (isFree: boolean) => void;
  /** Milliseconds that a greeting may take. */
  readonly greetTimeoutMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** Somebody who waits for the server to be ready. */
interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

const CLOSED: Loss = { reason: "the proxy is closed", exitCode: EXIT.ok };
const EXPIRED_STATUS = 404;

/**
 * A transport to a server that may end and be connected again underneath.
 *
 * @remarks
 * Requests that were under way when a connection is lost are answered at once: tool calls with evidence that nobody knows
 * whether they ran, all others with an error. It connects again by itself. Its user is never told of a close that it survives.
 */
export class Upstream {
  onmessage: ((message: Message) => void) | undefined;
  /** Part of being a transport. Never called: every call has an answer before this ends. */
  onclose: (() => void) | undefined;
  onerror: ((error: unknown) => void) | undefined;
  /** Counts the connections: a call may look whether it is still on the one that it began on. */
  generation = 0;
  readonly #options: UpstreamOptions;
  readonly #pending = new PendingRequests();
  readonly #greetings = new WeakSet<Message>();
  readonly #requests = new ServerRequests();
  readonly #stop = new AbortController();
  #waiters: Waiter[] = [];
  #link: Link | undefined;
  #wasLinked = false;
  #isReady = false;
  #isConnecting = false;
  #connection: Promise<void> | undefined;
  #dropped: Promise<void> | undefined;
  /** Calls of a lost connection that are still to hear of it. */
  #draining: Promise<unknown> = Promise.resolve();
  /** Connections in a row that could not be made, or ended before they were of use. */
  #failures = 0;
  #isUseful = false;
  #wasEverAnswered = false;
  #loss: Loss | undefined;

  readonly #isGreeting = (request: Request): boolean => this.#greetings.has(request);

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  get sessionId(): string | undefined {
    return this.#link?.sessionId;
  }

  /** Whether calls can be sent. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Whether any server behind this has ever answered anything. */
  get wasEverAnswered(): boolean {
    return this.#wasEverAnswered;
  }

  get #isClosed(): boolean {
    return this.#stop.signal.aborted;
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  // Sending

  /** Marks a message as part of a greeting: it goes to a server that is not ready for others yet. */
  greeting<M extends Message>(message: M): M {
    this.#greetings.add(message);
    return message;
  }

  async send(message: Message): Promise<void> {
    if (this.#isReady || this.#greetings.has(message)) return this.#transmit(message);
    if (this.#isClosed) throw notConnected(CLOSED.reason);
    if (!isRequest(message)) return this.#sendUnasked(message);
    // A tool call waits before it is handed over, in its pipeline: see `upstreamGate`.
    if (message.method === "tools/call") throw this.#notConnected();
    await this.ready();
    return this.#transmit(message);
  }

  /** What the host says without being asked is about the server before, unless it answers what this one has asked already. */
  async #sendUnasked(message: Message): Promise<void> {
    const isForNewServer = isAnswer(message) || message.method === "notifications/progress";
    if (this.#link !== undefined && isForNewServer) return this.#transmit(message);
    if (this.#wasLinked || isForNewServer) return;
    await this.ready();
    return this.#transmit(message);
  }

  #transmit(message: Message): Promise<void> {
    const link = this.#link;
    if (link === undefined) return Promise.reject(this.#notConnected());
    if (isRequest(message)) return this.#transmitRequest(link, message);
    const outgoing = this.#requests.fromHost(message);
    if (outgoing === undefined) return Promise.resolve();
    if (outgoing.method === "notifications/cancelled") this.#pending.forget(outgoing.params?.requestId);
    return link.send(outgoing);
  }

  async #transmitRequest(link: Link, request: Request): Promise<void> {
    this.#pending.add(request, this.generation);
    try {
      await link.send(request);
    } catch (error) {
      // The loss of the connection has answered it already.
      if (!this.#pending.has(request)) return;
      // Goes to the next server, see #resume.
      if (request.method === "initialize" && !this.#greetings.has(request)) return;
      this.#pending.forget(request.id);
      if (!this.#mayGoAgain(request, error)) throw error;
      await this.ready();
      await this.#transmit(request);
    }
  }

  /** An expired session: nothing was done. Whether a tool call may go again is for its pipeline to say. */
  #mayGoAgain(request: Request, error: unknown): boolean {
    if (this.#isReady || request.method === "tools/call" || this.#greetings.has(request)) return false;
    return asBag(error)?.code === EXPIRED_STATUS;
  }

  #notConnected(): Error {
    return notConnected(this.#loss === undefined ? "The server is not connected" : downBecause(this.#loss));
  }

  // Receiving

  #receive(generation: number, message: Message): void {
    if (isAnswer(message)) this.#receiveAnswer(generation, message);
    else if (generation === this.generation) this.onmessage?.(this.#requests.fromServer(message));
  }

  #receiveAnswer(generation: number, message: Message): void {
    const request = this.#pending.take(message, generation);
    // Of a connection before, or too late; of these a host needs none, and some are our own, see `answeringFetch`.
    if (request === undefined && (generation !== this.generation || message.error !== undefined)) return;
    if (request !== undefined) this.#noteAnswer(request);
    this.onmessage?.(message);
  }

  #noteAnswer(request: Request): void {
    this.#wasEverAnswered = true;
    if (isOpening(request)) return;
    this.#isUseful = true;
    this.#failures = 0;
  }

  /** Passes something on as if the server had said it. */
  inject(message: Message): void {
    this.onmessage?.(message);
  }

  // Connecting

  /**
   * Resolves when calls can be sent.
   *
   * @throws when the server cannot be reached for now
   */
  ready(): Promise<void> {
    if (this.#isReady) return Promise.resolve();
    if (this.#isClosed) return Promise.reject(notConnected(CLOSED.reason));
    const waiting = new Promise<void>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    this.connect();
    return waiting;
  }

  /** Connects, unless that is done or under way. */
  connect(): void {
    if (this.#isReady || this.#isClosed || this.#isConnecting) return;
    this.#isConnecting = true;
    this.#connection = this.#connect();
  }

  async #connect(): Promise<void> {
    while (!this.#isClosed) {
      try {
        await this.#backOff();
        await this.#open();
        return this.#resume();
      } catch (error) {
        if (this.#isClosed) return;
        const loss = this.#lossOf(error);
        this.#drop(loss);
        this.#failures += 1;
        if (this.#isHopeless(loss)) return this.#giveUp(loss);
        this.#options.onDiagnostic(`${loss.reason}; trying again`);
      }
    }
  }

  async #backOff(): Promise<void> {
    const delayMs = restartDelayMs(this.#failures, this.#options.random);
    if (delayMs > 0) await sleep(delayMs, undefined, { signal: this.#stop.signal });
  }

  async #open(): Promise<void> {
    this.generation += 1;
    this.#isUseful = false;
    this.#loss = undefined;
    const link = await this.#options.open(this.#eventsOf(this.generation));
    this.#link = link;
    this.#wasLinked = true;
    if (this.#isClosed) {
      this.#drop(CLOSED);
      throw notConnected(CLOSED.reason);
    }
    await this.#greet();
    if (this.#link !== link) throw new Error("the connection was lost while it was made");
  }

  async #greet(): Promise<void> {
    const over = new AbortController();
    const { greetTimeoutMs } = this.#options;
    const late = sleep(greetTimeoutMs, undefined, { signal: over.signal }).then(() => {
      throw new Error(`the server did not take up the session within ${greetTimeoutMs} ms`);
    });
    try {
      await Promise.race([this.#options.greet(), late]);
    } finally {
      late.catch(() => undefined);
      over.abort();
    }
  }

  #resume(): void {
    // Before anything is sent: whatever that leads to may have to connect again.
    this.#isConnecting = false;
    this.#isReady = true;
    // What hosts open their sessions with and no server has answered.
    for (const request of this.#pending.openings(this.#isGreeting))
      this.#transmit(request).catch((error) => this.onerror?.(error));
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { resolve } of waiters) resolve();
  }

  #eventsOf(generation: number): LinkEvents {
    return {
      message: (message) => this.#receive(generation, message),
      lost: (loss) => this.#lose(generation, loss),
      flow: (isFree) => {
        if (generation === this.generation) this.#options.onFlow(isFree);
      },
      diagnostic: this.#options.onDiagnostic,
    };
  }

  #lossOf(error: unknown): Loss {
    if (error instanceof LaunchError) return error.loss;
    return this.#loss ?? { reason: messageOf(error), exitCode: EXIT.failed };
  }

  #isHopeless(loss: Loss): boolean {
    return loss.isPermanent === true || this.#failures >= MAX_FAILURES;
  }

  // Losing

  /** The connection is gone: settles what was under way on it, and connects again. */
  #lose(generation: number, loss: Loss): void {
    if (generation !== this.generation || this.#isClosed || this.#link === undefined) return;
    const wasReady = this.#isReady;
    this.#detach(loss);
    const settle = (): void => this.#settle(generation);
    if (loss.drained === undefined) settle();
    else this.#draining = Promise.all([this.#draining, loss.drained.then(settle, settle)]);
    // Lost while it was made: whoever makes it hears of it now, and goes on.
    if (!wasReady) return;
    if (!this.#isUseful) this.#failures += 1;
    if (this.#isHopeless(loss)) this.#giveUp(loss);
    else {
      this.#options.onDiagnostic(`${loss.reason}; connecting again`);
      this.connect();
    }
  }

  #detach(loss: Loss): void {
    this.#loss = loss;
    this.#isReady = false;
    this.#link = undefined;
    this.#options.onFlow(true);
    for (const message of this.#requests.abandon()) this.onmessage?.(message);
  }

  /** Answers what a lost connection will not answer any more. */
  #settle(generation: number): void {
    const lost = this.#pending.takeLost(generation, this.#isGreeting);
    for (const request of lost) this.onmessage?.(lostAnswer(request, request.method === "tools/call"));
  }

  /** A connection that could not be made whole. */
  #drop(loss: Loss): void {
    const link = this.#link;
    if (link === undefined) return;
    this.#detach(loss);
    this.#settle(this.generation);
    this.generation += 1;
    this.#dropped = link.close(0);
  }

  #giveUp(loss: Loss): void {
    this.#isConnecting = false;
    // One more attempt whenever somebody asks.
    this.#failures = MAX_FAILURES - 1;
    this.#refuse(loss);
    this.#options.onGiveUp(loss);
  }

  #refuse(loss: Loss): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { reject } of waiters) reject(notConnected(downBecause(loss)));
    for (const { id } of this.#pending.openings(this.#isGreeting)) {
      this.#pending.forget(id);
      this.onmessage?.(errorAnswer(id, downBecause(loss)));
    }
  }

  /** Ends it for good, giving a child process this long to end before it is signalled. */
  async close(graceMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.#stop.abort();
    const link = this.#link;
    this.#detach(CLOSED);
    this.#settle(this.generation);
    this.#refuse(CLOSED);
    await link?.close(graceMs);
    await this.#draining;
    await this.#connection;
    await this.#dropped;
  }

  // What a session says with each request, and how fast it is read

  setProtocolVersion(version: string): void {
    this.#link?.setProtocolVersion(version);
  }

  flow(isFree: boolean): void {
    if (isFree) this.#link?.resume();
    else this.#link?.pause();
  }
}

function downBecause({ reason }: Loss): string {
  return `The server is not connected: ${reason}.`;
}

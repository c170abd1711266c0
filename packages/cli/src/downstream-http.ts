import type { IncomingMessage, ServerResponse } from "node:http";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { HostChannel } from "./downstream.js";
import { MAX_LINE_BYTES } from "./proxy-lines.js";
import { asBag, type Id, isAnswer, isRequest, type Message, messageOf } from "./proxy-messages.js";

/** Of a session, not of a request: no host waits for these with one. */
const UNRELATED: ReadonlySet<string> = new Set([
  "notifications/tools/list_changed",
  "notifications/prompts/list_changed",
  "notifications/resources/list_changed",
  "notifications/resources/updated",
]);

const LISTENING = 200;
/** How much is kept for a host that is not listening: one that has just begun its session opens its stream a moment later. */
const MAX_UNHEARD = 100;

/**
 * The session of one host over Streamable HTTP.
 *
 * @remarks
 * A server behind a pipe does not say which request a message of its own belongs to, and over HTTP it has to travel on some
 * stream: progress goes by its token, and what a server asks or logs while it works goes with the latest request, so that it
 * arrives before the answer does.
 */
export class HttpHost implements HostChannel {
  onmessage: HostChannel["onmessage"];
  onclose: HostChannel["onclose"];
  onflow: HostChannel["onflow"];
  /** When the host was last heard of, on the monotonic clock. */
  lastHeard: number = performance.now();
  readonly #transport: StreamableHTTPServerTransport;
  /** Requests under way, the latest one last, with their progress tokens. */
  readonly #open = new Map<Id, unknown>();
  #streams = 0;
  /** What the server said by itself while the host was not listening. */
  #unheard: Message[] = [];

  constructor(
    onSession: (id: string, host: HttpHost) => void,
    private readonly onDiagnostic: (line: string) => void,
  ) {
    this.#transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => crypto.randomUUID(),
      onsessioninitialized: (id) => onSession(id, this),
      maxRequestBodySize: MAX_LINE_BYTES,
    });
    // The SDK has checked what it hands out.
    this.#transport.onmessage = (message) => this.#receive(message as Message);
    this.#transport.onclose = () => this.onclose?.();
    this.#transport.onerror = (error) => this.onDiagnostic(`a host's session: ${messageOf(error)}`);
  }

  /** Whether nobody listens and nothing is under way. */
  get isIdle(): boolean {
    return this.#streams === 0 && this.#open.size === 0;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.lastHeard = performance.now();
    if (request.method === "GET") this.#expectStream(response);
    await this.#transport.handleRequest(request, response);
  }

  /** A host that opens its stream listens from when the response begins. */
  #expectStream(response: ServerResponse): void {
    const { writeHead } = response;
    response.writeHead = (...head: unknown[]) => {
      if (head[0] === LISTENING) {
        this.#streams += 1;
        response.once("close", () => this.#unlisten());
        queueMicrotask(() => this.#catchUp());
      }
      return Reflect.apply(writeHead, response, head);
    };
  }

  #unlisten(): void {
    this.#streams -= 1;
    this.lastHeard = performance.now();
  }

  #catchUp(): void {
    const unheard = this.#unheard;
    this.#unheard = [];
    for (const message of unheard)
      this.send(message).catch((error) => this.onDiagnostic(`a host's session: ${messageOf(error)}`));
  }

  #receive(message: Message): void {
    if (isRequest(message)) this.#open.set(message.id, asBag(message.params?._meta)?.progressToken);
    else if (message.method === "notifications/cancelled") this.#open.delete(message.params?.requestId as Id);
    this.onmessage?.(message);
  }

  async send(message: Message): Promise<void> {
    this.lastHeard = performance.now();
    if (isAnswer(message)) this.#open.delete(message.id as Id);
    const relatedRequestId = this.#relationOf(message);
    if (!isAnswer(message) && relatedRequestId === undefined && this.#streams === 0) return this.#keep(message);
    await this.#transport.send(message as never, relatedRequestId === undefined ? undefined : { relatedRequestId });
  }

  #keep(message: Message): void {
    if (this.#unheard.length >= MAX_UNHEARD) {
      this.onDiagnostic(`a host does not listen: dropped ${this.#unheard.shift()?.method}`);
    }
    this.#unheard.push(message);
  }

  #relationOf({ method, params }: Message): Id | undefined {
    if (method === undefined || UNRELATED.has(method)) return undefined;
    if (method === "notifications/progress") {
      for (const [id, token] of this.#open) if (token === params?.progressToken) return id;
    }
    return [...this.#open.keys()].at(-1);
  }

  flow(): void {
    // Every request is a connection of its own, with its own flow control.
  }

  close(): Promise<void> {
    this.onclose = undefined;
    return this.#transport.close();
  }
}

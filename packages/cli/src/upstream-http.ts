import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { wrapFetch } from "@mcp-tx/core";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { asBag, type Message, messageOf, notConnected } from "./proxy-messages.js";
import { EXIT, type Link, type LinkEvents, type Loss, type OpenLink } from "./upstream-link.js";
import { answeringFetch } from "./upstream-stream.js";

/** The server to reach. */
export interface Endpoint {
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

const NOT_FOUND = 404;
/** The stream for what the server says by itself is opened again for as long as the session lasts. */
const RECONNECTION = {
  initialReconnectionDelay: 500,
  maxReconnectionDelay: 30_000,
  reconnectionDelayGrowFactor: 2,
  maxRetries: Number.MAX_SAFE_INTEGER,
};

const EXPIRED: Loss = { reason: "the session with the server has expired", exitCode: EXIT.unavailable };
/** How long requests that were under way have to hear for themselves that their session is over: it says that they did not run. */
const DRAIN_MS = 1000;

/** Why a request did not reach the server, in words; the chain of causes that `fetch` gives says little at its top. */
export function describeFailure(url: URL, error: unknown): string {
  const cause = asBag(asBag(error)?.cause) ?? (error instanceof Error ? asBag(error.cause) : undefined);
  const detail = cause?.code ?? cause?.message;
  const where = url.origin + url.pathname;
  return typeof detail === "string" && detail !== ""
    ? `${where} cannot be reached: ${detail}`
    : `${where} refused the session: ${messageOf(error)}`;
}

const WORTH_ANOTHER_TRY: readonly unknown[] = [408, 429];

function refusedSession(url: URL, error: unknown, status: unknown): Loss {
  const isPermanent =
    typeof status === "number" && status >= 400 && status < 500 && !WORTH_ANOTHER_TRY.includes(status);
  return { reason: describeFailure(url, error), exitCode: EXIT.unavailable, isPermanent };
}

class HttpLink implements Link {
  readonly #transport: StreamableHTTPClientTransport;
  readonly #events: LinkEvents;
  readonly #url: URL;
  #isOver = false;
  #isLost = false;
  readonly #posts = new Set<Promise<void>>();
  /** Resolves when the server has heard that the session is initialised: what comes later must not overtake that. */
  #initialized: Promise<void> | undefined;

  constructor({ url, headers }: Endpoint, events: LinkEvents) {
    this.#url = url;
    this.#events = events;
    const fetch = answeringFetch(wrapFetch(), () => this.#expire());
    this.#transport = new StreamableHTTPClientTransport(url, {
      fetch,
      reconnectionOptions: RECONNECTION,
      ...(headers !== undefined && { requestInit: { headers: { ...headers } } }),
    });
    // The SDK has checked what it hands out.
    this.#transport.onmessage = (message) => this.#tell(() => events.message(message as Message));
    this.#transport.onerror = () => undefined;
  }

  get sessionId(): string | undefined {
    return this.#transport.sessionId;
  }

  start(): Promise<void> {
    return this.#transport.start();
  }

  #tell(event: () => void): void {
    if (!this.#isOver) event();
  }

  #expire(): void {
    this.#lose(EXPIRED);
  }

  /** Told before whoever sent the request hears how it failed: what he does next must find the connection gone. */
  #lose(loss: Loss): void {
    if (this.#isLost || this.#isOver) return;
    this.#isLost = true;
    this.#events.lost({ ...loss, drained: this.#drain() });
  }

  async #drain(): Promise<void> {
    const over = new AbortController();
    const late = sleep(DRAIN_MS, undefined, { signal: over.signal }).catch(() => undefined);
    await Promise.race([Promise.allSettled([...this.#posts]), late]);
    over.abort();
    // Their senders hear of it first.
    await setImmediate();
    this.#isOver = true;
    await this.#transport.close();
  }

  async send(message: Message): Promise<void> {
    if (this.#isOver || this.#isLost) throw notConnected("The session with the server is over");
    if (this.#initialized !== undefined) await this.#initialized;
    const sending = this.#post(message);
    this.#posts.add(sending);
    if (message.method === "notifications/initialized") {
      this.#initialized = sending.catch(() => undefined).then(() => this.#forgetInitialized());
    }
    try {
      await sending;
    } finally {
      this.#posts.delete(sending);
    }
  }

  #forgetInitialized(): void {
    this.#initialized = undefined;
  }

  async #post(message: Message): Promise<void> {
    const hadSession = this.sessionId !== undefined;
    try {
      await this.#transport.send(message as never);
    } catch (error) {
      this.#judge(message, error, hadSession);
      throw error;
    }
  }

  /** Whether the session has ended with a request that failed. */
  #judge(message: Message, error: unknown, hadSession: boolean): void {
    const status = asBag(error)?.code;
    const isExpired = hadSession && status === NOT_FOUND;
    if (!isExpired && message.method !== "initialize") return;
    const loss = isExpired ? EXPIRED : refusedSession(this.#url, error, status);
    this.#lose(loss);
  }

  async close(graceMs: number): Promise<void> {
    this.#isOver = true;
    const over = new AbortController();
    const late = sleep(graceMs, undefined, { signal: over.signal }).catch(() => undefined);
    await Promise.race([this.#transport.terminateSession().catch(() => undefined), late]);
    over.abort();
    await this.#transport.close();
  }

  setProtocolVersion(version: string): void {
    this.#transport.setProtocolVersion(version);
  }

  pause(): void {
    // Each answer comes on a connection of its own; the SDK reads them all.
  }

  resume(): void {
    // See pause.
  }
}

/** Opens a session over Streamable HTTP; whether the server is there shows with the first request. */
export function httpLinks(endpoint: Endpoint): OpenLink {
  return async (events) => {
    const link = new HttpLink(endpoint, events);
    await link.start();
    return link;
  };
}

import type { IdempotencyAnnouncement, Middleware, WrapOptions } from "@mcp-tx/core";
import { HostServer, isLoopback } from "./downstream-server.js";
import { StdioHost } from "./downstream-stdio.js";
import { messageOf } from "./proxy-messages.js";
import { ProxySession, type SessionSpec } from "./proxy-session.js";
import { type Endpoint, httpLinks } from "./upstream-http.js";
import { EXIT, type Loss } from "./upstream-link.js";
import { type Command, stdioLinks } from "./upstream-stdio.js";

/** What {@link startProxy} runs. */
export interface ProxySpec {
  /** The server: a command to start, or where it is reached over Streamable HTTP. */
  readonly upstream: Command | Endpoint;
  /** How hosts reach the proxy: as the process that started it, or over Streamable HTTP. Port 0 is any that is free. */
  readonly downstream:
    | { readonly kind: "stdio" }
    | { readonly kind: "http"; readonly port: number; readonly host: string; readonly path?: string | undefined };
  /** Round every tool call, outermost first. Shared by all hosts. */
  readonly middleware: readonly Middleware[];
  readonly wrapOptions?: WrapOptions | undefined;
  /** The store behind `middleware`, announced to hosts that are aware of mcp-tx. */
  readonly announcement?: IdempotencyAnnouncement | undefined;
  /**
   * Whether a call that did not run in a session that was lost is sent again in the next one. By default only calls of read-only
   * tools, of a server whose annotations are trusted.
   */
  readonly replayAcrossSessions?: boolean | undefined;
  /** Gets what people should know, line by line: for stderr, stdout belongs to the protocol. */
  readonly onDiagnostic: (line: string) => void;
  /**
   * Whether SIGINT and SIGTERM end the proxy.
   * @defaultValue true
   */
  readonly handlesSignals?: boolean | undefined;
}

/** How a proxy ended. */
export interface ProxyEnd {
  /** For `process.exitCode`. */
  readonly code: number;
  readonly reason?: string | undefined;
}

/** A proxy at work. */
export interface Proxy {
  /** Resolves, and never rejects, when everything that was started has ended. */
  readonly closed: Promise<ProxyEnd>;
  /** Where hosts reach it over HTTP. */
  readonly url: URL | undefined;
  /** Ends it: calls under way have this long to come to an end. */
  close(options?: { readonly graceMs?: number | undefined }): Promise<void>;
}

/** Calls under way when a host leaves may still end, so that their outcome is recorded. Hosts kill what is not gone after 4 s. */
const DRAIN_MS = 1000;
/** How long a server has to end by itself, and then by SIGTERM. */
const STOP_MS = 1000;

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

class RunningProxy implements Proxy {
  readonly closed: Promise<ProxyEnd>;
  url: URL | undefined;
  readonly #spec: ProxySpec;
  readonly #stops: (() => void)[] = [];
  readonly #sessions = new Set<ProxySession>();
  /** Whether a server has answered a host that has left. */
  #wasServed = false;
  #finish: (end: ProxyEnd) => void = () => undefined;
  #closing: Promise<void> | undefined;
  #closePart: (drainMs: number) => Promise<void> = async () => undefined;

  constructor(spec: ProxySpec) {
    this.#spec = spec;
    this.closed = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  async start(): Promise<void> {
    if (this.#spec.downstream.kind === "stdio") this.#startStdio();
    else await this.#startHttp();
    // Not before: a proxy that could not start would keep the process from ending.
    if (this.#spec.handlesSignals !== false && this.#closing === undefined) this.#handleSignals();
  }

  #handleSignals(): void {
    for (const [signal, code] of Object.entries(SIGNALS)) {
      const end = (): void => void this.end({ code, reason: `ended by ${signal}` }, DRAIN_MS);
      process.on(signal, end);
      this.#stops.push(() => process.off(signal, end));
    }
  }

  #session(host: SessionSpec["host"]): ProxySession {
    const { upstream, middleware, wrapOptions, announcement, replayAcrossSessions, onDiagnostic } = this.#spec;
    const session = new ProxySession({
      host,
      open: "url" in upstream ? httpLinks(upstream) : stdioLinks(upstream),
      middleware,
      wrapOptions,
      announcement,
      replayAcrossSessions,
      onDiagnostic,
      // After the host has got its answer.
      onGiveUp: (loss) => setImmediate(() => this.#giveUp(loss)),
    });
    this.#sessions.add(session);
    return session;
  }

  /** A server that no host was ever answered by is a mistake of whoever started us; one that was there may come back. */
  #giveUp({ reason, exitCode }: Loss): void {
    if (this.#wasServed || [...this.#sessions].some(({ wasAnswered }) => wasAnswered)) this.#spec.onDiagnostic(reason);
    else void this.end({ code: exitCode, reason }, 0);
  }

  async #endSession(session: ProxySession, drainMs: number): Promise<void> {
    await session.close(drainMs, STOP_MS);
    this.#wasServed ||= session.wasAnswered;
    this.#sessions.delete(session);
  }

  #startStdio(): void {
    const host = new StdioHost(this.#spec.onDiagnostic);
    const session = this.#session(host);
    host.onclose = (loss) =>
      void this.end(loss === undefined ? { code: EXIT.ok } : { code: loss.exitCode, reason: loss.reason }, DRAIN_MS);
    this.#closePart = (drainMs) => this.#endSession(session, drainMs);
    host.start();
    session.connect();
  }

  async #startHttp(): Promise<void> {
    const { downstream, onDiagnostic } = this.#spec;
    if (downstream.kind !== "http") return;
    let drainMs = DRAIN_MS;
    const server = new HostServer({
      ...downstream,
      path: downstream.path ?? "/mcp",
      onHost: (host) => {
        const session = this.#session(host);
        return { close: () => this.#endSession(session, drainMs) };
      },
      onDiagnostic,
    });
    this.#closePart = (limitMs) => {
      drainMs = limitMs;
      return server.close();
    };
    this.url = await server.listen();
    if (!isLoopback(downstream.host))
      onDiagnostic(`${this.url.href} asks nobody who they are: whoever reaches it can call the tools`);
  }

  close({ graceMs = DRAIN_MS }: { readonly graceMs?: number | undefined } = {}): Promise<void> {
    return this.end({ code: EXIT.ok }, graceMs);
  }

  /** The first reason to end counts. */
  end(end: ProxyEnd, drainMs: number): Promise<void> {
    this.#closing ??= this.#end(end, drainMs);
    return this.#closing;
  }

  async #end(end: ProxyEnd, drainMs: number): Promise<void> {
    if (end.reason !== undefined) this.#spec.onDiagnostic(end.reason);
    try {
      await this.#closePart(drainMs);
    } catch (error) {
      this.#spec.onDiagnostic(`closing failed: ${messageOf(error)}`);
    }
    for (const stop of this.#stops) stop();
    this.#finish(end);
  }
}

/**
 * Puts a proxy between hosts and a server: tool calls pass through the middleware, all else untouched, and a server that ends is
 * connected again.
 *
 * @throws when hosts cannot reach it: its address is taken
 */
export async function startProxy(spec: ProxySpec): Promise<Proxy> {
  const proxy = new RunningProxy(spec);
  await proxy.start();
  return proxy;
}

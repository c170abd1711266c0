import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { HttpHost } from "./downstream-http.js";
import { messageOf } from "./proxy-messages.js";

/** Where hosts reach the proxy. */
export interface HttpDownstream {
  /** 0 for any that is free. */
  readonly port: number;
  readonly host: string;
  readonly path: string;
}

/** What a server for hosts needs. */
export interface HostServerSpec extends HttpDownstream {
  /** Begins a session for a host that has just come. */
  readonly onHost: (host: HttpHost) => HostSession;
  readonly onDiagnostic: (line: string) => void;
}

/** A host's session, as far as the server ends it. */
export interface HostSession {
  close(): Promise<void>;
}

interface Entry {
  readonly host: HttpHost;
  readonly session: HostSession;
}

/** Each session may be a process: a host that forgets its sessions must not fill the machine with them. */
const MAX_SESSIONS = 64;
const IDLE_MS = 30 * 60_000;
const SWEEP_MS = 60_000;

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\]|::1)$/i;

/** Whether an address is this machine's own. */
export function isLoopback(hostname: string): boolean {
  return LOOPBACK.test(hostname);
}

function hostnameOf(authority: string): string {
  return authority.replace(/:\d+$/, "");
}

/** A page in a browser may send requests to a loopback address, under a name that leads there: see DNS rebinding. */
function isFromElsewhere({ headers }: IncomingMessage): boolean {
  if (!isLoopback(hostnameOf(headers.host ?? ""))) return true;
  const { origin } = headers;
  if (origin === undefined) return false;
  return !URL.canParse(origin) || !isLoopback(new URL(origin).hostname);
}

function refuse(response: ServerResponse, status: number, message: string): void {
  const body = JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32_000, message } });
  response.writeHead(status, { "content-type": "application/json" }).end(body);
}

/** Serves hosts over Streamable HTTP, each with a session of its own. */
export class HostServer {
  readonly #spec: HostServerSpec;
  readonly #sessions = new Map<string, Entry>();
  /** Sessions that are ending: their calls may still be under way. */
  readonly #endings = new Set<Promise<void>>();
  readonly #server: Server;
  readonly #sweep: NodeJS.Timeout;

  constructor(spec: HostServerSpec) {
    this.#spec = spec;
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((error) => {
        spec.onDiagnostic(`a request failed: ${messageOf(error)}`);
        if (!response.headersSent) refuse(response, 500, "Internal error");
      });
    });
    this.#sweep = setInterval(() => this.#endIdle(), SWEEP_MS).unref();
  }

  /** @throws when the address cannot be listened on */
  listen(): Promise<URL> {
    const { port, host, path } = this.#spec;
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void =>
        reject(new Error(`cannot listen on ${host}:${port}: ${error.message}`, { cause: error }));
      this.#server.once("error", fail);
      this.#server.listen(port, host, () => {
        this.#server.off("error", fail);
        const address = this.#server.address() as AddressInfo;
        const name = address.family === "IPv6" ? `[${address.address}]` : address.address;
        resolve(new URL(path, `http://${name}:${address.port}`));
      });
    });
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { path, host } = this.#spec;
    if (new URL(request.url ?? "/", "http://proxy").pathname !== path) return refuse(response, 404, "Not found");
    if (isLoopback(host) && isFromElsewhere(request))
      return refuse(response, 403, "Only hosts on this machine may use this server");
    const id = request.headers["mcp-session-id"];
    if (typeof id !== "string") return this.#handleStranger(request, response);
    const entry = this.#sessions.get(id);
    if (entry === undefined) return refuse(response, 404, "Session not found");
    await entry.host.handle(request, response);
  }

  /** Only `initialize` begins a session; to anything else the SDK has the right refusal. */
  async #handleStranger(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#sessions.size >= MAX_SESSIONS)
      return refuse(response, 503, `All ${MAX_SESSIONS} sessions are in use; end one first`);
    const host = new HttpHost((id, begun) => this.#begin(id, begun), this.#spec.onDiagnostic);
    await host.handle(request, response);
  }

  #begin(id: string, host: HttpHost): void {
    const session = this.#spec.onHost(host);
    this.#sessions.set(id, { host, session });
    host.onclose = () => this.#end(id);
  }

  #end(id: string): void {
    const entry = this.#sessions.get(id);
    if (entry === undefined) return;
    this.#sessions.delete(id);
    const ending = entry.session
      .close()
      .catch((error) => this.#spec.onDiagnostic(`a session did not end well: ${messageOf(error)}`))
      .finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }

  #endIdle(): void {
    const since = performance.now() - IDLE_MS;
    for (const [id, { host }] of this.#sessions) if (host.isIdle && host.lastHeard < since) this.#end(id);
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const id of this.#sessions.keys()) this.#end(id);
    await Promise.all(this.#endings);
    this.#server.closeAllConnections();
    await closed;
  }
}

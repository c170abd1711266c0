import type { HostChannel } from "./downstream.js";
import type { Bag, Id, Message } from "./proxy-messages.js";
import { ProxySession, type SessionSpec } from "./proxy-session.js";
import { LaunchError, type Link, type LinkEvents, type Loss } from "./upstream-link.js";

/** A host in memory. */
export class FakeHost implements HostChannel {
  onmessage: HostChannel["onmessage"];
  onclose: HostChannel["onclose"];
  onflow: HostChannel["onflow"];
  readonly received: Message[] = [];
  isClosed = false;
  #waiting: { readonly matches: (message: Message) => boolean; readonly resolve: (message: Message) => void }[] = [];
  #lastId = 0;

  send(message: Message): Promise<void> {
    this.received.push(message);
    for (const { matches, resolve } of this.#waiting) if (matches(message)) resolve(message);
    return Promise.resolve();
  }

  flow(): void {}

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }

  /** Resolves with the first message of this kind, one that was received already too. */
  heard(matches: (message: Message) => boolean): Promise<Message> {
    const known = this.received.find(matches);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve) => this.#waiting.push({ matches, resolve }));
  }

  say(message: Bag): void {
    this.onmessage?.({ jsonrpc: "2.0", ...message });
  }

  /** Sends a request and resolves with its answer. */
  ask(method: string, params?: Bag, id: Id = this.nextId()): Promise<Message> {
    this.say({ id, method, ...(params !== undefined && { params }) });
    return this.heard((message) => message.id === id && message.method === undefined);
  }

  nextId(): Id {
    this.#lastId += 1;
    return this.#lastId;
  }
}

/** One connection to a {@link FakeServer}. */
export class FakeLink implements Link {
  sessionId: string | undefined;
  protocolVersion: string | undefined;
  isClosed = false;
  readonly received: Message[] = [];

  constructor(
    private readonly server: FakeServer,
    private readonly events: LinkEvents,
  ) {}

  async send(given: Message): Promise<void> {
    // What travels is its JSON.
    const message: Message = JSON.parse(JSON.stringify(given));
    this.received.push(message);
    this.server.arrived(message, this);
    if (message.method !== undefined && this.server.refuses.has(message.method)) throw this.server.refuse(this);
    const answer = this.server.answers[message.method ?? ""];
    if (answer !== undefined && message.id !== undefined)
      queueMicrotask(() => this.say({ id: message.id, result: answer }));
  }

  say(message: Bag): void {
    this.events.message({ jsonrpc: "2.0", ...message });
  }

  /** Ends, as a process does that is killed. */
  die(loss: Partial<Loss> = {}): void {
    this.events.lost({ reason: "the server was ended by SIGKILL", exitCode: 1, ...loss });
  }

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }

  setProtocolVersion(version: string): void {
    this.protocolVersion = version;
  }

  pause(): void {}
  resume(): void {}
}

export const CAPABILITIES = {
  tools: { listChanged: true },
  resources: { subscribe: true },
  logging: {},
};

/** A server in memory, which answers what it has answers for. */
export class FakeServer {
  readonly links: FakeLink[] = [];
  readonly answers: Record<string, unknown> = {
    initialize: { protocolVersion: "2025-06-18", capabilities: CAPABILITIES, serverInfo: { name: "s", version: "1" } },
    "logging/setLevel": {},
    "resources/subscribe": {},
    "resources/unsubscribe": {},
  };
  /** Requests whose sending fails, as it does in an expired session. */
  readonly refuses: Set<string> = new Set();
  /** What opening a connection fails with. */
  launchLoss: Loss | undefined;
  #waiting: {
    readonly matches: (message: Message, link: FakeLink) => boolean;
    readonly resolve: (message: Message) => void;
  }[] = [];

  readonly open: SessionSpec["open"] = async (events) => {
    if (this.launchLoss !== undefined) throw new LaunchError(this.launchLoss);
    const link = new FakeLink(this, events);
    this.links.push(link);
    return link;
  };

  get link(): FakeLink {
    const link = this.links.at(-1);
    if (link === undefined) throw new Error("nobody has connected");
    return link;
  }

  arrived(message: Message, link: FakeLink): void {
    for (const { matches, resolve } of this.#waiting) if (matches(message, link)) resolve(message);
  }

  /** Refuses as a server does that does not know the session: its connection is lost before the sender hears of it. */
  refuse(link: FakeLink): Error {
    link.die({
      reason: "the session with the server has expired",
      drained: new Promise((resolve) => setImmediate(resolve)),
    });
    this.refuses.clear();
    return Object.assign(new Error("Session not found"), { code: 404 });
  }

  /** Resolves with the next request of this method that reaches the n-th connection. */
  got(method: string, connection: number = this.links.length): Promise<Message> {
    const known = this.links[connection - 1]?.received.find((message) => message.method === method);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve) => {
      const matches = (message: Message, link: FakeLink): boolean =>
        message.method === method && this.links.indexOf(link) === connection - 1;
      this.#waiting.push({ matches, resolve });
    });
  }
}

/** A session between the two, with what it said and why it gave up. */
export interface Scene {
  readonly host: FakeHost;
  readonly server: FakeServer;
  readonly session: ProxySession;
  readonly diagnostics: string[];
  readonly gaveUp: Loss[];
}

/** Puts a session between a host and a server. */
export function scene(given: Partial<SessionSpec> = {}, server: FakeServer = new FakeServer()): Scene {
  const host = new FakeHost();
  const diagnostics: string[] = [];
  const gaveUp: Loss[] = [];
  const session = new ProxySession({
    host,
    open: server.open,
    middleware: [],
    wrapOptions: undefined,
    announcement: undefined,
    replayAcrossSessions: undefined,
    onDiagnostic: (line) => diagnostics.push(line),
    onGiveUp: (loss) => gaveUp.push(loss),
    ...given,
  });
  session.connect();
  return { host, server, session, diagnostics, gaveUp };
}

export const HELLO = {
  protocolVersion: "2025-06-18",
  capabilities: { sampling: {} },
  clientInfo: { name: "h", version: "1" },
};

/** A session that has begun. */
export async function begun(given: Partial<SessionSpec> = {}, server?: FakeServer): Promise<Scene> {
  const made = scene(given, server);
  await made.host.ask("initialize", HELLO);
  made.host.say({ method: "notifications/initialized" });
  await made.server.got("notifications/initialized");
  return made;
}

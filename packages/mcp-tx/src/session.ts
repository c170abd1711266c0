import {
  type CallContext,
  defaultRuntime,
  type Handler,
  type ListToolsOptions,
  listTools,
  type Middleware,
  type Runtime,
  startTimer,
  type ToolInfo,
  type ToolResult,
  withGate,
} from "@mcp-tx/core";
import { number, readOptions } from "@mcp-tx/core/options";
import type { ConnectionState } from "./health.js";
import type { CloseOptions } from "./reliable-types.js";
import { sessionClient } from "./session-client.js";
import { Connector } from "./session-connector.js";
import { ofServer, otherSessionError, refusalOf, replacedError } from "./session-errors.js";
import type { Link } from "./session-link.js";
import { readSessionOptions, type SessionSettings } from "./session-options.js";
import { noteDispatch, otherLinks, ReplayRule } from "./session-replay.js";
import { readTools } from "./session-tools.js";
import type { Session, SessionOptions } from "./types.js";

const GRACE_MS = 10_000;
/** How long a client has to close. Longer than the SDKs give a process before they kill it. */
const CLOSE_MS = 10_000;

/** The middleware of a session: sees to it that there is a connection, and learns from each attempt whether it still is one. */
class SessionPath {
  readonly #connector: Connector;
  readonly #settings: SessionSettings;
  readonly #rule: ReplayRule;

  constructor(connector: Connector, settings: SessionSettings) {
    this.#connector = connector;
    this.#settings = settings;
    this.#rule = new ReplayRule(settings.replayAcrossSessions, settings.runtime);
  }

  async run(ctx: CallContext, next: Handler): Promise<ToolResult> {
    this.#checkRuntime(ctx.call.runtime);
    const link = this.#connector.alive ?? (await this.#connect(ctx));
    const others = otherLinks(ctx.call, link);
    if (others.length > 0) await this.#checkReplay(ctx, link, others);
    return this.#dispatch(ctx, next, link);
  }

  #checkRuntime(runtime: Runtime): void {
    if (runtime === this.#settings.runtime) return;
    throw new TypeError("createSession: runtime must be the runtime of the calls, whose deadlines bound its waits");
  }

  /** Waits for a connection as long as the call may. */
  async #connect(ctx: CallContext): Promise<Link> {
    const { call, signal, tool, attempt } = ctx;
    const startedAt = call.runtime.now();
    let waitedMs = 0;
    let link: Link;
    try {
      link = await this.#connector.acquire({ signal, deadline: Math.min(ctx.deadline, call.deadline) });
    } catch (error) {
      throw refusalOf(error, tool, this.#settings.name);
    } finally {
      waitedMs = call.runtime.now() - startedAt;
      call.note({ waitedMs });
    }
    const { number: session } = link;
    if (session > 1 && call.observed) call.emit("session.reconnect", { tool, attempt, session, waitedMs });
    return link;
  }

  async #checkReplay(ctx: CallContext, link: Link, others: readonly Link[]): Promise<void> {
    if (await this.#rule.allows(ctx, link, others)) return;
    ctx.signal?.throwIfAborted();
    throw otherSessionError(ctx.tool, ctx.call.execution);
  }

  async #dispatch(ctx: CallContext, next: Handler, link: Link): Promise<ToolResult> {
    let index = -1;
    // What stands between here and the dispatch may take its time: what was found out has to hold then.
    const gate = (): void => {
      if (this.#connector.alive !== link) throw replacedError(ctx.tool);
      index = noteDispatch(ctx, link);
    };
    link.enter();
    try {
      return await next(withGate(ctx, gate));
    } finally {
      const outcome = ctx.call.attempts[index]?.outcome;
      if (outcome?.execution === "executed") link.hasAnswered = true;
      if (outcome?.code === "session_expired") link.lose("expired");
      link.leave();
    }
  }
}

/** Waits until nobody calls through any of the links, but no longer than the grace. */
function drain(links: ReadonlySet<Link>, graceMs: number, runtime: Runtime): Promise<void> {
  const busy = [...links].filter(({ inFlight }) => inFlight > 0);
  if (busy.length === 0 || graceMs === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = graceMs === Infinity ? undefined : startTimer(runtime, graceMs, resolve);
    Promise.all(busy.map((link) => link.idle())).then(() => {
      cancel?.();
      resolve();
    });
  });
}

/** Closes a link; whoever waits is not held for ever by a client that does not come to an end. */
function closeInTime(link: Link, { runtime, name }: SessionSettings): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = startTimer(runtime, CLOSE_MS, () =>
      reject(new Error(`close: the client of ${ofServer(name)} did not close within ${CLOSE_MS} ms`)),
    );
    link.close().then(resolve, reject).finally(cancel);
  });
}

/** The one implementation of {@link Session}. */
class ReconnectingSession implements Session {
  readonly client: Session["client"];
  readonly middleware: Middleware;
  readonly #connector: Connector;
  readonly #settings: SessionSettings;
  #closing: Promise<void> | undefined;

  constructor(settings: SessionSettings) {
    const { runtime, name } = settings;
    const connector = new Connector(settings);
    const path = new SessionPath(connector, settings);
    this.#settings = settings;
    this.#connector = connector;
    this.client = sessionClient({
      present: () => connector.link,
      acquire: (patience) => connector.acquire(patience),
      runtime,
      name,
    });
    const session = (ctx: CallContext, next: Handler): Promise<ToolResult> => path.run(ctx, next);
    this.middleware = session;
  }

  get state(): ConnectionState {
    return this.#connector.state;
  }

  tools(options?: ListToolsOptions): Promise<readonly ToolInfo[]> {
    return readTools(this.#connector, this.#settings, listTools, options);
  }

  async close(options?: CloseOptions): Promise<void> {
    const { graceMs } = readOptions("close", options, { graceMs: number({ min: 0, infinite: true }, GRACE_MS) });
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const { runtime, emit, name } = this.#settings;
    this.#connector.close();
    const { links } = this.#connector;
    await drain(links, graceMs, runtime);
    const closed = await Promise.allSettled([...links].map((link) => closeInTime(link, this.#settings)));
    emit({ type: "closed", name });
    for (const end of closed) if (end.status === "rejected") throw end.reason;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * A connection to a server that is made when the first call needs it, and made anew after it was lost.
 *
 * @remarks
 * However many calls wait, one connection is made at a time; between those that fail the wait grows. A call waits within its own
 * signal and deadline. It ends as not executed, and may be retried, when no connection comes about. A call of which an attempt was sent is
 * sent again in a new session only as `replayAcrossSessions` says. A connection is lost when its transport closes or the server no
 * longer knows the session; a broken HTTP response alone ends no session.
 *
 * @throws TypeError or RangeError naming the option
 */
export function createSession(options: SessionOptions): Session {
  return new ReconnectingSession(readSessionOptions(options, defaultRuntime));
}

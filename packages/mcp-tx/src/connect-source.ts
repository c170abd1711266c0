import {
  type CallContext,
  type ClientLike,
  type Handler,
  McpTxError,
  type Middleware,
  type ToolResult,
} from "@mcp-tx/core";
import type { Connection } from "./assemble.js";
import type { ReliableConfig } from "./config-types.js";
import { createReplicas } from "./replicas.js";
import { createSession } from "./session.js";
import type { ConnectSource, ServerSource, Session } from "./types.js";

/** Before anything was connected no retry is at work yet. */
const FIRST_TRIES = 3;
const NOTHING: ToolResult = Object.freeze({ content: [] });

/** Sees to it that there is a connection, and sends nothing. */
async function connected(session: Session, ctx: CallContext): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await session.middleware(ctx, () => Promise.resolve(NOTHING));
      return;
    } catch (error) {
      const isWorthIt = McpTxError.isInstance(error) && error.outcome.transient;
      if (!isWorthIt || tries >= FIRST_TRIES) throw error;
    }
  }
}

/**
 * Connects before the first call goes anywhere. Records, circuits and limits are kept under the server's name, which only the server
 * tells: what was kept under no name before would not be found again, and a duplicate would run a second time.
 */
function introduction(session: Session): Middleware {
  let isKnown = false;
  async function introduce(ctx: CallContext, next: Handler): Promise<ToolResult> {
    await connected(session, ctx);
    isKnown = true;
    return next(ctx);
  }
  return function introduction(ctx, next) {
    return isKnown ? next(ctx) : introduce(ctx, next);
  };
}

type SessionConfig = Pick<
  ReliableConfig,
  "reconnect" | "connectTimeoutMs" | "replayAcrossSessions" | "runtime" | "peer"
>;

/** What a session is told; what nobody said is left out, for replicas have another default than one server. */
function sessionOptions(config: SessionConfig, name: string | undefined) {
  const { reconnect, connectTimeoutMs, replayAcrossSessions, runtime } = config;
  const replay = replayAcrossSessions === undefined ? {} : { replayAcrossSessions };
  return { reconnect, connectTimeoutMs, runtime, name, ...replay };
}

/**
 * A connection that is made when the first call needs it, and again when it was lost.
 *
 * @param name - what the user calls the server, where that is what it is known by
 */
export function sessionConnection(
  source: ServerSource,
  config: SessionConfig,
  name: string | undefined,
): Connection<ClientLike> {
  const options = sessionOptions(config, name);
  const replicas = "replicas" in source ? createReplicas({ replicas: source.replicas, ...options }) : undefined;
  const session: Session = replicas ?? createSession({ connect: (source as ConnectSource).connect, ...options });
  const isNamed = name !== undefined || config.peer?.server !== undefined;
  return {
    client: session.client,
    outermost: isNamed ? [] : [introduction(session)],
    innermost: [session.middleware],
    breakers: replicas?.breakers ?? [],
    state: () => session.state,
    tools: (options) => session.tools(options),
    // Whatever was under way has had its time.
    close: () => session.close({ graceMs: 0 }),
  };
}

import {
  CALL_META_KEY,
  type CallContext,
  createKey,
  DeadlineError,
  type Handler,
  McpTxError,
  type Middleware,
  startTimer,
  type ToolResult,
} from "@mcp-tx/core";
import { messageOf } from "./proxy-messages.js";
import type { Upstream } from "./upstream.js";

/** The server is not there, and the call was not sent. */
export class ServerDownError extends McpTxError {
  override readonly name = "ServerDownError";
  constructor(tool: string, cause: unknown) {
    super(`Tool "${tool}" was not called. ${messageOf(cause)} Try again later.`, "transport_error", {
      cause,
      outcome: { status: "failure", execution: "not-executed", transient: true },
    });
  }
}

/** The call did not run in a session that is gone; in a new one it may mean something else. */
export class SessionLostError extends McpTxError {
  override readonly name = "SessionLostError";
  constructor(tool: string) {
    super(
      `Tool "${tool}" was not called: the session with its server was lost, and what it builds on may be lost with it. ` +
        "Make sure of that, then call it again.",
      "session_expired",
      { outcome: { status: "failure", execution: "not-executed", transient: false } },
    );
  }
}

/** The connection that a call was handed over to. */
const GenerationKey = createKey<number>("mcp-tx.cli.generation");

/** Waits for the server, no longer than the call lives. */
function connected(upstream: Upstream, { tool, signal, deadline, call }: CallContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = new DeadlineError(`Tool "${tool}" was not called: its server did not come back in time.`, {
      execution: call.execution,
    });
    const left = deadline - call.runtime.now();
    const cancel = deadline === Infinity ? undefined : startTimer(call.runtime, left, () => stop(() => reject(late)));
    const abort = (): void => stop(() => reject(signal?.reason));
    function stop(settle: () => void): void {
      cancel?.();
      signal?.removeEventListener("abort", abort);
      settle();
    }
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    upstream.ready().then(
      () => stop(resolve),
      (error) => stop(() => reject(new ServerDownError(tool, error))),
    );
  });
}

/** Whether a call that did not run on an earlier connection would be sent on a new one. */
function crossesSessions({ call }: CallContext, generation: number): boolean {
  if (call.attempts.length === 0 || call.execution !== "not-executed") return false;
  return call.get(GenerationKey) !== generation && call.attempts.some(({ handedOver }) => handedOver);
}

async function isTrustedReadOnly(ctx: CallContext): Promise<boolean> {
  const { call, tool } = ctx;
  if (!call.trustsAnnotations) return false;
  return (await call.endpoint?.annotations(tool, ctx))?.readOnlyHint === true;
}

/** A plain server gets plain MCP: nothing of what an aware host said to the proxy. */
function plainFor(ctx: CallContext): CallContext {
  if (!(CALL_META_KEY in ctx.meta) || ctx.call.endpoint?.announcement() !== undefined) return ctx;
  const { [CALL_META_KEY]: _theirs, ...meta } = ctx.meta;
  return { ...ctx, meta };
}

/**
 * Stands right before the server: waits until it is connected, and keeps a call that did not run in one session from being
 * repeated in another.
 *
 * @param replays - whether such a call may go all the same; by default only a read-only tool of a server that is trusted
 */
export function upstreamGate(upstream: Upstream, replays: boolean | undefined): Middleware {
  async function mayCross(ctx: CallContext): Promise<boolean> {
    return replays ?? (await isTrustedReadOnly(ctx));
  }

  async function wait(ctx: CallContext, next: Handler): Promise<ToolResult> {
    for (;;) {
      if (!upstream.isReady) await connected(upstream, ctx);
      if (crossesSessions(ctx, upstream.generation) && !(await mayCross(ctx))) throw new SessionLostError(ctx.tool);
      // Both take time, in which it may be lost again.
      if (upstream.isReady) return pass(ctx, next);
    }
  }

  function pass(ctx: CallContext, next: Handler): Promise<ToolResult> {
    ctx.call.set(GenerationKey, upstream.generation);
    return next(plainFor(ctx));
  }

  return async function upstreamGate(ctx, next) {
    return upstream.isReady && !crossesSessions(ctx, upstream.generation) ? pass(ctx, next) : wait(ctx, next);
  };
}

import { DeadlineError, type Execution, McpTxError } from "@mcp-tx/core";

/** Making a connection failed. */
export class ConnectFailure extends Error {
  override readonly name = "ConnectFailure";

  constructor(
    message: string,
    /** Whether another try may well succeed. */
    readonly transient: boolean,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
  }
}

/** The session was closed while somebody waited for a connection. */
export class SessionClosed extends Error {
  override readonly name = "SessionClosed";
}

/** The time for waiting is over, or would be before the next connection is tried. */
export class WaitOver extends Error {
  override readonly name = "WaitOver";

  constructor(readonly retryAfterMs?: number | undefined) {
    super("The time for waiting is over");
  }
}

/** A server in a message. */
export function ofServer(name: string | undefined): string {
  return name === undefined ? "its server" : `server "${name}"`;
}

const NOT_EXECUTED = { status: "failure", execution: "not-executed" } as const;

/** What a call ends with that got no connection. Whatever else it is, such as the caller's own reason, goes back as it came. */
export function refusalOf(error: unknown, tool: string, name: string | undefined): unknown {
  const server = ofServer(name);
  if (error instanceof WaitOver) {
    const { retryAfterMs } = error;
    const when = retryAfterMs === undefined ? "" : ` The next connection is tried in ${Math.ceil(retryAfterMs)} ms.`;
    const message = `Tool "${tool}" was not called: ${server} could not be reached before the deadline of the call.${when}`;
    return new DeadlineError(message, { execution: "not-executed", retryAfterMs });
  }
  if (error instanceof SessionClosed) {
    return new McpTxError(
      `Tool "${tool}" was not called: the connection to ${server} was closed. It cannot be called any more.`,
      "transport_error",
      { outcome: { status: "rejected", execution: "not-executed", transient: false } },
    );
  }
  if (error instanceof ConnectFailure) {
    const advice = error.transient
      ? "Nothing was done; call it again later."
      : "Nothing was done; calling it again does not help.";
    return new McpTxError(`Tool "${tool}" was not called: ${server} cannot be reached. ${advice}`, "transport_error", {
      outcome: { ...NOT_EXECUTED, transient: error.transient },
      cause: error.cause ?? error,
    });
  }
  return error;
}

/** The connection was replaced between the moment in which it was chosen and the dispatch. */
export function replacedError(tool: string): McpTxError {
  return new McpTxError(
    `Tool "${tool}" was not called: the connection was lost just before. Call it again.`,
    "transport_error",
    { outcome: { ...NOT_EXECUTED, transient: true } },
  );
}

/** An attempt of the call was sent in a session that has ended, and no other may have it. */
export function otherSessionError(tool: string, execution: Execution): McpTxError {
  const fate =
    execution === "unknown"
      ? `It is unknown whether tool "${tool}" ran: the session in which it was called has ended. Do not call it again before checking whether it had its effect.`
      : `Tool "${tool}" was not called again: the session in which it was called has ended, and a new session may have lost what that one knew. Restore the state it needs, then call it.`;
  return new McpTxError(`${fate} (replayAcrossSessions)`, "session_expired", {
    outcome: { status: "rejected", execution, transient: false },
  });
}

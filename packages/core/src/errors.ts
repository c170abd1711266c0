import type { CallReport, Outcome, OutcomeCode } from "./contract.js";
import { reportOf } from "./report.js";
import { asBag } from "./wire.js";

const Brand: unique symbol = Symbol.for("@mcp-tx/core.error");

/** An assignment, for reflection costs a fifth of a refusal. */
function limitStacks(frames: number): void {
  try {
    Error.stackTraceLimit = frames;
  } catch {
    // The intrinsics are frozen: stacks are captured then.
  }
}

/** What an {@link McpTxError} is made from. */
export interface McpTxErrorInit {
  readonly outcome: Outcome;
  readonly cause?: unknown;
  /** @defaultValue false: capturing a stack is most of what a local rejection costs */
  readonly captureStack?: boolean | undefined;
}

/**
 * Base of every error that mcp-tx raises by itself.
 *
 * @remarks
 * Recognise errors with `McpTxError.isInstance(error)` or by `code`: `instanceof` fails across two copies of the package.
 * Messages say what happened, to which tool and what to do next, and carry no stack, path or secret.
 */
export class McpTxError extends Error {
  override readonly name: string = "McpTxError";
  readonly code: OutcomeCode;
  readonly outcome: Outcome;

  constructor(message: string, code: OutcomeCode, init: McpTxErrorInit) {
    const limit = Error.stackTraceLimit;
    if (init.captureStack !== true) limitStacks(0);
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    limitStacks(limit);
    this.code = code;
    // Adding a member to a copy costs more than all the rest of a refusal.
    this.outcome = init.outcome.code === code ? init.outcome : { ...init.outcome, code };
  }

  /** Milliseconds after which to call again, when known. */
  get retryAfterMs(): number | undefined {
    return this.outcome.retryAfterMs;
  }

  /** The report of the call that ended with this error, once it ended. */
  get report(): CallReport | undefined {
    return reportOf(this);
  }

  /** Whether a value is an error of this class, whichever copy of the package made it. */
  static isInstance(value: unknown): value is McpTxError {
    if (typeof value !== "object" || value === null) return false;
    try {
      return Brand in value;
    } catch {
      // Anything can be thrown, a revoked proxy too.
      return false;
    }
  }
}

function hasCode(value: unknown, code: OutcomeCode): boolean {
  return McpTxError.isInstance(value) && value.code === code;
}

/** The call's deadline (`timeoutMs`) passed, or what is asked for does not fit before it. */
export class DeadlineError extends McpTxError {
  override readonly name = "DeadlineError";

  constructor(
    message: string,
    init: Partial<McpTxErrorInit> & {
      readonly execution: Outcome["execution"];
      readonly retryAfterMs?: number | undefined;
    },
  ) {
    super(message, "deadline", {
      ...init,
      outcome: {
        status: "failure",
        execution: init.execution,
        transient: false,
        retryAfterMs: init.retryAfterMs,
        code: "deadline",
      },
    });
  }
  static override isInstance(value: unknown): value is DeadlineError {
    return hasCode(value, "deadline");
  }
}

/** One attempt ran longer than `attemptTimeoutMs`. What it started may still be running. */
export class AttemptTimeoutError extends McpTxError {
  override readonly name = "AttemptTimeoutError";

  constructor(tool: string, timeoutMs: number) {
    super(
      `Tool "${tool}" did not answer within ${timeoutMs} ms. It may still be running; check what it did before calling it again.`,
      "attempt_timeout",
      { outcome: { status: "failure", execution: "unknown", transient: true, code: "attempt_timeout" } },
    );
  }
  static override isInstance(value: unknown): value is AttemptTimeoutError {
    return hasCode(value, "attempt_timeout");
  }
}

/** Nobody knows whether the tool ran, and sending the call again could run it twice. */
export class OutcomeUnknownError extends McpTxError {
  override readonly name = "OutcomeUnknownError";

  constructor(tool: string, init: { readonly cause?: unknown; readonly retryAfterMs?: number | undefined } = {}) {
    super(
      `It is unknown whether tool "${tool}" ran: the request was sent and no answer came back. ` +
        "Do not call it again before checking whether it had its effect.",
      "outcome_unknown",
      {
        cause: init.cause,
        outcome: { status: "failure", execution: "unknown", transient: false, retryAfterMs: init.retryAfterMs },
      },
    );
  }
  static override isInstance(value: unknown): value is OutcomeUnknownError {
    return hasCode(value, "outcome_unknown");
  }
}

/** A rate limit, ours or the server's, does not let the call through now. */
export class RateLimitError extends McpTxError {
  override readonly name = "RateLimitError";

  constructor(
    tool: string,
    init: {
      readonly retryAfterMs?: number | undefined;
      readonly execution?: Outcome["execution"] | undefined;
      readonly cause?: unknown;
    } = {},
  ) {
    const when = init.retryAfterMs === undefined ? "later" : `in ${Math.ceil(init.retryAfterMs)} ms, not earlier`;
    super(`Tool "${tool}" is rate limited. Call it again ${when}.`, "rate_limited", {
      cause: init.cause,
      outcome: {
        status: "rejected",
        execution: init.execution ?? "not-executed",
        transient: true,
        retryAfterMs: init.retryAfterMs,
        code: "rate_limited",
      },
    });
  }
  static override isInstance(value: unknown): value is RateLimitError {
    return hasCode(value, "rate_limited");
  }
}

/** A store that the call needs does not answer, and `storeErrors` says that nothing runs then. */
export class StoreUnavailableError extends McpTxError {
  override readonly name = "StoreUnavailableError";

  constructor(
    tool: string,
    init: {
      /** What the store is for, to follow "was not called:". */
      readonly store: string;
      /** What to do next. */
      readonly advice?: string | undefined;
      readonly cause?: unknown;
    },
  ) {
    const { store, advice = "Call it again later.", cause } = init;
    super(`Tool "${tool}" was not called: ${store} does not answer. ${advice}`, "store_unavailable", {
      cause,
      outcome: { status: "rejected", execution: "not-executed", transient: true },
    });
  }
  static override isInstance(value: unknown): value is StoreUnavailableError {
    return hasCode(value, "store_unavailable");
  }
}

/** How a failure went over the wire: a JSON-RPC error, as it is recorded and given again. */
export interface ErrorAnswer {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
}

/** The call ran and failed earlier under the same key; this is that failure again, nothing ran this time. */
export class ReplayedError extends McpTxError {
  override readonly name = "ReplayedError";
  /** The answer that was recorded; `undefined` when it was no JSON-RPC error. */
  readonly answer: ErrorAnswer | undefined;

  constructor(
    message: string,
    init: {
      readonly code: OutcomeCode;
      readonly answer?: ErrorAnswer | undefined;
      readonly transient?: boolean | undefined;
      readonly retryAfterMs?: number | undefined;
      readonly cause?: unknown;
    },
  ) {
    const { code, answer, transient = false, retryAfterMs, cause } = init;
    super(message, code, { cause, outcome: { status: "failure", execution: "executed", transient, retryAfterMs } });
    this.answer = answer;
  }
  static override isInstance(value: unknown): value is ReplayedError {
    return McpTxError.isInstance(value) && "answer" in value;
  }
}

/** The tool ran and reports a failure (`isError`), raised by `invoke`. */
export class ToolError extends McpTxError {
  override readonly name = "ToolError";
  /** What the tool said, for the model. */
  readonly text: string;

  constructor(
    tool: string,
    text: string,
    init: { readonly execution?: Outcome["execution"] | undefined; readonly cause?: unknown } = {},
  ) {
    super(text === "" ? `Tool "${tool}" failed and gave no reason.` : `Tool "${tool}" failed: ${text}`, "tool_error", {
      cause: init.cause,
      outcome: { status: "failure", execution: init.execution ?? "executed", transient: false },
    });
    this.text = text;
  }
  static override isInstance(value: unknown): value is ToolError {
    return hasCode(value, "tool_error");
  }
}

Object.defineProperty(McpTxError.prototype, Brand, { value: true });

const MAX_CAUSES = 6;

/** What is behind an error. Anything can be thrown, so that even looking may throw. */
function causeOf(error: unknown): unknown {
  try {
    return asBag(error)?.cause;
  } catch {
    return undefined;
  }
}

/** What was thrown, its cause, the cause of that, and so on, as far as it makes sense to look. */
export function* causesOf(error: unknown): Generator<unknown> {
  let current = error;
  for (let depth = 0; current !== undefined && depth < MAX_CAUSES; depth += 1) {
    yield current;
    current = causeOf(current);
  }
}

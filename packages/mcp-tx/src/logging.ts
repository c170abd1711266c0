import type {
  CallContext,
  CallEvents,
  CallListener,
  CallReport,
  Handler,
  Middleware,
  ToolResult,
  WrapOptions,
} from "@mcp-tx/core";
import type { Logger, LoggingConfig, ReliableConfig } from "./config-types.js";

type Level = keyof Logger;

const LEVELS: { readonly [S in CallReport["status"]]: Level } = {
  completed: "info",
  cancelled: "info",
  failed: "warn",
  rejected: "warn",
  timeout: "warn",
  // Somebody has to look.
  unknown: "error",
};

/** The line of a finished call. Nothing is in it that the user did not ask for: no text of an error, no key. */
function reportLine(report: CallReport, { keys, messages }: LoggingConfig): object {
  const { tool, requestId, status, execution, attempts, duplicate, waitedMs, durationMs, error } = report;
  return {
    ...{ tool, requestId, status, execution, attempts, duplicate, waitedMs, durationMs },
    ...(error !== undefined && { code: error.code, retryAfterMs: error.retryAfterMs }),
    ...(messages === true && error !== undefined && { error: error.message }),
    ...(keys === true && { idempotencyKey: report.idempotencyKey, transactionId: report.transactionId }),
  };
}

type EventLine = readonly [level: Level, message: string, fields: object];
type EventLines = { readonly [K in keyof CallEvents]?: (detail: CallEvents[K]) => EventLine | undefined };

/** Events worth a line, each with what is harmless of its detail. What they mean for the call is in the call's own line. */
const EVENTS: EventLines = {
  "retry.scheduled": ({ tool, attempt, delayMs, outcome: { code, execution } }) => [
    "info",
    "tool call is repeated",
    { tool, attempt, delayMs, code, execution },
  ],
  "breaker.state": ({ tool, from, to, retryAfterMs }) => [
    to === "open" ? "warn" : "info",
    `circuit is ${to}`,
    { tool, from, to, retryAfterMs },
  ],
  "session.reconnect": ({ tool, session, waitedMs }) => ["info", "connected again", { tool, session, waitedMs }],
  "limit.wait": ({ tool, waitMs }) => ["debug", "tool call waited for its turn", { tool, waitMs }],
  "idempotency.outcome": ({ tool, outcome }) =>
    outcome === "miss"
      ? undefined
      : [outcome === "conflict" || outcome === "takeover" ? "warn" : "debug", `idempotency: ${outcome}`, { tool }],
};

function logEvent<K extends keyof CallEvents>(logger: Logger, name: K, detail: CallEvents[K]): void {
  const lineOf: ((detail: CallEvents[K]) => EventLine | undefined) | undefined = EVENTS[name];
  const line = lineOf?.(detail);
  if (line !== undefined) logger[line[0]](line[2], line[1]);
}

/** Logs what goes in and what comes out. A layer of its own, since no report has it, and only there when asked for. */
function captureLayer(logger: Logger, wanted: LoggingConfig): Middleware {
  return function capture(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const { tool, args, call } = ctx;
    const requestId = call.id;
    if (wanted.arguments === true) quietly(() => logger.debug({ tool, requestId, arguments: args }, "tool call"));
    if (wanted.results !== true) return next(ctx);
    return next(ctx).then((result) => {
      quietly(() => logger.debug({ tool, requestId, result }, "tool result"));
      return result;
    });
  };
}

function quietly(log: () => void): void {
  try {
    log();
  } catch {
    // A log that cannot be written changes no call.
  }
}

/** What of a pipeline looks on: the user's own observers, and the logger. */
export interface Observers {
  readonly onReport: WrapOptions["onReport"];
  readonly onEvent: WrapOptions["onEvent"];
  readonly layer: readonly Middleware[];
}

/** Observers of a configuration. Without a logger they are the user's own: nothing is measured that nobody reads. */
export function observers({ logger, logging = {}, onReport, onEvent }: ReliableConfig): Observers {
  if (logger === undefined) return { onReport, onEvent, layer: [] };
  const log = (report: CallReport): void => {
    quietly(() => logger[LEVELS[report.status]](reportLine(report, logging), `tool call ${report.status}`));
    onReport?.(report);
  };
  const listen: CallListener = (name, detail) => {
    quietly(() => logEvent(logger, name, detail));
    onEvent?.(name, detail);
  };
  const captures = logging.arguments === true || logging.results === true;
  return { onReport: log, onEvent: listen, layer: captures ? [captureLayer(logger, logging)] : [] };
}

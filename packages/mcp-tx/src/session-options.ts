import type { Runtime } from "@mcp-tx/core";
import { callback, number, type OptionReader, objectWith, oneOf, readOptions } from "@mcp-tx/core/options";
import type { ReconnectConfig } from "./config-types.js";
import type { ConnectorSpec } from "./session-connector.js";
import type { Connect, ReplayAcrossSessions, SessionOptions } from "./types.js";

/** Options of a session, checked and complete. */
export interface SessionSettings extends ConnectorSpec {
  readonly replayAcrossSessions: ReplayAcrossSessions | undefined;
}

const replay: OptionReader<ReplayAcrossSessions | undefined> = (value, path) => {
  if (value === undefined || typeof value === "boolean") return value;
  if (typeof value === "function") return value as ReplayAcrossSessions;
  throw new TypeError(`${path} must be true, false or a function (peer) => boolean`);
};

const text: OptionReader<string | undefined> = (value, path) => {
  if (value === undefined || (typeof value === "string" && value !== "")) return value;
  throw new TypeError(`${path} must be a non-empty string`);
};

const reconnect: OptionReader<ConnectorSpec["reconnect"]> = (value, path) =>
  readOptions(path, value as ReconnectConfig | undefined, {
    baseDelayMs: number({ min: 0 }, 200),
    maxDelayMs: number({ min: 0 }, 30_000),
    multiplier: number({ min: 1 }, 2),
    jitter: oneOf(["full", "equal", "decorrelated", "none"], "full"),
  });

/** An observer that throws changes nothing. */
function quietEmitter(onEvent: SessionOptions["onEvent"]): ConnectorSpec["emit"] {
  return (event) => {
    try {
      onEvent?.(event);
    } catch {
      // Whoever looks on does not decide.
    }
  };
}

/** @throws TypeError or RangeError naming the option */
export function readSessionOptions(options: unknown, fallback: Runtime): SessionSettings {
  const read = readOptions("createSession", options ?? {}, {
    connect: callback<Connect>(),
    reconnect,
    connectTimeoutMs: number({ min: 0, above: true }, 30_000),
    replayAcrossSessions: replay,
    runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
    onEvent: callback<NonNullable<SessionOptions["onEvent"]>>(),
    name: text,
  });
  const { connect, runtime = fallback, onEvent, ...rest } = read;
  if (connect === undefined) throw new TypeError("createSession: connect must be a function ({ signal }) => client");
  return { ...rest, connect, runtime, emit: quietEmitter(onEvent) };
}

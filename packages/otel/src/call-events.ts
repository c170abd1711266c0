import type { Call, CallListener } from "@mcp-tx/core";
import type { Attributes } from "@opentelemetry/api";
import { errorTypeOf } from "./error-type.js";
import type { Instruments } from "./instruments.js";
import type { Operation } from "./operation.js";
import { quietly } from "./quietly.js";
import {
  ATTR_ATTEMPT_NUMBER,
  ATTR_CIRCUIT_NAME,
  ATTR_CIRCUIT_PREVIOUS_STATE,
  ATTR_CIRCUIT_STATE,
  ATTR_ERROR_TYPE,
  ATTR_IDEMPOTENCY_OUTCOME,
  ATTR_RETRY_DELAY,
  ATTR_SAGA_NAME,
  ATTR_SAGA_PHASE,
  ATTR_SAGA_STEP,
  ATTR_TOOL_NAME,
  ATTR_WAIT_DURATION,
  EVENT_CIRCUIT_CHANGED,
  EVENT_CIRCUIT_REJECTED,
  EVENT_HEDGE,
  EVENT_LIMIT_REJECTED,
  EVENT_LIMIT_WAITED,
  EVENT_RECONNECT,
  EVENT_RETRY,
  OTHER,
} from "./semconv.js";
import type { Telemetry } from "./telemetry.js";

/** Details of an event, of a package that this one does not know: every field is looked at before it is believed. */
type Detail = Readonly<Record<string, unknown>>;

/** What a call's events are shown on. */
export interface Audience {
  readonly telemetry: Telemetry;
  readonly operation: Operation;
  readonly instruments: Instruments | undefined;
  readonly circuits: Circuits;
}

/** How circuits are named, and whether the events of calls are what their metrics are made of. */
export interface Circuits {
  nameOf(key: unknown, tool: unknown, server: unknown): string;
  readonly countsEvents: boolean;
}

type Handle = (detail: Detail, audience: Audience, call: Call) => void;

const IDEMPOTENCY_OUTCOMES: readonly unknown[] = ["miss", "replayed", "joined", "conflict", "takeover"];
const STATES: readonly unknown[] = ["closed", "half-open", "open", "isolated"];
const PHASES: readonly unknown[] = ["action", "compensation"];

/** A word of a list; free text could be anything. */
function wordOf(words: readonly unknown[], value: unknown): string {
  return words.includes(value) ? (value as string) : OTHER;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : OTHER;
}

function secondsOf(ms: unknown): number {
  return typeof ms === "number" && ms > 0 ? ms / 1000 : 0;
}

function codeOf(outcome: unknown): unknown {
  return (outcome as { readonly code?: unknown } | null | undefined)?.code;
}

/** Attributes of a point about a tool. */
function about({ telemetry }: Audience, detail: Detail, rest: Attributes = {}): Attributes {
  return { [ATTR_TOOL_NAME]: telemetry.names.of(textOf(detail.tool)), ...telemetry.settings.attributes, ...rest };
}

function attemptNumber(detail: Detail): Attributes {
  return typeof detail.attempt === "number" ? { [ATTR_ATTEMPT_NUMBER]: detail.attempt } : {};
}

function circuitOf(detail: Detail, { circuits }: Audience, call: Call): string {
  return circuits.nameOf(detail.key, detail.tool, call.peer.server);
}

/** 1 for the new state, 0 for the one that was left, and one more transition. */
export function countTransition(
  instruments: Instruments,
  { name, from, to }: { readonly name: string; readonly from: unknown; readonly to: unknown },
): void {
  const state = (value: unknown): Attributes => ({
    ...instruments.common,
    [ATTR_CIRCUIT_NAME]: name,
    [ATTR_CIRCUIT_STATE]: wordOf(STATES, value),
  });
  instruments.circuitState.record(0, state(from));
  instruments.circuitState.record(1, state(to));
  instruments.circuitTransitions.add(1, state(to));
}

const HANDLERS: Readonly<Record<string, Handle>> = {
  "retry.scheduled": (detail, audience) => {
    const delay = secondsOf(detail.delayMs);
    const error = { [ATTR_ERROR_TYPE]: errorTypeOf(codeOf(detail.outcome)) };
    audience.operation.addEvent(EVENT_RETRY, { ...attemptNumber(detail), [ATTR_RETRY_DELAY]: delay, ...error });
    audience.instruments?.retryDelay.record(delay, about(audience, detail, error));
  },
  "hedge.started": (detail, { operation }) => operation.addEvent(EVENT_HEDGE, attemptNumber(detail)),
  "breaker.state": (detail, audience, call) => {
    const name = circuitOf(detail, audience, call);
    const { operation, instruments, circuits } = audience;
    operation.addEvent(EVENT_CIRCUIT_CHANGED, {
      [ATTR_CIRCUIT_NAME]: name,
      [ATTR_CIRCUIT_STATE]: wordOf(STATES, detail.to),
      [ATTR_CIRCUIT_PREVIOUS_STATE]: wordOf(STATES, detail.from),
    });
    if (instruments !== undefined && circuits.countsEvents) {
      countTransition(instruments, { name, from: detail.from, to: detail.to });
    }
  },
  "breaker.rejected": (detail, audience, call) => {
    audience.operation.addEvent(EVENT_CIRCUIT_REJECTED, {
      [ATTR_CIRCUIT_NAME]: circuitOf(detail, audience, call),
      [ATTR_CIRCUIT_STATE]: wordOf(STATES, detail.state),
    });
  },
  "limit.wait": (detail, audience) => {
    const wait = secondsOf(detail.waitMs);
    audience.operation.addEvent(EVENT_LIMIT_WAITED, { [ATTR_WAIT_DURATION]: wait });
    audience.instruments?.limitWait.record(wait, about(audience, detail));
  },
  "limit.rejected": (detail, audience) => {
    const error = { [ATTR_ERROR_TYPE]: errorTypeOf(detail.code) };
    audience.operation.addEvent(EVENT_LIMIT_REJECTED, error);
    audience.instruments?.limitRejections.add(1, about(audience, detail, error));
  },
  "idempotency.outcome": (detail, audience) => {
    const outcome = wordOf(IDEMPOTENCY_OUTCOMES, detail.outcome);
    audience.operation.setAttribute(ATTR_IDEMPOTENCY_OUTCOME, outcome);
    audience.instruments?.idempotencyRequests.add(1, about(audience, detail, { [ATTR_IDEMPOTENCY_OUTCOME]: outcome }));
  },
  "saga.step": (detail, { operation }) => {
    operation.setAttribute(ATTR_SAGA_NAME, textOf(detail.saga));
    operation.setAttribute(ATTR_SAGA_STEP, textOf(detail.step));
    operation.setAttribute(ATTR_SAGA_PHASE, wordOf(PHASES, detail.phase));
  },
  "session.reconnect": (_detail, { operation }) => operation.addEvent(EVENT_RECONNECT, {}),
};

/** Shows the events of a call until the returned function is called. */
export function listen(call: Call, audience: Audience): () => void {
  // The names and details of other packages' events are merged into the contract where those are installed.
  const listener = (name: string, detail: unknown): void => {
    if (Object.hasOwn(HANDLERS, name)) quietly(() => HANDLERS[name]?.(detail as Detail, audience, call));
  };
  return call.on(listener as CallListener);
}

import {
  type ErrorAnswer,
  type Outcome,
  type OutcomeCode,
  RECEIPT_KEY,
  ReplayedError,
  type Side,
  type ToolResult,
} from "@mcp-tx/core";
import { isOpaque } from "./canonical.js";

/** Of the format, so that a later version can read what this one wrote. */
const VERSION = 1;
const INTERNAL_ERROR = -32_603;

type Bag = Readonly<Record<string, unknown>>;

function asBag(value: unknown): Bag | undefined {
  return typeof value === "object" && value !== null ? (value as Bag) : undefined;
}

/** What a record says of a call that threw. */
interface RecordedError {
  readonly message: string;
  readonly code: OutcomeCode;
  readonly answer?: ErrorAnswer | undefined;
}

/** Receipts are about one request; the next one gets its own. */
function withoutReceipt(carrier: Bag): Bag | undefined {
  if (!Object.hasOwn(carrier, RECEIPT_KEY)) return carrier;
  const { [RECEIPT_KEY]: _, ...rest } = carrier;
  return Object.keys(rest).length === 0 ? undefined : rest;
}

/** Stops at what JSON would quietly turn into something else. */
function refuseLoss(this: unknown, _key: string, value: unknown): unknown {
  const isLost =
    (typeof value === "number" && !Number.isFinite(value)) ||
    typeof value === "function" ||
    typeof value === "symbol" ||
    (value === undefined && Array.isArray(this)) ||
    (typeof value === "object" && value !== null && isOpaque(value));
  if (isLost) throw new TypeError("JSON cannot hold it");
  return value;
}

/**
 * Writes down a result; `undefined` for one that JSON cannot hold.
 *
 * @param side - on a client results have come as JSON, and need no second look
 */
export function encodeResult(result: ToolResult, side: Side): string | undefined {
  try {
    const meta = asBag(result._meta);
    const kept = meta === undefined ? undefined : withoutReceipt(meta);
    const plain = meta === kept ? result : { ...result, _meta: kept };
    const text = JSON.stringify(plain, side === "client" ? undefined : refuseLoss);
    return text?.startsWith("{") === true ? `{"v":${VERSION},"result":${text}}` : undefined;
  } catch {
    return undefined;
  }
}

/** How a failure went over the wire, or will go once a server's SDK sends it; `undefined` when it does not. */
function answerOf(error: unknown, side: Side): ErrorAnswer | undefined {
  const { code, message, data } = asBag(error) ?? {};
  const isNumber = Number.isSafeInteger(code);
  if (!isNumber && side !== "server") return undefined;
  const bag = asBag(data);
  const kept = bag === undefined || Array.isArray(data) ? data : withoutReceipt(bag);
  return {
    // Checked right above; an SDK sends anything else as an internal error.
    code: isNumber ? (code as number) : INTERNAL_ERROR,
    message: typeof message === "string" ? message : "Internal error",
    ...(kept !== undefined && { data: kept }),
  };
}

function messageOf(error: unknown): string {
  const message = asBag(error)?.message;
  return typeof message === "string" ? message : typeof error === "string" ? error : "it gave no reason";
}

function describe(error: unknown, { code = "tool_error" }: Outcome, side: Side): RecordedError {
  const answer = answerOf(error, side);
  return { message: messageOf(error), code, ...(answer !== undefined && { answer }) };
}

/** Writes down what a call that ran threw. Anything can be thrown: what cannot be looked at is recorded without details. */
export function encodeError(error: unknown, outcome: Outcome, side: Side): string {
  try {
    return JSON.stringify({ v: VERSION, error: describe(error, outcome, side) });
  } catch {
    return JSON.stringify({ v: VERSION, error: describe(undefined, outcome, side) });
  }
}

function parse(text: string | undefined): Bag | undefined {
  if (text === undefined) return undefined;
  try {
    const bag = asBag(JSON.parse(text));
    return bag?.v === VERSION ? bag : undefined;
  } catch {
    return undefined;
  }
}

function readAnswer(value: unknown): ErrorAnswer | undefined {
  const { code, message, data } = asBag(value) ?? {};
  if (typeof code !== "number" || typeof message !== "string") return undefined;
  return { code, message, ...(data !== undefined && { data }) };
}

function replayedError(tool: string, error: Bag): ReplayedError {
  const { message, code, answer } = error;
  const why = typeof message === "string" ? message : "it gave no reason";
  return new ReplayedError(
    `Tool "${tool}" ran already under this idempotency key and failed then: ${why}. It was not run again.`,
    // Written by `encodeError`, from the enumeration.
    { code: typeof code === "string" ? (code as OutcomeCode) : "tool_error", answer: readAnswer(answer) },
  );
}

/**
 * Gives a recorded outcome again: every call gets a result of its own.
 *
 * @throws ReplayedError for a failure that was thrown, and where the result was not kept
 */
export function replay(text: string | undefined, tool: string): ToolResult {
  const { result, error } = parse(text) ?? {};
  // Written by `encodeResult`, of a ToolResult.
  if (asBag(result) !== undefined) return result as ToolResult;
  const bag = asBag(error);
  if (bag !== undefined) throw replayedError(tool, bag);
  throw new ReplayedError(
    `Tool "${tool}" ran already under this idempotency key, but its result could not be kept. ` +
      "Do not call it again with a new key before checking what it did.",
    { code: "protocol_error" },
  );
}

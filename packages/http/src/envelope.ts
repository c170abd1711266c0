import { agreedKey, checkKey, keyOfHeader } from "./idempotency-key.js";
import type { ProblemPointer } from "./problem-codes.js";
import { Refusal } from "./refusal.js";

/** What a request asks for, checked. */
export interface Envelope {
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly key: string | undefined;
  readonly timeoutMs: number | undefined;
}

type Bag = Readonly<Record<string, unknown>>;

const MEMBERS: readonly string[] = ["tool", "arguments", "idempotencyKey", "timeoutMs"];
/** Characters of a tool's name. */
const MAX_TOOL_LENGTH = 256;
/** Of many wrong members not all are told. */
const MAX_UNKNOWN = 10;

function isBag(value: unknown): value is Bag {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Half a character: nothing that can be encoded. */
const LONE_SURROGATES = /\p{Surrogate}/gu;

/** A segment of a JSON Pointer in a URI fragment. */
export function pointerSegment(name: PropertyKey): string {
  const text = String(name).replaceAll("~", "~0").replaceAll("/", "~1");
  return `/${encodeURIComponent(text.replace(LONE_SURROGATES, "\ufffd"))}`;
}

function isTool(tool: unknown): tool is string {
  return typeof tool === "string" && tool !== "" && tool.length <= MAX_TOOL_LENGTH;
}

function isTimeout(timeoutMs: unknown): timeoutMs is number | undefined {
  return timeoutMs === undefined || (typeof timeoutMs === "number" && timeoutMs > 0 && timeoutMs < Infinity);
}

function* wrongMembers(body: Bag): Generator<ProblemPointer> {
  const { tool, arguments: args, timeoutMs } = body;
  if (!isTool(tool)) {
    yield { pointer: "#/tool", detail: `is required: a text of 1 to ${MAX_TOOL_LENGTH} characters` };
  }
  if (args !== undefined && !isBag(args)) yield { pointer: "#/arguments", detail: "must be an object" };
  if (!isTimeout(timeoutMs)) yield { pointer: "#/timeoutMs", detail: "must be a number greater than 0" };
  const unknown = Object.keys(body).filter((name) => !MEMBERS.includes(name));
  for (const name of unknown.slice(0, MAX_UNKNOWN)) {
    yield { pointer: `#${pointerSegment(name)}`, detail: `is unknown; the members are ${MEMBERS.join(", ")}` };
  }
}

/** Reads the body of `POST /execute-tool` and the header `Idempotency-Key`. @throws Refusal */
export function readEnvelope(body: unknown, headers: Headers): Envelope {
  if (!isBag(body)) throw new Refusal("bad_request", { errors: [{ pointer: "#", detail: "must be an object" }] });
  const errors = [...wrongMembers(body)];
  if (errors.length > 0) throw new Refusal("bad_request", { errors });
  const ofBody = body.idempotencyKey === undefined ? undefined : checkKey(body.idempotencyKey, "#/idempotencyKey");
  return {
    tool: body.tool as string,
    args: (body.arguments ?? {}) as Bag,
    key: agreedKey(keyOfHeader(headers), ofBody),
    timeoutMs: body.timeoutMs as number | undefined,
  };
}

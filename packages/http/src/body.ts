import type { Runtime } from "@mcp-tx/core";
import { checkJson, decodeUtf8, parseJson } from "./json.js";
import { Refusal } from "./refusal.js";
import { within } from "./waiting.js";

/** What bounds a body. */
export interface BodyLimits {
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
  readonly maxDepth: number;
  readonly runtime: Runtime;
}

/** A body, and about how much of it there is. */
export interface Body {
  readonly value: unknown;
  /** Bytes; `undefined` where somebody else has parsed it. */
  readonly size: number | undefined;
}

const JSON_TYPE = /^application\/json\s*(?:;|$)/i;
const CHARSET = /;\s*charset\s*=\s*"?([^";\s]+)/i;

/** @throws Refusal for anything but JSON in UTF-8, as it is */
function checkType(headers: Headers): void {
  const type = headers.get("content-type") ?? "";
  const charset = CHARSET.exec(type)?.[1]?.toLowerCase() ?? "utf-8";
  const encoding = headers.get("content-encoding")?.trim().toLowerCase() ?? "identity";
  if (JSON_TYPE.test(type) && (charset === "utf-8" || charset === "utf8") && encoding === "identity") return;
  throw new Refusal("unsupported_media_type", { headers: { "accept-post": "application/json" } });
}

/** What is left of a body would have to be read to use the connection again. */
const GIVE_UP = { headers: { connection: "close" } } as const;

function tooLarge({ maxBodyBytes }: BodyLimits): Refusal {
  return new Refusal("body_too_large", {
    ...GIVE_UP,
    detail: `The body is larger than ${maxBodyBytes} bytes. Nothing was executed.`,
  });
}

function checkLength(headers: Headers, limits: BodyLimits): void {
  if (Number(headers.get("content-length") ?? 0) > limits.maxBodyBytes) throw tooLarge(limits);
}

/** Collects a stream's chunks. @throws Refusal when there are too many bytes */
async function collect(reader: ReadableStreamDefaultReader<Uint8Array>, limits: BodyLimits): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    size += read.value.byteLength;
    if (size > limits.maxBodyBytes) throw tooLarge(limits);
    chunks.push(read.value);
  }
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

/** A client that breaks off has not sent its body. */
function asRefusal(error: unknown): Refusal {
  return Refusal.isInstance(error) ? error : new Refusal("bad_request", { ...GIVE_UP, cause: error });
}

async function readStream(request: Request, limits: BodyLimits): Promise<Uint8Array> {
  if (request.body === null) return new Uint8Array();
  let reader: ReadableStreamDefaultReader<Uint8Array>;
  try {
    reader = request.body.getReader();
  } catch (cause) {
    // Somebody has read it, and did not say what was in it.
    throw new Refusal("internal_error", { cause });
  }
  try {
    return await within(collect(reader, limits), {
      runtime: limits.runtime,
      ms: limits.bodyTimeoutMs,
      signal: request.signal,
      refusal: (isGone) => (isGone ? new Refusal("cancelled") : new Refusal("body_timeout", GIVE_UP)),
    });
  } catch (error) {
    // Nobody waits for it: a stream may take any time to be told.
    reader.cancel().catch(() => undefined);
    throw asRefusal(error);
  }
}

/** What a framework's parser gave: a value, or text or bytes that it left as they are. */
function givenBody(given: unknown, limits: BodyLimits): unknown {
  const isText = typeof given === "string";
  if (!isText && !(given instanceof Uint8Array)) return given;
  if (given.length > limits.maxBodyBytes) throw tooLarge(limits);
  return parseJson(isText ? given : decodeUtf8(given));
}

/**
 * The JSON body of a request: read from its stream within a size and a time, or as a framework has parsed it.
 *
 * @throws Refusal
 */
export async function readBody(
  request: Request,
  given: { readonly body?: unknown } | undefined,
  limits: BodyLimits,
): Promise<Body> {
  checkType(request.headers);
  checkLength(request.headers, limits);
  if (given !== undefined && "body" in given && given.body !== undefined) {
    const value = givenBody(given.body, limits);
    checkJson(value, limits.maxDepth);
    return { value, size: undefined };
  }
  const bytes = await readStream(request, limits);
  const value = parseJson(decodeUtf8(bytes));
  checkJson(value, limits.maxDepth);
  return { value, size: bytes.byteLength };
}

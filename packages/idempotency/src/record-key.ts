import type { CallContext } from "@mcp-tx/core";
import { canonicalJson } from "./canonical.js";
import { sha256 } from "./fingerprint.js";

/** In UTF-16 code units. What an announcing server of ours takes as well. */
const MAX_KEY = 1024;
/** Longer record keys are hashed: every store can hold and index this many characters. */
const MAX_RECORD_KEY = 500;
const LONE_SURROGATE = /\p{Surrogate}/u;
/** Of the way in which record keys are made. */
const VERSION = 1;

/** Calls a function of the user's; a promise is no answer, and must not go unhandled either. */
function ask<T>(name: string, question: (about: T) => unknown, about: T, ctx: CallContext): unknown {
  let answer: unknown;
  try {
    answer = question(about);
  } catch (cause) {
    throw new TypeError(`idempotency: ${name} threw for tool "${ctx.tool}", which was not called`, { cause });
  }
  if (answer instanceof Promise) answer.catch(() => undefined);
  return answer;
}

function checkKey(key: unknown, path: string): string {
  if (typeof key !== "string") {
    throw new TypeError(`${path} must be a string, got ${key === null ? "null" : typeof key}`);
  }
  if (key.length < 1 || key.length > MAX_KEY) {
    throw new RangeError(`${path} must have from 1 to ${MAX_KEY} characters, got ${key.length}`);
  }
  if (LONE_SURROGATE.test(key)) throw new TypeError(`${path} must be text: it holds half of a surrogate pair`);
  return key;
}

/**
 * The key of a call: its own, else the one that the user's function makes; `undefined` for a call without.
 *
 * @throws TypeError or RangeError for something that is no key, and when the function throws
 */
export function keyOf(
  ctx: CallContext,
  generate: ((ctx: CallContext) => string | undefined) | undefined,
): string | undefined {
  const given = ctx.options.idempotencyKey;
  if (given !== undefined) return checkKey(given, "idempotency: idempotencyKey");
  const made = generate === undefined ? undefined : ask("key", generate, ctx, ctx);
  return made === undefined
    ? undefined
    : checkKey(made, `idempotency: idempotencyKey, made by key for tool "${ctx.tool}",`);
}

/** @throws TypeError when the user's function throws or gives no string */
export function scopeOf(ctx: CallContext, scope: string | ((ctx: CallContext) => string) | undefined): string {
  if (typeof scope !== "function") return scope ?? "";
  const answer = ask("scope", scope, ctx, ctx);
  if (typeof answer === "string") return answer;
  throw new TypeError(
    `idempotency: scope must give a string, got ${typeof answer} for tool "${ctx.tool}", which was not called`,
  );
}

/**
 * The argument in which the tool takes the key; `undefined` for none.
 *
 * @throws TypeError when the user's function throws or gives something else
 */
export function argumentOf(ctx: CallContext, name: (tool: string) => string | undefined): string | undefined {
  const answer = ask("keyArgument", name, ctx.tool, ctx);
  if (answer === undefined || typeof answer === "string") return answer;
  throw new TypeError(
    `idempotency: keyArgument must give a string or undefined, got ${answer === null ? "null" : typeof answer} for tool "${ctx.tool}", which was not called`,
  );
}

function short(text: string, limit: number): string {
  return text.length <= limit ? text : `sha256:${sha256(text)}`;
}

/**
 * What the record of a call is filed under. Each round of an input dialogue is a piece of work of its own; and a client and its
 * server may keep their records in one database, where the server must not take the client's record for a duplicate of its own.
 */
export function recordKeyOf({ tool, call, side }: CallContext, key: string, scope: string): string {
  const { round } = call.request;
  const parts: unknown[] = [VERSION, side, scope, call.peer.server ?? null, tool, key];
  if (round !== undefined) {
    const { inputResponses, requestState } = round;
    parts.push(sha256(canonicalJson({ inputResponses, requestState }, "input round")));
  }
  return short(JSON.stringify(parts), MAX_RECORD_KEY);
}

/** The key as it travels: a scope that keeps callers apart here must keep them apart at the server too. */
export function travellingKeyOf(key: string, scope: string): string {
  return scope === "" ? key : short(JSON.stringify([scope, key]), MAX_KEY);
}

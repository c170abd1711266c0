import { type CallContext, type Caller, middlewareOf } from "@mcp-tx/core";
import { type Item, serializeList } from "structured-headers";
import type { BreakerSource, LimitQuota, QuotaSource } from "./types.js";

/** The middlewares of a caller that have a method, such as limits and breakers with their controls. */
export function partsWith<T>(caller: Caller, method: keyof T & string): readonly T[] {
  const parts: readonly unknown[] = middlewareOf(caller) ?? [];
  return parts.filter((part): part is T => typeof (part as Partial<Record<string, unknown>>)[method] === "function");
}

/** The limits to tell of. */
export function limitsOf(caller: Caller, given: readonly QuotaSource[] | undefined): readonly QuotaSource[] {
  return given ?? partsWith<QuotaSource>(caller, "quota");
}

/** The breakers to look at. */
export function breakersOf(caller: Caller, given: readonly BreakerSource[] | undefined): readonly BreakerSource[] {
  return given ?? partsWith<BreakerSource>(caller, "snapshot");
}

const isNumber = (value: unknown): boolean => typeof value === "number" && !Number.isNaN(value);

/** What a limit tells, if it tells it right: its own key function may throw, and it may be anybody's. */
function quotaOf(source: QuotaSource, ctx: CallContext): LimitQuota | undefined {
  try {
    const { limit, remaining, windowMs, resetMs } = source.quota(ctx) ?? {};
    if (![limit, remaining, windowMs, resetMs].every(isNumber)) return undefined;
    return { limit, remaining, windowMs, resetMs } as LimitQuota;
  } catch {
    return undefined;
  }
}

/** Largest integer of a structured field. */
const MAX_INTEGER = 999_999_999_999_999;

function integer(value: number): number {
  return value >= 0 ? Math.min(Math.floor(value), MAX_INTEGER) : 0;
}

function seconds(ms: number): number {
  return integer(Math.ceil(ms / 1000));
}

/**
 * `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10) of the limits that a call counted for: integers,
 * what is left rounded down and times rounded up.
 */
export function rateLimitHeaders(
  limits: readonly QuotaSource[],
  ctx: CallContext | undefined,
): Readonly<Record<string, string>> {
  if (ctx === undefined) return {};
  const quotas = limits.map((limit) => quotaOf(limit, ctx)).filter((quota) => quota !== undefined);
  if (quotas.length === 0) return {};
  const name = (index: number): string => (index === 0 ? "default" : `limit-${index + 1}`);
  const policies = quotas.map(({ limit, windowMs }, index): Item => {
    const terms = [["q", Math.max(1, integer(limit))] as const, ["w", Math.max(1, seconds(windowMs))] as const];
    return [name(index), new Map(terms)];
  });
  const states = quotas.map(({ remaining, resetMs }, index): Item => {
    return [name(index), new Map([["r", integer(remaining)] as const, ["t", seconds(resetMs)] as const])];
  });
  return { "ratelimit-policy": serializeList(policies), ratelimit: serializeList(states) };
}

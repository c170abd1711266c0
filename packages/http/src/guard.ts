import { Refusal } from "./refusal.js";

/** Whom a handler answers. */
export interface GuardSettings {
  /** `undefined` for loopback, `"*"` among them for any. */
  readonly hosts: readonly string[] | undefined;
  readonly origins: readonly string[] | undefined;
}

const HOST = /^[^\s/@?#\\]+$/;

/** A host and its port, in the one way in which URLs write them. */
export function hostOf(text: string): { readonly name: string; readonly withPort: string } | undefined {
  if (!HOST.test(text)) return undefined;
  try {
    const { hostname, host } = new URL(`http://${text}`);
    return { name: hostname, withPort: host };
  } catch {
    return undefined;
  }
}

/** URLs write every form of an IPv4 address in the usual one. */
export function isLoopback(name: string): boolean {
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(name);
}

function isHost(host: NonNullable<ReturnType<typeof hostOf>>, hosts: readonly string[] | undefined): boolean {
  if (hosts === undefined) return isLoopback(host.name);
  return hosts.some((allowed) => allowed === "*" || allowed === host.name || allowed === host.withPort);
}

/**
 * Refuses requests that name another host: a page elsewhere can point its own name at this address (DNS rebinding).
 *
 * @throws Refusal
 */
export function checkHost(request: Request, { hosts }: GuardSettings): void {
  const host = hostOf(request.headers.get("host") ?? new URL(request.url).host);
  if (host === undefined || !isHost(host, hosts)) throw new Refusal("host_not_allowed");
}

function parsedOrigin(text: string): URL | undefined {
  try {
    const url = new URL(text);
    return url.origin === text.toLowerCase() ? url : undefined;
  } catch {
    return undefined;
  }
}

function isOwn(origin: URL, request: Request): boolean {
  return origin.host === hostOf(request.headers.get("host") ?? new URL(request.url).host)?.withPort;
}

function isListed(origin: URL, { hosts, origins }: GuardSettings): boolean {
  if (origins !== undefined) return origins.includes("*") || origins.includes(origin.origin);
  return hosts === undefined && isLoopback(origin.hostname);
}

/**
 * Refuses requests that pages of other origins make a browser send.
 *
 * @returns the origin, if it is another one that may call
 * @throws Refusal
 */
export function checkOrigin(request: Request, settings: GuardSettings): string | undefined {
  const text = request.headers.get("origin");
  if (text === null) return undefined;
  const origin = parsedOrigin(text);
  if (origin !== undefined && isListed(origin, settings)) return origin.origin;
  if (origin !== undefined && isOwn(origin, request)) return undefined;
  throw new Refusal("origin_not_allowed");
}

const EXPOSED = "retry-after, ratelimit, ratelimit-policy, www-authenticate";

/** Tells a browser that pages of an origin may read the answer. */
export function allowOrigin(response: Response, origin: string): Response {
  response.headers.set("access-control-allow-origin", origin);
  response.headers.set("access-control-expose-headers", EXPOSED);
  response.headers.append("vary", "Origin");
  return response;
}

const NAMES = /^[\w-]+(?:\s*,\s*[\w-]+)*$/;
const MAX_NAMES = 1000;

/** What a browser wants to know before it lets a page of another origin call. */
export function preflightHeaders(request: Request, allow: string): Readonly<Record<string, string>> {
  if (!request.headers.has("access-control-request-method")) return {};
  const asked = request.headers.get("access-control-request-headers") ?? "";
  const areNames = asked.length <= MAX_NAMES && NAMES.test(asked);
  return {
    "access-control-allow-methods": allow,
    ...(areNames && { "access-control-allow-headers": asked }),
    "access-control-max-age": "600",
  };
}

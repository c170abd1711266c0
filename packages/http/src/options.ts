import { defaultRuntime, type Runtime } from "@mcp-tx/core";
import { callback, number, type OptionReader, objectWith, oneOf, readOptions } from "@mcp-tx/core/options";
import { hostOf, isLoopback } from "./guard.js";
import type { Offer } from "./offer.js";
import type { BreakerSource, HttpHandlerOptions, InputSchema, QuotaSource, ToolSettings } from "./types.js";

const OWNER = "createHttpHandler";

type Given<K extends keyof HttpHandlerOptions> = NonNullable<HttpHandlerOptions[K]>;
/** The hook, where somebody is asked. */
export type Authorize = Exclude<Given<"authorize">, string>;

/** Options with their defaults. */
export interface Settings {
  readonly basePath: string;
  readonly offer: Offer;
  /** `undefined` lets everybody in. */
  readonly authorize: Authorize | undefined;
  readonly hosts: readonly string[] | undefined;
  readonly origins: readonly string[] | undefined;
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
  readonly maxDepth: number;
  readonly maxTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly listTools: HttpHandlerOptions["listTools"];
  readonly toolsTtlMs: number;
  readonly redactsToolErrors: boolean;
  readonly rateLimits: readonly QuotaSource[] | undefined;
  readonly circuitBreakers: readonly BreakerSource[] | undefined;
  readonly checks: Given<"checks">;
  readonly heartbeatMs: number;
  readonly info: { readonly title: string; readonly version: string };
  readonly onError: HttpHandlerOptions["onError"];
  readonly runtime: Runtime;
}

const BASE_PATH = /^(?:\/[\w.~-]+)*$/;

const basePath: OptionReader<string> = (value, path) => {
  if (value === undefined) return "";
  if (typeof value === "string" && BASE_PATH.test(value)) return value;
  throw new TypeError(`${path} must be "" or a path such as "/mcp", without a slash at its end`);
};

const maxTimeout = number({ min: 0, above: true }, undefined);

const input: OptionReader<InputSchema | undefined> = (value, path) => {
  if (value === undefined) return undefined;
  const standard = (value as Partial<InputSchema> | null)?.["~standard"];
  if (standard?.version === 1 && typeof standard.validate === "function") return value as InputSchema;
  throw new TypeError(`${path} must be a Standard Schema, such as one of zod, valibot or arktype`);
};

/** As a list reader, of entries that `read` gives. */
function list<T>(read: OptionReader<T>): OptionReader<readonly T[] | undefined> {
  return (value, path) => {
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) throw new TypeError(`${path} must be an array`);
    return value.map((entry, index) => read(entry, `${path}[${index}]`));
  };
}

const toolName: OptionReader<string> = (value, path) => {
  if (typeof value === "string" && value !== "") return value;
  throw new TypeError(`${path} must be the name of a tool, a non-empty string`);
};

const tools: OptionReader<Offer | undefined> = (value, path) => {
  if (value === undefined) return undefined;
  if (value === "all") return { settings: undefined };
  if (Array.isArray(value)) {
    return { settings: new Map(value.map((name, index) => [toolName(name, `${path}[${index}]`), {}])) };
  }
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${path} must be "all", an array of names, or an object of settings by name`);
  }
  const settings = Object.entries(value).map(([name, given]): [string, ToolSettings] => [
    name,
    readOptions(`${path}.${name}`, given, { input, maxTimeoutMs: maxTimeout }),
  ]);
  return { settings: new Map(settings) };
};

const authorize: OptionReader<"anyone" | Authorize | undefined> = (value, path) => {
  if (value === undefined || value === "anyone" || typeof value === "function") return value as Authorize;
  throw new TypeError(`${path} must be "anyone" or a function (request, info) => principal`);
};

const host: OptionReader<string> = (value, path) => {
  if (value === "*") return value;
  const parsed = typeof value === "string" ? hostOf(value) : undefined;
  if (parsed !== undefined) return parsed.withPort;
  throw new TypeError(`${path} must be a host such as "api.example.com", with a port or without, or "*"`);
};

const origin: OptionReader<string> = (value, path) => {
  if (value === "*") return value;
  try {
    if (typeof value === "string" && new URL(value).origin === value.toLowerCase()) return value.toLowerCase();
  } catch {
    // Said below.
  }
  throw new TypeError(`${path} must be an origin such as "https://app.example.com", without a path, or "*"`);
};

const checks: OptionReader<Given<"checks">> = (value, path) => {
  if (value === undefined) return {};
  const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
  if (entries.length > 0 && entries.every(([, check]) => typeof check === "function")) return { ...value };
  throw new TypeError(`${path} must be an object of functions () => { status }`);
};

const text =
  (fallback: string): OptionReader<string> =>
  (value, path) => {
    if (value === undefined) return fallback;
    if (typeof value === "string") return value;
    throw new TypeError(`${path} must be a string`);
  };

const info: OptionReader<Settings["info"]> = (value, path) =>
  readOptions(path, value, { title: text("MCP tools"), version: text("1.0.0") });

function required<T>(reader: OptionReader<T | undefined>): OptionReader<T> {
  return (value, path) => {
    const read = reader(value, path);
    if (read === undefined) throw new TypeError(`${path} must be an object`);
    return read;
  };
}

const readers = {
  basePath,
  tools,
  authorize,
  hosts: list(host),
  origins: list(origin),
  maxBodyBytes: number({ min: 1, integer: true }, 1_048_576),
  bodyTimeoutMs: number({ min: 0, above: true }, 10_000),
  maxDepth: number({ min: 2, integer: true }, 64),
  maxTimeoutMs: number({ min: 0, above: true }, 60_000),
  connectTimeoutMs: number({ min: 0, above: true }, 10_000),
  listTools: callback<Given<"listTools">>(),
  toolsTtlMs: number({ min: 0, infinite: true }, 60_000),
  toolErrors: oneOf(["expose", "redact"], "redact"),
  rateLimits: list(required(objectOrFunctionWith<QuotaSource>("quota"))),
  circuitBreakers: list(required(objectOrFunctionWith<BreakerSource>("snapshot"))),
  checks,
  heartbeatMs: number({ min: 0, above: true }, 15_000),
  info,
  onError: callback<Given<"onError">>(),
  runtime: objectWith<Runtime>("now", "wallNow", "sleep", "random"),
};

/** A middleware is a function with its controls on it. */
function objectOrFunctionWith<T>(method: keyof T & string): OptionReader<T | undefined> {
  const object = objectWith<T>(method);
  return (value, path) => {
    const isFine = typeof value === "function" && typeof Reflect.get(value, method) === "function";
    return isFine ? (value as T) : object(value, path);
  };
}

function isLoopbackAlone(hosts: readonly string[] | undefined): boolean {
  return hosts === undefined || hosts.every((name) => isLoopback(hostOf(name)?.name ?? name));
}

/** Who opens a handler to others must say what they may do, and who they are. */
function stated<T>(value: T | undefined, fallback: T, isLocal: boolean, name: string, example: string): T {
  if (value !== undefined) return value;
  if (isLocal) return fallback;
  throw new TypeError(`${OWNER}: ${name} is required where hosts names more than loopback; ${example}`);
}

/** @throws TypeError or RangeError naming the option */
export function readSettings(options: HttpHandlerOptions): Settings {
  const { tools, authorize, toolErrors, runtime = defaultRuntime, ...read } = readOptions(OWNER, options, readers);
  const isLocal = isLoopbackAlone(read.hosts);
  const admits = stated(authorize, "anyone", isLocal, "authorize", 'give a function, or "anyone" to let everybody in');
  return {
    ...read,
    runtime,
    offer: stated(tools, { settings: undefined }, isLocal, "tools", 'name them, or "all" to offer every tool'),
    authorize: admits === "anyone" ? undefined : admits,
    hosts: isLocal && read.hosts === undefined ? undefined : read.hosts,
    redactsToolErrors: toolErrors === "redact",
  };
}

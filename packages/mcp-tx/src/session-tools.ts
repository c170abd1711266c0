import type { ListToolsOptions, listTools, Runtime, ToolInfo } from "@mcp-tx/core";
import { number, type OptionReader, readOptions } from "@mcp-tx/core/options";
import type { Connector } from "./session-connector.js";
import { refusalOf } from "./session-errors.js";
import type { Link } from "./session-link.js";

const EXPIRED = 404;

const signalReader: OptionReader<AbortSignal | undefined> = (value, path) => {
  if (value === undefined) return undefined;
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  if (typeof aborted === "boolean" && typeof addEventListener === "function") return value as AbortSignal;
  throw new TypeError(`${path} must be an AbortSignal`);
};

/** The HTTP status that an SDK's error carries: v1 in `code`, v2 in `status`. */
function isExpired(error: unknown, link: Link): boolean {
  if (!link.hasSession || typeof error !== "object" || error === null) return false;
  const { code, status } = error as { readonly code?: unknown; readonly status?: unknown };
  return code === EXPIRED || status === EXPIRED;
}

interface Listing {
  readonly connector: Connector;
  readonly list: typeof listTools;
  readonly runtime: Runtime;
  readonly name: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** Milliseconds for all of it; `undefined` leaves the listing its own limit. */
  readonly timeoutMs: number | undefined;
  readonly deadline: number;
}

async function connected({ connector, name, signal, deadline }: Listing): Promise<Link> {
  try {
    return await connector.acquire({ signal, deadline });
  } catch (error) {
    throw refusalOf(error, "tools/list", name);
  }
}

async function read(listing: Listing, link: Link): Promise<readonly ToolInfo[]> {
  const { list, runtime, signal, timeoutMs, deadline } = listing;
  const edition = link.toolChanges;
  if (link.listing?.edition === edition) return link.listing.tools;
  const left = timeoutMs === undefined ? undefined : Math.max(1, deadline - runtime.now());
  link.enter();
  try {
    const tools = Object.freeze(await list(link.client, { signal, timeoutMs: left }));
    link.hasAnswered = true;
    if (link.tellsChanges) link.listing = { edition, tools };
    return tools;
  } finally {
    link.leave();
  }
}

/** Lists the tools over the present connection or the next one; once more, when the server no longer knows the session. */
export async function readTools(
  connector: Connector,
  { runtime, name }: { readonly runtime: Runtime; readonly name: string | undefined },
  list: typeof listTools,
  options: ListToolsOptions | undefined,
): Promise<readonly ToolInfo[]> {
  const { signal, timeoutMs } = readOptions("tools", options, {
    signal: signalReader,
    timeoutMs: number({ min: 0, above: true }, undefined),
  });
  const deadline = timeoutMs === undefined ? Infinity : runtime.now() + timeoutMs;
  const listing = { connector, list, runtime, name, signal, timeoutMs, deadline };
  const link = await connected(listing);
  try {
    return await read(listing, link);
  } catch (error) {
    if (!isExpired(error, link)) throw error;
    link.lose("expired");
    return read(listing, await connected(listing));
  }
}

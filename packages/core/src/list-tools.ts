import type { ToolAnnotations } from "./contract.js";
import { asBag, type Bag } from "./wire.js";

/** A tool as `tools/list` describes it; whatever else the server says of it is kept. */
export interface ToolInfo {
  readonly name: string;
  readonly title?: string | undefined;
  readonly description?: string | undefined;
  /** JSON Schema of the arguments. */
  readonly inputSchema?: Bag | undefined;
  /** JSON Schema of `structuredContent`. */
  readonly outputSchema?: Bag | undefined;
  /** What the server claims of the tool. */
  readonly annotations?: ToolAnnotations | undefined;
  readonly [key: string]: unknown;
}

/** Options of {@link listTools}. */
export interface ListToolsOptions {
  /** Stops waiting for the server. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Milliseconds for all pages together.
   *
   * @defaultValue 5000
   */
  readonly timeoutMs?: number | undefined;
}

/** What of an SDK client, wrapped or not, is used here. */
interface Requester {
  request?(request: unknown, schema: unknown, options?: unknown): Promise<unknown>;
}

/** Accepts any answer: a schema to v1 (`safeParse`) and to v2 (Standard Schema). */
export const ANYTHING: object = {
  safeParse: (data: unknown) => ({ success: true, data }),
  "~standard": { version: 1, vendor: "mcp-tx", validate: (value: unknown) => ({ value }) },
};

/** A server that never stops giving pages is not followed for ever. */
export const MAX_PAGES = 20;
/** Milliseconds for all pages together. */
export const LIST_TIMEOUT_MS = 5000;

function isTool(value: unknown): value is ToolInfo {
  return typeof asBag(value)?.name === "string";
}

/**
 * All tools of a server, over an SDK client of either line, wrapped or not.
 *
 * @remarks
 * Sends raw `tools/list` requests. The SDK's own `listTools` is not used: it turns on output validation, which changes what later
 * calls do.
 *
 * @throws what the client throws; an Error for a list without end; TypeError for something that is no client
 */
export async function listTools(client: object, options: ListToolsOptions = {}): Promise<readonly ToolInfo[]> {
  const { signal, timeoutMs = LIST_TIMEOUT_MS } = options;
  const requester = client as Requester;
  if (typeof requester?.request !== "function") {
    throw new TypeError("listTools: client must be an MCP SDK client with a request method");
  }
  const until = performance.now() + timeoutMs;
  const tools: ToolInfo[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const params = cursor === undefined ? undefined : { cursor };
    const request = { method: "tools/list", ...(params && { params }) };
    const timeout = Math.max(1, Math.ceil(until - performance.now()));
    const answer = asBag(await requester.request(request, ANYTHING, { timeout, ...(signal && { signal }) }));
    const found: readonly unknown[] = Array.isArray(answer?.tools) ? answer.tools : [];
    tools.push(...found.filter(isTool));
    cursor = typeof answer?.nextCursor === "string" && answer.nextCursor !== "" ? answer.nextCursor : undefined;
    if (cursor === undefined) return tools;
  }
  throw new Error(`listTools: the server gave more than ${MAX_PAGES} pages of tools`);
}

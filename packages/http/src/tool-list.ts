import type { ToolInfo } from "@mcp-tx/core";
import { Refusal } from "./refusal.js";

const PAGE_SIZE = 100;
const MAX_PAGE_SIZE = 1000;
const DIGITS = /^\d{1,9}$/;

function wholeNumber(text: string | null, name: string, fallback: number, max: number): number {
  if (text === null) return fallback;
  const value = DIGITS.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= max) return value;
  throw new Refusal("bad_request", { errors: [{ pointer: `?${name}`, detail: `must be from 1 to ${max}` }] });
}

/** What of a tool is public: what the protocol says of it, without `_meta`. */
function publicTool({ name, title, description, inputSchema, outputSchema, annotations }: ToolInfo): ToolInfo {
  return {
    name,
    ...(title !== undefined && { title }),
    ...(description !== undefined && { description }),
    ...(inputSchema !== undefined && { inputSchema }),
    ...(outputSchema !== undefined && { outputSchema }),
    ...(annotations !== undefined && { annotations }),
  };
}

/**
 * A page of the tools: `?limit=` of them, from `?cursor=` on.
 *
 * @throws Refusal for parameters that are none
 */
export function toolPage(tools: readonly ToolInfo[], query: URLSearchParams): string {
  const limit = wholeNumber(query.get("limit"), "limit", PAGE_SIZE, MAX_PAGE_SIZE);
  // The cursor counts the tools that were shown; to clients it is opaque.
  const shown = wholeNumber(query.get("cursor"), "cursor", 0, 999_999_999);
  const page = tools.slice(shown, shown + limit).map(publicTool);
  const next = shown + page.length;
  return JSON.stringify({ tools: page, ...(next < tools.length && { nextCursor: String(next) }) });
}

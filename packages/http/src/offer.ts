import { type Caller, listTools, type ToolInfo } from "@mcp-tx/core";
import type { HttpHandlerOptions, ToolSettings } from "./types.js";

/** Which tools are offered, and how. */
export interface Offer {
  /** `undefined` offers every tool of the server. */
  readonly settings: ReadonlyMap<string, ToolSettings> | undefined;
}

/** Whether a tool is offered, be there one of that name or not. */
export function offers({ settings }: Offer, tool: string): boolean {
  return settings === undefined || settings.has(tool);
}

/** Reads a list of tools. */
export type ToolLister = (signal: AbortSignal) => Promise<readonly ToolInfo[]>;

interface MayList {
  tools?: unknown;
  request?: unknown;
}

/** Whether a caller can say which tools there are. */
export function canList(caller: Caller): boolean {
  const { tools, request } = caller as Caller & MayList;
  return typeof tools === "function" || typeof request === "function";
}

/** The server's tools, as the option, the caller or the protocol tells; `undefined` where nobody can. */
export function listerOf(
  caller: Caller,
  listWith: HttpHandlerOptions["listTools"],
  timeoutMs: number,
): ToolLister | undefined {
  if (listWith !== undefined) return (signal) => listWith(caller, { signal });
  if (!canList(caller)) return undefined;
  const { tools } = caller as { tools?: (options: { readonly signal: AbortSignal }) => Promise<readonly ToolInfo[]> };
  if (typeof tools === "function") return (signal) => tools.call(caller, { signal });
  return (signal) => listTools(caller, { signal, timeoutMs });
}

/** Somebody else's list: only what is a tool counts. */
export function toolsIn(list: unknown): readonly ToolInfo[] {
  if (!Array.isArray(list)) throw new TypeError("listTools must give an array of tools");
  return list.filter((tool) => typeof (tool as Partial<ToolInfo> | null)?.name === "string");
}

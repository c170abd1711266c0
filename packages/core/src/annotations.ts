import type { CallContext, ToolAnnotations } from "./contract.js";
import { asBag } from "./wire.js";

/** Sends one raw `tools/list` request, so that no SDK state (output validation) changes. */
export type ListPage = (cursor: string | undefined, ctx: CallContext) => Promise<unknown>;

const MAX_PAGES = 20;

function readTools(page: unknown, into: Map<string, ToolAnnotations>): string | undefined {
  const bag = asBag(page);
  const tools: readonly unknown[] = Array.isArray(bag?.tools) ? bag.tools : [];
  for (const entry of tools) {
    const tool = asBag(entry);
    if (typeof tool?.name === "string") into.set(tool.name, asBag(tool.annotations) ?? {});
  }
  return typeof bag?.nextCursor === "string" && bag.nextCursor !== "" ? bag.nextCursor : undefined;
}

/** Reads every tool's annotations, at most 20 pages. */
export async function listAnnotations(list: ListPage, ctx: CallContext): Promise<ReadonlyMap<string, ToolAnnotations>> {
  const found = new Map<string, ToolAnnotations>();
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    cursor = readTools(await list(cursor, ctx), found);
    if (cursor === undefined) break;
  }
  return found;
}

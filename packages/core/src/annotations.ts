import type { CallContext, ToolAnnotations } from "./contract.js";
import { LIST_TIMEOUT_MS, MAX_PAGES } from "./list-tools.js";
import { asBag } from "./wire.js";

/** Sends one raw `tools/list` request, so that no SDK state (output validation) changes; bounded by `timeoutMs`. */
export type ListPage = (cursor: string | undefined, timeoutMs: number, ctx: CallContext) => Promise<unknown>;

type Listing = ReadonlyMap<string, ToolAnnotations>;

function readTools(page: unknown, into: Map<string, ToolAnnotations>): string | undefined {
  const bag = asBag(page);
  const tools: readonly unknown[] = Array.isArray(bag?.tools) ? bag.tools : [];
  for (const entry of tools) {
    const tool = asBag(entry);
    if (typeof tool?.name === "string") into.set(tool.name, asBag(tool.annotations) ?? {});
  }
  return typeof bag?.nextCursor === "string" && bag.nextCursor !== "" ? bag.nextCursor : undefined;
}

/** The tool annotations of one connection: read when first asked for, kept until the server says they changed. */
export class AnnotationCache {
  readonly #list: ListPage;
  #listing: Promise<Listing> | undefined;
  #edition = 0;

  constructor(list: ListPage) {
    this.#list = list;
  }

  /**
   * The annotations of a tool; `undefined` when it has none or they cannot be read, which means untrusted.
   *
   * @param edition - how often the list has changed: of another edition nothing is kept
   */
  async get(tool: string, ctx: CallContext, edition: number): Promise<ToolAnnotations | undefined> {
    if (edition !== this.#edition) this.clear();
    this.#edition = edition;
    this.#listing ??= this.#read(ctx);
    const listing = this.#listing;
    try {
      return (await listing).get(tool);
    } catch {
      if (this.#listing === listing) this.#listing = undefined;
      return undefined;
    }
  }

  clear(): void {
    this.#listing = undefined;
  }

  async #read(ctx: CallContext): Promise<Listing> {
    const { runtime } = ctx.call;
    const until = runtime.now() + LIST_TIMEOUT_MS;
    const found = new Map<string, ToolAnnotations>();
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      cursor = readTools(await this.#list(cursor, Math.max(1, until - runtime.now()), ctx), found);
      if (cursor === undefined) break;
    }
    return found;
  }
}

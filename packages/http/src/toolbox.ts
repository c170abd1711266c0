import type { Caller, Runtime, ToolInfo } from "@mcp-tx/core";
import { listerOf, type Offer, offers, type ToolLister, toolsIn } from "./offer.js";
import { Refusal } from "./refusal.js";
import type { HttpHandlerOptions } from "./types.js";
import { within } from "./waiting.js";

/** What a {@link Toolbox} is made from. */
export interface ToolboxSettings {
  readonly offer: Offer;
  readonly listTools: HttpHandlerOptions["listTools"];
  readonly toolsTtlMs: number;
  readonly connectTimeoutMs: number;
  readonly runtime: Runtime;
}

interface Stock {
  readonly tools: readonly ToolInfo[];
  readonly byName: ReadonlyMap<string, ToolInfo>;
  readonly readAt: number;
}

/** A tool that is not in the list is looked for anew, but not more often: a flood of wrong names must not reach the server. */
const MIN_REFRESH_MS = 1000;
/** The longest delay that a process timer takes. */
const MAX_TIMER_MS = 2_147_483_647;

/** What is wrong with a caller that cannot say which tools it has, where all of them are offered. */
export function unlistable(): TypeError {
  return new TypeError(
    "createHttpHandler: listTools is required, or tools that names them: this caller cannot say which tools it has",
  );
}

function tooSlow(): Error {
  return new Error("createHttpHandler: the list of tools took longer than connectTimeoutMs");
}

/** The tools that are offered, as the server describes them. */
export class Toolbox {
  readonly #settings: ToolboxSettings;
  #stock: Stock | undefined;
  #reading: Promise<Stock> | undefined;

  constructor(settings: ToolboxSettings) {
    this.#settings = settings;
  }

  /** All that are offered and there, in the server's order. @throws what the listing throws, when none was ever read */
  async list(caller: Caller): Promise<readonly ToolInfo[]> {
    const { tools } = await this.#current(caller, this.#settings.toolsTtlMs);
    return tools.filter(({ name }) => offers(this.#settings.offer, name));
  }

  /** One by its name; `undefined` when the server has none. One that is known does not wait for a list that is due. */
  async find(caller: Caller, name: string): Promise<ToolInfo | undefined> {
    const known = this.#stock?.byName.get(name);
    if (known === undefined) return (await this.#current(caller, MIN_REFRESH_MS)).byName.get(name);
    if (this.#isDue(this.#settings.toolsTtlMs)) this.#refresh(caller).catch(() => undefined);
    return known;
  }

  #isDue(maxAgeMs: number): boolean {
    return this.#stock === undefined || this.#settings.runtime.now() - this.#stock.readAt >= maxAgeMs;
  }

  /** Reads the list, once for all who ask meanwhile, and not for longer than `connectTimeoutMs`. */
  #refresh(caller: Caller): Promise<Stock> {
    const { runtime, connectTimeoutMs: ms } = this.#settings;
    const late = (): Refusal => new Refusal("transport_error", { execution: "not-executed", cause: tooSlow() });
    this.#reading ??= within(this.#read(caller), { runtime, ms, refusal: late }).finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #current(caller: Caller, maxAgeMs: number): Promise<Stock> {
    const stock = this.#stock;
    if (stock !== undefined && !this.#isDue(maxAgeMs)) return stock;
    try {
      return await this.#refresh(caller);
    } catch (error) {
      // What was true a while ago is a better answer than none: the server has the last word anyway.
      if (stock !== undefined) return stock;
      throw error;
    }
  }

  async #read(caller: Caller): Promise<Stock> {
    const readAt = this.#settings.runtime.now();
    const tools = toolsIn(
      await this.#lister(caller)(AbortSignal.timeout(Math.min(this.#settings.connectTimeoutMs, MAX_TIMER_MS))),
    );
    const stock = { tools, byName: new Map(tools.map((tool) => [tool.name, tool])), readAt };
    this.#stock = stock;
    return stock;
  }

  #lister(caller: Caller): ToolLister {
    const { offer, listTools, connectTimeoutMs } = this.#settings;
    const lister = listerOf(caller, listTools, connectTimeoutMs);
    if (lister !== undefined) return lister;
    const names = [...(offer.settings?.keys() ?? [])];
    if (offer.settings === undefined) throw new Refusal("internal_error", { cause: unlistable() });
    return async () => names.map((name) => ({ name }));
  }
}

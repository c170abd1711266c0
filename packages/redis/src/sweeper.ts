import { type Connection, isYes } from "./connection.js";
import { TIDY } from "./idempotency-lua.js";

/** Keys that the server looks at for each page. */
const PAGE = 500;

function globOf(text: string): string {
  return text.replace(/[\\*?[\]]/g, "\\$&");
}

/**
 * Looks through the keys of all servers, page by page, and tidies records. It goes on where the sweep before it stopped, so that
 * small limits do not look at the same keys again and again.
 */
export class Sweeper {
  readonly #connection: Connection;
  readonly #recordPrefix: string;
  #walk: AsyncGenerator<string[], undefined> | undefined;
  #left: string[] = [];

  constructor(connection: Connection, recordPrefix: string) {
    this.#connection = connection;
    this.#recordPrefix = recordPrefix;
  }

  /** Gives fewer than `limit` only after it has seen every key that was there all the time. */
  async sweep(limit: number, driverPrefix: string): Promise<number> {
    if (!(limit > 0)) return 0;
    const before = this.#walk === undefined ? 0 : await this.#go(limit, driverPrefix);
    return before < limit ? before + (await this.#go(limit - before, driverPrefix)) : before;
  }

  /** To the end of a walk, or until `limit` records were changed. */
  async #go(limit: number, driverPrefix: string): Promise<number> {
    this.#walk ??= this.#pages(driverPrefix);
    const walk = this.#walk;
    let changed = 0;
    while (changed < limit) {
      if (this.#left.length === 0) {
        const { done, value } = await this.#nextPage(walk);
        if (done === true) return changed;
        this.#left = value.map((key) => key.slice(driverPrefix.length));
      }
      // No more at once than may be changed.
      changed += await this.#tidy(this.#left.splice(0, limit - changed));
    }
    return changed;
  }

  async #nextPage(walk: AsyncGenerator<string[], undefined>): Promise<IteratorResult<string[], undefined>> {
    let isOver = true;
    try {
      const page = await walk.next();
      isOver = page.done === true;
      return page;
    } finally {
      // Also after a failure: a generator that threw has nothing more to give.
      if (isOver && this.#walk === walk) this.#walk = undefined;
    }
  }

  async #tidy(keys: readonly string[]): Promise<number> {
    const changes = await Promise.all(keys.map((key) => this.#connection.run(TIDY, [key], [], isYes)));
    return changes.filter(Boolean).length;
  }

  async *#pages(driverPrefix: string): AsyncGenerator<string[], undefined> {
    const pattern = `${globOf(driverPrefix + this.#recordPrefix)}*`;
    for (const node of await this.#connection.nodes()) {
      let cursor = "0";
      do {
        const page = await node.scan(cursor, pattern, PAGE);
        yield [...page.keys];
        cursor = page.cursor;
      } while (cursor !== "0");
    }
    return undefined;
  }
}

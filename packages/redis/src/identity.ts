import { randomUUID } from "node:crypto";
import { type Connection, listOf, textOf } from "./connection.js";
import { MARKER } from "./identity-lua.js";
import { type Keys, PARTITIONS } from "./keys.js";

/** Repairs before giving up. One is enough, but for other processes that repair at the same time. */
const MAX_ROUNDS = 30;
const ROOT = 0;

/**
 * The identity of the data: the same random name in a marker for each partition. A marker that is gone was lost with the records
 * beside it, and then the data is another: all markers get a new name. Every write is a compare-and-set, so that any number of
 * processes may do this at once and none of them hides a loss that happens meanwhile.
 *
 * @remarks
 * The first marker decides: markers that are there and differ from it take its name. It is the last one to be made, so that
 * processes that begin at once agree, and the first one to be changed, so that nobody takes a loss for something half made.
 */
export class Identity {
  readonly #connection: Connection;
  readonly #keys: Keys;
  #id: string | undefined;
  #driverPrefix: string | undefined;

  constructor(connection: Connection, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** As last learned. */
  get known(): string | undefined {
    return this.#id;
  }

  /** What the client puts before each key, once the server was reached. */
  get driverPrefix(): string | undefined {
    return this.#driverPrefix;
  }

  /** Goes to the server without changing anything there. */
  async reach(): Promise<void> {
    await this.#mark(ROOT, "", "");
  }

  /** Looks at all markers, and makes or repairs them as it must. */
  async learn(): Promise<string> {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const ids = await this.#each((index) => this.#mark(index, "", ""));
      const root = ids[ROOT] ?? "";
      if (root !== "" && ids.every((id) => id === root)) {
        this.#id = root;
        return root;
      }
      await this.#repair(root, ids);
    }
    throw new Error("redisStore: the identity of the data could not be learned: others keep changing it; try again");
  }

  async #repair(root: string, ids: readonly string[]): Promise<void> {
    const isLost = root !== "" && ids.includes("");
    const id = root === "" || isLost ? randomUUID() : root;
    if (isLost && (await this.#mark(ROOT, root, id)) !== id) return;
    await this.#each((index) => (index === ROOT ? Promise.resolve(id) : this.#mark(index, ids[index] ?? "", id)));
    if (root === "") await this.#mark(ROOT, "", id);
  }

  #each(act: (index: number) => Promise<string>): Promise<string[]> {
    return Promise.all(Array.from({ length: PARTITIONS }, (_, index) => act(index)));
  }

  #mark(index: number, expected: string, id: string): Promise<string> {
    const marker = this.#keys.marker(index);
    return this.#connection.run(MARKER, [marker], [expected, id], (reply) => {
      const [held, name] = listOf(reply).map(textOf);
      this.#driverPrefix = name?.slice(0, -marker.length);
      return held ?? "";
    });
  }
}

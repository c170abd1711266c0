import type { OptionReader } from "@mcp-tx/core/options";

/**
 * Into how many slots of a cluster the records of one store go. Each holds a marker beside its records, which is how a claim
 * notices that they were lost, and all of the markers are read when a store is made ready.
 */
export const PARTITIONS = 64;

const MAX_PREFIX_LENGTH = 100;

/** Names the keys of one store. */
export class Keys {
  readonly #records: readonly string[];
  readonly #markers: readonly string[];
  readonly #rates: string;
  /** What the keys of all records begin with. */
  readonly recordPrefix: string;

  constructor(prefix: string) {
    // The part in braces alone decides on the slot: a record and its marker are always on one server.
    const tags = Array.from({ length: PARTITIONS }, (_, index) => `{${index.toString(16).padStart(2, "0")}}`);
    this.recordPrefix = `${prefix}record:`;
    this.#records = tags.map((tag) => `${this.recordPrefix}${tag}:`);
    this.#markers = tags.map((tag) => `${prefix}store:${tag}`);
    this.#rates = `${prefix}rate:`;
  }

  record(key: string): string {
    return `${this.#records[partition(key)]}${key}`;
  }

  /** The record of `key` and the marker beside it. */
  claimed(key: string): [record: string, marker: string] {
    const index = partition(key);
    return [`${this.#records[index]}${key}`, this.marker(index)];
  }

  marker(index: number): string {
    return this.#markers[index] ?? "";
  }

  rate(key: string): string {
    return `${this.#rates}${key}`;
  }
}

/** Units at the end of a key that decide on its partition: keys differ there, and a claim has no time for more. */
const TAIL = 16;

/** FNV-1a over UTF-16 units: the same in every process. */
function partition(key: string): number {
  let hash = 0x811c9dc5;
  for (let index = Math.max(0, key.length - TAIL); index < key.length; index += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  }
  return (hash ^ (hash >>> 16)) & (PARTITIONS - 1);
}

/** What the keys of a store begin with. */
export function prefixOr(fallback: string): OptionReader<string> {
  return (value, path) => {
    if (value === undefined) return fallback;
    if (typeof value !== "string") throw new TypeError(`${path} must be a string, got ${typeof value}`);
    if (value === "" || value.length > MAX_PREFIX_LENGTH || /[{}\p{Surrogate}]/u.test(value)) {
      throw new RangeError(
        `${path} must have 1 to ${MAX_PREFIX_LENGTH} characters, no braces among them, which decide where a cluster keeps a key, ` +
          `got ${JSON.stringify(value)}`,
      );
    }
    return value;
  };
}

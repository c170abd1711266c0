import { OTHER } from "./semconv.js";

/** Keeps the number of different names in metrics and span names within bounds: the first so many have a place. */
export class Names {
  readonly #max: number;
  readonly #known: Set<string> = new Set();

  constructor(max: number) {
    this.#max = max;
  }

  of(name: string): string {
    if (this.#known.has(name)) return name;
    if (this.#known.size >= this.#max) return OTHER;
    this.#known.add(name);
    return name;
  }
}

/** What a {@link DueHeap} holds. */
export interface Due {
  /** When something is to be done about it; `Infinity` for never, and then it is in no heap. */
  due: number;
  /** Where it is in its heap; -1 when it is in none. Kept by the heap. */
  place: number;
}

/** Things by the time at which they fall due, first things first: a binary heap in which each one knows its place. */
export class DueHeap<T extends Due> {
  readonly #items: T[] = [];

  /** The first one that is due by `now`. */
  firstDue(now: number): T | undefined {
    const first = this.#items[0];
    return first !== undefined && first.due <= now ? first : undefined;
  }

  /** Sets when an item falls due, whether it is in the heap or not. */
  set(item: T, due: number): void {
    item.due = due;
    if (due === Infinity) this.delete(item);
    else this.#place(item);
  }

  delete(item: T): void {
    const { place } = item;
    if (place < 0) return;
    item.place = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#put(last, place);
    this.#settle(last);
  }

  #place(item: T): void {
    if (item.place < 0) {
      item.place = this.#items.length;
      this.#items.push(item);
    }
    this.#settle(item);
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.place = place;
  }

  /** Moves an item up or down to where it belongs. */
  #settle(item: T): void {
    this.#rise(item);
    this.#sink(item);
  }

  #rise(item: T): void {
    while (item.place > 0) {
      const { place } = item;
      const parent = this.#items[(place - 1) >>> 1];
      if (parent === undefined || parent.due <= item.due) return;
      this.#put(item, parent.place);
      this.#put(parent, place);
    }
  }

  #sink(item: T): void {
    for (;;) {
      const { place } = item;
      const left = this.#items[2 * place + 1];
      const right = this.#items[2 * place + 2];
      const child = right !== undefined && left !== undefined && right.due < left.due ? right : left;
      if (child === undefined || item.due <= child.due) return;
      this.#put(item, child.place);
      this.#put(child, place);
    }
  }
}

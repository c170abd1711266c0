/** A member of one {@link Fifo} at a time. */
export interface FifoNode<T> {
  previous: T | undefined;
  next: T | undefined;
}

/** First in, first out; whoever is inside can leave in O(1). */
export class Fifo<T extends FifoNode<T>> {
  size = 0;
  first: T | undefined;
  #last: T | undefined;

  push(node: T): void {
    node.previous = this.#last;
    if (this.#last === undefined) this.first = node;
    else this.#last.next = node;
    this.#last = node;
    this.size += 1;
  }

  /** Takes a member out, wherever it stands. */
  remove(node: T): void {
    if (node.previous === undefined) this.first = node.next;
    else node.previous.next = node.next;
    if (node.next === undefined) this.#last = node.previous;
    else node.next.previous = node.previous;
    node.previous = undefined;
    node.next = undefined;
    this.size -= 1;
  }
}

import fc from "fast-check";
import { expect, test } from "vitest";
import { type Due, DueHeap } from "./memory-store-heap.js";

interface Item extends Due {
  readonly name: number;
}

function drain(heap: DueHeap<Item>, now: number): number[] {
  const names: number[] = [];
  for (let item = heap.firstDue(now); item !== undefined; item = heap.firstDue(now)) {
    names.push(item.due);
    heap.delete(item);
  }
  return names;
}

test("gives what is due, and nothing that is not", () => {
  const heap = new DueHeap<Item>();
  heap.set({ name: 1, due: 0, place: -1 }, 10);
  expect(heap.firstDue(9)).toBeUndefined();
  expect(heap.firstDue(10)?.name).toBe(1);
});

test("holds nothing that never falls due", () => {
  const heap = new DueHeap<Item>();
  const item = { name: 1, due: 0, place: -1 };
  heap.set(item, 5);
  heap.set(item, Infinity);
  expect(item.place).toBe(-1);
  expect(heap.firstDue(Infinity)).toBeUndefined();
});

test("gives things in their order, whatever was set and deleted before", () => {
  const step = fc.tuple(fc.nat(20), fc.option(fc.nat(50), { nil: undefined }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new DueHeap<Item>();
      const items = Array.from({ length: 21 }, (_, name): Item => ({ name, due: Infinity, place: -1 }));
      const dues = new Map<number, number>();
      for (const [name, due] of steps) {
        const item = items[name] as Item;
        if (due === undefined) heap.delete(item);
        else heap.set(item, due);
        if (due === undefined) dues.delete(name);
        else dues.set(name, due);
      }
      expect(drain(heap, 50)).toEqual([...dues.values()].sort((a, b) => a - b));
    }),
  );
});

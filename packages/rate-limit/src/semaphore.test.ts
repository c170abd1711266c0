import { expect, test } from "vitest";
import { Semaphore, type Waiter } from "./semaphore.js";

function waiter(name: string, granted: string[]): Waiter {
  return { previous: undefined, next: undefined, grant: () => void granted.push(name) };
}

/** A semaphore without a free slot, and those who wait for it. */
function crowded(limit: number, names: readonly string[]) {
  const semaphore = new Semaphore(limit);
  for (let slot = 0; slot < limit; slot += 1) semaphore.tryAcquire();
  const granted: string[] = [];
  const waiters = names.map((name) => waiter(name, granted));
  for (const each of waiters) semaphore.enqueue(each);
  return { semaphore, granted, waiters };
}

test("gives no more slots than the limit", () => {
  const semaphore = new Semaphore(2);
  expect([semaphore.tryAcquire(), semaphore.tryAcquire(), semaphore.tryAcquire()]).toEqual([true, true, false]);
  expect(semaphore.held).toBe(2);
});

test("hands a slot straight to the first in the queue, so that a newcomer gets none", () => {
  const { semaphore, granted } = crowded(1, ["first", "second"]);
  semaphore.release();
  expect(granted).toEqual(["first"]);
  expect(semaphore.tryAcquire()).toBe(false);
  expect(semaphore.held).toBe(1);
});

test("grants in the order of arrival, without those who left", () => {
  const { semaphore, granted, waiters } = crowded(1, ["a", "b", "c", "d"]);
  for (const index of [0, 2]) semaphore.leave(waiters[index] as Waiter);
  expect(semaphore.waiting).toBe(2);
  semaphore.release();
  semaphore.release();
  semaphore.release();
  expect(granted).toEqual(["b", "d"]);
  expect([semaphore.held, semaphore.waiting]).toEqual([0, 0]);
});

test("grants at once what a higher limit makes room for", () => {
  const { semaphore, granted } = crowded(1, ["a", "b", "c"]);
  semaphore.limit = 3;
  expect(granted).toEqual(["a", "b"]);
  expect([semaphore.held, semaphore.waiting]).toEqual([3, 1]);
});

test("takes no slot away for a lower limit, and grants none before enough have come back", () => {
  const { semaphore, granted } = crowded(3, ["a", "b"]);
  semaphore.limit = 1;
  semaphore.release();
  semaphore.release();
  expect(granted).toEqual([]);
  expect(semaphore.held).toBe(1);
  semaphore.release();
  expect(granted).toEqual(["a"]);
  expect(semaphore.held).toBe(1);
});

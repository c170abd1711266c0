import { expect, test } from "vitest";
import { Lane, Lanes } from "./lanes.js";

function use(lanes: Lanes, key: string): Lane {
  const lane = lanes.of(key);
  lane.tryAcquire();
  return lane;
}

test("100 000 keys leave nothing behind but the idle lanes that may stay", () => {
  const lanes = new Lanes((key) => new Lane(key, 1), 1);
  for (let index = 0; index < 100_000; index += 1) lanes.release(use(lanes, `key ${index}`));
  expect(lanes.size).toBe(1);
});

test("keeps a lane as long as somebody has a slot of it", () => {
  const lanes = new Lanes((key) => new Lane(key, 2), 1);
  const busy = use(lanes, "busy");
  for (const key of ["a", "b", "c"]) lanes.release(use(lanes, key));
  expect(lanes.of("busy")).toBe(busy);
  expect(lanes.size).toBe(2);
});

test("forgets the lane that was used longest ago", () => {
  const lanes = new Lanes((key) => new Lane(key, 1), 2);
  for (const key of ["a", "b", "a", "c"]) lanes.release(use(lanes, key));
  expect(["a", "b", "c"].map((key) => lanes.peek(key)?.key)).toEqual(["a", undefined, "c"]);
});

test("a lane that is used again is not idle any more", () => {
  const lanes = new Lanes((key) => new Lane(key, 1), 1);
  lanes.release(use(lanes, "a"));
  const lane = use(lanes, "a");
  for (const key of ["b", "c"]) lanes.release(use(lanes, key));
  expect(lanes.of("a")).toBe(lane);
});

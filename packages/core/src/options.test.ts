import { expect, test } from "vitest";
import { callback, flag, number, objectWith, oneOf, readOptions } from "./options.js";

const read = (options: unknown) =>
  readOptions("limit", options, {
    rate: number({ min: 0, above: true }, 5),
    burst: number({ min: 1, max: 10, integer: true }, undefined),
    forever: number({ min: 0, infinite: true }, Infinity),
    mode: oneOf(["wait", "reject"], "wait"),
    strict: flag(false),
    onLimit: callback<() => void>(),
    store: objectWith<{ take(): void; pause(): void }>("take", "pause"),
    bag: objectWith<object>(),
  });

test("fills in the defaults, and takes an explicit undefined for absent", () => {
  const defaults = {
    rate: 5,
    burst: undefined,
    forever: Infinity,
    mode: "wait",
    strict: false,
    onLimit: undefined,
    store: undefined,
    bag: undefined,
  };
  expect(read(undefined)).toEqual(defaults);
  expect(read({ rate: undefined, mode: undefined, strict: undefined, store: undefined })).toEqual(defaults);
});

test("takes zero and false where they are in range", () => {
  expect(read({ forever: 0, strict: false })).toMatchObject({ forever: 0, strict: false });
});

const bad: readonly (readonly [options: unknown, error: typeof TypeError | typeof RangeError, message: string])[] = [
  [null, TypeError, "limit: options must be an object, got null"],
  ["fast", TypeError, 'limit: options must be an object, got "fast"'],
  [[], TypeError, "limit: options must be an object, got an array"],
  [() => undefined, TypeError, "limit: options must be an object, got a function"],
  [{ rat: 1 }, TypeError, 'limit: unknown option "rat"; it takes rate, burst, forever'],
  [{ toString: 1 }, TypeError, 'limit: unknown option "toString"'],
  [JSON.parse('{"__proto__": 1}'), TypeError, 'limit: unknown option "__proto__"'],
  [{ rate: 0 }, RangeError, "limit: rate must be a number > 0, got 0"],
  [{ rate: -1 }, RangeError, "limit: rate must be a number > 0, got -1"],
  [{ rate: Number.NaN }, RangeError, "limit: rate must be a number > 0, got NaN"],
  [{ rate: Infinity }, RangeError, "limit: rate must be a number > 0, got Infinity"],
  [{ rate: "5" }, TypeError, 'limit: rate must be a number > 0, got "5"'],
  [{ rate: null }, TypeError, "limit: rate must be a number > 0, got null"],
  [{ burst: 1.5 }, RangeError, "limit: burst must be an integer >= 1 and <= 10, got 1.5"],
  [{ burst: 11 }, RangeError, "limit: burst must be an integer >= 1 and <= 10, got 11"],
  [{ burst: 3n }, TypeError, "limit: burst must be an integer >= 1 and <= 10, got 3"],
  [{ forever: -Infinity }, RangeError, "limit: forever must be a number >= 0 (Infinity allowed), got -Infinity"],
  [{ mode: "queue" }, TypeError, 'limit: mode must be one of "wait", "reject", got "queue"'],
  [{ mode: 1 }, TypeError, 'limit: mode must be one of "wait", "reject", got 1'],
  [{ strict: 1 }, TypeError, "limit: strict must be true or false, got 1"],
  [{ onLimit: {} }, TypeError, "limit: onLimit must be a function, got an object"],
  [{ store: null }, TypeError, "limit: store must be an object with a method take(), got null"],
  [
    { store: { take: () => undefined } },
    TypeError,
    "limit: store must be an object with a method pause(), got an object",
  ],
  [{ store: () => undefined }, TypeError, "limit: store must be an object with a method take(), got a function"],
  [{ bag: 1 }, TypeError, "limit: bag must be an object, got 1"],
];

test.each(bad)("refuses %o, naming option, range and value", (options, error, message) => {
  expect(() => read(options)).toThrow(error);
  expect(() => read(options)).toThrow(message);
});

test("finds the methods that an object inherits", () => {
  class Store {
    take(): void {}
    pause(): void {}
  }
  const store = new Store();
  expect(read({ store }).store).toBe(store);
});

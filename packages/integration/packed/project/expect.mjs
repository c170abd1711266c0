// Assertions that need no module of any runtime.

/** @param {boolean} condition @param {string} what */
export function isTrue(condition, what) {
  if (condition !== true) throw new Error(`not so: ${what}`);
}

/** Compares as JSON. @param {unknown} actual @param {unknown} expected @param {string} what */
export function equal(actual, expected, what) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${what}: ${left}, not ${right}`);
}

/** What a promise rejects with. @param {Promise<unknown>} promise */
export function rejection(promise) {
  return promise.then(
    () => {
      throw new Error("it was to reject, and did not");
    },
    (error) => error,
  );
}

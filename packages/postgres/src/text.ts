/** What PostgreSQL cannot hold in a text: NUL, which it refuses, and lone surrogates, which UTF-8 has not and would replace. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;

/** An index entry must fit a third of a page. */
const MAX_KEY_BYTES = 2600;
/** No text of so many UTF-16 units is longer than that in UTF-8. */
const SURELY_SHORT = Math.floor(MAX_KEY_BYTES / 3);

/** @throws TypeError for a text that would be altered or refused */
export function checkText(what: string, text: string | null): void {
  if (text !== null && UNSTORABLE.test(text)) {
    throw new TypeError(`postgresStore: ${what} holds a NUL or a lone surrogate, which PostgreSQL cannot store`);
  }
}

/** @throws TypeError or RangeError for a key that would be altered or does not fit the index */
export function checkKey(key: string, what = "the key"): void {
  checkText(what, key);
  if (key.length > SURELY_SHORT && Buffer.byteLength(key) > MAX_KEY_BYTES) {
    throw new RangeError(`postgresStore: ${what} must be at most ${MAX_KEY_BYTES} bytes of UTF-8; hash longer ones`);
  }
}

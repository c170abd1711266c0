/** ES2024, and in every Node that this package runs on; the library that the types are of is older. */
type WellFormed = string & { isWellFormed(): boolean };

/**
 * Refuses what SQLite would alter: libsql cuts a text at NUL, and UTF-8 has no lone surrogates.
 *
 * @throws TypeError naming what it is
 */
export function checkText(what: string, text: string | null | undefined): void {
  if (text === undefined || text === null || ((text as WellFormed).isWellFormed() && !text.includes("\0"))) return;
  throw new TypeError(`sqliteStore: ${what} holds a NUL or a lone surrogate, which SQLite cannot keep as it is`);
}

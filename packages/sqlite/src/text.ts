/** ES2024, and in every Node that this package runs on; the library that the types are of is older. */
type WellFormed = string & { isWellFormed(): boolean };

/** What SQLite would alter among these: libsql cuts a text at NUL, and UTF-8 has no lone surrogates. */
export function lossyText(what: string, ...texts: readonly (string | null | undefined)[]): TypeError | undefined {
  for (const text of texts) {
    if (typeof text === "string" && (!(text as WellFormed).isWellFormed() || text.includes("\0"))) {
      return new TypeError(`sqliteStore: ${what} holds a NUL or a lone surrogate, which SQLite cannot keep as it is`);
    }
  }
  return undefined;
}

/**
 * Refuses what SQLite would alter.
 *
 * @throws TypeError naming what it is
 */
export function checkText(what: string, text: string | null | undefined): void {
  const lossy = lossyText(what, text);
  if (lossy !== undefined) throw lossy;
}

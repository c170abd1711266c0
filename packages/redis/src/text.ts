/** `String.prototype.isWellFormed` of ES2024, which every supported Node has and the configured library does not declare. */
interface WellFormed {
  isWellFormed(): boolean;
}

/** Redis holds bytes: a text that has no UTF-8 would come back as another one. `undefined` for any other. */
export function lossyText(what: string, text: string | undefined): TypeError | undefined {
  // A string has it, see above.
  if (text === undefined || (text as unknown as WellFormed).isWellFormed()) return undefined;
  return new TypeError(`redisStore: ${what} holds a lone surrogate, which cannot be stored as it is`);
}

/** @throws TypeError for a text with a lone surrogate */
export function checkText(what: string, text: string): void {
  const lossy = lossyText(what, text);
  if (lossy !== undefined) throw lossy;
}

/** A number as the scripts read and write it: without loss. */
export function numberText(value: number): string {
  return value === Infinity ? "inf" : String(value);
}

/** The number in a script's reply. */
export function numberOf(reply: string): number {
  return reply === "inf" ? Infinity : Number(reply);
}

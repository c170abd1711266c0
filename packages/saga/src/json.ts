/** Lets through what JSON keeps as it is; throws naming the place of anything else. */
function check(value: unknown, path: string, above: readonly unknown[]): void {
  if (value === null || typeof value === "string" || typeof value === "boolean" || value === undefined) return;
  if (typeof value === "number") {
    if (Number.isFinite(value)) return;
    throw new TypeError(`${path} is ${value}, which JSON does not have`);
  }
  if (typeof value !== "object") throw new TypeError(`${path} is a ${typeof value}, which cannot be serialised`);
  if (above.includes(value)) throw new TypeError(`${path} contains itself and cannot be serialised`);
  if (above.length > MAX_DEPTH) throw new TypeError(`${path} is nested too deep to be serialised`);
  if (typeof (value as { readonly toJSON?: unknown }).toJSON === "function") return;
  const within = [...above, value];
  for (const [name, member] of Object.entries(value)) check(member, `${path}.${name}`, within);
}

const MAX_DEPTH = 200;

/**
 * The text of a value in a journal. What comes back from it is what every run gets, the first one as well: so that a run that is carried
 * on sees nothing else than the one before.
 *
 * @throws TypeError naming the place of what cannot be serialised
 */
export function serialise(value: unknown, what: string): string {
  check(value, what, []);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new TypeError(`${what} cannot be serialised`, { cause });
  }
  return text ?? "null";
}

/** A value as a journal gives it back. */
export function asKept(value: unknown, what: string): unknown {
  return JSON.parse(serialise(value, what));
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
  return Object.fromEntries(entries);
}

/** A text of JSON that is the same for the same value, however its members are ordered. */
export function canonical(text: string): string {
  return JSON.stringify(JSON.parse(text), sorted);
}

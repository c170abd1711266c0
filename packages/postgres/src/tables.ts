import type { OptionReader } from "@mcp-tx/core/options";

/** The tables of a store, quoted for SQL. */
export interface Tables {
  /** What the user gave, for messages. */
  readonly given: string;
  readonly meta: string;
  readonly idempotency: string;
  readonly rateLimit: string;
  readonly saga: string;
  readonly sagaEntry: string;
  /** Indexes live in their table's schema and are created without it. */
  readonly idempotencyDue: string;
  readonly rateLimitIdle: string;
  readonly sagaUnfinished: string;
  readonly sagaDue: string;
}

/** Longest part: PostgreSQL cuts names at 63 bytes, and the longest suffix needs 16. */
const MAX_NAME = 47;
const NAME = new RegExp(`^[A-Za-z_][A-Za-z0-9_]{0,${MAX_NAME - 1}}$`);

/** Reads the table option: what the names of all tables begin with, with or without a schema. */
export function tables(fallback: string): OptionReader<Tables> {
  return (value, path) => {
    const given = value === undefined ? fallback : value;
    const parts = typeof given === "string" ? given.split(".") : [];
    if (typeof given !== "string" || parts.length > 2 || !parts.every((part) => NAME.test(part))) {
      throw new TypeError(
        `${path} must be a name, or schema.name, each of up to ${MAX_NAME} letters, digits and _ and not beginning ` +
          `with a digit, got ${typeof given === "string" ? JSON.stringify(given) : typeof given}`,
      );
    }
    return tablesNamed(given, parts);
  };
}

function tablesNamed(given: string, parts: readonly string[]): Tables {
  const schema = parts.length === 2 ? `"${parts[0]}".` : "";
  const base = parts.at(-1);
  return {
    given,
    meta: `${schema}"${base}_meta"`,
    idempotency: `${schema}"${base}_idempotency"`,
    rateLimit: `${schema}"${base}_rate_limit"`,
    saga: `${schema}"${base}_saga"`,
    sagaEntry: `${schema}"${base}_saga_entry"`,
    idempotencyDue: `"${base}_idempotency_due"`,
    rateLimitIdle: `"${base}_rate_limit_idle"`,
    sagaUnfinished: `"${base}_saga_unfinished"`,
    sagaDue: `"${base}_saga_due"`,
  };
}

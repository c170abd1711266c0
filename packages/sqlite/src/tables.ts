import type { OptionReader } from "@mcp-tx/core/options";

/** The tables of a store, quoted for SQL. */
export interface Tables {
  /** What their names begin with. */
  readonly prefix: string;
  readonly meta: string;
  readonly idempotency: string;
  readonly idempotencyDue: string;
  readonly rateLimit: string;
  readonly saga: string;
  readonly sagaStatus: string;
  readonly sagaDue: string;
  readonly sagaEntry: string;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/;

/** Reads the option that says what the names of all tables begin with. */
export function tables(fallback: string): OptionReader<Tables> {
  return (value, path) => {
    const prefix = value === undefined ? fallback : value;
    if (typeof prefix !== "string" || !NAME.test(prefix) || /^sqlite_/i.test(prefix)) {
      throw new TypeError(
        `${path} must be a name of up to 63 letters, digits and _, not beginning with a digit or sqlite_, ` +
          `got ${typeof prefix === "string" ? JSON.stringify(prefix) : typeof prefix}`,
      );
    }
    return {
      prefix,
      meta: `"${prefix}_meta"`,
      idempotency: `"${prefix}_idempotency"`,
      idempotencyDue: `"${prefix}_idempotency_due"`,
      rateLimit: `"${prefix}_rate_limit"`,
      saga: `"${prefix}_saga"`,
      sagaStatus: `"${prefix}_saga_status"`,
      sagaDue: `"${prefix}_saga_due"`,
      sagaEntry: `"${prefix}_saga_entry"`,
    };
  };
}

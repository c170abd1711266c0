/**
 * The statements of the rate-limit store: GCRA (ITU-T I.371). `full_at` is when all tokens of a key are back if nobody takes any.
 * `:worth` is the milliseconds in which the rate yields the tokens asked for, `:burst` those for a full burst.
 */

/** Times closer than this are the same: what rounding may make of milliseconds since the epoch in a double. */
export const ROUNDING_MS = 0.002;

/** Changes a row when the tokens are there, and none when they are not. */
export function takeSql(table: string): string {
  return `INSERT INTO ${table} AS r (key, full_at, paused_until) VALUES (:key, :now + :worth, 0)
ON CONFLICT (key) DO UPDATE SET full_at = excluded.full_at - :now + max(r.full_at, :now)
WHERE r.paused_until <= :now + ${ROUNDING_MS} AND max(r.full_at, :now) + :worth - :burst <= :now + ${ROUNDING_MS}`;
}

export function readSql(table: string): string {
  return `SELECT full_at, paused_until FROM ${table} WHERE key = :key`;
}

/** What was taken before the end of a pause was taken before the pause, which has swallowed it. */
export function refundSql(table: string): string {
  return `UPDATE ${table} SET full_at = full_at - :worth WHERE key = :key AND paused_until <= :takenAt`;
}

/** `:rest` is the milliseconds from one token to a full burst. */
export function pauseSql(table: string): string {
  return `INSERT INTO ${table} AS r (key, full_at, paused_until) VALUES (:key, :until + :rest, :until)
ON CONFLICT (key) DO UPDATE SET full_at = max(r.full_at, excluded.full_at), paused_until = excluded.paused_until
WHERE excluded.paused_until > r.paused_until`;
}

/** The next few rows, in the order in which they came. */
export function lookSql(table: string): string {
  return `SELECT max(id) AS last, count(*) AS count
FROM (SELECT rowid AS id FROM ${table} WHERE rowid > :after ORDER BY rowid LIMIT :limit)`;
}

/** Rows that say nothing any more. */
export function forgetSql(table: string): string {
  return `DELETE FROM ${table} WHERE rowid > :after AND rowid <= :last AND full_at <= :now AND paused_until <= :now`;
}

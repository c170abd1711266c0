import { CLOCK, NOW } from "./clock.js";

/**
 * The statements of the rate-limit store: GCRA (ITU-T I.371). `full_at` is when all tokens of a key are back if nobody takes any.
 * `wait_ms` is what the last take came to: a statement that always writes its row can return nothing but what the row holds.
 */

/** Times closer than this are the same: what rounding may make of milliseconds since the epoch in a double. */
const ROUNDING_MS = "0.002";

/**
 * From when on a row says nothing any more, rounded up, so that the column that is indexed changes once a minute and not with
 * every take.
 */
const idleAt = (fullAt: string, pausedUntil: string): string =>
  `(ceil(greatest(${fullAt}, ${pausedUntil}) / 60000) + 1) * 60000`;

/** $1 key, $2 milliseconds that the tokens are worth, $3 milliseconds that a full burst is worth. */
export function takeSql(table: string): string {
  return `INSERT INTO ${table} AS r (key, full_at, idle_at)
SELECT $1, c.now + $2::float8, ${idleAt("c.now + $2::float8", "'-Infinity'")} FROM ${CLOCK}
ON CONFLICT (key) DO UPDATE SET (full_at, wait_ms, idle_at) = (
  SELECT
    CASE WHEN w.wait_ms = 0 THEN w.full_at ELSE r.full_at END,
    w.wait_ms,
    CASE WHEN w.wait_ms = 0 THEN ${idleAt("w.full_at", "r.paused_until")} ELSE r.idle_at END
  FROM (
    SELECT d.full_at, CASE WHEN d.due_at - d.now > ${ROUNDING_MS} THEN d.due_at - d.now ELSE 0 END AS wait_ms
    FROM (
      SELECT c.now, greatest(r.full_at, c.now) + $2::float8 AS full_at,
        greatest(greatest(r.full_at, c.now) + $2::float8 - $3::float8, r.paused_until) AS due_at
      FROM ${CLOCK}
    ) AS d
  ) AS w
)
RETURNING r.wait_ms::text AS wait_ms`;
}

/**
 * The same, and removes rows that say nothing any more. What nobody reads of a `WITH` runs after the rest: it waits for nobody
 * while it holds rows, so two of them cannot block each other. An array, because a join would read the whole table.
 */
export function takeAndForgetSql(table: string): string {
  return `WITH forgotten AS (
  DELETE FROM ${table} WHERE key = ANY (ARRAY(
    SELECT r.key FROM ${table} AS r WHERE r.idle_at <= (SELECT ${NOW}) AND r.key <> $1
    ORDER BY r.idle_at LIMIT 256 FOR UPDATE SKIP LOCKED
  ))
)
${takeSql(table)}`;
}

/**
 * $1 key, $2 milliseconds that the tokens are worth, $3 milliseconds since the take. During a pause nothing was taken: what was taken
 * before its end was taken before it, and the pause has swallowed that.
 */
export function refundSql(table: string): string {
  return `UPDATE ${table} AS r SET full_at = r.full_at - ($2::float8 - $3::float8)
WHERE r.key = $1 AND $2::float8 > $3::float8 AND ${NOW} - $3::float8 >= r.paused_until`;
}

/** $1 key, $2 milliseconds of the pause, $3 milliseconds from no token left but one to a full burst. */
export function pauseSql(table: string): string {
  return `INSERT INTO ${table} AS r (key, full_at, paused_until, idle_at)
SELECT $1, c.now + $2::float8 + $3::float8, c.now + $2::float8,
  ${idleAt("c.now + $2::float8 + $3::float8", "'-Infinity'")} FROM ${CLOCK}
ON CONFLICT (key) DO UPDATE SET (full_at, paused_until, idle_at) = (
  SELECT
    CASE WHEN d.longer THEN greatest(r.full_at, d.until + $3::float8) ELSE r.full_at END,
    CASE WHEN d.longer THEN d.until ELSE r.paused_until END,
    CASE WHEN d.longer THEN ${idleAt("greatest(r.full_at, d.until + $3::float8)", "d.until")} ELSE r.idle_at END
  FROM (SELECT c.now + $2::float8 AS until, c.now + $2::float8 > r.paused_until AS longer FROM ${CLOCK}) AS d
)`;
}

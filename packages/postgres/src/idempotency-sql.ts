import { CLOCK, NOW } from "./clock.js";

/** The statements of the idempotency store. What each means is said in `IdempotencyStore` of the core. */

/** When a sweep has something to do about a record, for an index. */
export function dueAt(): string {
  return "CASE WHEN state = 'pending' THEN lease_until ELSE expires_at END";
}

const COLUMNS = [
  "fingerprint",
  "token",
  "state",
  "epoch",
  "outcome",
  "lease_until",
  "expires_at",
  "sent_at_wall",
  "sent_to",
] as const;

function asText(columns: readonly string[], table: string): string {
  return columns.map((column) => `${table}.${column}::text AS ${column}`).join(", ");
}

const isOver = (record: string, now: string): string =>
  `${record}.state IN ('done', 'failed') AND ${record}.expires_at <= ${now}`;
const isStale = (record: string, now: string): string =>
  `${record}.state = 'pending' AND ${record}.lease_until <= ${now}`;

/**
 * $1 key, $2 fingerprint, $3 token, $4 lease in ms, $5 epoch, $6 sentAtWall, $7 sentTo, $8 takeover.
 *
 * One row whatever happens. Who wins is decided once, after the row is locked, in a subquery: deciding per column would read the clock
 * per column, and a lease could end in between. A claim that does not win turns a stale record, so that afterwards
 * `pending` under the claim's token says that it won.
 */
export function claimSql(table: string): string {
  return `INSERT INTO ${table} AS i
  (key, fingerprint, token, state, epoch, outcome, lease_until, expires_at, sent_at_wall, sent_to)
VALUES ($1, $2, $3, 'pending', $5::bigint, NULL, ${NOW} + $4::float8, 'Infinity', $6::float8, $7)
ON CONFLICT (key) DO UPDATE SET
  (fingerprint, token, state, epoch, outcome, lease_until, expires_at, sent_at_wall, sent_to) = (
    SELECT
      CASE WHEN d.won THEN excluded.fingerprint ELSE i.fingerprint END,
      CASE WHEN d.won THEN excluded.token ELSE i.token END,
      CASE WHEN d.won THEN 'pending' WHEN d.stale THEN 'unknown' ELSE i.state END,
      CASE WHEN d.won THEN excluded.epoch ELSE i.epoch END,
      CASE WHEN d.won THEN NULL ELSE i.outcome END,
      CASE WHEN d.won THEN d.now + $4::float8 ELSE i.lease_until END,
      CASE WHEN d.won THEN 'Infinity' ELSE i.expires_at END,
      CASE WHEN d.won THEN excluded.sent_at_wall ELSE i.sent_at_wall END,
      CASE WHEN d.won THEN excluded.sent_to ELSE i.sent_to END
    FROM (
      SELECT c.now, ${isStale("i", "c.now")} AS stale,
        (${isOver("i", "c.now")})
        OR (i.state = 'pending' AND i.lease_until > c.now AND i.token = excluded.token)
        OR ((i.state = 'unknown' OR (${isStale("i", "c.now")}))
          AND i.token = $8::text AND i.fingerprint = excluded.fingerprint)
        OR (i.state = 'failed' AND i.fingerprint = excluded.fingerprint
          AND (excluded.epoch > i.epoch OR i.token = $8::text)) AS won
      FROM ${CLOCK}
    ) AS d
  )
RETURNING (i.token = $3 AND i.state = 'pending')::text AS won, ${asText(COLUMNS, "i")}`;
}

/** $1 key, $2 token, $3 lease in ms. */
export function extendSql(table: string): string {
  return `UPDATE ${table} AS i SET lease_until = ${NOW} + $3::float8
WHERE i.key = $1 AND i.token = $2 AND i.state = 'pending' AND i.lease_until > ${NOW}
RETURNING 'true' AS owned`;
}

/** $1 key, $2 token, $3 state, $4 outcome, $5 ttl in ms, $6 epoch. */
export function settleSql(table: string): string {
  return `UPDATE ${table} AS i SET (state, outcome, epoch, expires_at) = (
  SELECT
    CASE WHEN d.open THEN $3::text ELSE i.state END,
    CASE WHEN d.open THEN $4::text ELSE i.outcome END,
    CASE WHEN d.open THEN coalesce($6::bigint, i.epoch) ELSE i.epoch END,
    CASE WHEN NOT d.open THEN i.expires_at WHEN $3::text = 'unknown' THEN 'Infinity' ELSE ${NOW} + $5::float8 END
  FROM (SELECT i.state IN ('pending', 'unknown') AS open) AS d
)
WHERE i.key = $1 AND i.token = $2 AND NOT (${isOver("i", NOW)})
RETURNING 'true' AS owned`;
}

/**
 * $1 key, $2 token. Waits for whoever holds the record, and decides on what it is then: a record that somebody else removed in
 * the meantime is gone, which the snapshot of the statement does not show.
 */
export function releaseSql(table: string): string {
  return `WITH standing AS MATERIALIZED (
  SELECT i.key, i.token = $2 AND i.state IN ('pending', 'unknown') AS owned, ${isOver("i", NOW)} AS over
  FROM ${table} AS i WHERE i.key = $1 FOR UPDATE
), gone AS (
  DELETE FROM ${table} AS i USING standing AS s WHERE i.key = $1 AND i.key = s.key AND s.owned
)
SELECT coalesce((SELECT s.owned OR s.over FROM standing AS s), true)::text AS owned`;
}

/** $1 key. */
export function getSql(table: string): string {
  const others = COLUMNS.filter((column) => column !== "state");
  return `SELECT CASE WHEN ${isStale("i", "c.now")} THEN 'unknown' ELSE i.state END AS state, ${asText(others, "i")}
FROM ${table} AS i, ${CLOCK}
WHERE i.key = $1 AND NOT (${isOver("i", "c.now")})`;
}

/** $1 key, $2 token, $3 ttl in ms. */
export function expireSql(table: string): string {
  return `UPDATE ${table} AS i SET expires_at = ${NOW} + $3::float8
WHERE i.key = $1 AND i.token = $2 AND i.state IN ('done', 'failed') AND NOT (${isOver("i", NOW)})
RETURNING 'true' AS owned`;
}

/**
 * $1 limit. Records that somebody works on are left to the next sweep. The clock is read in a subquery of its own, as only then
 * the index is used, and keys go by arrays, as joins would read the whole table.
 */
export function sweepSql(table: string): string {
  return `WITH due AS MATERIALIZED (
  SELECT i.key, i.state FROM ${table} AS i
  WHERE i.state <> 'unknown' AND (${dueAt()}) <= (SELECT ${NOW})
  ORDER BY ${dueAt()} LIMIT $1::bigint FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM ${table} AS i WHERE i.key = ANY (ARRAY(SELECT d.key FROM due AS d WHERE d.state <> 'pending'))
), turned AS (
  UPDATE ${table} AS i SET state = 'unknown'
  WHERE i.key = ANY (ARRAY(SELECT d.key FROM due AS d WHERE d.state = 'pending'))
)
SELECT count(*)::text AS changed FROM due`;
}

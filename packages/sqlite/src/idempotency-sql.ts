/** The statements of the idempotency store. What each means is said in `IdempotencyStore` of the core. */

/** When a sweep has something to do about a record, for an index. */
export function dueAt(): string {
  return "CASE WHEN state = 'pending' THEN lease_until ELSE expires_at END";
}

const IS_OVER = "(i.state IN ('done', 'failed') AND i.expires_at <= :now)";

/** Whether a claim gets the record that stands. */
const WINS = `CASE
  WHEN i.state = 'pending' AND i.lease_until > :now THEN i.token = :token
  WHEN i.state IN ('pending', 'unknown') THEN i.fingerprint = :fingerprint AND i.token = :takeover
  WHEN i.expires_at <= :now THEN 1
  WHEN i.state = 'failed' THEN i.fingerprint = :fingerprint AND (:epoch > i.epoch OR i.token = :takeover)
  ELSE 0
END`;

/** Changes one row when it wins, and none when it does not: who loses writes nothing, which on a disk is most of the time. */
export function claimSql(table: string): string {
  return `INSERT INTO ${table} AS i
  (key, fingerprint, token, state, epoch, lease_until, expires_at, sent_at_wall, sent_to, outcome)
VALUES (:key, :fingerprint, :token, 'pending', :epoch, :leaseUntil, 9e999, :sentAtWall, :sentTo, NULL)
ON CONFLICT (key) DO UPDATE SET
  fingerprint = excluded.fingerprint, token = excluded.token, state = 'pending', epoch = excluded.epoch,
  lease_until = excluded.lease_until, expires_at = 9e999, sent_at_wall = excluded.sent_at_wall,
  sent_to = excluded.sent_to, outcome = NULL
WHERE ${WINS}`;
}

const COLUMNS = `i.key, i.fingerprint, i.token, i.epoch, i.lease_until, i.expires_at, i.sent_at_wall, i.sent_to, i.outcome,
  CASE WHEN i.state = 'pending' AND i.lease_until <= :now THEN 'unknown' ELSE i.state END AS state`;

export function getSql(table: string): string {
  return `SELECT ${COLUMNS} FROM ${table} AS i WHERE i.key = :key AND NOT ${IS_OVER}`;
}

export function extendSql(table: string): string {
  return `UPDATE ${table} AS i SET lease_until = :leaseUntil
WHERE i.key = :key AND i.token = :token AND i.state = 'pending' AND i.lease_until > :now`;
}

export function settleSql(table: string): string {
  return `UPDATE ${table} AS i
SET state = :state, outcome = :outcome, expires_at = :expiresAt, epoch = coalesce(:epoch, i.epoch)
WHERE i.key = :key AND i.token = :token AND i.state IN ('pending', 'unknown')`;
}

/** A record that this token settled before. */
export function settledSql(table: string): string {
  return `SELECT 1 FROM ${table} AS i
WHERE i.key = :key AND i.token = :token AND i.state IN ('done', 'failed') AND NOT ${IS_OVER}`;
}

export function releaseSql(table: string): string {
  return `DELETE FROM ${table} AS i WHERE i.key = :key AND i.token = :token AND i.state IN ('pending', 'unknown')`;
}

/** Another expiry for a record that this token settled. */
export function expireSql(table: string): string {
  return `UPDATE ${table} AS i SET expires_at = :expiresAt
WHERE i.key = :key AND i.token = :token AND i.state IN ('done', 'failed') AND NOT ${IS_OVER}`;
}

/** Keys of records of some states that are due. The whole of the index's condition has to be there for it to be used. */
function due(table: string, states: string): string {
  return `SELECT rowid FROM ${table}
WHERE state <> 'unknown' AND ${dueAt()} <= :now AND state IN (${states}) ORDER BY ${dueAt()} LIMIT :limit`;
}

export function removeSql(table: string): string {
  return `DELETE FROM ${table} WHERE rowid IN (${due(table, "'done', 'failed'")})`;
}

export function turnSql(table: string): string {
  return `UPDATE ${table} SET state = 'unknown' WHERE rowid IN (${due(table, "'pending'")})`;
}

/** The statements of the saga store. What each means is said in `SagaStore` of the core. */

import type { Tables } from "./tables.js";

/** For an index of what time can end. Put the other way round, with IN, the index of the statuses would be taken for it. */
export const HAS_ENDED = "status NOT IN ('running', 'stuck')";

/** An append does not touch the saga, whose input may be large: that it was, is read from the journal. */
function columns({ sagaEntry }: Tables): string {
  return `s.id, s.name, s.definition, s.input, s.status, s.token, s.lease_until, s.deadline_at, s.outcome, s.created_at,
  max(s.updated_at, coalesce((SELECT e.at FROM ${sagaEntry} AS e WHERE e.saga = s.number ORDER BY e.seq DESC LIMIT 1), 0))
    AS updated_at, s.expires_at`;
}

const IS_OWNED = "s.id = :id AND s.token = :token AND s.status IN ('running', 'stuck')";

/** Changes no row when there is one. */
export function createSql({ saga }: Tables): string {
  return `INSERT INTO ${saga} (id, name, definition, input, status, token, lease_until, deadline_at, outcome, created_at, updated_at,
  expires_at)
VALUES (:id, :name, :definition, :input, 'running', :token, :leaseUntil, :deadlineAt, NULL, :now, :now, 9e999)
ON CONFLICT (id) DO NOTHING`;
}

/** A creation whose reply was lost. */
export function repeatSql({ saga }: Tables): string {
  return `UPDATE ${saga} AS s SET lease_until = :leaseUntil WHERE s.id = :id AND s.token = :token AND s.status = 'running'`;
}

export function claimSql({ saga }: Tables): string {
  return `UPDATE ${saga} AS s SET token = :token, lease_until = :leaseUntil, updated_at = :now
WHERE s.id = :id AND (s.lease_until <= :now OR s.token = :token)
  AND ((s.status = 'running' AND :fromRunning = 1) OR (s.status = 'stuck' AND :fromStuck = 1))`;
}

/** Prolongs a lease, or ends it. */
export function leaseSql({ saga }: Tables): string {
  return `UPDATE ${saga} AS s SET lease_until = :leaseUntil WHERE ${IS_OWNED}`;
}

/** The number by which a journal knows its saga. */
export function ownedSql({ saga }: Tables): string {
  return `SELECT s.number FROM ${saga} AS s WHERE ${IS_OWNED}`;
}

export function appendSql({ sagaEntry }: Tables): string {
  return `INSERT INTO ${sagaEntry} (saga, seq, at, body) VALUES (:saga, :seq, :now, :body) ON CONFLICT (saga, seq) DO NOTHING`;
}

export function endSql({ saga }: Tables): string {
  return `UPDATE ${saga} AS s
SET status = :status, outcome = :outcome, lease_until = 0, updated_at = :now, expires_at = :expiresAt WHERE ${IS_OWNED}`;
}

/** A saga that this token ended so before. */
export function endedSql({ saga }: Tables): string {
  return `SELECT 1 FROM ${saga} AS s WHERE s.id = :id AND s.token = :token AND s.status = :status`;
}

export function getSql(tables: Tables): string {
  return `SELECT ${columns(tables)} FROM ${tables.saga} AS s WHERE s.id = :id`;
}

export function entriesSql({ saga, sagaEntry }: Tables): string {
  return `SELECT e.seq, e.at, e.body FROM ${saga} AS s JOIN ${sagaEntry} AS e ON e.saga = s.number
WHERE s.id = :id ORDER BY e.seq`;
}

/** With a status it finds the sagas by the index of that, else by their ids. */
export function listSql(tables: Tables, hasStatus: boolean): string {
  return `SELECT ${columns(tables)} FROM ${tables.saga} AS s
WHERE ${hasStatus ? "s.status = :status AND " : ""}s.id >= :from AND (:after IS NULL OR s.id > :after)
  AND (:name IS NULL OR s.name = :name) AND (:unowned = 0 OR s.lease_until <= :now)
ORDER BY s.id LIMIT :limit`;
}

/** The whole of the index's condition has to be there for it to be used. */
function due({ saga }: Tables): string {
  return `SELECT number FROM ${saga} WHERE ${HAS_ENDED} AND expires_at <= :now ORDER BY expires_at, number LIMIT :limit`;
}

/** To be run before {@link sweepSql}, in one transaction with it. */
export function sweepEntriesSql(tables: Tables): string {
  return `DELETE FROM ${tables.sagaEntry} WHERE saga IN (${due(tables)})`;
}

export function sweepSql(tables: Tables): string {
  return `DELETE FROM ${tables.saga} WHERE number IN (${due(tables)})`;
}

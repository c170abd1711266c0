import type { SagaQuery } from "@mcp-tx/core/stores";
import { CLOCK, NOW } from "./clock.js";

/** The statements of the saga store. What each means is said in `SagaStore` of the core. */

const COLUMNS = [
  "id",
  "name",
  "definition",
  "input",
  "status",
  "token",
  "lease_until",
  "deadline_at",
  "outcome",
  "created_at",
  "updated_at",
  "expires_at",
] as const;

function columnsOf(table: string): string {
  return COLUMNS.map((column) => `${table}.${column}`).join(", ");
}

function asText(table: string): string {
  return COLUMNS.map((column) => `${table}.${column}::text AS ${column}`).join(", ");
}

const isOpen = (saga: string): string => `${saga}.status IN ('running', 'stuck')`;

/**
 * $1 id, $2 name, $3 definition, $4 input, $5 token, $6 lease in ms, $7 deadlineAt.
 *
 * A saga that is there is written as it is, because only so the statement sees one that somebody else has just created.
 */
export function createSql(table: string): string {
  return `INSERT INTO ${table} AS s
  (id, name, definition, input, status, token, lease_until, deadline_at, outcome, created_at, updated_at, expires_at)
SELECT $1, $2, $3, $4, 'running', $5, c.now + $6::float8, $7::float8, NULL, c.now, c.now, 'Infinity' FROM ${CLOCK}
ON CONFLICT (id) DO UPDATE SET
  lease_until = CASE WHEN s.token = $5 AND s.status = 'running' THEN ${NOW} + $6::float8 ELSE s.lease_until END
RETURNING (s.token = $5 AND s.status = 'running')::text AS created, ${asText("s")}`;
}

/**
 * $1 id, $2 token, $3 lease in ms, $4 statuses.
 *
 * Decides on the saga as it is once nobody else holds it, by one reading of the clock from then on.
 */
export function claimSql(table: string): string {
  return `WITH standing AS MATERIALIZED (
  SELECT ${columnsOf("s")} FROM ${table} AS s WHERE s.id = $1 FOR NO KEY UPDATE
), timed AS MATERIALIZED (
  SELECT ${columnsOf("s")}, ${NOW} AS now FROM standing AS s
), decided AS MATERIALIZED (
  SELECT ${columnsOf("t")}, t.now, t.status = ANY ($4::text[]) AND (t.lease_until <= t.now OR t.token = $2) AS won
  FROM timed AS t
), taken AS (
  UPDATE ${table} AS s SET token = $2, lease_until = d.now + $3::float8, updated_at = d.now
  FROM decided AS d WHERE s.id = $1 AND s.id = d.id AND d.won
  RETURNING ${columnsOf("s")}
)
SELECT 'true' AS won, ${asText("t")} FROM taken AS t
UNION ALL
SELECT 'false' AS won, ${asText("d")} FROM decided AS d WHERE NOT d.won`;
}

/** $1 id, $2 token, $3 lease in ms. */
export function extendSql(table: string): string {
  return `UPDATE ${table} AS s SET lease_until = ${NOW} + $3::float8
WHERE s.id = $1 AND s.token = $2 AND ${isOpen("s")}
RETURNING 'true' AS owned`;
}

/** $1 id, $2 token. */
export function releaseSql(table: string): string {
  return `UPDATE ${table} AS s SET lease_until = 0
WHERE s.id = $1 AND s.token = $2 AND ${isOpen("s")}
RETURNING 'true' AS owned`;
}

/**
 * $1 id, $2 token, $3 numbers and $4 bodies of the entries, in the same order.
 *
 * The saga is held until the entries are committed: whoever takes it over waits for them, or was first, and then the condition,
 * which is looked at again after a wait, no longer holds. What was committed during a wait is not seen, but the index knows of it:
 * entries that are there already are left to it to find.
 */
export function appendSql(table: string, entries: string): string {
  return `WITH owned AS (
  UPDATE ${table} AS s SET updated_at = ${NOW}
  WHERE s.id = $1 AND s.token = $2 AND ${isOpen("s")}
  RETURNING s.id, s.updated_at
), appended AS (
  INSERT INTO ${entries} (saga_id, seq, at, body)
  SELECT o.id, e.seq, o.updated_at, e.body FROM owned AS o, unnest($3::bigint[], $4::text[]) AS e (seq, body)
  ON CONFLICT (saga_id, seq) DO NOTHING
)
SELECT 'true' AS owned FROM owned`;
}

/** $1 id, $2 token, $3 status, $4 outcome, $5 ttl in ms. A repetition is found true and changes nothing. */
export function endSql(table: string): string {
  return `WITH owned AS MATERIALIZED (
  SELECT s.id, ${isOpen("s")} AS open FROM ${table} AS s
  WHERE s.id = $1 AND s.token = $2 AND (${isOpen("s")} OR s.status = $3) FOR NO KEY UPDATE
), ended AS (
  UPDATE ${table} AS s SET status = $3, outcome = $4, lease_until = 0, updated_at = ${NOW},
    expires_at = CASE WHEN $3 = 'stuck' THEN 'Infinity' ELSE ${NOW} + $5::float8 END
  FROM owned AS o WHERE s.id = $1 AND s.id = o.id AND o.open
)
SELECT 'true' AS owned FROM owned`;
}

/** $1 id. */
export function getSql(table: string): string {
  return `SELECT ${asText("s")} FROM ${table} AS s WHERE s.id = $1`;
}

/** $1 id. */
export function entriesSql(entries: string): string {
  return `SELECT e.seq::text AS seq, e.at::text AS at, e.body FROM ${entries} AS e WHERE e.saga_id = $1 ORDER BY e.seq`;
}

/** A condition of a list, and its value if it has one. */
interface Condition {
  readonly text: (parameter: string) => string;
  readonly value?: string;
}

function conditionsOf({ status, name, unowned, after }: SagaQuery): readonly Condition[] {
  const conditions: Condition[] = [];
  if (status === "running" || status === "stuck") conditions.push({ text: () => `s.status = '${status}'` });
  else if (status !== undefined) conditions.push({ text: (parameter) => `s.status = ${parameter}`, value: status });
  if (name !== undefined) conditions.push({ text: (parameter) => `s.name = ${parameter}`, value: name });
  if (unowned === true) conditions.push({ text: () => `s.lease_until <= (SELECT ${NOW})` });
  if (after !== undefined) conditions.push({ text: (parameter) => `s.id > ${parameter}`, value: after });
  return conditions;
}

/**
 * A statement of its own for each set of filters, with the statuses of unfinished sagas written out: only then the plan that serves
 * all values can use the index over those. The clock is read in a subquery, which an index can be searched by.
 */
export function listSql(table: string, query: SagaQuery): { readonly text: string; readonly values: unknown[] } {
  const values: unknown[] = [query.limit === Infinity ? null : query.limit];
  const conditions = conditionsOf(query).map(({ text, value }) => {
    if (value !== undefined) values.push(value);
    return text(`$${values.length}`);
  });
  const where = conditions.length === 0 ? "" : `\nWHERE ${conditions.join(" AND ")}`;
  return { text: `SELECT ${asText("s")} FROM ${table} AS s${where}\nORDER BY s.id LIMIT $1::bigint`, values };
}

/**
 * $1 limit. Sagas that somebody else sweeps are left to the next sweep. An ended saga stays as it is, so that its whole journal is seen.
 */
export function sweepSql(table: string, entries: string): string {
  return `WITH due AS MATERIALIZED (
  SELECT s.id FROM ${table} AS s
  WHERE s.expires_at < 'Infinity' AND s.expires_at <= (SELECT ${NOW})
  ORDER BY s.expires_at LIMIT $1::bigint FOR UPDATE SKIP LOCKED
), journals AS (
  DELETE FROM ${entries} AS e WHERE e.saga_id = ANY (ARRAY(SELECT d.id FROM due AS d))
), gone AS (
  DELETE FROM ${table} AS s WHERE s.id = ANY (ARRAY(SELECT d.id FROM due AS d))
)
SELECT count(*)::text AS changed FROM due`;
}

import type { Connection } from "./connection.js";
import { dueAt } from "./idempotency-sql.js";
import { HAS_ENDED } from "./saga-sql.js";
import type { Tables } from "./tables.js";

/** Tables that are lost together: what is left of a part is worth nothing, or worse. */
type Part = "records" | "limits" | "sagas";

const PARTS: readonly Part[] = ["records", "limits", "sagas"];

function tablesOf(part: Part, { idempotency, rateLimit, saga, sagaEntry }: Tables): readonly string[] {
  return { records: [idempotency], limits: [rateLimit], sagas: [saga, sagaEntry] }[part];
}

/** What brings each part to the next version, where there is something to do about it. */
type Step = { readonly [P in Part]?: (tables: Tables) => string };

/** The steps to each version, from nothing to 1 first. A step that was released is never changed. */
const STEPS: readonly Step[] = [
  {
    records: ({ idempotency, idempotencyDue }) => `
    CREATE TABLE ${idempotency} (
      key TEXT NOT NULL PRIMARY KEY,
      fingerprint TEXT NOT NULL,
      token TEXT NOT NULL,
      state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'unknown')),
      epoch INTEGER NOT NULL,
      lease_until REAL NOT NULL,
      expires_at REAL NOT NULL,
      sent_at_wall REAL NOT NULL,
      sent_to TEXT,
      outcome TEXT
    ) STRICT;
    CREATE INDEX ${idempotencyDue} ON ${idempotency} (${dueAt()}) WHERE state <> 'unknown';`,
    limits: ({ rateLimit }) => `
    CREATE TABLE ${rateLimit} (
      key TEXT NOT NULL PRIMARY KEY,
      full_at REAL NOT NULL,
      paused_until REAL NOT NULL
    ) STRICT;`,
  },
  {
    sagas: ({ saga, sagaStatus, sagaDue, sagaEntry }) => `
    CREATE TABLE ${saga} (
      number INTEGER NOT NULL PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      name TEXT NOT NULL,
      definition TEXT NOT NULL,
      status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'compensated', 'stuck', 'abandoned')),
      token TEXT NOT NULL,
      lease_until REAL NOT NULL,
      deadline_at REAL,
      created_at REAL NOT NULL,
      updated_at REAL NOT NULL,
      expires_at REAL NOT NULL,
      input TEXT NOT NULL,
      outcome TEXT
    ) STRICT;
    CREATE INDEX ${sagaStatus} ON ${saga} (status, id);
    CREATE INDEX ${sagaDue} ON ${saga} (expires_at) WHERE ${HAS_ENDED};
    CREATE TABLE ${sagaEntry} (
      saga INTEGER NOT NULL,
      seq INTEGER NOT NULL,
      at REAL NOT NULL,
      body TEXT NOT NULL,
      PRIMARY KEY (saga, seq)
    ) STRICT;`,
  },
];

/** The version that this package reads and writes. */
export const SCHEMA_VERSION: number = STEPS.length;

interface Installed {
  readonly version: number;
  readonly storeId: string;
}

function hasTable(connection: Connection, quoted: string): boolean {
  const name = quoted.slice(1, -1);
  return (
    connection.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name").get({ name }) !== undefined
  );
}

function installed(connection: Connection, tables: Tables): Installed | undefined {
  if (!hasTable(connection, tables.meta)) return undefined;
  const row = connection.prepare(`SELECT version, store_id FROM ${tables.meta}`).get({});
  return row === undefined ? undefined : { version: Number(row["version"]), storeId: String(row["store_id"]) };
}

/** Parts that were there at a version, and of which a table is gone. */
function lostParts(connection: Connection, tables: Tables, version: number): readonly Part[] {
  const made = PARTS.filter((part) => STEPS.slice(0, version).some((step) => part in step));
  return made.filter((part) => !tablesOf(part, tables).every((table) => hasTable(connection, table)));
}

function drop(connection: Connection, names: readonly string[]): void {
  for (const name of names) connection.database.exec(`DROP TABLE IF EXISTS ${name}`);
}

function create(connection: Connection, tables: Tables): Installed {
  drop(connection, [tables.meta, ...PARTS.flatMap((part) => tablesOf(part, tables))]);
  connection.database.exec(`CREATE TABLE ${tables.meta} (version INTEGER NOT NULL, store_id TEXT NOT NULL) STRICT;`);
  const storeId = crypto.randomUUID();
  connection.prepare(`INSERT INTO ${tables.meta} (version, store_id) VALUES (0, :storeId)`).run({ storeId });
  return { version: 0, storeId };
}

function take(connection: Connection, tables: Tables, steps: readonly Step[], parts: readonly Part[]): void {
  for (const step of steps) {
    for (const part of parts) connection.database.exec(step[part]?.(tables) ?? "");
  }
}

function upgrade(connection: Connection, tables: Tables): string {
  const found = installed(connection, tables) ?? create(connection, tables);
  const { version } = found;
  // The other parts stay: each is worth something without the others.
  const lost = lostParts(connection, tables, version);
  for (const part of lost) drop(connection, tablesOf(part, tables));
  take(connection, tables, STEPS.slice(0, version), lost);
  take(connection, tables, STEPS.slice(version), PARTS);
  // Whoever relies on what is lost has to see that the data is another. Nobody relies on limits.
  const storeId = lost.some((part) => part !== "limits") ? crypto.randomUUID() : found.storeId;
  const set = `UPDATE ${tables.meta} SET version = :version, store_id = :storeId`;
  connection.prepare(set).run({ version: SCHEMA_VERSION, storeId });
  return storeId;
}

/**
 * Creates the tables or brings them to this version. Any number of processes may do so at once. Where they are there already,
 * nothing is written.
 *
 * @returns the identity of the data: made with it, and anew when records or sagas are lost
 * @throws Error when a newer version of this package made the tables
 */
export function migrate(connection: Connection, tables: Tables): string {
  const found = connection.readNow(() => installed(connection, tables));
  if (found !== undefined && found.version > SCHEMA_VERSION) {
    throw new Error(
      `sqliteStore: the tables "${tables.prefix}_..." have schema version ${found.version}, made by a newer @mcp-tx/sqlite; ` +
        `this one knows ${SCHEMA_VERSION}. Upgrade the package`,
    );
  }
  const isReady = (): boolean => lostParts(connection, tables, SCHEMA_VERSION).length === 0;
  if (found?.version === SCHEMA_VERSION && connection.readNow(isReady)) return found.storeId;
  return connection.writeNow(() => upgrade(connection, tables));
}

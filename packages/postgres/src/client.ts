import { createHash } from "node:crypto";

/** One query, as `pg` takes it. */
export interface PostgresQuery {
  readonly text: string;
  readonly values?: unknown[];
  /** Name of a prepared statement; only with {@link PostgresStoreOptions.prepare}. */
  readonly name?: string;
}

/** What the stores need of a `Pool`, `Client` or `PoolClient` of `pg`. */
export interface PostgresClient {
  query(query: PostgresQuery): Promise<{ readonly rows: readonly unknown[] }>;
  /** Known to a `Client`, not to a `Pool`: `"I"` outside a transaction, `"T"` or `"E"` inside one. */
  readonly getTransactionStatus?: (() => string | null) | undefined;
}

/** One row; the statements cast every column to text, because what else arrives depends on the user's type parsers. */
export type TextRow = Readonly<Record<string, string | null>>;

/** Runs one statement with its values and gives its rows. */
export type Statement = (values: unknown[]) => Promise<readonly TextRow[]>;

/** Repetitions after the database said that nothing was done because of somebody else. */
const MAX_REPETITIONS = 12;
const MAX_PAUSE_MS = 64;

/** Serialization failure and deadlock: the statement was rolled back whole and may be sent again. */
const REPEATABLE: readonly unknown[] = ["40001", "40P01"];
/** A table or a column that is not there. */
const NO_SCHEMA: readonly unknown[] = ["42P01", "42703"];

/** The SQLSTATE of what was thrown, if it has one. */
export function stateOf(error: unknown): unknown {
  return typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
}

/** Whether an error says that a table or a column of ours is not there. */
export function lacksSchema(error: unknown): boolean {
  return NO_SCHEMA.includes(stateOf(error));
}

function pause(repetition: number): Promise<void> {
  const ms = Math.random() * Math.min(MAX_PAUSE_MS, 2 ** repetition);
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function refuseTransaction(client: PostgresClient): void {
  const status = client.getTransactionStatus?.();
  if (status !== "T" && status !== "E") return;
  throw new Error(
    "postgresStore: the client is inside a transaction, and what the store records would be rolled back with it. " +
      "Give the store a Pool, or a client of its own.",
  );
}

/** Makes statements of one client. */
export class Statements {
  readonly #client: PostgresClient;
  readonly #prepare: boolean;

  constructor(client: PostgresClient, prepare: boolean) {
    this.#client = client;
    this.#prepare = prepare;
  }

  /** Runs a text without values, on the simple protocol. */
  run(text: string): Promise<readonly TextRow[]> {
    return this.#send({ text });
  }

  /** A statement that is sent many times. */
  statement(text: string): Statement {
    if (!this.#prepare) return (values) => this.#send({ text, values });
    // A name stands for one text on a connection, also between tables and versions of this package.
    const name = `mcp_tx_${createHash("sha256").update(text).digest("hex").slice(0, 24)}`;
    return (values) => this.#send({ name, text, values });
  }

  async #send(query: PostgresQuery): Promise<readonly TextRow[]> {
    refuseTransaction(this.#client);
    for (let repetition = 0; ; repetition += 1) {
      try {
        // Every statement of this package casts each of its columns to text.
        return (await this.#client.query(query)).rows as readonly TextRow[];
      } catch (error) {
        if (repetition === MAX_REPETITIONS || !REPEATABLE.includes(stateOf(error))) throw error;
        await pause(repetition);
      }
    }
  }
}

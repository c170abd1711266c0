import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { memoryStore } from "@mcp-tx/idempotency";
import { sqliteStore } from "@mcp-tx/sqlite";
import { CliError, EXIT_CODES, sayError } from "./exit-codes.js";
import type { ServerIdentity } from "./server-identity.js";
import type { Surroundings } from "./surroundings.js";

/** A store at work. */
export interface OpenStore {
  readonly idempotency: IdempotencyStore;
  close(): Promise<void>;
}

/** What `--store` says for a store that ends with the process. */
export const MEMORY = "memory";

const SWEEP_EVERY_MS = 10 * 60_000;
const SWEEP_AT_ONCE = 1000;

/** Where records are when `--store` says nothing: a file for each server. */
export function defaultStorePath({ stateFolder }: Surroundings, { id }: ServerIdentity): string {
  return join(stateFolder, "servers", `${id}.db`);
}

/** Makes a file that only its user can read: it will hold results of tools. */
function touchPrivately(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  closeSync(openSync(path, "a", 0o600));
}

/** Removes what has expired, now and then. What fails is done the next time. */
function sweepNowAndThen(store: IdempotencyStore): () => void {
  const sweep = (): void => void store.sweep(SWEEP_AT_ONCE).catch(() => undefined);
  const timer = setInterval(sweep, SWEEP_EVERY_MS);
  timer.unref();
  sweep();
  return () => clearInterval(timer);
}

/**
 * Opens the store of a server.
 *
 * @throws CliError naming the option and what to do
 */
export function openStore(where: Surroundings, identity: ServerIdentity, given: string | undefined): OpenStore {
  if (given === MEMORY) return { idempotency: memoryStore(), close: async () => undefined };
  const path = given === undefined ? defaultStorePath(where, identity) : resolve(where.cwd, given);
  try {
    touchPrivately(path);
    return sweeping(sqliteStore({ path }));
  } catch (error) {
    throw new CliError(
      `--store: ${path} cannot be opened: ${sayError(error)}. Name another file, or --store memory to forget everything at exit`,
      EXIT_CODES.config,
      { cause: error },
    );
  }
}

function sweeping(store: OpenStore): OpenStore {
  const stop = sweepNowAndThen(store.idempotency);
  return {
    idempotency: store.idempotency,
    close() {
      stop();
      return store.close();
    },
  };
}

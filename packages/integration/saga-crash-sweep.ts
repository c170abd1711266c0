// Every combination of the crash harness for sagas, outside of the tests:
//   npx tsx packages/integration/saga-crash-sweep.ts --store sqlite|postgres|dbos [--crashes 1|2] [--most 400] [--seed 1] [--together 40]
// With two crashes, `most` pairs of points are drawn by `seed`; all of them are taken when there are no more. With `--together 1`
// every saga has a process of its own to die in.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import pg from "pg";
import { type Database, newDatabase } from "./fixtures/dbos-world.js";
import { tableName } from "./fixtures/postgres-tables.js";
import { type Enumeration, enumerate, enumerateTwice } from "./fixtures/saga-crash-enumeration.js";
import type { StoreSpec } from "./fixtures/saga-crash-parts.mjs";
import { openSagaWorld, type SagaWorldSpec, type ServerKind } from "./fixtures/saga-crash-world.js";
import { postgres } from "./fixtures/services.js";

const { values } = parseArgs({
  options: {
    store: { type: "string", default: "sqlite" },
    crashes: { type: "string", default: "1" },
    most: { type: "string", default: "400" },
    seed: { type: "string", default: "1" },
    together: { type: "string", default: "40" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "saga-crash-sweep-"));
const onDbos = values.store === "dbos";
const service = onDbos || values.store === "postgres" ? await postgres() : undefined;
const tables: string[] = [];
const databases: Database[] = [];

/** An empty store. */
async function newStore(): Promise<StoreSpec> {
  const table = tableName();
  if (service !== undefined && onDbos) {
    const database = await newDatabase(service.url);
    databases.push(database);
    return { kind: "dbos", url: database.url, table };
  }
  if (service === undefined) return { kind: "sqlite", path: join(folder, `${table}.db`) };
  tables.push(table);
  return { kind: "postgres", url: service.url, table };
}

async function dropAll(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  for (const table of tables) {
    const { rows } = await client.query("SELECT tablename FROM pg_tables WHERE tablename LIKE $1", [`${table}%`]);
    for (const { tablename } of rows) await client.query(`DROP TABLE "${tablename}"`);
  }
  await client.end();
}

type Combination = Pick<SagaWorldSpec, "server" | "records" | "fails">;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function report(combination: Combination, found: Enumeration, start: number): void {
  const { points, deaths, stuck, violations, alive } = found;
  const facts = { points: points.length, deaths, stuck: stuck.length, violations: violations.length };
  const seconds = Math.round((performance.now() - start) / 1000);
  print(JSON.stringify({ store: values.store, ...combination, ...facts, seconds }));
  for (const violation of violations) print(`  ${violation}`);
  for (const point of alive) print(`  nobody died at ${point}`);
}

/** @returns how much was wrong */
async function sweep(combination: Combination): Promise<number> {
  const world = await openSagaWorld({ ...combination, store: await newStore() });
  const start = performance.now();
  try {
    const found =
      values.crashes === "2"
        ? await enumerateTwice(world, Number(values.most), Number(values.seed))
        : await enumerate(world, { together: Number(values.together) });
    report(combination, found, start);
    return found.violations.length + found.alive.length;
  } finally {
    await world.close();
  }
}

const both = [false, true];
/** DBOS may run a step twice: its sagas are refused without records. */
const withRecords = onDbos ? [true] : both;
let wrong = 0;
for (const server of ["dedup", "plain", "plain with verify"] satisfies ServerKind[]) {
  for (const records of withRecords) for (const fails of both) wrong += await sweep({ server, records, fails });
}
if (service !== undefined) {
  await dropAll(service.url);
  for (const database of databases) await database.drop();
  await service.close();
}
rmSync(folder, { recursive: true, force: true });
process.exitCode = wrong === 0 ? 0 : 1;

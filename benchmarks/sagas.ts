// 1000 sagas of four steps at a time in one process: on a journal in SQLite, on one in Postgres, and as DBOS workflows of four steps that call
// the same tools by themselves. Needs a Postgres server (PGHOST, PGPORT, PGUSER; 127.0.0.1:5432 by default).
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DBOS } from "@dbos-inc/dbos-sdk";
import { type Caller, wrapClient } from "@mcp-tx/core";
import { postgresStore } from "@mcp-tx/postgres";
import { createSagaRunner, defineSaga, memorySagaStore, type SagaRunner } from "@mcp-tx/saga";
import { sqliteStore } from "@mcp-tx/sqlite";
import pg from "pg";
import { median } from "./harness/statistics.js";

const { values } = parseArgs({
  options: {
    sagas: { type: "string", default: "1000" },
    rounds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
});
const SAGAS = Number(values.sagas);
const ROUNDS = Number(values.rounds);
const STEPS = ["one", "two", "three", "four"] as const;

const host = process.env["PGHOST"] ?? "127.0.0.1";
const port = process.env["PGPORT"] ?? "5432";
const user = process.env["PGUSER"] ?? "root";
const database = `bench_sagas_${randomUUID().slice(0, 8)}`;
const urlOf = (name: string): string => `postgresql://${user}@${host}:${port}/${name}`;

/** A tool that answers at once: what is measured is the keeping of books. */
const client = {
  callTool: async ({ name }: { readonly name: string }) => ({ content: [], structuredContent: { did: name } }),
};
const caller = wrapClient(client, []) as unknown as Caller<unknown>;

const definition = defineSaga<{ n: number }>(
  "bench",
  STEPS.map((name) => ({ name, tool: name, compensate: { tool: "undo" } })),
);

/** Runs all sagas at once. */
type Contender = () => Promise<void>;

function ofRunner(runner: SagaRunner): Contender {
  return async () => {
    const outcomes = await Promise.all(Array.from({ length: SAGAS }, (_, n) => runner.run(definition, { n })));
    if (outcomes.some(({ status }) => status !== "completed")) throw new Error("a saga did not complete");
  };
}

const folder = mkdtempSync(join(tmpdir(), "bench-sagas-"));
const admin = new pg.Pool({ connectionString: urlOf("postgres"), max: 1 });
await admin.query(`CREATE DATABASE ${database}`);
const pool = new pg.Pool({ connectionString: urlOf(database), max: 16 });
const postgres = postgresStore({ pool, prepare: true });
await postgres.migrate();
const sqlite = sqliteStore({ path: join(folder, "sagas.db") });

async function workflow(n: number): Promise<number> {
  for (const name of STEPS) await DBOS.runStep(() => caller.call(name, { n }), { name });
  return n;
}
const registered = DBOS.registerWorkflow(workflow, { name: "bench" });
const quiet = { info: () => undefined, debug: () => undefined, warn: () => undefined, error: () => undefined };
DBOS.setConfig({
  name: "bench-sagas",
  systemDatabaseUrl: urlOf(`${database}_dbos`),
  systemDatabasePoolSize: 16,
  logger: quiet,
});
await DBOS.launch();

const contenders: Readonly<Record<string, Contender>> = {
  "memory journal": ofRunner(createSagaRunner({ caller, store: memorySagaStore({ maxSagas: 1_000_000 }) })),
  "SQLite journal": ofRunner(createSagaRunner({ caller, store: sqlite.saga })),
  "Postgres journal": ofRunner(createSagaRunner({ caller, store: postgres.saga })),
  "DBOS alone": async () => {
    const handles = await Promise.all(Array.from({ length: SAGAS }, (_, n) => DBOS.startWorkflow(registered)(n)));
    await Promise.all(handles.map((handle) => handle.getResult()));
  },
};

try {
  const names = Object.keys(contenders);
  const times = new Map<string, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    // The order rotates: whoever comes first finds colder caches.
    for (let place = 0; place < names.length; place += 1) {
      const name = names[(place + round) % names.length] ?? "";
      const start = performance.now();
      await contenders[name]?.();
      times.get(name)?.push(performance.now() - start);
    }
  }
  const rows = names.map((name) => {
    const ms = median(times.get(name) ?? []);
    return { name, ms, perSecond: (SAGAS / ms) * 1000 };
  });
  const peer = rows.find(({ name }) => name === "DBOS alone")?.perSecond ?? 1;
  if (values.json) console.log(JSON.stringify({ node: process.version, sagas: SAGAS, rounds: ROUNDS, rows }, null, 2));
  else {
    console.log(
      `${SAGAS} sagas of ${STEPS.length} steps at a time, medians of ${ROUNDS} rounds, Node ${process.version}\n`,
    );
    for (const { name, ms, perSecond } of rows) {
      const ratio = (perSecond / peer).toFixed(2);
      console.log(
        `${name.padEnd(18)} ${ms.toFixed(0).padStart(7)} ms ${perSecond.toFixed(0).padStart(7)} sagas/s  ${ratio}x the rate of DBOS`,
      );
    }
  }
} finally {
  await DBOS.shutdown();
  await sqlite.close();
  await pool.end();
  await admin.query(`DROP DATABASE IF EXISTS ${database}`);
  await admin.query(`DROP DATABASE IF EXISTS ${database}_dbos`);
  await admin.end();
  rmSync(folder, { recursive: true, force: true });
}

// One real use of what runs in Node only: stores, servers, files of configuration, commands, DBOS.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { equal, isTrue, rejection } from "./expect.mjs";
import { portable } from "./use-portable.mjs";

const execute = promisify(execFile);
const RESULT = { content: [{ type: "text", text: "done" }] };
const CLAIM = { fingerprint: "f", leaseMs: 60_000, epoch: 0, sentAtWall: 0 };
/** A name of its own for every run: the databases are shared. */
const unique = () => `packed_${process.pid}_${Date.now().toString(36)}`;

/** Two claims of one key: the store lets the first one win. */
async function claimTwice(store) {
  const key = unique();
  equal((await store.claim(key, { ...CLAIM, token: "a" })).won, true, "the first claim of a key");
  equal((await store.claim(key, { ...CLAIM, token: "b" })).won, false, "the second claim of a key");
  equal(await store.settle(key, "a", { state: "done", outcome: "{}", ttlMs: 1000 }), true, "settling the first one");
}

/** Node has SQLite itself from 22.13 on, without a flag. */
function hasSqlite() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return major > 22 || (major === 22 && minor >= 13);
}

/** What an SDK's client looks like from the outside. */
const clientOf = (callTool) => ({
  callTool,
  listTools: async () => ({ tools: [{ name: "search", inputSchema: { type: "object" } }] }),
  close: async () => undefined,
});

/**
 * @typedef {object} Place Where a use runs.
 * @property {(name: string) => boolean} has Whether a package was installed on purpose.
 * @property {(name: string) => Record<string, unknown>} manifestOf The manifest of an installed package.
 * @property {(name: string, args: string[]) => [file: string, args: string[]]} command Runs an installed command.
 * @property {Record<string, string | undefined>} env
 */

/** @type {Record<string, (load: (specifier: string) => Promise<any>, place: Place) => Promise<string | void>>} A use that cannot be made says why. */
export const others = {
  async "@mcp-tx/sqlite"(load, { has }) {
    const { sqliteStore } = await load("@mcp-tx/sqlite");
    const folder = await mkdtemp(join(tmpdir(), "packed-sqlite-"));
    try {
      if (!hasSqlite() && !has("libsql")) {
        const error = await rejection((async () => sqliteStore({ path: join(folder, "store.db") }))());
        isTrue(error.message.includes("libsql"), "without a driver the error names one");
        return;
      }
      const store = sqliteStore({ path: join(folder, "store.db") });
      await claimTwice(store.idempotency);
      await store.close();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },

  async "@mcp-tx/postgres"(load, { env }) {
    const { postgresStore } = await load("@mcp-tx/postgres");
    if (env.MCP_TX_POSTGRES_URL === undefined) return "no Postgres";
    const { default: pg, Pool = pg.Pool } = await load("pg");
    const pool = new Pool({ connectionString: env.MCP_TX_POSTGRES_URL });
    const table = unique();
    const store = postgresStore({ pool, table });
    try {
      await store.migrate();
      await claimTwice(store.idempotency);
    } finally {
      const { rows } = await pool.query("SELECT tablename FROM pg_tables WHERE starts_with(tablename, $1)", [table]);
      for (const { tablename } of rows) await pool.query(`DROP TABLE "${tablename}" CASCADE`);
      await pool.end();
    }
  },

  async "@mcp-tx/redis"(load, { env }) {
    const { redisStore } = await load("@mcp-tx/redis");
    if (env.MCP_TX_REDIS_URL === undefined) return "no Redis";
    const { Redis } = await load("ioredis");
    const client = new Redis(env.MCP_TX_REDIS_URL);
    const prefix = unique();
    try {
      const store = redisStore({ client, prefix, allowEviction: true });
      await store.ready();
      await claimTwice(store.idempotency);
    } finally {
      const keys = await client.keys(`${prefix}*`);
      if (keys.length > 0) await client.del(...keys);
      await client.quit();
    }
  },

  async "@mcp-tx/http"(load) {
    await portable["@mcp-tx/http"](load);
    const { wrapClient } = await load("@mcp-tx/core");
    const { createHttpHandler } = await load("@mcp-tx/http");
    const { createNodeHandler } = await load("@mcp-tx/http/node");
    const caller = wrapClient(
      clientOf(async () => RESULT),
      [],
    );
    const handler = createHttpHandler(caller, { tools: ["search"] });
    const body = JSON.stringify({ tool: "search", arguments: {} });
    const request = { method: "POST", headers: { "content-type": "application/json" }, body };
    const server = createServer(createNodeHandler(handler));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const response = await fetch(`http://127.0.0.1:${server.address().port}/execute-tool`, request);
      equal([response.status, (await response.json()).success], [200, true], "what a server answers");
    } finally {
      await handler.close();
      server.closeAllConnections();
      server.close();
    }
  },

  async "mcp-tx"(load) {
    await portable["mcp-tx"](load);
    const { loadConfig } = await load("mcp-tx/config");
    const folder = await mkdtemp(join(tmpdir(), "packed-config-"));
    try {
      await writeFile(join(folder, "mcp-tx.config.json"), JSON.stringify({ timeoutMs: 1234 }));
      const config = await loadConfig({ cwd: folder, env: {} });
      equal(config.timeoutMs, 1234, "what the file of configuration says");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },

  async "@mcp-tx/cli"(load, { command, manifestOf }) {
    const { runCli } = await load("@mcp-tx/cli");
    isTrue(typeof runCli === "function", "the command can be run from code");
    const { bin, version } = manifestOf("@mcp-tx/cli");
    equal(bin, { "mcp-tx": "./dist/main.js" }, "the command that the package brings");
    const home = await mkdtemp(join(tmpdir(), "packed-cli-"));
    const own = { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, XDG_STATE_HOME: home };
    try {
      const help = await execute(...command("mcp-tx", ["--help"]), { cwd: home, env: own });
      isTrue(help.stdout.includes("doctor"), "the help names the commands");
      const told = await execute(...command("mcp-tx", ["--version"]), { cwd: home, env: own });
      equal(told.stdout.trim(), version, "the version that the command says");
      const doctor = await execute(...command("mcp-tx", ["doctor"]), { cwd: home, env: own });
      isTrue(doctor.stdout.includes(process.version), "doctor names the Node that it runs on");
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },

  async "@mcp-tx/create"(load, { command }) {
    const { createMiddlewarePackage } = await load("@mcp-tx/create");
    const folder = await mkdtemp(join(tmpdir(), "packed-create-"));
    try {
      const { files } = await createMiddlewarePackage({ name: "mcp-first", directory: join(folder, "first") });
      isTrue(files.length > 3, "a package has files");
      await execute(...command("create-mcp-tx", ["mcp-second", "--directory", join(folder, "second")]));
      const { name } = JSON.parse(await readFile(join(folder, "second/package.json"), "utf8"));
      equal(name, "mcp-second", "the name of the package that the command writes");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },

  async "@mcp-tx/dbos"(load) {
    const { wrapClient } = await load("@mcp-tx/core");
    const { applicationVersion, createDbosSagas, INTERPRETER_VERSION } = await load("@mcp-tx/dbos");
    const { defineSaga } = await load("@mcp-tx/saga");
    isTrue(
      applicationVersion("7").includes(INTERPRETER_VERSION),
      "the version of the interpreter is in that of the app",
    );
    const order = defineSaga("order").step({ name: "look", tool: "look", readOnly: true });
    const caller = wrapClient(
      clientOf(async () => RESULT),
      [],
    );
    const error = await rejection((async () => createDbosSagas({ caller, sagas: [order] }).run(order, {}))());
    isTrue(error.message.includes("idempotency"), "a caller whose calls have no records is refused");
  },
};

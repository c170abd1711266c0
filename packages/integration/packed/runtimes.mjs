// Core, the middlewares, the HTTP handler and the preset in Bun, Deno and workerd.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeProject } from "./installs.mjs";
import { portable } from "./project/use-portable.mjs";
import { run, tool } from "./tools.mjs";
import { startWorker } from "./worker-process.mjs";

/** The packages that need no database, no file and no process. */
const NAMES = Object.keys(portable);
/** These, or what they depend on, hash with `node:crypto`, which workerd has behind a flag. */
const NEED_NODE = ["@mcp-tx/idempotency", "@mcp-tx/saga", "mcp-tx"];
const COMPATIBILITY_DATE = "2026-01-01";

let project;

/** One project for all three, from npm: what differs is who runs it. */
function projectIn(published, folder) {
  const esbuild = { esbuild: "^0.28.0" };
  const names = [...NAMES, "@opentelemetry/api"];
  project ??= makeProject(published, "npm", join(folder, "runtimes"), names, esbuild);
  return project;
}

async function checkRuntime(published, { folder }, [name, ...args]) {
  const runtime = await tool(name);
  if (runtime === undefined) return undefined;
  const cwd = await projectIn(published, folder);
  const { stdout } = await run([runtime, ...args, "use-runtime.mjs", ...NAMES], { cwd });
  if (stdout.trim() !== `used ${NAMES.length}`) throw new Error(`${name} said: ${stdout}`);
  return `${NAMES.length} packages`;
}

/** Bundles as tools for Workers do: what is left to the runtime are Node's modules. */
async function bundle(cwd, entry, names) {
  const imports = ["@mcp-tx/core/testing", "@mcp-tx/core/options", "@mcp-tx/core/stores", "@mcp-tx/saga/engine"];
  const specifiers = [...names, "@opentelemetry/api", ...imports].filter(
    (specifier) => names.some((name) => specifier.startsWith(name)) || specifier.startsWith("@opentelemetry"),
  );
  const lines = specifiers.map((specifier, index) => `import * as m${index} from ${JSON.stringify(specifier)};`);
  const table = specifiers.map((specifier, index) => `  ${JSON.stringify(specifier)}: m${index},`);
  await writeFile(join(cwd, "modules.mjs"), `${lines.join("\n")}\nexport const modules = {\n${table.join("\n")}\n};\n`);
  const flags = ["--bundle", "--format=esm", "--platform=browser", "--conditions=workerd,worker", "--external:node:*"];
  const outfile = `${entry}.${names.length}.bundle.js`;
  await run([join(cwd, "node_modules/.bin/esbuild"), `${entry}.mjs`, ...flags, `--outfile=${outfile}`], { cwd });
  return outfile;
}

/** Asks a worker for each path, all at the same time where `together`. @returns {Promise<string[]>} */
async function answersOf(port, paths) {
  const ask = async (path) => {
    const response = await fetch(`http://127.0.0.1:${port}/${encodeURIComponent(path)}`);
    return `${path}: ${response.status} ${await response.text()}`;
  };
  return await Promise.all(paths.map(ask));
}

async function serve(cwd, settings, paths) {
  const worker = await startWorker(await tool("workerd"), cwd, { date: COMPATIBILITY_DATE, ...settings });
  try {
    const wrong = (await answersOf(worker.port, paths)).filter((answer) => !answer.endsWith(": 200 ok"));
    if (wrong.length > 0) throw new Error(`workerd, flags [${settings.flags}]: ${wrong.join("\n")}`);
  } finally {
    await worker.stop();
  }
}

/** Each use in a request of its own; then one pipeline, made when the worker starts, that several requests share. */
async function checkWorkerd(published, { folder }) {
  if ((await tool("workerd")) === undefined) return undefined;
  const cwd = await projectIn(published, folder);
  const plain = NAMES.filter((name) => !NEED_NODE.includes(name));
  await serve(cwd, { file: await bundle(cwd, "worker-uses", plain), flags: [] }, plain);
  await serve(cwd, { file: await bundle(cwd, "worker-uses", NAMES), flags: ["nodejs_compat"] }, NAMES);
  await serve(cwd, { file: await bundle(cwd, "worker-pipeline", NAMES), flags: ["nodejs_compat"] }, ["1", "2", "3"]);
  const without = await startWorker(await tool("workerd"), cwd, {
    date: COMPATIBILITY_DATE,
    file: await bundle(cwd, "worker-pipeline", NAMES),
    flags: [],
  }).then(
    (worker) => worker.stop(),
    (error) => error,
  );
  if (!String(without).includes("node:crypto")) throw new Error(`without nodejs_compat workerd said: ${without}`);
  return `${plain.length} packages without a flag, ${NAMES.length} with nodejs_compat`;
}

/** What can be asked for with `--only`. */
export const runtimes = {
  bun: (published, place) => checkRuntime(published, place, ["bun"]),
  deno: (published, place) => checkRuntime(published, place, ["deno", "run", "--quiet", "--node-modules-dir=manual"]),
  workerd: checkWorkerd,
};

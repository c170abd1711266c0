// Hosts that need a newer Node than these packages do: Mastra, and the newest Vercel AI SDK. Installs them in a temporary folder, puts
// what was built of ours beside them, and runs the scenarios, on the Node that is here if it is new enough, else on one that npx brings.
// Usage, after a build: node packages/integration/interop-latest/check.mjs
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const execute = promisify(execFile);
const PACKAGES = fileURLToPath(new URL("../../", import.meta.url));
const RECIPE = fileURLToPath(new URL("../../../docs/recipes/mastra.md", import.meta.url));
const OURS = ["circuit-breaker", "cli", "core", "idempotency", "mcp-tx", "rate-limit", "retry", "sqlite"];
const HOSTS = {
  "@ai-sdk/mcp": "^2.0.99",
  "@mastra/core": "^1.71.0",
  "@mastra/mcp": "^2.0.0",
  "@modelcontextprotocol/sdk": "^1.32.2",
  ai: "^7.0.173",
  zod: "^4.6.0",
};

const [major, minor] = process.versions.node.split(".").map(Number);
const isNewEnough = major > 22 || (major === 22 && minor >= 13);

/** Runs a script of the folder. The proxy keeps its records below the home of the user, which is the folder here. */
function node(script, folder) {
  const options = { cwd: folder, timeout: 90_000 };
  const env = { ...process.env, HOME: folder };
  if (isNewEnough) return execute(process.execPath, [script], { ...options, env });
  const shell = `HOME='${folder}' exec node ${script}`;
  return execute("npx", ["-y", "-p", "node@24", "sh", "-c", shell], options);
}

async function manifestOf(name) {
  return JSON.parse(await readFile(join(PACKAGES, name, "package.json"), "utf8"));
}

/** What ours need at run time, as far as it is not ours. */
async function dependenciesOfOurs() {
  const needed = {};
  for (const name of OURS) {
    const { dependencies = {} } = await manifestOf(name);
    for (const [dependency, range] of Object.entries(dependencies))
      if (!/^(workspace|catalog):/.test(range)) needed[dependency] = range;
  }
  return needed;
}

async function install(folder) {
  const dependencies = { ...(await dependenciesOfOurs()), ...HOSTS };
  await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, type: "module", dependencies }));
  await execute("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: folder });
  for (const directory of OURS) {
    const { name, bin = {} } = await manifestOf(directory);
    const target = join(folder, "node_modules", name);
    await cp(join(PACKAGES, directory, "package.json"), join(target, "package.json"));
    await cp(join(PACKAGES, directory, "dist"), join(target, "dist"), { recursive: true });
    for (const [command, file] of Object.entries(bin)) {
      const link = join(folder, "node_modules/.bin", command);
      await mkdir(dirname(link), { recursive: true });
      await chmod(join(target, file), 0o755);
      await symlink(join(target, file), link);
    }
  }
}

/** The snippets of the recipe, by the names that they give themselves. */
async function writeSnippets(folder) {
  const recipe = await readFile(RECIPE, "utf8");
  const snippets = [...recipe.matchAll(/^```js\n\/\/ (\S+\.mjs)\n([\s\S]*?)^```$/gm)];
  assert.deepEqual(
    snippets.map(([, name]) => name),
    ["proxied.mjs", "with-keys.mjs"],
  );
  for (const [, name, code] of snippets) {
    // The recipe's server is one that is there.
    await writeFile(
      join(folder, name),
      code.replace('"node", "server.js"', '"node", "shop.mjs", "stdio", "server.log"'),
    );
  }
}

const folder = await mkdtemp(join(tmpdir(), "interop-latest-"));
try {
  await install(folder);
  for (const script of ["shop.mjs", "mastra.mjs", "ai-sdk.mjs"])
    await cp(new URL(script, import.meta.url), join(folder, script));
  await writeSnippets(folder);
  for (const script of ["mastra.mjs", "ai-sdk.mjs"]) {
    const { stdout } = await node(script, folder);
    process.stdout.write(stdout.replace(/^(?!Mastra: |AI SDK 7: ).*\n/gm, ""));
  }
} finally {
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

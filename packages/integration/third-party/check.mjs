// What third parties do, outside the workspace and with packed packages alone: the example `custom-middleware` is installed, checked
// and run, and so is what `npm create @mcp-tx` writes, which is then packed and used beside another package.
// Usage, after a build: node packages/integration/third-party/check.mjs
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { packPackages } from "../../../scripts/pack-packages.mjs";

const execute = promisify(execFile);
const EXAMPLE = fileURLToPath(new URL("../../../examples/custom-middleware", import.meta.url));
const USE = `
import assert from "node:assert/strict";
import { pipeline, RateLimitError, run } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { mcpAudit } from "@acme/mcp-audit";

const passes = [];
let refusals = 2;
const refusing = async (ctx, next) => {
  if (refusals === 0) return next(ctx);
  refusals -= 1;
  throw new RateLimitError(ctx.tool);
};
const tool = async () => ({ content: [] });
const handler = pipeline([retry({ baseDelayMs: 0 }), mcpAudit({ onPass: ({ number }) => passes.push(number) }), refusing], tool);
await run(handler, { tool: "pay", options: { mcpAudit: undefined } });
assert.deepEqual(passes, [1, 2, 3]);
await assert.rejects(run(handler, { tool: "pay", options: { mcpaudit: false } }), /mcpaudit/);
process.stdout.write("used\\n");
`;

/** Runs a command; what it printed is shown only when it fails. */
async function must(command, args, cwd) {
  try {
    return await execute(command, args, { cwd, maxBuffer: 2 ** 24 });
  } catch (error) {
    process.stderr.write(`${error.stdout ?? ""}${error.stderr ?? ""}`);
    throw new Error(`${command} ${args.join(" ")} failed`, { cause: error });
  }
}

const npm = (folder, ...args) => must("npm", args, folder);
const install = (folder, ...what) => npm(folder, "install", "--no-audit", "--no-fund", "--prefer-offline", ...what);

async function checkExample(folder, tarballs) {
  await cp(EXAMPLE, folder, { recursive: true, filter: (path) => !/^(?:node_modules|packed)$/.test(basename(path)) });
  await mkdir(join(folder, "packed"));
  for (const name of ["core", "retry"]) {
    await copyFile(tarballs.get(`@mcp-tx/${name}`), join(folder, "packed", `mcp-tx-${name}.tgz`));
  }
  await install(folder);
  await npm(folder, "run", "typecheck");
  await npm(folder, "test");
  const { stdout } = await npm(folder, "start");
  assert.match(stdout, /spent 3 of 3/);
}

async function checkCreated(parent, tarballs) {
  await npm(
    parent,
    "exec",
    "--yes",
    `--package=${tarballs.get("@mcp-tx/create")}`,
    "--",
    "create-mcp-tx",
    "@acme/mcp-audit",
  );
  const folder = join(parent, "mcp-audit");
  const manifest = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  // The one thing that a newcomer does not do: the core that is asked for is the packed one.
  const core = `file:${tarballs.get("@mcp-tx/core")}`;
  assert.match(manifest.devDependencies["@mcp-tx/core"], /^>=\d+\.\d+\.\d+ <\d+\.0\.0$/);
  manifest.devDependencies["@mcp-tx/core"] = core;
  await writeFile(join(folder, "package.json"), JSON.stringify(manifest, null, 2));
  await install(folder);
  await npm(folder, "run", "typecheck");
  const { stdout } = await npm(folder, "test");
  assert.match(stdout, /Tests.*\d+ passed/);
  const packed = JSON.parse((await npm(folder, "pack", "--json", "--silent")).stdout.replace(/^[^[]*/, ""));
  const files = packed[0].files.map(({ path }) => path).sort();
  assert.deepEqual(files, [
    "README.md",
    "dist/index.d.ts",
    "dist/index.js",
    "dist/mcp-audit.d.ts",
    "dist/mcp-audit.js",
    "package.json",
  ]);
  return join(folder, packed[0].filename);
}

async function checkUse(folder, tarball, tarballs) {
  await mkdir(folder);
  await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  await install(folder, tarballs.get("@mcp-tx/core"), tarballs.get("@mcp-tx/retry"), tarball);
  await writeFile(join(folder, "main.js"), USE);
  assert.equal((await must(process.execPath, ["main.js"], folder)).stdout, "used\n");
}

const folder = await mkdtemp(join(tmpdir(), "mcp-tx-third-party-"));
try {
  const packed = await packPackages(join(folder, "tarballs"));
  const tarballs = new Map(packed.map(({ name, file }) => [name, file]));
  await checkExample(join(folder, "example"), tarballs);
  process.stdout.write("third party: examples/custom-middleware installs, checks and runs outside the workspace\n");
  const tarball = await checkCreated(folder, tarballs);
  await checkUse(join(folder, "use"), tarball, tarballs);
  process.stdout.write(
    "third party: what `npm create @mcp-tx` writes builds, passes its suite and composes with retry\n",
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}

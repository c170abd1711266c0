// Runtimes and package managers, brought by npx where they are not here already. What cannot be had is said loudly, and is a failure
// where MCP_TX_REQUIRE_SERVICES=1.
import { execFile } from "node:child_process";
import { realpath } from "node:fs/promises";
import { promisify } from "node:util";

const execute = promisify(execFile);
const MEBIBYTE = 2 ** 20;
const TIMEOUT_MS = 240_000;
/** Environment of every command: none of them is to wait for an answer or report home. */
const QUIET = { CI: "true", npm_config_loglevel: "error", DO_NOT_TRACK: "1", NO_COLOR: "1" };

/** What a tool is called, the package that brings it, and its command. */
const TOOLS = {
  node20: ["node@20", "node"],
  node22: ["node@22", "node"],
  node24: ["node@24", "node"],
  pnpm: ["pnpm@12.21.0", "pnpm"],
  yarn1: ["yarn@1", "yarn"],
  yarn4: ["@yarnpkg/cli-dist@4", "yarn"],
  bun: ["bun@1", "bun"],
  deno: ["deno@2", "deno"],
  workerd: ["workerd@1", "workerd"],
};

const found = new Map();
export const skipped = [];

/**
 * Runs a command; a failure shows what it printed.
 *
 * @param {readonly string[]} command @param {{ cwd: string, env?: Record<string, string> }} options
 */
export async function run([file, ...args], { cwd, env = {} }) {
  const options = { cwd, maxBuffer: 64 * MEBIBYTE, timeout: TIMEOUT_MS, env: { ...process.env, ...QUIET, ...env } };
  try {
    return await execute(file, args, options);
  } catch (error) {
    const said = [error.stdout, error.stderr].filter((text) => text?.trim()).join("\n");
    throw new Error(`${[file, ...args].join(" ")} in ${cwd}: ${error.code ?? error.signal}\n${said}`);
  }
}

async function find(name) {
  if (name === `node${process.versions.node.split(".")[0]}`) return process.execPath;
  const [source, command] = TOOLS[name];
  const { stdout } = await run(["npx", "-y", "-p", source, "-c", `command -v ${command}`], { cwd: process.cwd() });
  const path = await realpath(stdout.trim().split("\n").at(-1));
  // A tool whose install script did not run is there, and does not start.
  await run(/\.[cm]?js$/.test(path) ? [process.execPath, path, "--version"] : [path, "--version"], { cwd: "/" });
  return path;
}

/** The path of a tool, or `undefined` after having said so. @param {keyof typeof TOOLS} name @returns {Promise<string | undefined>} */
export function tool(name) {
  if (!found.has(name)) {
    found.set(
      name,
      find(name).catch((error) => skip(name, String(error.message).split("\n").slice(0, 6).join("\n"))),
    );
  }
  return found.get(name);
}

/** @param {string} what @param {string} why */
export function skip(what, why) {
  if (process.env.MCP_TX_REQUIRE_SERVICES === "1") throw new Error(`${what} is required: ${why}`);
  skipped.push(what);
  process.stderr.write(`\n*** SKIPPED: ${what}: ${why} ***\n`);
  return undefined;
}

/** Does the work of each item, two at a time: what waits for a disk beside what computes. Goes on after a failure, to show them all. */
export async function inPairs(items, work) {
  const left = items.entries();
  const problems = [];
  const worker = async () => {
    for (const [, item] of left) await work(item).catch((error) => problems.push(error.message));
  };
  await Promise.all([worker(), worker()]);
  if (problems.length > 0) throw new Error(problems.join("\n\n"));
}

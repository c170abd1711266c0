// Known vulnerabilities of what the packages bring along when they are installed. A registry without an audit endpoint leaves nothing to
// ask: that is said loudly, and is no failure. Usage: node scripts/audit.mjs [FOLDER]
import { execFile } from "node:child_process";
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MEBIBYTE = 2 ** 20;
const LEVEL = "high";
/** How a registry says that it has no such endpoint. Whatever else goes wrong is a failure. */
const NO_ENDPOINT = /ERR_PNPM_AUDIT_ENDPOINT_NOT_EXISTS|responded[\s│]+with[\s│]+(?:404|405|410|501)\b/;

/**
 * @param {string} folder With a `package.json` and a lockfile.
 * @param {readonly string[]} [flags] More flags of pnpm, such as `--registry`.
 * @returns {Promise<{ status: "clean" | "vulnerable" | "no-endpoint" | "failed", output: string }>}
 */
export function audit(folder, flags = []) {
  const args = ["-y", "pnpm@12.21.0", "audit", "--prod", "--audit-level", LEVEL, ...flags];
  const env = { ...process.env, NO_COLOR: "1", npm_config_loglevel: "error" };
  return new Promise((resolve) => {
    execFile("npx", args, { cwd: folder, env, maxBuffer: 64 * MEBIBYTE }, (error, stdout, stderr) => {
      const output = `${stdout}${stderr}`.trim();
      resolve({ status: statusOf(error, output), output });
    });
  });
}

function statusOf(error, output) {
  if (error === null) return "clean";
  if (NO_ENDPOINT.test(output)) return "no-endpoint";
  return / vulnerabilities found$/m.test(output) ? "vulnerable" : "failed";
}

async function main(folder) {
  const { status, output } = await audit(folder);
  if (output !== "") console.log(output);
  if (status === "no-endpoint") console.error("\n*** SKIPPED: audit: the registry has no audit endpoint ***\n");
  else console.log(`audit: ${status}`);
  process.exitCode = status === "clean" || status === "no-endpoint" ? 0 : 1;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main(process.argv[2] ?? ROOT);
}

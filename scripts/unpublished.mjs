// Names the packages whose version is not in the registry yet, in one line. Usage: node scripts/unpublished.mjs
import { execFile } from "node:child_process";
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { publishedManifests } from "./pack-packages.mjs";

const execute = promisify(execFile);

/** @param {string} name @param {string} version @param {readonly string[]} flags */
async function isInRegistry(name, version, flags) {
  try {
    const { stdout } = await execute("npm", ["view", `${name}@${version}`, "version", "--json", ...flags]);
    return stdout.trim() !== "";
  } catch (error) {
    if (/\bE404\b/.test(`${error.stdout}${error.stderr}`)) return false;
    throw error;
  }
}

/**
 * @param {string} [root] The repository. @param {readonly string[]} [flags] More flags of npm, such as `--registry`.
 * @returns {Promise<string[]>} Rejects when the registry does not say.
 */
export async function unpublished(root, flags = []) {
  const manifests = publishedManifests(root);
  const known = await Promise.all(manifests.map(({ name, version }) => isInRegistry(name, version, flags)));
  return manifests.filter((_, index) => !known[index]).map(({ name }) => name);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  console.log((await unpublished()).join(" "));
}

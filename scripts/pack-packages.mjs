// Packs every package that gets published, as it will be published: `workspace:` and `catalog:` ranges are replaced, and only what
// "files" names is inside. Builds nothing. Usage, after a build: node scripts/pack-packages.mjs FOLDER
import { execFile } from "node:child_process";
import { mkdir, realpath } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { packageFolders, readPackage } from "./package-entries.mjs";

const execute = promisify(execFile);
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MEBIBYTE = 2 ** 20;

/** @typedef {{ name: string, version: string, file: string }} Packed `file` is the absolute path of the tarball. */

/** The manifests of the packages that get published. @param {string} root */
export function publishedManifests(root = ROOT) {
  return packageFolders(root)
    .map(readPackage)
    .filter(({ private: isPrivate }) => isPrivate !== true);
}

/**
 * @param {string} folder Where the tarballs go; made if it is not there.
 * @param {string} [root] The repository.
 * @returns {Promise<Packed[]>} In the order of the folders in `packages`.
 */
export async function packPackages(folder, root = ROOT) {
  const destination = resolve(folder);
  await mkdir(destination, { recursive: true });
  const manifests = publishedManifests(root);
  const filters = manifests.flatMap(({ name }) => ["--filter", name]);
  const { stdout } = await execute(
    "npx",
    ["-y", "pnpm@12.21.0", ...filters, "pack", "--json", "--pack-destination", destination],
    { cwd: root, maxBuffer: 64 * MEBIBYTE },
  );
  const packed = [JSON.parse(stdout)].flat();
  return manifests.map((manifest) => packedOf(manifest, packed, destination));
}

/** What "exports" promises, relative to the package. @param {import("./package-entries.mjs").Manifest} manifest */
export function builtFilesOf(manifest) {
  return Object.values(manifest.exports ?? {})
    .flatMap((target) => (typeof target === "object" ? Object.values(target) : []))
    .map((file) => file.replace(/^\.\//, ""));
}

/** Refuses a tarball that lacks an entry of its package: nobody built it. */
function packedOf(manifest, packed, destination) {
  const result = packed.find(({ name }) => name === manifest.name);
  if (result === undefined) throw new Error(`${manifest.name} was not packed`);
  const paths = result.files.map(({ path }) => path);
  for (const file of builtFilesOf(manifest)) {
    if (!paths.includes(file)) throw new Error(`${manifest.name} has no ${file}: run the build first`);
  }
  return { name: result.name, version: result.version, file: join(destination, result.filename.split(/[/\\]/).at(-1)) };
}

if (process.argv[1] !== undefined && (await realpath(process.argv[1])) === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2];
  if (folder === undefined) throw new TypeError("usage: node scripts/pack-packages.mjs FOLDER");
  for (const { file } of await packPackages(folder)) console.log(file);
}

// Every published package as a tarball, with the manifest that is inside.
import { mkdir, readdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { packPackages } from "../../../scripts/pack-packages.mjs";
import { run } from "./tools.mjs";

/** @typedef {{ name: string, version: string, file: string, manifest: Record<string, any> }} Published */

/** @param {string} folder Where the tarballs go. @returns {Promise<Published[]>} */
export async function packAll(folder) {
  await mkdir(folder, { recursive: true });
  return await readAll((await packPackages(folder)).map(({ file }) => file));
}

/** Takes the tarballs that are in a folder already. @param {string} folder @returns {Promise<Published[]>} */
export async function packedIn(folder) {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
  return await readAll(names.map((name) => resolve(folder, name)));
}

const readAll = (files) =>
  Promise.all(
    files.map(async (file) => {
      const manifest = await manifestIn(file, dirname(file));
      return { name: manifest.name, version: manifest.version, file, manifest };
    }),
  );

async function manifestIn(file, cwd) {
  const { stdout } = await run(["tar", "-xzOf", file, "package/package.json"], { cwd });
  return JSON.parse(stdout);
}

/** What must hold of a manifest once it is packed. @param {Published} published */
export function* problemsOf({ name, manifest }) {
  const text = JSON.stringify(manifest);
  for (const word of ["workspace:", "catalog:"]) if (text.includes(word)) yield `${name}: its manifest says ${word}`;
  for (const field of ["dependencies", "peerDependencies"]) {
    for (const [other, range] of Object.entries(manifest[field] ?? {})) {
      if (/^(?:file|link|git)/.test(range)) yield `${name}: ${other} is ${range}`;
    }
  }
  const range = manifest.peerDependencies?.["@mcp-tx/core"];
  if (range !== undefined && range !== ">=0.1.0 <1.0.0") yield `${name}: its peer on core is ${range}`;
}

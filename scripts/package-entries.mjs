// Where the entries of a package are, read from the `exports` of its package.json: the build, the tests and the package
// checks all ask here, so that an entry is declared once.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * @typedef {{ name: string, exports?: Record<string, { types: string, default: string }> }} Manifest
 * @typedef {{ specifier: string, source: string, bundle: string }} Entry
 *   `specifier` is what users import, `source` the file in `src`, `bundle` its name in `dist`, without extension.
 */

/** @param {string} folder @returns {Manifest} */
export function readPackage(folder) {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
}

/** Folders below `packages` that hold a package. @param {string} root @returns {string[]} */
export function packageFolders(root) {
  return readdirSync(join(root, "packages"))
    .sort()
    .map((name) => join(root, "packages", name))
    .filter((folder) => existsSync(join(folder, "package.json")));
}

/** `dist/testing/index.d.ts` is declared by `src/testing/index.ts`, whatever its bundle is called. @param {Manifest} manifest @returns {Entry[]} */
export function entriesOf(manifest) {
  return Object.entries(manifest.exports ?? {})
    .filter(([, target]) => typeof target === "object")
    .map(([subpath, target]) => ({
      specifier: manifest.name + subpath.slice(1),
      source: target.types.replace(/^\.\/dist\//, "src/").replace(/\.d\.ts$/, ".ts"),
      bundle: target.default.replace(/^\.\/dist\//, "").replace(/\.js$/, ""),
    }));
}

/** @param {Manifest} manifest @returns {Record<string, string>} */
export function bundleEntries(manifest) {
  return Object.fromEntries(entriesOf(manifest).map(({ bundle, source }) => [bundle, source]));
}

/** Exact-match aliases from every package's specifiers to its sources. @param {string} root */
export function sourceAliases(root) {
  return packageFolders(root).flatMap((folder) =>
    entriesOf(readPackage(folder)).map(({ specifier, source }) => ({
      find: new RegExp(`^${specifier.replace(/[/.]/g, "\\$&")}$`),
      replacement: join(folder, source),
    })),
  );
}

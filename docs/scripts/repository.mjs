// What the site takes from the repository besides its own pages.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/[\\/]$/, "");
/** Where files are shown that are no pages of the site. */
export const SOURCE_URL = "https://github.com/mcp-tx/mcp-tx";

/**
 * @typedef {object} PublishedPackage
 * @property {string} name
 * @property {string} slug the last part of its name, and its folder
 * @property {string} description
 * @property {readonly { specifier: string, source: string }[]} entries `source` is an absolute path
 */

/** The packages that are published, core and the whole first. @returns {readonly PublishedPackage[]} */
export function publishedPackages() {
  const folders = readdirSync(join(ROOT, "packages")).sort();
  const packages = folders.flatMap((slug) => {
    const file = join(ROOT, "packages", slug, "package.json");
    const manifest = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { private: true };
    if (manifest.private === true) return [];
    return [{ name: manifest.name, slug, description: manifest.description, entries: entriesOf(slug, manifest) }];
  });
  const first = ["core", "mcp-tx"];
  const seat = (/** @type {PublishedPackage} */ { slug }) =>
    (first.indexOf(slug) + first.length + 1) % (first.length + 1);
  return packages.sort((left, right) => seat(left) - seat(right));
}

/**
 * `dist/x.d.ts` is declared by `src/x.ts`.
 * @param {string} slug
 * @param {{ name: string, exports?: Record<string, string | { types: string }> }} manifest
 */
function entriesOf(slug, { name, exports = {} }) {
  return Object.entries(exports).flatMap(([subpath, target]) => {
    // `./main` is a command: it has nothing to import.
    if (typeof target === "string" || subpath === "./main") return [];
    const source = target.types.replace(/^\.\/dist\//, "src/").replace(/\.d\.ts$/, ".ts");
    return [{ specifier: name + subpath.slice(1), source: join(ROOT, "packages", slug, source) }];
  });
}

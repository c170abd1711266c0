// What a newcomer types: the lines of the READMEs, in order, in an empty folder.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bareImports, packageNameOf } from "../../../scripts/imports.mjs";
import { tarballsOf } from "./installs.mjs";
import { managers } from "./managers.mjs";
import { run, tool } from "./tools.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
/** Every reader of these pages has one of them: it is what the packages go around. */
const GIVEN = /^@modelcontextprotocol\//;

/** The names in the `npm install` lines of a text. */
const installedBy = (text) =>
  [...text.matchAll(/^npm install (.+)$/gm)].flatMap(([, names = ""]) => names.replace(/ +#.*/, "").split(/\s+/));
const firstSnippet = (text) => /^```ts\n([\s\S]*?)^```$/m.exec(text)?.[1];
const importedBy = (snippet) =>
  bareImports([{ file: "", text: snippet }]).map(({ specifier }) => packageNameOf(specifier));
const sectionOf = (text, title) => text.split(/^## /m).find((section) => section.startsWith(`${title}\n`)) ?? "";

/** Its first example imports nothing that its install lines leave out. @param {import("./packed.mjs").Published} published */
async function missingIn({ name, manifest }) {
  const readme = await readFile(join(ROOT, manifest.repository.directory, "README.md"), "utf8");
  const snippet = firstSnippet(sectionOf(readme, "Usage"));
  if (snippet === undefined) return [];
  const installed = [...installedBy(sectionOf(readme, "Install")), name];
  const missing = importedBy(snippet).filter((other) => !installed.includes(other) && !GIVEN.test(other));
  return missing.length === 0
    ? []
    : [`${name}: the example needs ${[...new Set(missing)].join(", ")}, and Install does not say so`];
}

async function checkInstallLines(published) {
  const problems = (await Promise.all(published.map(missingIn))).flat();
  if (problems.length > 0) throw new Error(problems.join("\n"));
  return `${published.length} READMEs`;
}

/** The first page: its install line, then its first example, run as it stands. */
async function checkFirstPage(published, { folder }) {
  const node = await tool("node24");
  if (node === undefined) return undefined;
  const readme = await readFile(join(ROOT, "README.md"), "utf8");
  const snippet = firstSnippet(readme);
  const [line] = readme.match(/^npm install .+$/m) ?? [];
  if (snippet === undefined || line === undefined)
    throw new Error("the README has no `npm install` line, or no example");
  const cwd = join(folder, "newcomer");
  await mkdir(cwd);
  const tarballs = tarballsOf(published);
  const dependencies = Object.fromEntries(installedBy(line).map((name) => [name, tarballs[name] ?? "latest"]));
  await managers.npm.install({ folder: cwd, tarballs, dependencies });
  await writeFile(join(cwd, "example.mts"), snippet);
  const { stdout } = await run([node, "example.mts"], { cwd });
  if (stdout.trim() === "") throw new Error("the example of the README prints nothing");
  return `${line.slice("npm install ".length)}: ${stdout.trim().split("\n").length} lines printed`;
}

/** What can be asked for with `--only`. */
export const readmes = { readmes: checkInstallLines, newcomer: checkFirstPage };

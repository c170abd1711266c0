// Pages that are made from elsewhere in the repository: one for each package, out of its README, and the list of decisions.
// They are git-ignored: there is one copy of everything.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sourceOf } from "./links.mjs";
import { publishedPackages, ROOT, SOURCE_URL } from "./repository.mjs";

const DOCS = join(ROOT, "docs");

/** @param {Readonly<Record<string, unknown>>} data */
function frontMatter(data) {
  return `---\n${Object.entries(data)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join("")}---\n\n`;
}

function writePackages() {
  const folder = join(DOCS, "packages");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const packages = publishedPackages();
  for (const { slug, description } of packages) {
    const page = `packages/${slug}.md`;
    const readme = readFileSync(join(ROOT, sourceOf(page)), "utf8");
    // Links are those of the README: the site build takes them from where it is.
    const editLink = `${SOURCE_URL}/edit/main/${sourceOf(page)}`;
    writeFileSync(join(DOCS, page), `${frontMatter({ description, editLink })}${readme}`);
  }
  const rows = packages.map(({ name, slug, description }) => `| [\`${name}\`](${slug}/README.md) | ${description} |`);
  const list = `# Packages\n\n| Package | What it is |\n|---|---|\n${rows.join("\n")}\n`;
  writeFileSync(join(folder, "index.md"), list.replaceAll("/README.md", ".md"));
}

function writeDecisions() {
  const folder = join(DOCS, "decisions");
  const files = readdirSync(folder)
    .filter((name) => /^\d{4}-.+\.md$/.test(name))
    .sort();
  const rows = files.map((file) => {
    const title = /^# (.+)$/m.exec(readFileSync(join(folder, file), "utf8"))?.[1] ?? file;
    return `- [${title}](${file})`;
  });
  const text = `# Decisions\n\nWhy it is as it is: context, decision and consequences, one page each.\n\n${rows.join("\n")}\n`;
  writeFileSync(join(folder, "index.md"), text);
}

export function writePages() {
  writePackages();
  writeDecisions();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writePages();

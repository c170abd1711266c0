// What can be told of a built site from its files alone: that nothing is missing, and that its Markdown leads somewhere.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { includesOf } from "./includes.mjs";
import { sourceOf } from "./links.mjs";
import { ROOT } from "./repository.mjs";
import { expectedPages, fileOf } from "./site-map.mjs";

/** A page's Markdown on the site: that of `guide/index.md` is `guide.md`. @param {string} page */
export function markdownOf(page) {
  return page.replace(/(?<=.)\/index\.md$/, ".md");
}

/** @param {string} folder */
function missingPages(folder) {
  return expectedPages().flatMap((page) => {
    const files = [fileOf(page), markdownOf(page)];
    return files.filter((file) => !existsSync(join(folder, file))).map((file) => `${file} is missing`);
  });
}

/** @param {string} folder @param {URL} url */
function brokenMarkdown(folder, url) {
  const files = readdirSync(folder, { recursive: true })
    .map(String)
    .filter((file) => /\.(?:md|txt)$/.test(file));
  return files.flatMap((file) => {
    const links = readFileSync(join(folder, file), "utf8").matchAll(/\]\(([^)\s]+)\)/g);
    const own = [...links].map(([, link = ""]) => link.split("#")[0] ?? "").filter((link) => link.startsWith(url.href));
    const broken = [...new Set(own)].filter(
      (link) => !existsSync(join(folder, decodeURI(link.slice(url.href.length)))),
    );
    return broken.map((link) => `${file}: ${link} leads nowhere`);
  });
}

/** Code that a page includes is in its Markdown, too. @param {string} folder */
function missingCode(folder) {
  const pages = expectedPages().filter((page) => existsSync(join(ROOT, "docs", page)));
  return pages.flatMap((page) => {
    const includes = includesOf(readFileSync(join(ROOT, "docs", page), "utf8"));
    const file = join(folder, markdownOf(page));
    const text = existsSync(file) ? readFileSync(file, "utf8") : "";
    return includes
      .filter(({ code }) => !text.includes(code))
      .map(({ name }) => `${markdownOf(page)}: ${name} is not in it`);
  });
}

/** Pages that the repository's own list for language models lacks. */
function unlisted() {
  const text = readFileSync(join(ROOT, "llms.txt"), "utf8");
  const sources = expectedPages()
    .filter((page) => !/^(?:ja|api|decisions)\/|^(?:packages\/)?index\.md$/.test(page))
    .map(sourceOf);
  return sources.filter((source) => !text.includes(`](${source})`)).map((source) => `llms.txt: ${source} is not in it`);
}

/**
 * @param {string} folder the built site
 * @param {URL} url where it will be
 * @returns {readonly string[]}
 */
export function fileProblems(folder, url) {
  const lists = ["llms.txt", "llms-full.txt", "sitemap.xml"].filter((file) => !existsSync(join(folder, file)));
  const missing = lists.map((file) => `${file} is missing`);
  return [...missing, ...missingPages(folder), ...brokenMarkdown(folder, url), ...missingCode(folder), ...unlisted()];
}

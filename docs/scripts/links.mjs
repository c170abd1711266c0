// Pages are Markdown that reads well on GitHub too: they link files of the repository. On the site such a link leads to the page that
// the file became, or to the file on GitHub.
import { existsSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import { ROOT, SOURCE_URL } from "./repository.mjs";

const FENCE = /^ {0,3}(`{3,}|~{3,})[\s\S]*?^ {0,3}\1/gm;
const TARGET = /(\]\(|^\[[^\]]+\]: +)([^)\s]+)/gm;

/** Where code begins and ends: nothing in it is a link. @param {string} text @returns {readonly [number, number][]} */
function fencesOf(text) {
  return [...text.matchAll(FENCE)].map(({ index, 0: fence }) => [index, index + fence.length]);
}

/** @param {readonly [number, number][]} ranges @param {number} at */
function isWithin(ranges, at) {
  return ranges.some(([start, end]) => start <= at && at < end);
}

/** Which file of the repository a page below `docs` is made from. @param {string} page such as `packages/core.md` */
export function sourceOf(page) {
  const [, slug] = /^packages\/([\w-]+)\.md$/.exec(page) ?? [];
  return slug === undefined || slug === "index" ? `docs/${page}` : `packages/${slug}/README.md`;
}

/**
 * The page that a file or folder of the repository became, without an anchor.
 * @param {string} file such as `packages/core/README.md`
 * @returns {string | undefined} such as `packages/core.md`
 */
export function pageOf(file) {
  const [, slug] = /^packages\/([\w-]+)(?:\/README\.md|\/?)$/.exec(file) ?? [];
  if (slug !== undefined) return `packages/${slug}.md`;
  if (/^docs\/(?:decisions|guide|recipes|api)\/?$/.test(file)) return `${file.replace(/^docs\/|\/$/g, "")}/index.md`;
  return /^docs\/(?!public\/).+\.md$/.test(file) ? file.slice("docs/".length) : undefined;
}

/** From the top of the site, which is the top of `docs`. @param {string} href @param {string} page */
function targetOf(href, page) {
  const [, path = "", anchor = ""] = /^([^#?]*)(.*)$/.exec(href) ?? [];
  if (path === "" || /^(?:[a-z][\w+.-]*:|\/)/i.test(path)) return href;
  const file = posix.join(posix.dirname(sourceOf(page)), decodeURI(path)).replace(/\/$/, "");
  if (file.startsWith("..")) return href;
  if (file.startsWith("docs/public/")) return `/${file.slice("docs/public/".length)}${anchor}`;
  const target = pageOf(file);
  if (target !== undefined) return `/${target}${anchor}`;
  const absolute = join(ROOT, file);
  // What is nowhere stays as it is, for the check to find.
  if (!existsSync(absolute)) return href;
  return `${SOURCE_URL}/${statSync(absolute).isDirectory() ? "tree" : "blob"}/main/${file}${anchor}`;
}

/**
 * Makes links of a file's Markdown fit for its page.
 * @param {string} text
 * @param {string} page below `docs`
 */
export function linkPages(text, page) {
  const fences = fencesOf(text);
  return text.replace(TARGET, (link, before, href, at) =>
    isWithin(fences, at) ? link : before + targetOf(href, page),
  );
}

/**
 * Makes links from the top of the site whole ones, for Markdown that is read apart from it.
 * @param {string} text
 * @param {string} url of the site
 */
export function linkAbsolutely(text, url) {
  const fences = fencesOf(text);
  return text.replace(TARGET, (link, before, href, at) => {
    if (isWithin(fences, at) || !href.startsWith("/")) return link;
    return before + new URL(href.slice(1).replace(/(?<=.)\/index\.md(?=#|$)/, ".md"), url).href;
  });
}

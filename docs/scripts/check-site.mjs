// Checks the built site and lists everything that is wrong with it: `node scripts/check-site.mjs [folder]`.
// Without a browser it says so and looks at files alone.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openBrowser } from "./browser.mjs";
import { fileProblems } from "./check-files.mjs";
import { crawl, search } from "./crawl.mjs";
import { includesOf } from "./includes.mjs";
import { ROOT } from "./repository.mjs";
import { expectedPages, fileOf, siteUrl } from "./site-map.mjs";

const BUILT = fileURLToPath(new URL("../.vitepress/dist", import.meta.url));
const SEARCHES = [
  { start: "", words: "idempotency" },
  { start: "", words: "OutcomeUnknownError" },
  { start: "ja/", words: "冪等キー" },
  { start: "ja/", words: "サーキットブレーカー" },
];

/** As links name a page. @param {string} page */
const addressOf = (page) => fileOf(page).replace(/(^|\/)index\.html$/, "$1");

/** The code that a page includes is what its blocks show. @param {readonly import("./crawl.mjs").Visit[]} visits */
function hiddenCode(visits) {
  const shown = new Map(visits.map(({ page, code }) => [page, code]));
  const pages = expectedPages().filter((page) => existsSync(join(ROOT, "docs", page)));
  return pages.flatMap((page) => {
    const path = addressOf(page);
    const blocks = shown.get(path) ?? [];
    const includes = includesOf(readFileSync(join(ROOT, "docs", page), "utf8"));
    return includes.filter(({ code }) => !blocks.includes(code)).map(({ name }) => `${path}: does not show ${name}`);
  });
}

/** @param {string} folder @param {import("playwright-core").Browser} browser */
async function browserProblems(folder, browser) {
  const base = siteUrl().pathname;
  try {
    const starts = expectedPages().map(addressOf);
    const { visits, problems } = await crawl(browser, folder, base, starts);
    const found = [...problems, ...hiddenCode(visits)];
    for (const { start, words } of SEARCHES) {
      const { titles, mistakes } = await search(browser, folder, base, start, words);
      found.push(...mistakes.map((mistake) => `search: ${mistake}`));
      if (titles.length === 0) found.push(`search: "${words}" is not found from /${start}`);
    }
    return { problems: found, pages: visits.length };
  } finally {
    await browser.close();
  }
}

async function main() {
  const folder = process.argv[2] ?? BUILT;
  const files = fileProblems(folder, siteUrl());
  const browser = await openBrowser();
  const seen = browser === undefined ? { problems: [], pages: 0 } : await browserProblems(folder, browser);
  const problems = new Set([...files, ...seen.problems]);
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  process.stdout.write(`check-site: ${seen.pages} pages seen, ${problems.size} problems\n`);
  process.exitCode = problems.size === 0 ? 0 : 1;
}

await main();

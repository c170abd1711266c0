import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { anchorOf, tokensOf, withDescription } from "../../docs/.vitepress/text.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SOURCES = "https://github.com/mcp-tx/mcp-tx";

/** The site's scripts are JavaScript: this says what they give. */
async function script<T>(name: string): Promise<T> {
  const file = new URL(`../../docs/scripts/${name}`, import.meta.url).href;
  return (await import(/* @vite-ignore */ file)) as T;
}

interface Links {
  linkPages(text: string, page: string): string;
  linkAbsolutely(text: string, url: string): string;
}

interface Crawler {
  crawl(
    browser: unknown,
    folder: string,
    base: string,
    starts: readonly string[],
  ): Promise<{ readonly problems: readonly string[]; readonly visits: readonly { readonly page: string }[] }>;
}

interface Browsers {
  /** `undefined` where there is none, which is said loudly. */
  openBrowser(): Promise<{ close(): Promise<void> } | undefined>;
}

const { linkPages, linkAbsolutely } = await script<Links>("links.mjs");

test.each([
  ["a page beside it", "ordering.md", "outcomes.md#evidence", "/outcomes.md#evidence"],
  ["a README", "ordering.md", "../packages/retry/README.md#options", "/packages/retry.md#options"],
  ["a page, from a README", "packages/retry.md", "../../docs/ordering.md", "/ordering.md"],
  ["another README, from a README", "packages/retry.md", "../core/README.md", "/packages/core.md"],
  ["the guide's folder", "concepts.md", "guide/", "/guide/index.md"],
  ["decisions, which are a page", "concepts.md", "decisions", "/decisions/index.md"],
  ["a file that is no page", "concepts.md", "../LICENSE", `${SOURCES}/blob/main/LICENSE`],
  ["a folder that is no page", "guide/saga.md", "../../examples/guide", `${SOURCES}/tree/main/examples/guide`],
  ["a picture", "index.md", "./public/pictures/call.svg", "/pictures/call.svg"],
  ["a heading of the page", "index.md", "#here", "#here"],
  ["another site", "index.md", "https://example.org/a.md", "https://example.org/a.md"],
  ["nothing, for the check to find", "index.md", "nowhere/at-all.txt", "nowhere/at-all.txt"],
])("a link to %s fits the site", (_name, page, href, expected) => {
  expect(linkPages(`See [it](${href}).\n`, page)).toBe(`See [it](${expected}).\n`);
});

test("what looks like a link in code stays as it is", () => {
  const text = "```md\n[a](../LICENSE)\n```\n\n[a](../LICENSE)\n";
  expect(linkPages(text, "index.md")).toBe(`\`\`\`md\n[a](../LICENSE)\n\`\`\`\n\n[a](${SOURCES}/blob/main/LICENSE)\n`);
});

test("Markdown that is read apart from the site says where its links lead", () => {
  const text = "[a](/guide/index.md#x) [b](/rest.md) [c](#y) [d](https://example.org/)";
  const site = "https://docs.example/base/";
  expect(linkAbsolutely(text, site)).toBe(
    `[a](${site}guide.md#x) [b](${site}rest.md) [c](#y) [d](https://example.org/)`,
  );
});

test("anchors are those of GitHub", () => {
  expect(["The `_meta` keys, once", "What “unknown” means", "開いた状態（open）"].map(anchorOf)).toEqual([
    "the-_meta-keys-once",
    "what-unknown-means",
    "開いた状態open",
  ]);
});

test("the search knows words, and neighbours in Japanese", () => {
  expect(tokensOf("Retry-After は冪等キー、RateLimitError")).toEqual([
    "retry",
    "after",
    "は冪",
    "冪等",
    "等キ",
    "キー",
    "ratelimiterror",
  ]);
  expect(tokensOf("冪等キー")).toEqual(["冪等", "等キ", "キー"]);
  expect(tokensOf("各IDの記録")).toEqual(["各", "id", "の記", "記録"]);
});

test("a page's first sentence describes it, unless it says so itself", () => {
  expect(withDescription("# Title\n\nWhat [it](a.md) `is`:\nmore. Then this.\n")).toMatch(
    /^---\ndescription: "What it is:"\n---\n\n# Title\n/,
  );
  for (const text of ["---\ndescription: x\n---\n\n# Title\n\nText.\n", "# Title\n\n| a |\n|---|\n"]) {
    expect(withDescription(text)).toBe(text);
  }
});

test("the guide shows the same code in both languages, and each example of its folder", async () => {
  const pages = (await readdir(join(ROOT, "docs/guide"))).sort();
  expect((await readdir(join(ROOT, "docs/ja/guide"))).sort()).toEqual(pages);
  const shown = new Set<string>();
  for (const page of pages) {
    const [english = "", japanese = ""] = await Promise.all(
      ["docs/guide", "docs/ja/guide"].map((folder) => readFile(join(ROOT, folder, page), "utf8")),
    );
    const includes = english.match(/^<<< .+$/gm) ?? [];
    expect(japanese.match(/^<<< .+$/gm) ?? [], page).toEqual(includes);
    for (const include of includes) shown.add(/([\w-]+\.ts)/.exec(include)?.[1] ?? include);
  }
  const { scripts } = JSON.parse(await readFile(join(ROOT, "examples/guide/package.json"), "utf8"));
  const examples = [...(scripts.start as string).matchAll(/tsx ([\w-]+\.ts)/g)].map(([, name = ""]) => name);
  expect(examples.length).toBeGreaterThan(10);
  expect(examples.filter((name) => !shown.has(name))).toEqual([]);
});

/** A site in a temporary folder. */
async function siteOf(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "mcp-tx-site-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  return folder;
}

test("the check of the site lists everything that is wrong with its pages", async ({ skip }) => {
  const { openBrowser } = await script<Browsers>("browser.mjs");
  const { crawl } = await script<Crawler>("crawl.mjs");
  const browser = await openBrowser();
  if (browser === undefined) return skip();
  onTestFinished(() => browser.close());
  const fine = '<p id="there">Fine. <a href="/base/">Back</a></p>';
  const folder = await siteOf({
    "index.html":
      '<a href="fine.html#there">a</a><a href="fine.html#gone">b</a><a href="gone.html">c</a><a href="/top">d</a>',
    "fine.html": fine,
    "wide.html": '<div class="wide" style="width: 700px">Wide</div>',
    "loud.html": '<script>console.error("alas"); undefined.x</script>',
    "foreign.html": '<img src="http://fonts.example/a.png">',
    "picture.html": '<img src="gone.png">',
  });
  const starts = ["", "wide.html", "loud.html", "foreign.html", "picture.html", "unbuilt.html"];
  const { problems, visits } = await crawl(browser, folder, "/base/", starts);
  expect(visits.map(({ page }) => page)).toContain("fine.html");
  const brief = problems.map((problem) =>
    problem.replace(/127\.0\.0\.1:\d+/g, "host").replace(/(TypeError): .*/, "$1"),
  );
  expect(new Set(brief)).toEqual(
    new Set([
      "/: fine.html has no #gone",
      "/: gone.html is missing",
      "/: /top is not below /base/",
      'wide.html: at 360 px it is 708 px, by <div class="wide">',
      "loud.html: alas",
      "loud.html: TypeError",
      "foreign.html: asks another host: http://fonts.example/a.png",
      "foreign.html: image http://fonts.example/a.png is broken",
      "picture.html: http://host/base/gone.png: 404",
      "picture.html: image http://host/base/gone.png is broken",
      "the site map: unbuilt.html is missing",
    ]),
  );
});

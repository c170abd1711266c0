import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { type DefaultTheme, defineConfig, type Plugin, type SiteConfig } from "vitepress";
import llmstxt from "vitepress-plugin-llms";
import { expandIncludes } from "../scripts/includes.mjs";
import { linkAbsolutely, linkPages, sourceOf } from "../scripts/links.mjs";
import { ROOT, SOURCE_URL } from "../scripts/repository.mjs";
import { englishGroups, japaneseGroups, linkTo, sidebar, siteUrl } from "../scripts/site-map.mjs";
import { anchorOf, tokensOf, withDescription } from "./text.js";

const url = siteUrl();
const description = "Small TypeScript packages that make Model Context Protocol tool calls reliable.";
const descriptionJa = "Model Context Protocolのツール呼び出しを確実にする、小さなTypeScriptパッケージ群。";

/** Turns the repository's Markdown into that of the site, before anything else reads it. */
function repositoryMarkdown(): Plugin {
  return {
    name: "mcp-tx:repository-markdown",
    enforce: "pre",
    transform(text, id) {
      const page = relative(`${ROOT}/docs`, id);
      if (!id.endsWith(".md") || page.startsWith("..")) return undefined;
      return linkPages(expandIncludes(withDescription(text)), page);
    },
  };
}

/** The Markdown of all pages, and the file that holds many of them, are read apart from the site: their links say where it is. */
async function finishMarkdown({ outDir }: SiteConfig): Promise<void> {
  const names = await readdir(outDir, { recursive: true });
  for (const name of names.filter((file) => file.endsWith(".md") || file === "llms-full.txt")) {
    const file = join(outDir, name);
    await writeFile(file, linkAbsolutely(await readFile(file, "utf8"), url.href));
  }
  // Sections of llms.txt are headings of the second level.
  const list = join(outDir, "llms.txt");
  await writeFile(list, (await readFile(list, "utf8")).replace(/^### /gm, "## "));
}

const english: DefaultTheme.SidebarItem[] = sidebar(englishGroups());
const japanese: DefaultTheme.SidebarItem[] = [
  ...sidebar(japaneseGroups()),
  {
    text: "英語のドキュメント",
    items: [
      { text: "Getting started", link: linkTo("getting-started.md") },
      { text: "Packages", link: linkTo("packages/index.md") },
      { text: "Outcomes", link: linkTo("outcomes.md") },
      { text: "API reference", link: linkTo("api/index.md") },
    ],
  },
];

export default defineConfig({
  title: "mcp-tx",
  description,
  base: url.pathname,
  // The check of the finished site lists every dead link, anchors included, and not the first one alone.
  ignoreDeadLinks: true,
  lastUpdated: false,
  buildEnd: finishMarkdown,
  sitemap: { hostname: url.href },
  head: [["link", { rel: "icon", type: "image/svg+xml", href: `${url.pathname}icon.svg` }]],
  markdown: { anchor: { slugify: anchorOf } },
  vite: {
    // The index of the search is one file, which is fetched when somebody searches.
    build: { chunkSizeWarningLimit: 4_000 },
    plugins: [
      repositoryMarkdown(),
      llmstxt({
        domain: url.origin,
        ignoreFilesPerOutput: {
          llmsTxt: ["ja/**", "decisions/**"],
          llmsFullTxt: ["ja/**", "api/**", "decisions/**"],
        },
        injectLLMHint: false,
        excludeIndexPage: false,
        sidebar: sidebar(englishGroups().filter(({ text }) => text !== "Decisions")),
        customLLMsTxtTemplate: `# mcp-tx\n\n> ${description}\n\n{details}\n\n{toc}`,
        details:
          "A call whose outcome is unknown is never sent again without evidence. `reportOf(valueOrError)` tells the number of " +
          "attempts, whether the tool ran (`executed`, `not-executed`, `unknown`) and how the call ended.",
      }),
    ],
  },
  transformPageData(page) {
    if (page.frontmatter["editLink"] === undefined) {
      const isGenerated = page.relativePath.startsWith("api/") || page.relativePath.endsWith("s/index.md");
      page.frontmatter["editLink"] = isGenerated ? false : `${SOURCE_URL}/edit/main/${sourceOf(page.relativePath)}`;
    }
  },
  themeConfig: {
    search: {
      provider: "local",
      options: {
        miniSearch: {
          options: { tokenize: tokensOf },
          searchOptions: {
            combineWith: "AND",
            fuzzy: 0.1,
            prefix: true,
            // Pages that explain come before those that list.
            boostDocument: (id: string) => (/\/(?:api|decisions)\//.test(id) ? 0.3 : 1),
          },
        },
        locales: {
          ja: {
            translations: {
              button: { buttonText: "検索", buttonAriaLabel: "検索" },
              modal: {
                noResultsText: "見つかりませんでした",
                resetButtonTitle: "消去",
                backButtonTitle: "戻る",
                displayDetails: "詳細を表示",
                footer: { selectText: "選択", navigateText: "移動", closeText: "閉じる" },
              },
            },
          },
        },
      },
    },
    // Most pages are there in one language: the menu leads to the other one's first page, and the guide's pages link each other.
    i18nRouting: false,
    socialLinks: [{ icon: "github", link: SOURCE_URL }],
    editLink: { pattern: ({ frontmatter }) => String(frontmatter["editLink"]), text: "Edit this page" },
    outline: { level: [2, 3] },
  },
  locales: {
    root: {
      label: "English",
      lang: "en",
      themeConfig: {
        nav: [
          { text: "Start", link: linkTo("getting-started.md") },
          { text: "Guide", link: linkTo("guide/index.md") },
          { text: "Packages", link: linkTo("packages/index.md") },
          { text: "API", link: linkTo("api/index.md") },
        ],
        sidebar: english,
      },
    },
    ja: {
      label: "日本語",
      lang: "ja",
      description: descriptionJa,
      themeConfig: {
        nav: [
          { text: "ガイド", link: linkTo("ja/guide/index.md") },
          { text: "APIリファレンス", link: linkTo("api/index.md") },
        ],
        sidebar: japanese,
        outline: { level: [2, 3], label: "このページの内容" },
        docFooter: { prev: "前へ", next: "次へ" },
        editLink: { pattern: ({ frontmatter }) => String(frontmatter["editLink"]), text: "このページを編集" },
        langMenuLabel: "言語",
        returnToTopLabel: "先頭へ戻る",
        sidebarMenuLabel: "メニュー",
        darkModeSwitchLabel: "外観",
        lightModeSwitchTitle: "ライトモードに切り替え",
        darkModeSwitchTitle: "ダークモードに切り替え",
        skipToContentLabel: "本文へ移動",
      },
    },
  },
});

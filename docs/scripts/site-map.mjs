// What the site is to hold, in the order of the sidebar.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { publishedPackages, ROOT } from "./repository.mjs";

/**
 * @typedef {{ text: string, page: string }} Entry `page` is a file below `docs`
 * @typedef {{ text: string, entries: readonly Entry[], collapsed?: boolean }} Group
 */

/** Where the site will be. It works under any path. */
export function siteUrl() {
  return new URL(process.env["MCP_TX_DOCS_URL"] ?? "https://mcp-tx.github.io/mcp-tx/");
}

/** @param {string} page @param {string} text @returns {Entry} */
const entry = (page, text) => ({ page, text });

/** The guide's pages, with their titles in English and in Japanese. */
const GUIDE = /** @type {const} */ ([
  ["index", "Overview", "はじめに"],
  ["workflow", "Multi-step workflow", "マルチステップワークフロー"],
  ["circuit-breaker", "Circuit breaker", "サーキットブレーカー"],
  ["distributed-tracing", "Distributed tracing", "分散トレーシング"],
  ["rate-limiting", "Rate limiting", "レート制限"],
  ["saga", "Saga", "Saga"],
  ["web-frameworks", "Web frameworks", "Webフレームワーク"],
  ["monitoring", "Monitoring and alerts", "モニタリングとアラート"],
  ["rest-api", "REST API", "REST API"],
  ["local-tools", "Local tools", "ローカルツール"],
  ["configuration", "Configuration", "設定"],
]);

/** Numbered pages of a folder, by their names. @param {string} folder */
function numbered(folder) {
  const names = readdirSync(join(ROOT, "docs", folder)).filter((name) => /^\d{4}-.+\.md$/.test(name));
  return names.sort().map((name) => {
    const words = name.slice(5, -".md".length).replaceAll("-", " ");
    return entry(`${folder}/${name}`, `${words.charAt(0).toUpperCase()}${words.slice(1)}`);
  });
}

/** The reference of each entry of a package; that of the package itself is `api/<slug>.md`. */
function references() {
  return publishedPackages().flatMap(({ name, slug, entries }) =>
    entries.map(({ specifier }) => entry(`api/${slug}${specifier.slice(name.length)}.md`, specifier)),
  );
}

/** Everything that the English site is to hold. @returns {readonly Group[]} */
export function englishGroups() {
  return [
    {
      text: "Start",
      entries: [
        entry("getting-started.md", "Getting started"),
        entry("concepts.md", "Concepts"),
        entry("outcomes.md", "Outcomes"),
        entry("ordering.md", "Ordering"),
        entry("architecture.md", "Architecture"),
      ],
    },
    {
      text: "Packages",
      collapsed: true,
      entries: [
        entry("packages/index.md", "Overview"),
        ...publishedPackages().map(({ name, slug }) => entry(`packages/${slug}.md`, name)),
      ],
    },
    {
      text: "Operate",
      entries: [
        entry("stores.md", "Stores and scaling out"),
        entry("durability.md", "Durability"),
        entry("operations.md", "Operations"),
        entry("security.md", "Security"),
        entry("performance.md", "Performance"),
        entry("http.md", "HTTP"),
        entry("hosts.md", "Hosts"),
        entry("rest.md", "Tools over REST"),
        entry("nestjs.md", "NestJS"),
      ],
    },
    {
      text: "Extend",
      entries: [
        entry("write-a-middleware.md", "Write a middleware"),
        entry("write-a-store.md", "Write a store"),
        entry("testing.md", "Test your own code"),
      ],
    },
    {
      text: "Recipes",
      entries: [
        entry("recipes/vercel-ai-sdk.md", "Vercel AI SDK"),
        entry("recipes/langchain.md", "LangChain.js"),
        entry("recipes/openai-agents.md", "OpenAI Agents SDK"),
        entry("recipes/mastra.md", "Mastra"),
      ],
    },
    {
      text: "Guide",
      entries: [
        ...GUIDE.map(([name, text]) => entry(`guide/${name}.md`, text)),
        entry("coming-from-python.md", "Coming from Python"),
      ],
    },
    { text: "API reference", collapsed: true, entries: [entry("api/index.md", "Overview"), ...references()] },
    {
      text: "Decisions",
      collapsed: true,
      entries: [entry("decisions/index.md", "Overview"), ...numbered("decisions")],
    },
  ];
}

/** Everything that is there in Japanese. @returns {readonly Group[]} */
export function japaneseGroups() {
  return [{ text: "ガイド", entries: GUIDE.map(([name, , text]) => entry(`ja/guide/${name}.md`, text)) }];
}

/** Every page that the site is to hold. @returns {readonly string[]} */
export function expectedPages() {
  const groups = [...englishGroups(), ...japaneseGroups()];
  return ["index.md", "ja/index.md", ...groups.flatMap(({ entries }) => entries.map(({ page }) => page))];
}

/** Where a page is on the site, below its base. @param {string} page */
export function linkTo(page) {
  return `/${page.replace(/(^|\/)index\.md$/, "$1").replace(/\.md$/, "")}`;
}

/** The file that a page is built to. @param {string} page */
export function fileOf(page) {
  return page.replace(/\.md$/, ".html");
}

/** The groups as VitePress wants them, with the pages that are there. @param {readonly Group[]} groups */
export function sidebar(groups) {
  return groups.flatMap(({ text, entries, collapsed }) => {
    const items = entries
      .filter(({ page }) => existsSync(join(ROOT, "docs", page)))
      .map((item) => ({ text: item.text, link: linkTo(item.page) }));
    return items.length === 0 ? [] : [{ text, items, ...(collapsed !== undefined && { collapsed }) }];
  });
}

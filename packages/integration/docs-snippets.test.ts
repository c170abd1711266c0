import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Below this package's dependencies, so that a snippet can import whatever an integration test can. */
const CACHE = fileURLToPath(new URL("node_modules/.cache", import.meta.url));

/** What a snippet may use without declaring it. */
const AMBIENT = `
declare const client: import("@modelcontextprotocol/sdk/client/index.js").Client;
declare const transport: import("@modelcontextprotocol/sdk/shared/transport.js").Transport;
`;

interface Document {
  /** Relative to the root of the repository. */
  readonly file: string;
  readonly text: string;
}

interface Snippet {
  readonly file: string;
  /** Line of the document that precedes the snippet's first line. */
  readonly line: number;
  readonly code: string;
}

/** What a build of the site leaves in `docs`: its own, or made from documents that are checked where they are. */
const GENERATED = /^docs\/(?:node_modules|api|packages|\.vitepress)\/|^docs\/decisions\/index\.md$/;

/** Every `README.md` of the repository's root and packages, and everything in `docs` that is written by hand. */
async function documents(): Promise<readonly Document[]> {
  const packages = await readdir(join(ROOT, "packages"));
  const readmes = ["README.md", ...packages.map((name) => `packages/${name}/README.md`)];
  const docs = (await readdir(join(ROOT, "docs"), { recursive: true })).map((name) => `docs/${name}`);
  const written = docs.filter((name) => name.endsWith(".md") && !GENERATED.test(name));
  const files = [...readmes, ...written].filter((file) => existsSync(join(ROOT, file)));
  return Promise.all(files.map(read));
}

async function read(file: string): Promise<Document> {
  return { file, text: await readFile(join(ROOT, file), "utf8") };
}

function snippetsOf({ file, text }: Document): readonly Snippet[] {
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => ({
    file,
    line: text.slice(0, match.index).split("\n").length,
    code: match[1] ?? "",
  }));
}

/** Where `@mcp-tx/…` comes from: the sources, as in every test. */
async function sourcePaths(): Promise<Readonly<Record<string, readonly string[]>>> {
  const paths: Record<string, readonly string[]> = {};
  for (const name of await readdir(join(ROOT, "packages"))) {
    const manifest = join(ROOT, "packages", name, "package.json");
    if (!existsSync(manifest)) continue;
    const { name: owner, exports = {} } = JSON.parse(await readFile(manifest, "utf8"));
    for (const [subpath, target] of Object.entries<{ readonly types?: string }>(exports)) {
      const source = target.types?.replace("./dist/", "src/").replace(/\.d\.ts$/, ".ts");
      if (source !== undefined) paths[owner + subpath.slice(1)] = [join(ROOT, "packages", name, source)];
    }
  }
  return paths;
}

/** The name that a snippet gives itself in its first line, so that others of the same document can import it. */
function fileNameOf({ code, line }: Snippet): string {
  return /^\/\/ ([\w-]+\.ts)\n/.exec(code)?.[1] ?? `line-${line}.ts`;
}

/** Type-checks all snippets; each document is a folder. Gives `file:line: message` for every mistake. */
async function mistakesIn(snippets: readonly Snippet[]): Promise<readonly string[]> {
  await mkdir(CACHE, { recursive: true });
  const folder = await mkdtemp(join(CACHE, "docs-snippets-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const written = new Map<string, Snippet>();
  for (const snippet of snippets) {
    const path = join(snippet.file.replaceAll(/[/.]/g, "-"), fileNameOf(snippet));
    if (written.has(path)) return [`${snippet.file}:${snippet.line}: two snippets are called ${fileNameOf(snippet)}`];
    written.set(path, snippet);
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), snippet.code);
  }
  await writeFile(join(folder, "ambient.d.ts"), AMBIENT);
  await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(await configFor([...written.keys()])));
  const { status, output } = await compile(folder);
  const mistakes = output.flatMap((line) => locate(line, folder, written));
  // Neither clean nor a mistake in a snippet: the compiler itself did not get through.
  if (status !== 0 && mistakes.length === 0) return output;
  return mistakes;
}

async function configFor(files: readonly string[]): Promise<object> {
  return {
    extends: join(ROOT, "tsconfig.base.json"),
    compilerOptions: {
      declaration: false,
      isolatedDeclarations: false,
      noUnusedLocals: false,
      types: ["node"],
      typeRoots: [join(ROOT, "node_modules/@types")],
      paths: await sourcePaths(),
    },
    files: ["ambient.d.ts", ...files],
  };
}

async function compile(folder: string): Promise<{ readonly status: unknown; readonly output: readonly string[] }> {
  const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
  const args = [compiler, "-p", folder, "--pretty", "false"];
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder });
    return { status: 0, output: stdout.split("\n").filter((line) => line !== "") };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    return { status: code, output: `${stdout}\n${stderr}`.split("\n").filter((line) => line !== "") };
  }
}

/** Turns a line of the compiler into the place in the document. */
function locate(output: string, folder: string, written: ReadonlyMap<string, Snippet>): readonly string[] {
  const [, path = "", line = "", message = ""] = /^(.+?)\((\d+),\d+\): (.+)$/.exec(output) ?? [];
  const snippet = written.get(relative(folder, join(folder, path)));
  return snippet === undefined ? [] : [`${snippet.file}:${snippet.line + Number(line)}: ${message}`];
}

/** As GitHub makes them. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-");
}

function withoutCode(text: string): string {
  return text.replace(/^```[\s\S]*?^```$/gm, "");
}

function hasAnchor(text: string, anchor: string): boolean {
  return [...withoutCode(text).matchAll(/^#+ (.+)$/gm)].some(([, heading = ""]) => anchorOf(heading) === anchor);
}

/** Relative links that lead nowhere, as `file: link`. */
async function brokenLinksIn({ file, text }: Document): Promise<readonly string[]> {
  const links = [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
  const broken: string[] = [];
  for (const link of links.filter((target) => !/^[a-z]+:/.test(target))) {
    const [path = "", anchor] = link.split("#");
    const target = path === "" ? join(ROOT, file) : join(ROOT, dirname(file), path);
    const exists = existsSync(target);
    if (!exists || (anchor !== undefined && !hasAnchor(await readFile(target, "utf8"), anchor))) {
      broken.push(`${file}: ${link}`);
    }
  }
  return broken;
}

/** Code that a page includes (`<<< @/../examples/guide/saga.ts#order`) and that is not there, as `file: include`. */
async function missingIncludesIn({ file, text }: Document): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const [, include = ""] of text.matchAll(/^<<< (.+)$/gm)) {
    const [, path = "", region] = /^@\/(\S+?\.ts)(?:#([\w-]+))?$/.exec(include) ?? [];
    const source = join(ROOT, "docs", path);
    const code = path !== "" && existsSync(source) ? await readFile(source, "utf8") : "";
    const marks = region === undefined ? [] : ["region", "endregion"].map((mark) => `// #${mark} ${region}`);
    const lines = code.split("\n").map((line) => line.trim());
    const [start = 0, end = 1] = marks.map((mark) => lines.indexOf(mark));
    if (code === "" || start < 0 || end < start) missing.push(`${file}: ${include}`);
  }
  return missing;
}

/** Where the options tables find the interface that their first column is named after. */
async function sourceText(): Promise<string> {
  const files: string[] = [];
  for (const name of await readdir(join(ROOT, "packages"))) {
    const source = join(ROOT, "packages", name, "src");
    if (!existsSync(source)) continue;
    const names = await readdir(source, { recursive: true });
    files.push(...names.filter((path) => /(?<!\.test)\.ts$/.test(path)).map((path) => join(source, path)));
  }
  return (await Promise.all(files.map((path) => readFile(path, "utf8")))).join("\n");
}

interface Option {
  readonly name: string;
  /** Without code marks, quotes and digit groups; `undefined` when there is none. */
  readonly fallback: string | undefined;
}

function plain(value: string): string {
  return value.replace(/[`"\s]/g, "");
}

/** Options of the tables headed by the name of an interface: `| `RetryOptions` | Default | Meaning |`. */
function tablesOf({ text }: Document): ReadonlyMap<string, readonly Option[]> {
  const tables = [...text.matchAll(/^\| `(\w+Options)` \| Default \|.*\n\|[-|]+\|\n((?:\|.*\n)+)/gm)];
  return new Map(
    tables.map(([, owner = "", rows = ""]) => [
      owner,
      [...rows.matchAll(/^\| `(\w+)` \| (.*?) ?\|/gm)].map(([, name = "", fallback = ""]) => ({
        name,
        fallback: fallback.startsWith("`") ? plain(fallback) : undefined,
      })),
    ]),
  );
}

/** The members of an interface in the sources, with their `@defaultValue` where it is a literal. */
function optionsOf(owner: string, source: string): readonly Option[] {
  const body = new RegExp(`export interface ${owner} \\{\\n([\\s\\S]*?)\\n\\}`).exec(source)?.[1] ?? "";
  const members = [...body.matchAll(/(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?readonly (\w+)\??:/g)];
  return members.map(([, comment = "", name = ""]) => {
    const value = /@defaultValue (\S+)(?=\s*(?:\n|$))/.exec(comment)?.[1];
    return { name, fallback: value === undefined ? undefined : plain(value) };
  });
}

function byName(options: readonly Option[]): readonly string[] {
  return options.map(({ name }) => name).sort();
}

test("every snippet in the documentation compiles", async () => {
  const snippets = (await documents()).flatMap(snippetsOf);
  expect(snippets.length).toBeGreaterThan(10);
  expect(await mistakesIn(snippets)).toEqual([]);
});

test("a snippet that does not compile is reported with its file and line", async () => {
  const code = 'import { retry } from "@mcp-tx/retry";\nretry({ maxAttempt: 3 });\n';
  const text = `# Bad\n\n\`\`\`ts\n${code}\`\`\`\n`;
  const [mistake, ...others] = await mistakesIn(snippetsOf({ file: "docs/bad.md", text }));
  expect(mistake).toMatch(/^docs\/bad\.md:5: error TS\d+: .*maxAttempt/);
  expect(others).toEqual([]);
});

test("relative links and anchors in the documentation lead somewhere", async () => {
  const indexes = await Promise.all(["CONTRIBUTING.md", "SECURITY.md", "llms.txt"].map(read));
  const checked = [...(await documents()), ...indexes];
  expect((await Promise.all(checked.map(brokenLinksIn))).flat()).toEqual([]);
});

test("a link that leads nowhere is reported", async () => {
  const text = "[a](nowhere.md) [b](#no-such-heading) [c](CONTRIBUTING.md) [d](#example)\n";
  const broken = await brokenLinksIn({ file: "README.md", text });
  expect(broken).toEqual(["README.md: nowhere.md", "README.md: #no-such-heading"]);
});

test("code that pages include is there", async () => {
  const all = await documents();
  const including = all.filter(({ text }) => /^<<< /m.test(text));
  expect(including.length).toBeGreaterThan(10);
  expect((await Promise.all(all.map(missingIncludesIn))).flat()).toEqual([]);
});

test("an include that leads nowhere is reported", async () => {
  const saga = "@/../examples/guide/saga.ts";
  const includes = [
    `${saga}#order`,
    `${saga}#no-such-region`,
    "@/../examples/guide/nowhere.ts",
    "examples/guide/saga.ts",
  ];
  const text = includes.map((include) => `<<< ${include}\n`).join("\n");
  expect(await missingIncludesIn({ file: "docs/bad.md", text })).toEqual([
    `docs/bad.md: ${saga}#no-such-region`,
    "docs/bad.md: @/../examples/guide/nowhere.ts",
    "docs/bad.md: examples/guide/saga.ts",
  ]);
});

test("what the build of the site leaves behind is no document", async () => {
  const generated = (await documents()).filter(({ file }) => /node_modules|^docs\/(?:api|packages)\//.test(file));
  expect(generated).toEqual([]);
});

test("the architecture page names every file of core", async () => {
  const { text } = await read("docs/architecture.md");
  const files = (await readdir(join(ROOT, "packages/core/src"))).filter((name) => /^[\w-]+\.ts$/.test(name));
  expect(files.filter((name) => name !== "index.ts" && !text.includes(`\`${name}\``))).toEqual([]);
});

test("the options tables name what the code takes, with its defaults", async () => {
  const source = await sourceText();
  const tables = (await documents()).flatMap((document) => [...tablesOf(document)]);
  expect(tables.map(([owner]) => owner)).toContain("RetryOptions");
  for (const [owner, rows] of tables) {
    const options = optionsOf(owner, source);
    expect(byName(rows), owner).toEqual(byName(options));
    for (const { name, fallback } of options) {
      const row = rows.find((entry) => entry.name === name);
      if (fallback !== undefined) expect(row?.fallback, `${owner}.${name}`).toBe(fallback);
    }
  }
});

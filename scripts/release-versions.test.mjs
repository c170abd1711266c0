// What a release does to the versions: real runs of `changeset version` and `pnpm pack` in a copy of the manifests.
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { builtFilesOf, packPackages, publishedManifests } from "./pack-packages.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const CHANGESETS = fileURLToPath(import.meta.resolve("@changesets/cli/bin.js"));
const PEER = "workspace:>=0.1.0 <1.0.0";

let root = "";

/** The manifests of all workspaces, and what a release reads beside them. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "release-"));
  for (const file of ["package.json", "pnpm-workspace.yaml", "pnpm-lock.yaml", ".changeset/config.json"]) copy(file);
  for (const group of ["packages", "examples"]) {
    for (const name of readdirSync(join(ROOT, group))) {
      for (const file of ["package.json", "CHANGELOG.md"]) copy(`${group}/${name}/${file}`);
    }
  }
  for (const name of ["benchmarks", "docs"]) copy(`${name}/package.json`);
  // Where changesets finds the package that writes its changelogs.
  symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function copy(file) {
  if (!existsSync(join(ROOT, file))) return;
  mkdirSync(dirname(join(root, file)), { recursive: true });
  cpSync(join(ROOT, file), join(root, file));
}

/** @param {string} bump @param {string} name */
function change(bump, name = "@mcp-tx/core") {
  writeFileSync(
    join(root, `.changeset/${name.replace("/", "-")}-${bump}.md`),
    `---\n"${name}": ${bump}\n---\n\nA ${bump} change.\n`,
  );
}

function release() {
  execFileSync(process.execPath, [CHANGESETS, "version"], { cwd: root, stdio: "pipe" });
}

/** Each package's version. */
function versions() {
  return Object.fromEntries(publishedManifests(root).map(({ name, version }) => [name, version]));
}

const published = publishedManifests(ROOT);
const everyPackage = published.map(({ name }) => name);
const all = (version) => Object.fromEntries(everyPackage.map((name) => [name, version]));
const own = (map = {}) => Object.entries(map).filter(([name]) => everyPackage.includes(name));

const [major, minor, patch] = published[0].version.split(".").map(Number);
const NEXT = { patch: `${major}.${minor}.${patch + 1}`, minor: `${major}.${minor + 1}.0` };
const BUMPS = Object.keys(NEXT);

test("without a changeset the versions stay: the first release has the one that is written down", () => {
  const before = versions();
  release();
  expect(versions()).toEqual(before);
});

test.each(BUMPS)("a %s of core takes all packages along, none to a major version", (bump) => {
  change(bump);
  release();
  expect(versions()).toEqual(all(NEXT[bump]));
});

test("a change of one package takes all along, and the highest bump decides", () => {
  change("patch", "@mcp-tx/retry");
  change("minor", "mcp-tx");
  release();
  expect(versions()).toEqual(all(NEXT.minor));
});

test.each(BUMPS)("a %s of core leaves the peer ranges as they are", (bump) => {
  change(bump);
  release();
  const peers = publishedManifests(root).flatMap(({ peerDependencies }) => own(peerDependencies));
  expect(peers.length).toBeGreaterThan(10);
  for (const [, range] of peers) expect(range).toBe(PEER);
});

test("private packages keep their versions", () => {
  change("minor");
  release();
  expect(JSON.parse(readFileSync(join(root, "packages/integration/package.json"), "utf8")).version).toBe("0.0.0");
});

test("the changelog of the package that changed says what did", () => {
  change("minor", "@mcp-tx/retry");
  release();
  const changelog = readFileSync(join(root, "packages/retry/CHANGELOG.md"), "utf8");
  const [newest = "", before = ""] = changelog.split(/^## /m).slice(1);
  expect(newest).toMatch(new RegExp(`^${NEXT.minor}\\n[^]*A minor change\\.`));
  expect(before).toMatch(new RegExp(`^${published[0].version}\\n`));
});

test("what is published after a minor of core names versions, and no workspace", async () => {
  change("minor");
  release();
  for (const manifest of publishedManifests(root)) {
    for (const file of builtFilesOf(manifest)) {
      const path = join(root, manifest.repository.directory, file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, "");
    }
  }
  const packed = await packPackages(join(root, "tarballs"), root);
  expect(packed.length).toBe(everyPackage.length);
  for (const { name, file } of packed) {
    const text = execFileSync("tar", ["-xzOf", file, "package/package.json"], { encoding: "utf8" });
    const { version, dependencies, peerDependencies } = JSON.parse(text);
    expect([name, version]).toEqual([name, NEXT.minor]);
    expect(text).not.toMatch(/workspace:|catalog:/);
    for (const [, range] of own(dependencies)) expect(range).toBe(NEXT.minor);
    for (const [, range] of own(peerDependencies)) expect(range).toBe(">=0.1.0 <1.0.0");
  }
});

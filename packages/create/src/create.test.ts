import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createMiddlewarePackage } from "./create.js";

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "mcp-tx-create-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const FILES = [
  ".gitignore",
  "README.md",
  "package.json",
  "src/index.ts",
  "src/mcp-audit.test.ts",
  "src/mcp-audit.ts",
  "tsconfig.build.json",
  "tsconfig.json",
];

test("writes a package under its name, with nothing of the template left open", async () => {
  const directory = join(await emptyFolder(), "deep", "mcp-audit");
  const created = await createMiddlewarePackage({ name: "@acme/mcp-audit", directory });
  expect(created.directory).toBe(directory);
  expect([...created.files].sort()).toEqual(FILES);
  for (const file of FILES) {
    const text = await readFile(join(directory, file), "utf8");
    expect(text, file).not.toMatch(/\{\{|\}\}(?!\))/);
  }
  const manifest = JSON.parse(await readFile(join(directory, "package.json"), "utf8"));
  expect(manifest).toMatchObject({ name: "@acme/mcp-audit", type: "module" });
});

test("asks for the core of its own line, as a peer", async () => {
  const directory = join(await emptyFolder(), "x");
  await createMiddlewarePackage({ name: "mcp-audit", directory });
  const { peerDependencies, devDependencies } = JSON.parse(await readFile(join(directory, "package.json"), "utf8"));
  const { version } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
  const range = `>=${version} <${Number(version.split(".")[0]) + 1}.0.0`;
  expect(peerDependencies).toEqual({ "@mcp-tx/core": range });
  expect(devDependencies["@mcp-tx/core"]).toBe(range);
});

test("takes a folder that only holds a repository", async () => {
  const directory = await emptyFolder();
  await mkdir(join(directory, ".git"));
  await createMiddlewarePackage({ name: "mcp-audit", directory });
  expect(await readdir(directory)).toContain("package.json");
});

test("leaves a folder that holds anything as it is", async () => {
  const directory = await emptyFolder();
  await writeFile(join(directory, "notes.txt"), "mine");
  await expect(createMiddlewarePackage({ name: "mcp-audit", directory })).rejects.toThrow(
    new TypeError(`directory "${directory}" is not empty`),
  );
  expect(await readdir(directory)).toEqual(["notes.txt"]);
});

test("writes nothing for a name that is refused", async () => {
  const directory = join(await emptyFolder(), "x");
  await expect(createMiddlewarePackage({ name: "retry", directory })).rejects.toThrow(/^name "retry"/);
  await expect(readdir(directory)).rejects.toMatchObject({ code: "ENOENT" });
});

test("says what is in the way when the directory is a file", async () => {
  const directory = join(await emptyFolder(), "file");
  await writeFile(directory, "");
  await expect(createMiddlewarePackage({ name: "mcp-audit", directory })).rejects.toThrow("ENOTDIR");
});

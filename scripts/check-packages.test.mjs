// Every invariant can fail: a small, valid repository in a temporary folder, spoiled in one way per test.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findViolations, packageInvariants, repositoryInvariants, workspaceInvariants } from "./check-packages.mjs";

const script = fileURLToPath(new URL("check-packages.mjs", import.meta.url));
const site = "https://github.com/mcp-tx/mcp-tx";
const readme = "# x\n\n## Install\n\n## Usage\n\n## Options\n\n## Errors\n\n## Position\n";

let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "check-packages-"));
  addPackage("core", {});
  addPackage("retry", { peerDependencies: { "@mcp-tx/core": "workspace:>=0.1.0 <1.0.0" } });
  writeManifest("packages/integration", { name: "mcp-tx-integration", private: true });
  write("packages/integration/all.test.ts", 'import { thing } from "@mcp-tx/core";\n');
  writeManifest("examples/first", { name: "mcp-tx-example-first", private: true });
  write("pnpm-lock.yaml", "lockfileVersion: '9.0'\n");
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(file, text) {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
}

function writeManifest(folder, manifest) {
  write(`${folder}/package.json`, JSON.stringify({ version: "0.1.0", ...manifest }));
}

function editManifest(folder, patch) {
  writeManifest(folder, { ...JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")), ...patch });
}

function addPackage(name, patch) {
  const folder = `packages/${name}`;
  writeManifest(folder, {
    name: `@mcp-tx/${name}`,
    license: "Apache-2.0",
    type: "module",
    sideEffects: false,
    engines: { node: ">=20.19" },
    repository: { type: "git", url: `git+${site}.git`, directory: folder },
    bugs: `${site}/issues`,
    homepage: `${site}/tree/main/${folder}#readme`,
    exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } },
    files: ["dist", "README.md", "CHANGELOG.md", "LICENSE"],
    publishConfig: { access: "public", provenance: true },
    ...patch,
  });
  write(`${folder}/README.md`, readme);
  for (const file of ["CHANGELOG.md", "tsconfig.json", "tsconfig.build.json", "tsup.config.ts"]) {
    write(`${folder}/${file}`, "\n");
  }
  write(`${folder}/src/index.ts`, 'export { thing, type Thing } from "./thing.js";\n');
  const imports = Object.keys({ ...patch.dependencies, ...patch.peerDependencies }).map(
    (other) => `import "${other}";\n`,
  );
  write(
    `${folder}/src/thing.ts`,
    `${imports.join("")}/** A thing. */\nexport const thing = 1;\n\n/** Its type. */\nexport type Thing = 1;\n`,
  );
  write(`${folder}/src/thing.test.ts`, 'import { thing } from "./thing.js";\n');
}

/** A peer that is optional, and what tests it. */
const peersWith = (peer, devDependencies) => ({
  peerDependencies: { "@mcp-tx/core": "workspace:>=0.1.0 <1.0.0", ...peer },
  peerDependenciesMeta: Object.fromEntries(Object.keys(peer).map((name) => [name, { optional: true }])),
  devDependencies,
});

/** One way, or several, to break each invariant. */
const spoilers = {
  "file set": [() => rmSync(join(root, "packages/retry/CHANGELOG.md"))],
  "identical configuration": [() => write("packages/retry/tsup.config.ts", "export default {};\n")],
  name: [() => editManifest("packages/retry", { name: "retry" })],
  license: [() => editManifest("packages/retry", { license: "MIT" })],
  "module type": [() => editManifest("packages/retry", { type: "commonjs" })],
  engines: [() => editManifest("packages/retry", { engines: { node: ">=18" } })],
  "side effects": [() => editManifest("packages/retry", { sideEffects: true })],
  "publish configuration": [() => editManifest("packages/retry", { publishConfig: { access: "public" } })],
  files: [() => editManifest("packages/retry", { files: ["dist"] })],
  links: [
    () => editManifest("packages/retry", { bugs: undefined }),
    () => editManifest("packages/retry", { homepage: "https://example.com" }),
    () => editManifest("packages/retry", { repository: `${site}.git` }),
  ],
  exports: [
    () => editManifest("packages/retry", { exports: {} }),
    () => editManifest("packages/retry", { exports: { ".": "./dist/index.js" } }),
    () =>
      editManifest("packages/retry", {
        exports: { ".": { default: "./dist/index.js", types: "./dist/index.d.ts" } },
      }),
  ],
  "entry sources": [() => rmSync(join(root, "packages/retry/src/index.ts"))],
  "peer on core": [
    () => editManifest("packages/retry", { peerDependencies: {} }),
    () => editManifest("packages/retry", { peerDependencies: { "@mcp-tx/core": "^0.1.0" } }),
  ],
  "no exact peers": [() => editManifest("packages/retry", { peerDependencies: { "@mcp-tx/core": "workspace:*" } })],
  "no runtime dependencies": [
    () => editManifest("packages/core", { dependencies: { zod: "^4.0.0" } }),
    () => editManifest("packages/core", { optionalDependencies: { zod: "^4.0.0" } }),
  ],
  "declared imports": [
    () => write("packages/core/src/thing.ts", 'import { z } from "zod";\n'),
    () => write("packages/core/src/thing.ts", 'import { thing } from "@mcp-tx/retry";\n'),
    () => write("packages/core/src/thing.ts", 'const zod = await import("zod");\n'),
  ],
  "used dependencies": [
    () => write("packages/retry/src/thing.ts", "/** A thing. */\nexport const thing = 1;\n"),
    () => write("packages/retry/src/thing.ts", '// import "@mcp-tx/core";\n/** A thing. */\nexport const thing = 1;\n'),
    () => {
      addPackage("mcp-tx", { name: "mcp-tx", dependencies: { "@mcp-tx/core": "workspace:*" } });
      write("packages/mcp-tx/src/thing.ts", "/** A thing. */\nexport const thing = 1;\n");
    },
    () =>
      write("packages/retry/src/thing.ts", 'import "@mcp-tx/core-plus";\n/** A thing. */\nexport const thing = 1;\n'),
    () => editManifest("packages/retry", peersWith({ pg: "^8.0.0" }, {})),
  ],
  "explicit exports": [
    () => write("packages/retry/src/index.ts", 'export * from "./thing.js";\n'),
    () => write("packages/retry/src/index.ts", "export const here = 1;\n"),
  ],
  "documented exports": [
    () => write("packages/retry/src/thing.ts", "export const thing = 1;\n"),
    () => write("packages/retry/src/thing.ts", "/** A thing. */\nconst it = 1;\nexport interface Thing {}\n"),
  ],
  "short sources": [() => write("packages/retry/src/long.ts", "// a line\n".repeat(400))],
  "tests beside sources": [
    () => write("packages/retry/src/orphan.test.ts", "\n"),
    () => write("packages/retry/test/thing.test.ts", "\n"),
  ],
  "readme sections": [() => write("packages/retry/README.md", readme.replace("## Errors", "## Mistakes"))],
  "readme position": [() => write("packages/retry/README.md", readme.replace("## Position", ""))],
  "no internals of others": [
    () => write("packages/retry/src/thing.test.ts", 'import { thing } from "@mcp-tx/core/dist/thing.js";\n'),
    () => write("packages/retry/src/thing.test.ts", 'import { thing } from "../../core/src/thing.js";\n'),
    () => write("packages/integration/all.test.ts", 'import { thing } from "../core/src/thing.js";\n'),
    () => write("examples/first/main.ts", 'import { thing } from "../../packages/core/src/thing.js";\n'),
  ],
  "private names": [() => editManifest("packages/integration", { name: "@mcp-tx/integration" })],
  "one version": [() => editManifest("packages/retry", { version: "0.2.0" })],
  "no registry hosts": [() => write("docs/install.md", `see https://registry.${"npmjs"}.org/\n`)],
  "no machine paths": [
    () => write("docs/run.md", `cd ${["", "home", "someone", "mcp-tx"].join("/")}\n`),
    () => write("docs/run.md", `cd ${["C:", "Users", "someone"].join("\\")}\n`),
  ],
  "portable lockfile": [() => write("pnpm-lock.yaml", "resolution: {tarball: https://example.com/x.tgz}\n")],
  "whole test suite": [
    () => write("packages/integration/all.test.ts", `test${".only"}("x", () => {});\n`),
    () => write("packages/retry/src/thing.test.ts", `describe${".skip"}("x", () => {});\n`),
  ],
};

const invariants = [packageInvariants, workspaceInvariants, repositoryInvariants].flatMap(Object.keys);
const cases = Object.entries(spoilers).flatMap(([name, ways]) => ways.map((spoil, index) => [name, index + 1, spoil]));

test("finds nothing in a repository that keeps them all", () => {
  expect(findViolations(root)).toEqual([]);
});

test("has a spoiler for every invariant", () => {
  expect(Object.keys(spoilers).sort()).toEqual(invariants.sort());
});

test.each(cases)("notices a breach of: %s (%i)", (name, _index, spoil) => {
  spoil();
  const found = findViolations(root);
  expect(found.map(({ invariant }) => invariant)).toContain(name);
  for (const { owner, file, fix } of found) expect([owner, file, fix]).not.toContain("");
});

test("lets the bundle depend on the packages of its own scope, and on nothing else", () => {
  addPackage("mcp-tx", { name: "mcp-tx", dependencies: { "@mcp-tx/core": "workspace:^" } });
  expect(findViolations(root)).toEqual([]);
  addPackage("mcp-tx", { name: "mcp-tx", dependencies: { "@mcp-tx/core": "workspace:^", zod: "^4.0.0" } });
  expect(findViolations(root).map(({ invariant }) => invariant)).toEqual(["no runtime dependencies"]);
});

test("lets a package take a driver by its shape, as an optional peer that its tests use", () => {
  editManifest("packages/retry", peersWith({ pg: "^8.0.0" }, { pg: "^8.0.0" }));
  expect(findViolations(root)).toEqual([]);
});

test("takes a package that code loads by itself for used", () => {
  editManifest("packages/retry", peersWith({ libsql: "^0.5.0" }, {}));
  const text =
    'import "@mcp-tx/core";\n/** A thing. */\nexport const thing = createRequire(import.meta.url)("libsql");\n';
  write("packages/retry/src/thing.ts", text);
  expect(findViolations(root)).toEqual([]);
});

test("takes a list that holds the word from for no import", () => {
  write(
    "packages/core/src/thing.ts",
    'export const pick = (claim: { from: unknown }) => [claim["from"], ["x"], ["y"]];\n',
  );
  expect(findViolations(root)).toEqual([]);
});

test("takes an import in an example of a doc comment for prose", () => {
  write("packages/core/src/thing.ts", '/**\n * import { retry } from "@mcp-tx/retry";\n */\nexport const thing = 1;\n');
  expect(findViolations(root)).toEqual([]);
});

test("leaves ignored files of a repository alone", () => {
  execFileSync("git", ["init", "--quiet"], { cwd: root });
  write(".gitignore", "notes.md\n");
  write("notes.md", `https://registry.${"npmjs"}.org/\n`);
  expect(findViolations(root)).toEqual([]);
});

test("prints package, file and what to do, and exits with 1", () => {
  editManifest("packages/retry", { license: "MIT" });
  const { status, stderr } = spawnSync(process.execPath, [script, root], { encoding: "utf8" });
  expect(stderr).toBe('@mcp-tx/retry: package.json: set "license" to "Apache-2.0"\n');
  expect(status).toBe(1);
});

test("exits with 0 when all invariants hold", () => {
  const { status, stdout } = spawnSync(process.execPath, [script, root], { encoding: "utf8" });
  expect(stdout).toBe(`check-packages: ${invariants.length} invariants hold\n`);
  expect(status).toBe(0);
});

// The invariants every package keeps. Each violation prints `package: file: what to do`; any of them exits with 1.
// `check-packages.test.mjs` proves that each one can fail.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, extname, join, posix, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { bareImports, importsOf, loads, packageNameOf, withoutComments } from "./imports.mjs";
import { entriesOf, packageFolders, readPackage } from "./package-entries.mjs";

const CORE = "@mcp-tx/core";
const CORE_RANGE = "workspace:>=0.1.0 <1.0.0";
const SITE = "https://github.com/mcp-tx/mcp-tx";
const MAX_LINES = 400;
/** The only packages that install others: the bundle, the command line, and the bridge to another runtime. */
const AGGREGATES = ["mcp-tx", "@mcp-tx/cli", "@mcp-tx/dbos"];
/** What takes no part in calls needs no core. */
const WITHOUT_CORE = ["@mcp-tx/create"];
/** What is not what the project is for comes from well-kept libraries, in the packages that need it. */
const LIBRARIES = {
  "@mcp-tx/http": ["@cfworker/json-schema", "srvx", "structured-headers"],
  "mcp-tx": ["cosmiconfig", "picomatch"],
  "@mcp-tx/create": ["commander", "validate-npm-package-name"],
  "@mcp-tx/cli": ["@modelcontextprotocol/sdk", "commander", "env-paths", "jsonc-parser", "libsql", "write-file-atomic"],
};
const IDENTICAL = ["tsconfig.json", "tsconfig.build.json", "tsup.config.ts"];
const REQUIRED = ["README.md", "CHANGELOG.md", ...IDENTICAL, "src/index.ts"];
const SECTIONS = ["Install", "Usage", "Options", "Errors"];
const PUBLISHED = ["dist", "README.md", "CHANGELOG.md", "LICENSE"];
const BINARY = [".png", ".jpg", ".gif", ".ico", ".woff2", ".db", ".gz"];
const GENERATED = ["node_modules", "dist", ".git", ".turbo", ".reports", "coverage"];
const REGISTRY_HOST = /\b(?:[\w-]+\.)*(?:npmjs|npmmirror|yarnpkg|jsr)\.(?:org|com|io)\b|\bnpm\.pkg\.github\.com\b/;
const MACHINE_PATH = /(?<![\w.~/-])\/(?:home|Users|root|work|tmp|private)\/[\w.-]+|\b[A-Z]:\\{1,2}Users\\/;
const FOCUSED_TEST = /\.(?:only|skip)(?:\.each)?\s*\(/;
const DECLARATION =
  "export\\s+(?:declare\\s+|abstract\\s+|async\\s+)*(?:function\\*?|class|const|let|interface|type|enum)\\s+";

/**
 * @typedef {import("./package-entries.mjs").Manifest & Record<string, any>} AnyManifest
 * @typedef {{ folder: string, manifest: AnyManifest, sources: Source[] }} Package `folder` is relative to the root.
 * @typedef {{ file: string, text: string, isTest: boolean }} Source `file` is relative to the package.
 * @typedef {{ root: string, packages: Package[], workspaces: Package[], files: string[] }} Workspace
 *   `packages` are the ones that get published, `workspaces` those and the private ones, `files` every tracked text file.
 * @typedef {{ owner: string, file: string, fix: string, invariant: string }} Violation
 * @typedef {(subject: Package, workspace: Workspace) => Iterable<[file: string, fix: string]>} Check
 */

const sorted = (values) => [...values].sort();
const sameValue = (left, right) => JSON.stringify(left) === JSON.stringify(right);
const manifestField = (name, expected) =>
  function* ({ manifest }) {
    if (!sameValue(manifest[name], expected)) yield ["package.json", `set "${name}" to ${JSON.stringify(expected)}`];
  };

const isOwn = (name) => name === "mcp-tx" || name.startsWith("@mcp-tx/");
/** What users get: neither tests nor what only tests use. */
const shipped = (sources) => sources.filter(({ file, isTest }) => !isTest && !file.endsWith(".fixture.ts"));

/** @type {Record<string, Check>} */
export const packageInvariants = {
  *"file set"({ folder }, { root }) {
    for (const file of REQUIRED) {
      if (!existsSync(join(root, folder, file))) yield [file, "add it: every package has the same files"];
    }
  },

  *"identical configuration"({ folder }, { root, packages }) {
    const model = packages.find(({ manifest }) => manifest.name === CORE);
    for (const file of model === undefined ? [] : IDENTICAL) {
      const [expected, actual] = [model.folder, folder].map((where) => readIfThere(join(root, where, file)));
      if (expected !== actual && actual !== undefined) yield [file, `make it identical to ${model.folder}/${file}`];
    }
  },

  *name({ folder, manifest }) {
    const expected = basename(folder) === "mcp-tx" ? "mcp-tx" : `@mcp-tx/${basename(folder)}`;
    if (manifest.name !== expected) yield ["package.json", `set "name" to "${expected}", after its folder`];
  },

  license: manifestField("license", "Apache-2.0"),
  "module type": manifestField("type", "module"),
  engines: manifestField("engines", { node: ">=20.19" }),
  "side effects": manifestField("sideEffects", false),
  "publish configuration": manifestField("publishConfig", { access: "public", provenance: true }),

  *files({ manifest }) {
    const missing = PUBLISHED.filter((file) => !(manifest.files ?? []).includes(file));
    if (missing.length > 0) yield ["package.json", `add ${missing.join(", ")} to "files"`];
  },

  *links({ folder, manifest }) {
    const repository = { type: "git", url: `git+${SITE}.git`, directory: folder };
    if (!sameValue(manifest.repository, repository)) {
      yield ["package.json", `set "repository" to ${JSON.stringify(repository)}`];
    }
    if (manifest.bugs !== `${SITE}/issues`) yield ["package.json", `set "bugs" to "${SITE}/issues"`];
    const homepage = `${SITE}/tree/main/${folder}#readme`;
    if (manifest.homepage !== homepage) yield ["package.json", `set "homepage" to "${homepage}"`];
  },

  *exports({ manifest }) {
    const targets = Object.entries(manifest.exports ?? {});
    if (!targets.some(([subpath]) => subpath === ".")) yield ["package.json", 'add "." to "exports"'];
    for (const [subpath, target] of targets) {
      if (subpath === "./package.json") continue;
      if (!isEntryTarget(target)) {
        yield ["package.json", `give export "${subpath}" { "types", "default" } in this order, both below ./dist`];
      }
    }
  },

  *"entry sources"({ folder, manifest }, { root }) {
    for (const { specifier, source } of entriesOf(manifest)) {
      if (!existsSync(join(root, folder, source))) yield [source, `add it: "exports" promises ${specifier}`];
    }
  },

  *"peer on core"({ manifest }) {
    if ([CORE, ...AGGREGATES, ...WITHOUT_CORE].includes(manifest.name)) return;
    if (manifest.peerDependencies?.[CORE] !== CORE_RANGE) {
      yield ["package.json", `set the peer dependency on ${CORE} to "${CORE_RANGE}"`];
    }
  },

  *"no exact peers"({ manifest }) {
    for (const [name, range] of Object.entries(manifest.peerDependencies ?? {})) {
      if (/^workspace:[*^~]?$/.test(range)) {
        yield ["package.json", `give peer ${name} a range: "${range}" is published as a pin`];
      }
    }
  },

  *"no runtime dependencies"({ manifest }) {
    for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })) {
      const isAggregated = AGGREGATES.includes(manifest.name) && isOwn(name);
      if (!isAggregated && LIBRARIES[manifest.name]?.includes(name) !== true) {
        yield ["package.json", `remove dependency ${name}, or make it a peer`];
      }
    }
  },

  *"declared imports"({ manifest, sources }) {
    const declared = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
    for (const { file, specifier } of bareImports(shipped(sources))) {
      const name = packageNameOf(specifier);
      if (name !== manifest.name && !declared.includes(name))
        yield [file, `declare ${name} as a peer, or do without it`];
    }
  },

  *"used dependencies"({ manifest, sources }) {
    const code = shipped(sources).map(({ text }) => withoutComments(text));
    const isLoaded = (name) => code.some((text) => loads(text, name));
    for (const field of ["dependencies", "optionalDependencies", "peerDependencies"]) {
      for (const name of Object.keys(manifest[field] ?? {})) {
        // What is taken by its shape, such as a pool, is never imported: tests are what it is there for.
        const isTaken =
          manifest.peerDependenciesMeta?.[name]?.optional === true && name in (manifest.devDependencies ?? {});
        if (!isLoaded(name) && !isTaken) yield ["package.json", `remove ${name} from "${field}": nothing imports it`];
      }
    }
  },

  *"explicit exports"({ sources }) {
    for (const { file, text } of shipped(sources)) {
      if (/^\s*export\s+(?:type\s+)?\*/m.test(text)) yield [file, "name each export instead of `export *`"];
    }
    const index = sources.find(({ file }) => file === "src/index.ts");
    if (index !== undefined && restOfIndex(index.text) !== "") {
      yield [index.file, 'keep to `export { name } from "./file.js"` and move the rest to a file of its own'];
    }
  },

  *"documented exports"({ sources }) {
    for (const { name, file } of exportsOfIndex(sources)) {
      const text = sources.find((source) => source.file === file)?.text ?? "";
      if (isUndocumented(text, name))
        yield [file, `give ${name} a TSDoc comment: a sentence for the people who import it`];
    }
  },

  *"short sources"({ sources }) {
    for (const { file, text } of shipped(sources)) {
      const lines = text.split("\n").length - 1;
      if (lines >= MAX_LINES) yield [file, `split it: ${lines} lines, and ${MAX_LINES} is one idea too many`];
    }
  },

  *"tests beside sources"({ folder, sources }, { files }) {
    for (const { file } of sources.filter(({ isTest }) => isTest)) {
      const tested = join(dirname(file), `${basename(file).split(".")[0]}.ts`);
      if (!sources.some((source) => source.file === tested)) yield [file, `put it beside what it tests: no ${tested}`];
    }
    const strays = files.filter((file) => file.startsWith(`${folder}/`) && !file.startsWith(`${folder}/src/`));
    for (const file of strays.filter(isTestFile))
      yield [relative(folder, file), "move it to src, beside what it tests"];
  },

  *"readme sections"({ folder }, { root }) {
    const headings = headingsOf(join(root, folder));
    const missing = headings === undefined ? [] : SECTIONS.filter((section) => !headings.includes(section));
    if (missing.length > 0) yield ["README.md", `add ${missing.map((section) => `"## ${section}"`).join(", ")}`];
  },

  *"readme position"({ folder }, { root }) {
    const headings = headingsOf(join(root, folder));
    if (headings?.includes("Position") === false)
      yield ["README.md", 'say in "## Position" where it goes in the chain'];
  },
};

/** These hold for private packages, examples and benchmarks too. @type {Record<string, Check>} */
export const workspaceInvariants = {
  *"no internals of others"({ folder, sources }, { workspaces }) {
    const exported = workspaces.flatMap(({ manifest }) => entriesOf(manifest).map(({ specifier }) => specifier));
    for (const { file, specifier } of bareImports(sources)) {
      if (isOwn(packageNameOf(specifier)) && !exported.includes(specifier)) {
        yield [file, `import what ${packageNameOf(specifier)} exports: "${specifier}" is not in its "exports"`];
      }
    }
    for (const { file, text } of sources) {
      const outside = importsOf(text).filter((specifier) => leaves(folder, file, specifier));
      for (const specifier of outside) yield [file, `import the package by name instead of "${specifier}"`];
    }
  },

  *"private names"({ manifest }) {
    if (manifest.private === true && isOwn(manifest.name)) {
      yield ["package.json", "name it outside the scope: the scope is released as one group"];
    }
  },
};

/** @type {Record<string, (workspace: Workspace) => Iterable<[file: string, fix: string]>>} */
export const repositoryInvariants = {
  *"one version"({ packages }) {
    const versions = new Set(packages.map(({ manifest }) => manifest.version));
    if (versions.size > 1) yield ["packages", `give all packages one version, not ${sorted(versions).join(", ")}`];
  },

  *"no registry hosts"({ root, files }) {
    yield* linesMatching(root, files, REGISTRY_HOST, "remove the host name of a package registry");
  },

  *"no machine paths"({ root, files }) {
    yield* linesMatching(root, files, MACHINE_PATH, "remove the absolute path of one machine");
  },

  *"portable lockfile"({ root }) {
    const lockfile = readIfThere(join(root, "pnpm-lock.yaml")) ?? "";
    if (/\b(?:tarball|registry):/.test(lockfile)) yield ["pnpm-lock.yaml", "install again without custom registries"];
  },

  *"whole test suite"({ root, files }) {
    yield* linesMatching(root, files.filter(isTestFile), FOCUSED_TEST, "run every test: no focused or skipped ones");
  },
};

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

function isEntryTarget(target) {
  const [types, standard] = [target?.types ?? "", target?.default ?? ""];
  const inOrder = sameValue(Object.keys(Object(target)), ["types", "default"]);
  return inOrder && /^\.\/dist\/.+\.d\.ts$/.test(types) && /^\.\/dist\/.+\.js$/.test(standard);
}

function leaves(folder, file, specifier) {
  if (!specifier.startsWith("..")) return false;
  const target = posix.join(folder, posix.dirname(file), specifier);
  const elsewhere = /^(?:packages\/[^/]+|examples\/[^/]+|benchmarks)(?=\/)/.exec(target)?.[0];
  return elsewhere !== undefined && elsewhere !== folder;
}

/** What `index.ts` holds besides comments and `export { … } from "…"`. */
function restOfIndex(text) {
  return withoutComments(text)
    .replace(/export\s+(?:type\s+)?\{[^}]*\}\s+from\s+"[^"]+";/g, "")
    .trim();
}

function exportsOfIndex(sources) {
  const index = withoutComments(sources.find(({ file }) => file === "src/index.ts")?.text ?? "");
  return [...index.matchAll(/\{([^}]*)\}\s+from\s+"\.\/([^"]+)\.js"/g)].flatMap(([, names = "", path]) =>
    names
      .split(",")
      .map(
        (name) =>
          name
            .trim()
            .replace(/^type\s+/, "")
            .split(/\s+as\s+/)[0] ?? "",
      )
      .filter((name) => name !== "")
      .map((name) => ({ name, file: `src/${path}.ts` })),
  );
}

/** True when `text` declares `name` with no doc comment right before it; false too when it is declared elsewhere. */
function isUndocumented(text, name) {
  const match = new RegExp(`^${DECLARATION}${name.replace("$", "\\$")}\\b`, "m").exec(text);
  return match !== null && !text.slice(0, match.index).trimEnd().endsWith("*/");
}

function headingsOf(folder) {
  const readme = readIfThere(join(folder, "README.md"));
  return readme === undefined ? undefined : [...readme.matchAll(/^## (.+)$/gm)].map((match) => match[1]?.trim());
}

function isTestFile(file) {
  return /\.test\.(?:ts|mts|mjs|js)$/.test(file);
}

function* linesMatching(root, files, pattern, fix) {
  for (const file of files) {
    const line = readFileSync(join(root, file), "utf8")
      .split("\n")
      .findIndex((text) => pattern.test(text));
    if (line >= 0) yield [`${file}:${line + 1}`, fix];
  }
}

/** Tracked and new text files, ignored ones left out; without a repository, everything that is not generated. */
function textFiles(root) {
  const files = existsSync(join(root, ".git")) ? gitFiles(root) : filesBelow(root, ".");
  return sorted(files).filter((file) => !BINARY.includes(extname(file)));
}

function gitFiles(root) {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
  const names = execFileSync("git", args, { cwd: root, encoding: "utf8" }).split("\0");
  return names.filter((name) => name !== "" && existsSync(join(root, name)));
}

function filesBelow(root, folder) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter(({ name }) => !GENERATED.includes(name))
    .flatMap((entry) => {
      const path = posix.join(folder, entry.name);
      return entry.isDirectory() ? filesBelow(root, path) : [path];
    });
}

/** @param {string} root @param {string} folder @param {string[]} files @returns {Package} */
function readWorkspace(root, folder, files) {
  const sources = files
    .filter((file) => file.startsWith(`${folder}/`) && /\.(?:ts|mts)$/.test(file) && !file.endsWith(".config.ts"))
    .map((file) => ({
      file: relative(folder, file),
      text: readFileSync(join(root, file), "utf8"),
      isTest: isTestFile(file),
    }));
  return { folder, manifest: readPackage(join(root, folder)), sources };
}

function workspaceFolders(root, files) {
  const inPackages = packageFolders(root).map((folder) => relative(root, folder));
  const elsewhere = files.filter((file) => /^(?:examples\/[^/]+|benchmarks|docs)\/package\.json$/.test(file));
  return [...inPackages, ...elsewhere.map((file) => dirname(file))];
}

/** @param {string} root @returns {Workspace} */
function readRepository(root) {
  const files = textFiles(root);
  const workspaces = workspaceFolders(root, files).map((folder) => readWorkspace(root, folder, files));
  return { root, files, workspaces, packages: workspaces.filter(({ manifest }) => manifest.private !== true) };
}

function violationsOf(invariants, subject, workspace) {
  return Object.entries(invariants).flatMap(([invariant, check]) =>
    [...check(subject, workspace)].map(([file, fix]) => ({ owner: subject.manifest.name, file, fix, invariant })),
  );
}

/** @param {string} root @returns {Violation[]} */
export function findViolations(root) {
  const workspace = readRepository(root);
  const repository = { manifest: { name: "repository" } };
  return [
    ...workspace.packages.flatMap((subject) => violationsOf(packageInvariants, subject, workspace)),
    ...workspace.workspaces.flatMap((subject) => violationsOf(workspaceInvariants, subject, workspace)),
    ...Object.entries(repositoryInvariants).flatMap(([invariant, check]) =>
      violationsOf({ [invariant]: () => check(workspace) }, repository, workspace),
    ),
  ];
}

function main(root) {
  const violations = findViolations(root);
  for (const { owner, file, fix } of violations) console.error(`${owner}: ${file}: ${fix}`);
  const invariants = [packageInvariants, workspaceInvariants, repositoryInvariants].flatMap(Object.keys).length;
  if (violations.length === 0) console.log(`check-packages: ${invariants} invariants hold`);
  process.exitCode = violations.length === 0 ? 0 : 1;
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === self) {
  main(resolve(process.argv[2] ?? join(dirname(self), "..")));
}

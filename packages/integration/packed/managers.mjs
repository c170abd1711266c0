// How each package manager is told to take our packages from tarballs, wherever in the tree they are asked for, and all others from its
// registry.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run, tool } from "./tools.mjs";

let registry;

/** Where npm is told to get packages: yarn does not ask it by itself. */
async function registryUrl(cwd) {
  registry ??= run(["npm", "config", "get", "registry"], { cwd }).then(({ stdout }) => stdout.trim());
  return await registry;
}

/**
 * @typedef {{ folder: string, tarballs: Record<string, string>, dependencies: Record<string, string> }} Project
 * @typedef {(project: Project, extra: Record<string, unknown>) => Promise<void>} WriteManifest
 */
const manifestOf = (dependencies, extra) => ({
  name: "stranger",
  version: "1.0.0",
  private: true,
  dependencies,
  ...extra,
});
const writeManifest = ({ folder, dependencies }, extra) =>
  writeFile(join(folder, "package.json"), JSON.stringify(manifestOf(dependencies, extra), null, 2));
const yamlMap = (map) =>
  Object.entries(map)
    .map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}\n`)
    .join("");
const inModules = (node, folder) => ({
  node: [node],
  command: [join(folder, "node_modules/.bin/%")],
});

/** Each installs a project; `start` says how a script is run in it, and a command, `%`, that a package brings. */
export const managers = {
  npm: {
    async install(project) {
      await writeManifest(project, { overrides: project.tarballs });
      await run(["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"], { cwd: project.folder });
    },
    start: inModules,
  },

  pnpm: {
    tool: "pnpm",
    async install(project) {
      await writeManifest(project, {});
      const settings = `packages: ["."]\nstrictDepBuilds: false\noverrides:\n${yamlMap(project.tarballs)}`;
      await writeFile(join(project.folder, "pnpm-workspace.yaml"), settings);
      await run([await tool("pnpm"), "install", "--prefer-offline", "--no-frozen-lockfile"], { cwd: project.folder });
    },
    start: inModules,
  },

  /** Yarn classic, into `node_modules`. Its cache knows a tarball by name and version: each run has a cache of its own. */
  yarn1: {
    tool: "yarn1",
    async install(project) {
      await writeManifest(project, { resolutions: project.tarballs });
      const cache = join(project.folder, "../yarn1-cache");
      const flags = ["--non-interactive", "--no-lockfile", "--cache-folder", cache];
      const from = ["--registry", await registryUrl(project.folder)];
      await run([process.execPath, await tool("yarn1"), "install", ...flags, ...from], { cwd: project.folder });
    },
    start: inModules,
  },

  /** Yarn 4 with Plug'n'Play, which refuses each import that is not declared. */
  yarn4: {
    tool: "yarn4",
    async install(project) {
      await writeManifest(project, { resolutions: project.tarballs });
      const server = JSON.stringify(await registryUrl(project.folder));
      const settings = "nodeLinker: pnp\nenableTelemetry: false\nenableImmutableInstalls: false\n";
      await writeFile(join(project.folder, ".yarnrc.yml"), `${settings}npmRegistryServer: ${server}\n`);
      await writeFile(join(project.folder, "yarn.lock"), "");
      await run([process.execPath, await tool("yarn4"), "install"], { cwd: project.folder });
    },
    // On Node 20 a `require` of a module asks no loader, and so cannot see what Plug'n'Play installed.
    loads: (node) => (node === "node20" ? ["use.mjs"] : undefined),
    start: async (node, folder) => ({
      node: [node, "--require", join(folder, ".pnp.cjs"), "--loader", join(folder, ".pnp.loader.mjs")],
      command: [node, await tool("yarn4"), "--cwd", folder, "run", "%"],
    }),
  },
};

// Installs each package alone, with only its peers, and all of them together, and uses each by `import` and by `require`.
import { cp, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { managers } from "./managers.mjs";
import { inPairs, run, skip, tool } from "./tools.mjs";

const PROJECT = fileURLToPath(new URL("project", import.meta.url));
const NODES = ["node20", "node22", "node24"];
const LOADS = ["use.mjs", "use.cjs"];
/** Optional peers that a use of the package needs; that of sqlite works without one, too. */
const DRIVERS = { "@mcp-tx/postgres": ["pg"], "@mcp-tx/redis": ["ioredis"] };
const ALL_DRIVERS = ["pg", "ioredis", "redis", "libsql"];

const isOwn = (name) => name === "mcp-tx" || name.startsWith("@mcp-tx/");

/** @param {import("./packed.mjs").Published} subject What a stranger would install for it: itself, its peers, a driver. */
function aloneOf(subject) {
  const required = Object.keys(subject.manifest.peerDependencies ?? {}).filter(
    (name) => subject.manifest.peerDependenciesMeta?.[name]?.optional !== true,
  );
  return [subject.name, ...required, ...(DRIVERS[subject.name] ?? [])];
}

/** @param {import("./packed.mjs").Published[]} published */
function rangesOf(published, names) {
  const peers = Object.assign({}, ...published.map(({ manifest }) => manifest.peerDependencies ?? {}));
  const tarballs = tarballsOf(published);
  return Object.fromEntries(names.map((name) => [name, isOwn(name) ? tarballs[name] : peers[name]]));
}

export function tarballsOf(published) {
  return Object.fromEntries(published.map(({ name, file }) => [name, `file:${file}`]));
}

/**
 * Makes a project and installs into it.
 *
 * @param {import("./packed.mjs").Published[]} published @param {keyof typeof managers} manager @param {string} folder
 * @param {readonly string[]} names What it depends on. @param {Record<string, string>} [others] More dependencies.
 */
export async function makeProject(published, manager, folder, names, others = {}) {
  await mkdir(dirname(folder), { recursive: true });
  await cp(PROJECT, folder, { recursive: true });
  const dependencies = { ...rangesOf(published, names), ...others };
  await managers[manager].install({ folder, dependencies, tarballs: tarballsOf(published) });
  return folder;
}

async function use({ manager, folder, names, installed, node, load, env }) {
  const start = await managers[manager].start(node, folder);
  const own = { PACKED_INSTALLED: JSON.stringify(installed), PACKED_COMMAND: JSON.stringify(start.command) };
  const path = `${dirname(node)}:${process.env.PATH}`;
  const { stdout } = await run([...start.node, load, ...names], { cwd: folder, env: { ...env, ...own, PATH: path } });
  return JSON.parse(stdout.trim().split("\n").at(-1));
}

/** @returns {Promise<number>} How many times a package was used. */
async function useUnder(nodes, project) {
  let uses = 0;
  for (const name of nodes) {
    const node = await tool(name);
    if (node === undefined) continue;
    for (const load of managers[project.manager].loads?.(name) ?? LOADS) {
      const left = await use({ ...project, node, load });
      for (const [subject, why] of Object.entries(left)) skip(`${subject} on ${project.manager}`, why);
      uses += project.names.length - Object.keys(left).length;
    }
  }
  return uses;
}

/**
 * @param {import("./packed.mjs").Published[]} published @param {keyof typeof managers} manager
 * @param {{ folder: string, env: Record<string, string>, alone: boolean, nodes: readonly string[] }} settings
 */
async function checkInstalls(published, manager, { folder, env, alone, nodes }) {
  let uses = 0;
  const everything = published.map(({ name }) => name);
  const others = [...new Set(published.flatMap(aloneOf).filter((name) => !isOwn(name))), ...ALL_DRIVERS];
  const projects = [
    { title: "together", names: everything, installed: [...new Set([...everything, ...others])], nodes: NODES },
    ...(alone ? published : []).map((subject) => ({
      title: subject.name.replace("/", "-"),
      names: [subject.name],
      installed: aloneOf(subject),
      nodes,
    })),
  ];
  await inPairs(projects, async ({ title, names, installed, nodes: under }) => {
    const at = await makeProject(published, manager, join(folder, manager, title), installed);
    const made = await useUnder(under, { manager, folder: at, names, installed, env });
    uses += made;
  });
  return `${projects.length} projects, ${uses} uses`;
}

const here = `node${process.versions.node.split(".")[0]}`;
/** SQLite comes with Node in one of them, and does not in the other. */
const OLDEST_AND_NEWEST = ["node20", "node24"];

/** What can be asked for with `--only`. */
export const installs = {
  npm: (published, place) => checkInstalls(published, "npm", { ...place, alone: true, nodes: OLDEST_AND_NEWEST }),
  pnpm: (published, place) => checkInstalls(published, "pnpm", { ...place, alone: true, nodes: [here] }),
  yarn4: (published, place) => checkInstalls(published, "yarn4", { ...place, alone: true, nodes: ["node24"] }),
  yarn1: (published, place) => checkInstalls(published, "yarn1", { ...place, alone: false, nodes: NODES }),
};

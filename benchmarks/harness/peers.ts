import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { nodeMajor } from "./group.js";

/** A peer in one major version, under the name its rows have. */
export interface Peer<T> {
  readonly name: string;
  readonly version: string;
  readonly api: T;
}

/** The newest majors of cockatiel, opossum and p-retry start here. */
const NEWEST_FROM_NODE = 22;
const require = createRequire(import.meta.url);

/** Version of a package that benchmarks depend on, under the name by which it is installed. */
function versionOf(installed: string): string {
  for (const folder of require.resolve.paths(installed) ?? []) {
    try {
      return String(JSON.parse(readFileSync(`${folder}/${installed}/package.json`, "utf8")).version);
    } catch {
      // Not in this folder.
    }
  }
  throw new Error(`${installed} is not installed`);
}

/** The newest major that runs on every supported Node, and beside it the newest one where this Node runs it. */
async function majors<T>(
  name: string,
  everywhere: [installed: string, load: () => Promise<T>],
  newest: [installed: string, load: () => Promise<T>],
): Promise<readonly Peer<T>[]> {
  const wanted = nodeMajor >= NEWEST_FROM_NODE ? [everywhere, newest] : [everywhere];
  return Promise.all(
    wanted.map(async ([installed, load]) => {
      const version = versionOf(installed);
      return { name: `${name} ${version.split(".", 1)[0]}`, version, api: await load() };
    }),
  );
}

/** cockatiel: 4 has the same interface as 3, as far as it is used here. */
export const cockatiels: readonly Peer<typeof import("cockatiel")>[] = await majors(
  "cockatiel",
  ["cockatiel", () => import("cockatiel")],
  ["cockatiel-4", async () => (await import("cockatiel-4")) as unknown as typeof import("cockatiel")],
);

/** opossum's class, the export of its CommonJS module. */
export const opossums: readonly Peer<typeof import("opossum")>[] = await majors(
  "opossum",
  ["opossum", async () => (await import("opossum")).default],
  // No types come with it; @types/opossum describes the older major.
  ["opossum-10", async () => require("opossum-10") as typeof import("opossum")],
);

/** p-retry's function. */
export const pRetries: readonly Peer<typeof import("p-retry").default>[] = await majors(
  "p-retry",
  ["p-retry", async () => (await import("p-retry")).default],
  ["p-retry-9", async () => (await import("p-retry-9")).default as unknown as typeof import("p-retry").default],
);

/** The versions of all peers that ran, for the record. */
export function peerVersions(): Readonly<Record<string, string>> {
  const majorsOf = [...cockatiels, ...opossums, ...pRetries].map(({ name, version }) => [name, version] as const);
  const single = [
    "async-sema",
    "canonicalize",
    "koa-compose",
    "p-limit",
    "rate-limiter-flexible",
    "safe-stable-stringify",
  ];
  return Object.fromEntries([...majorsOf, ...single.map((name) => [name, versionOf(name)] as const)]);
}

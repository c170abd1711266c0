// The declarations of the packed packages in a consumer's project: three lines of TypeScript, libraries checked as well.
import { cp, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeProject } from "./installs.mjs";
import { inPairs, run } from "./tools.mjs";

const CONSUMER = fileURLToPath(new URL("consumer", import.meta.url));
const VERSIONS = ["5.9", "6.0", "7.0"];
const COMPILERS = Object.fromEntries(
  VERSIONS.map((version) => [`typescript-${version}`, `npm:typescript@~${version}.0`]),
);
const NODE_TYPES = { "@types/node": "^20.19.0" };
const LIBRARIES = {
  "@modelcontextprotocol/client": "^2.4.0",
  "@modelcontextprotocol/sdk": "^1.32.2",
  "@types/express": "^5.0.6",
  "@types/pg": "^8.20.0",
  express: "^5.0.0",
  zod: "^4.0.0",
};
const RESOLUTIONS = {
  nodenext: { module: "nodenext", moduleResolution: "nodenext" },
  bundler: { module: "esnext", moduleResolution: "bundler" },
};

/** Resolution, and whether `exactOptionalPropertyTypes` is on. */
const ONE_OF_EACH = [
  ["nodenext", true],
  ["bundler", false],
];
const EVERY_WAY = [...ONE_OF_EACH, ["nodenext", false], ["bundler", true]];
const FASTEST = "7.0";

const optionsOf = (resolution, exactOptionalPropertyTypes, skipLibCheck) => ({
  ...RESOLUTIONS[resolution],
  target: "es2022",
  lib: ["es2022", "esnext.disposable"],
  types: ["node"],
  strict: true,
  noEmit: true,
  exactOptionalPropertyTypes,
  skipLibCheck,
});

async function compile(cwd, version, title, compilerOptions, files) {
  const config = `tsconfig.${version}.${title}.json`;
  await writeFile(join(cwd, config), JSON.stringify({ compilerOptions, files }));
  const compiler = join(cwd, `node_modules/typescript-${version}/bin/tsc`);
  await run([process.execPath, compiler, "--pretty", "false", "-p", config], { cwd });
}

/** Every package with its required peers alone: no driver, no framework, no SDK is there. */
async function checkDeclarations(published, { folder }) {
  const names = [...published.map(({ name }) => name), "@dbos-inc/dbos-sdk", "@opentelemetry/api"];
  const cwd = join(folder, "types");
  await makeProject(published, "npm", cwd, names, { ...COMPILERS, ...NODE_TYPES });
  await cp(CONSUMER, join(cwd, "consumer"), { recursive: true });
  await rename(join(cwd, "consumer/create.ts.txt"), join(cwd, "consumer/create.ts"));
  const files = ["create", "middleware", "middlewares", "products"].map((name) => `consumer/${name}.ts`);
  const runs = VERSIONS.flatMap((version) =>
    (version === FASTEST ? EVERY_WAY : ONE_OF_EACH).map((way) => [version, ...way]),
  );
  await inPairs(runs, ([version, resolution, exact]) =>
    compile(cwd, version, `${resolution}.${exact}`, optionsOf(resolution, exact, false), files),
  );
  return `${runs.length} compilations under TypeScript ${VERSIONS.join(", ")}`;
}

/** The same with drivers, frameworks and both SDKs, whose own declarations are theirs to keep right. */
async function checkDrivers(published, { folder }) {
  const drivers = ["@dbos-inc/dbos-sdk", "@opentelemetry/api", "fastify", "hono", "ioredis", "redis"];
  const names = [...published.map(({ name }) => name), ...drivers];
  const cwd = join(folder, "types-drivers");
  await makeProject(published, "npm", cwd, names, { pg: "^8.11.0", ...COMPILERS, ...NODE_TYPES, ...LIBRARIES });
  await cp(CONSUMER, join(cwd, "consumer"), { recursive: true });
  await inPairs(VERSIONS, (version) =>
    compile(cwd, version, "drivers", optionsOf("nodenext", true, true), ["consumer/drivers.ts"]),
  );
  return `drivers and frameworks under TypeScript ${VERSIONS.join(", ")}`;
}

/** What can be asked for with `--only`. */
export const types = { types: checkDeclarations, drivers: checkDrivers };

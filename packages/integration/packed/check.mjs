// What a stranger installs: every published package, packed, in empty projects. Usage, after a build:
//   node --import tsx packages/integration/packed/check.mjs [--only npm,pnpm,…] [--tarballs FOLDER] [--keep]
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { postgres, redis } from "../fixtures/services.ts";
import { installs } from "./installs.mjs";
import { managers } from "./managers.mjs";
import { packAll, packedIn, problemsOf } from "./packed.mjs";
import { readmes } from "./readmes.mjs";
import { runtimes } from "./runtimes.mjs";
import { skipped, tool } from "./tools.mjs";
import { types } from "./types.mjs";

const PARTS = { ...installs, ...runtimes, ...types, ...readmes };
const { values } = parseArgs({
  options: { only: { type: "string" }, tarballs: { type: "string" }, keep: { type: "boolean", default: false } },
});
const asked = values.only?.split(",") ?? Object.keys(PARTS);
for (const name of asked)
  if (PARTS[name] === undefined) throw new TypeError(`--only knows ${Object.keys(PARTS).join(", ")}`);

const say = (line) => process.stdout.write(`${line}\n`);
const secondsSince = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;
const failures = [];
const began = performance.now();
const folder = await realpath(await mkdtemp(join(tmpdir(), "packed-")));
const services = await Promise.all([postgres(), redis()]);

async function check(name, published, env) {
  const start = performance.now();
  try {
    if (managers[name]?.tool !== undefined && (await tool(managers[name].tool)) === undefined) return;
    const done = await PARTS[name](published, { folder, env });
    say(`${name}: ${done ?? "left out"}, ${secondsSince(start)}`);
  } catch (error) {
    failures.push(name);
    say(`${name}: FAILED after ${secondsSince(start)}\n${error.message}`);
  }
}

try {
  const published = values.tarballs ? await packedIn(values.tarballs) : await packAll(join(folder, "tarballs"));
  for (const problem of published.flatMap((each) => [...problemsOf(each)])) {
    failures.push(problem);
    say(problem);
  }
  say(`packed ${published.length} packages, ${secondsSince(began)}`);
  const [{ url: postgresUrl }, { url: redisUrl }] = services;
  const env = {
    ...(postgresUrl !== "" && { MCP_TX_POSTGRES_URL: postgresUrl }),
    ...(redisUrl !== "" && { MCP_TX_REDIS_URL: redisUrl }),
  };
  for (const name of asked) await check(name, published, env);
} finally {
  for (const service of services) await service.close();
  if (values.keep) say(`kept ${folder}`);
  else await rm(folder, { recursive: true, force: true });
}
if (skipped.length > 0) say(`left out: ${[...new Set(skipped)].join(", ")}`);
say(failures.length === 0 ? `all hold, ${secondsSince(began)}` : `failed: ${failures.join(", ")}`);
process.exitCode = failures.length === 0 ? 0 : 1;

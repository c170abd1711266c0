// Measures everything there is on this Node and keeps it in results/: the table, real calls, and costs against sizes.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** As for the table: fewer processes take less time and are less sure. */
const { values } = parseArgs({ options: { processes: { type: "string", default: "3" } } });
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  main: ["--processes", values.processes],
  e2e: [],
  scaling: [],
};

for (const [program, options] of Object.entries(OPTIONS)) {
  const file = fileURLToPath(new URL(`${program}.ts`, import.meta.url));
  const { status, error } = spawnSync(process.execPath, [...process.execArgv, file, "--save", ...options], {
    stdio: "inherit",
  });
  if (error !== undefined) throw error;
  // A missed target is a result like others: it is in what was kept.
  if (status !== 0) process.stderr.write(`${program}: exited with ${status}\n`);
}

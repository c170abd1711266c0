import { createRequire } from "node:module";
import { others } from "./use-others.mjs";
import { portable } from "./use-portable.mjs";

const uses = { ...portable, ...others };
const manifestOf = createRequire(import.meta.url);

/** Says which use failed, and how it was loaded. @param {(specifier: string) => Promise<any>} load */
export async function report(load) {
  const { PACKED_COMMAND = "[]", PACKED_INSTALLED = "[]", ...env } = process.env;
  const installed = JSON.parse(PACKED_INSTALLED);
  const template = JSON.parse(PACKED_COMMAND);
  const place = {
    env,
    has: (name) => installed.includes(name),
    manifestOf: (name) => manifestOf(`${name}/package.json`),
    command(name, args) {
      const [file, ...first] = template.map((part) => part.replace("%", name));
      return [file, [...first, ...args]];
    },
  };
  const skipped = {};
  for (const name of process.argv.slice(2)) {
    const use = uses[name];
    if (use === undefined) throw new Error(`${name} has no use in this check: add one`);
    const why = await use(load, place).catch((error) => {
      throw new Error(`${name} cannot be used`, { cause: error });
    });
    if (why !== undefined) skipped[name] = why;
  }
  process.stdout.write(`${JSON.stringify(skipped)}\n`);
}

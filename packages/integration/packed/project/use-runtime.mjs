// Uses packages in a runtime that is not Node. The names come on the command line.
import { portable } from "./use-portable.mjs";

const names = globalThis.process.argv.slice(2);
for (const name of names) await portable[name]((specifier) => import(specifier));
globalThis.process.stdout.write(`used ${names.length}\n`);

// Uses the packages that are named on the command line, loaded by `import`. Prints, as JSON, what could not be used and why.
import { report } from "./report.mjs";

await report((specifier) => import(specifier));

// Uses the packages that are named on the command line, loaded by `require`. Prints, as JSON, what could not be used and why.
import("./report.mjs").then(({ report }) => report(async (specifier) => require(specifier)));

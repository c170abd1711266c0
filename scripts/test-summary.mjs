// Prints the last line of a run, `N passed, N failed`, from the JSON report of the test runner.
import { existsSync, readFileSync } from "node:fs";

const report = process.argv[2];
if (report === undefined) throw new TypeError("usage: node scripts/test-summary.mjs <report.json>");

/** A file that could not even be loaded has no failed test to count: it counts as one. */
const unloaded = ({ status, assertionResults }) =>
  status === "failed" && !assertionResults.some((assertion) => assertion.status === "failed");

function summaryOf({ numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults }) {
  const failed = numFailedTests + testResults.filter(unloaded).length;
  const skipped = numPendingTests + numTodoTests;
  return `${numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

console.log(existsSync(report) ? summaryOf(JSON.parse(readFileSync(report, "utf8"))) : "0 passed, 0 failed");

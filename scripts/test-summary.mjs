// Closes a run: the tests that failed with their reasons, where a long log shows them, then the line
// `N passed, N failed`, both from the JSON report of the test runner.
import { existsSync, readFileSync } from "node:fs";

const LINES_OF_A_REASON = 25;

const report = process.argv[2];
if (report === undefined) throw new TypeError("usage: node scripts/test-summary.mjs <report.json>");

/** A file that could not even be loaded has no failed test to count: it counts as one. */
const unloaded = ({ status, assertionResults }) =>
  status === "failed" && !assertionResults.some((assertion) => assertion.status === "failed");

const indented = (text) =>
  text
    .split("\n")
    .slice(0, LINES_OF_A_REASON)
    .map((line) => `    ${line}`)
    .join("\n");

function failuresOf({ testResults }) {
  return testResults.flatMap((file) => [
    ...(unloaded(file) ? [`failed: ${file.name}\n${indented(file.message ?? "")}`] : []),
    ...file.assertionResults
      .filter(({ status }) => status === "failed")
      .map(
        ({ fullName, failureMessages }) => `failed: ${file.name}: ${fullName}\n${indented(failureMessages.join("\n"))}`,
      ),
  ]);
}

function summaryOf({ numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults }) {
  const failed = numFailedTests + testResults.filter(unloaded).length;
  const skipped = numPendingTests + numTodoTests;
  return `${numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

if (existsSync(report)) {
  const results = JSON.parse(readFileSync(report, "utf8"));
  for (const failure of failuresOf(results)) console.log(failure);
  console.log(summaryOf(results));
} else {
  console.log("0 passed, 0 failed");
}

/** Runs the guide's workflow, and once more after a restart of both processes: the second time nothing is executed. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CallReport } from "@mcp-tx/core";

interface Run {
  readonly outcome: unknown;
  readonly status: string;
  readonly steps: readonly (CallReport & { readonly step: string })[];
}

const workflow = fileURLToPath(new URL("workflow.ts", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "mcp-tx-workflow-"));

/** The workflow in a process of its own, its server in another. */
function run(id: string, sourceUrl: string): Run {
  const args = ["--import", import.meta.resolve("tsx"), workflow, id, folder, sourceUrl];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Run;
}

const executions = (): readonly string[] => readFileSync(join(folder, "executions.log"), "utf8").trim().split("\n");
const brief = ({ steps }: Run) => steps.map(({ step, attempts, duplicate }) => ({ step, attempts, duplicate }));

try {
  // #region restart
  const first = run("workflow-1", "https://source.example/orders.csv");
  console.table(brief(first));
  assert.deepEqual(first.outcome, {
    workflowId: "workflow-1",
    resultUrl: "https://results.example/1200",
    totalAttempts: 7,
  });
  assert.deepEqual(brief(first), [
    { step: "download", attempts: 1, duplicate: false },
    { step: "validate", attempts: 1, duplicate: false },
    { step: "process", attempts: 4, duplicate: false },
    { step: "upload", attempts: 1, duplicate: false },
  ]);
  assert.equal(executions().length, 7);

  const second = run("workflow-1", "https://source.example/orders.csv");
  console.table(brief(second));
  assert.deepEqual(second.outcome, {
    workflowId: "workflow-1",
    resultUrl: "https://results.example/1200",
    totalAttempts: 0,
  });
  assert.ok(second.steps.every(({ attempts, duplicate, recorded }) => attempts === 0 && duplicate && recorded));
  assert.equal(executions().length, 7);
  // #endregion restart

  const invalid = run("workflow-2", "https://source.example/orders.xls");
  assert.deepEqual(invalid.outcome, { error: "Error: data validation failed" });
  assert.equal(invalid.status, "failed");
  assert.equal(executions().length, 9);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The guide's multi-step workflow with transaction tracking: download, validate, process, upload. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Caller, type Transaction, transaction, wrapClient } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { z } from "zod";

const Downloaded = z.object({ path: z.string() });
const Validated = z.object({ valid: z.boolean() });
const Processed = z.object({ rows: z.number(), source: z.string() });
const Uploaded = z.object({ url: z.string() });

type Workflow = { status: "started" | "completed" | "failed"; steps: Transaction["reports"]; error?: string };
const workflows = new Map<string, Workflow>();

async function executeDataPipeline(caller: Caller<unknown>, sourceUrl: string) {
  const t = transaction(caller);
  const workflow: Workflow = { status: "started", steps: t.reports };
  workflows.set(t.id, workflow);
  try {
    const { path } = await t.invoke("download", "download_data", { url: sourceUrl }, { output: Downloaded });
    const { valid } = await t.invoke("validate", "validate_data", { file_path: path }, { output: Validated });
    if (!valid) throw new Error("data validation failed");
    // Its own policy. The server says when to come back, and that wins over the two seconds.
    const policy = { output: Processed, retry: { maxAttempts: 5, baseDelayMs: 2000 } };
    const data = await t.invoke("process", "process_data", { file_path: path }, policy);
    const { url } = await t.invoke("upload", "upload_results", { data }, { output: Uploaded });
    workflow.status = "completed";
    return { workflowId: t.id, resultUrl: url, totalAttempts: t.attempts };
  } catch (error) {
    Object.assign(workflow, { status: "failed", error: String(error) });
    throw error;
  }
}

const client = new Client({ name: "guide", version: "1.0.0" });
const server = fileURLToPath(new URL("workflow-server.ts", import.meta.url));
const args = ["--import", import.meta.resolve("tsx"), server];
await client.connect(new StdioClientTransport({ command: process.execPath, args }));
try {
  const caller = wrapClient(client, [retry()]);
  const { workflowId, ...outcome } = await executeDataPipeline(caller, "https://source.example/orders.csv");
  assert.deepEqual(outcome, { resultUrl: "https://results.example/1200", totalAttempts: 7 });
  const steps = workflows
    .get(workflowId)
    ?.steps.map(({ step, attempts, duplicate }) => ({ step, attempts, duplicate }));
  console.table(steps);
  assert.deepEqual(
    steps?.map(({ step, attempts }) => `${step} ${attempts}`),
    ["download 1", "validate 1", "process 4", "upload 1"],
  );
  await assert.rejects(executeDataPipeline(caller, "https://source.example/orders.xls"), /data validation failed/);
  assert.deepEqual(
    [...workflows.values()].map(({ status }) => status),
    ["completed", "failed"],
  );
} finally {
  await client.close();
}

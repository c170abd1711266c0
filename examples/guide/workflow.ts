/**
 * The guide's multi-step workflow with transaction tracking: download, validate, process, upload. Given the id of a workflow
 * that has run before, whether it got through or died half-way, it executes only what was not done yet.
 *
 * Usage: tsx workflow.ts <workflow id> <folder of the records> <source url>
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
// #region workflow
import { type Caller, type Transaction, transaction, wrapClient } from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { sqliteStore } from "@mcp-tx/sqlite";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { z } from "zod";

const Downloaded = z.object({ path: z.string() });
const Validated = z.object({ valid: z.boolean() });
const Processed = z.object({ rows: z.number(), source: z.string() });
const Uploaded = z.object({ url: z.string() });

type Workflow = { status: "started" | "completed" | "failed"; steps: Transaction["reports"]; error?: string };
const workflows = new Map<string, Workflow>();

async function executeDataPipeline(caller: Caller<unknown>, id: string, sourceUrl: string) {
  // Gives each step a key of its own, made of the workflow's id and the step's name.
  const t = transaction(caller, { id });
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
// #endregion workflow

const [id = "", folder = "", sourceUrl = ""] = process.argv.slice(2);
const server = fileURLToPath(new URL("workflow-server.ts", import.meta.url));
const args = ["--import", import.meta.resolve("tsx"), server, join(folder, "executions.log")];
const client = new Client({ name: "guide", version: "1.0.0" });
await client.connect(new StdioClientTransport({ command: process.execPath, args }));
// #region run
const store = sqliteStore({ path: join(folder, "records.db") });
try {
  const caller = wrapClient(client, [idempotency({ store: store.idempotency, ttlMs: 86_400_000 }), retry()]);
  const outcome = await executeDataPipeline(caller, id, sourceUrl).catch((error: unknown) => ({
    error: String(error),
  }));
  console.log(JSON.stringify({ outcome, ...workflows.get(id) }));
} finally {
  await client.close();
  await store.close();
}
// #endregion run

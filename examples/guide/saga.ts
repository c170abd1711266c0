/**
 * The guide's saga for distributed transactions: an order that three services carry out. A step that fails has those before it undone,
 * in reverse order; a process that dies has its sagas carried on by another one. What really happened is read from the services' ledger.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { wrapClient } from "@mcp-tx/core";
import { createSagaRunner, defineSaga, formatTimeline, type SagaOutcome, type SagaRunner } from "@mcp-tx/saga";
import { sqliteStore } from "@mcp-tx/sqlite";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

// #region order
const order = defineSaga("order")
  .step({
    name: "reserve_inventory",
    tool: "inventory_service.reserve",
    args: { product_id: "ABC123", quantity: 2 },
    compensate: { tool: "inventory_service.release" },
  })
  .step({
    name: "charge_payment",
    tool: "payment_service.charge",
    args: { amount: 99.99, customer_id: "CUST456" },
    compensate: { tool: "payment_service.refund" },
  })
  .step({
    name: "create_shipment",
    tool: "shipping_service.create",
    args: { address: "123 Main St", items: ["ABC123"] },
    compensate: { tool: "shipping_service.cancel" },
  });
// #endregion order

/** A runner over a connection to the services and a file for its sagas; `killsAfter` names a tool after whose effect we are killed. */
async function connect(folder: string, killsAfter: readonly string[] = []) {
  const server = fileURLToPath(new URL("saga-server.ts", import.meta.url));
  const args = ["--import", import.meta.resolve("tsx"), server, folder, ...killsAfter];
  const client = new Client({ name: "guide", version: "1.0.0" });
  await client.connect(new StdioClientTransport({ command: process.execPath, args }));
  // #region runner
  const store = sqliteStore({ path: join(folder, "sagas.db") });
  const runner = createSagaRunner({
    caller: wrapClient(client, []),
    store: store.saga,
    sagas: [order],
    tools: () => client.listTools(),
    // How long others leave the sagas of a dead process alone; two seconds, so that nobody has to wait here.
    leaseMs: 2000,
    compensationRetry: { maxAttempts: 2, baseDelayMs: 10 },
  });
  // #endregion runner
  const close = async () => {
    await runner.close();
    await client.close();
    await store.close();
  };
  return { runner, close };
}

function show({ id, status, compensated, failedCompensations, error }: SagaOutcome): void {
  const undone = compensated.length === 0 ? "" : `, undone: ${compensated.join(", ")}`;
  const left = failedCompensations.length === 0 ? "" : `, not undone: ${failedCompensations.join(", ")}`;
  console.log(`${id}: ${status}${undone}${left}${error === undefined ? "" : ` (${error.message})`}`);
}

/** The tools whose effects the services wrote down since the last look. */
function ledgerOf(folder: string): () => readonly string[] {
  let seen = 0;
  return () => {
    const lines = readFileSync(join(folder, "ledger.jsonl"), "utf8").trimEnd().split("\n").slice(seen);
    seen += lines.length;
    return lines.map((line) => (JSON.parse(line) as { tool: string }).tool);
  };
}

/** What the runs are shown with: a runner, the services' ledger since the last look, and a way to break tools. */
interface Stage {
  readonly runner: SagaRunner;
  readonly happened: () => readonly string[];
  readonly breakTools: (...tools: string[]) => void;
}

// #region success
async function showSuccess({ runner, happened }: Stage): Promise<void> {
  const sold = await runner.run(order, undefined, { id: "order-1" });
  show(sold);
  assert.equal(sold.status, "completed");
  assert.deepEqual(happened(), ["inventory_service.reserve", "payment_service.charge", "shipping_service.create"]);

  // The same id is the same saga: nothing happens twice.
  assert.deepEqual(await runner.run(order, undefined, { id: "order-1" }), sold);
  assert.deepEqual(happened(), []);
}
// #endregion success

// #region failures
/** The step that fails is undone, too: only its tool knows how far it came. */
async function showFailures({ runner, happened, breakTools }: Stage): Promise<void> {
  breakTools("shipping_service.create");
  const unsent = await runner.run(order, undefined, { id: "order-2" });
  show(unsent);
  assert.equal(unsent.status, "compensated");
  assert.deepEqual(unsent.compensated, ["create_shipment", "charge_payment", "reserve_inventory"]);
  const [, charge, shipment] = unsent.steps;
  assert.deepEqual(charge?.compensation?.args, { originalArgs: charge?.args, originalResult: charge?.result });
  assert.deepEqual(shipment?.compensation?.args, { originalArgs: shipment?.args, originalResult: null });
  const undone = ["payment_service.refund", "inventory_service.release"];
  assert.deepEqual(happened(), ["inventory_service.reserve", "payment_service.charge", ...undone]);

  breakTools("payment_service.charge");
  const unpaid = await runner.run(order, undefined, { id: "order-3" });
  show(unpaid);
  assert.equal(unpaid.status, "compensated");
  assert.deepEqual(unpaid.compensated, ["charge_payment", "reserve_inventory"]);
  assert.deepEqual(happened(), ["inventory_service.reserve", "inventory_service.release"]);

  breakTools("inventory_service.reserve");
  const soldOut = await runner.run(order, undefined, { id: "order-4" });
  show(soldOut);
  assert.equal(soldOut.status, "compensated");
  assert.deepEqual(soldOut.compensated, ["reserve_inventory"]);
  assert.deepEqual(happened(), []);
}
// #endregion failures

// #region stuck
/** A compensation that fails does not keep the others from being run, and the saga does not pass for undone. */
async function showStuck({ runner, happened, breakTools }: Stage): Promise<void> {
  breakTools("shipping_service.create", "payment_service.refund");
  const stuck = await runner.run(order, undefined, { id: "order-5" });
  show(stuck);
  assert.equal(stuck.status, "stuck");
  assert.deepEqual(stuck.compensated, ["create_shipment", "reserve_inventory"]);
  assert.deepEqual(stuck.failedCompensations, ["charge_payment"]);
  assert.equal((await runner.list({ status: "stuck" })).length, 1);
  const withoutRefund = ["inventory_service.reserve", "payment_service.charge", "inventory_service.release"];
  assert.deepEqual(happened(), withoutRefund);

  breakTools();
  const mended = await runner.resume("order-5");
  show(mended);
  assert.equal(mended.status, "compensated");
  assert.deepEqual(mended.failedCompensations, []);
  assert.deepEqual(happened(), ["payment_service.refund"]);
  const timeline = await runner.timeline("order-5");
  assert.ok(timeline);
  console.log(formatTimeline(timeline));
}
// #endregion stuck

// #region recovery
/** Runs order-6 in a process that is killed as soon as the customer is charged, before it has heard of that. */
async function crash(folder: string): Promise<void> {
  const worker = [fileURLToPath(import.meta.url), folder, "order-6", "payment_service.charge"];
  const killed = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), ...worker], { stdio: "ignore" });
  assert.deepEqual(await once(killed, "exit"), [null, "SIGKILL"]);
}

/** Another process carries it on, once the lease of the dead one is over. The customer is not charged again. */
async function showRecovery({ runner, happened }: Stage): Promise<void> {
  const outcomes: SagaOutcome[] = [];
  for (; outcomes.length === 0; await setTimeout(50)) outcomes.push(...(await runner.recover()));
  const [recovered] = outcomes;
  assert.ok(recovered);
  show(recovered);
  assert.deepEqual([outcomes.length, recovered.id, recovered.status], [1, "order-6", "completed"]);
  assert.equal(recovered.steps[1]?.report?.duplicate, true);
  assert.deepEqual(happened(), ["shipping_service.create"]);
}
// #endregion recovery

async function showAll(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "mcp-tx-saga-"));
  const [{ runner, close }] = await Promise.all([connect(folder), crash(folder)]);
  const breakTools = (...tools: string[]): void => writeFileSync(join(folder, "broken.json"), JSON.stringify(tools));
  const stage = { runner, happened: ledgerOf(folder), breakTools };
  try {
    assert.deepEqual(stage.happened(), ["inventory_service.reserve", "payment_service.charge"]);
    await showSuccess(stage);
    await showFailures(stage);
    await showStuck(stage);
    await showRecovery(stage);
  } finally {
    await close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const [workerFolder, id, killsAfter] = process.argv.slice(2);
if (workerFolder !== undefined && id !== undefined && killsAfter !== undefined) {
  const { runner } = await connect(workerFolder, [killsAfter]);
  await runner.run(order, undefined, { id });
} else await showAll();

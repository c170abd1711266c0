import { appendFile, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CallReport } from "@mcp-tx/core";
import { expect, test } from "vitest";
import { CALL_LOG_LIMITS, type CallEntry, CallLog, callEntry, callLogFiles } from "./call-log.js";
import { readCallStatistics } from "./call-statistics.js";
import { testMachine } from "./machine.fixture.js";

const IDENTITY = { id: "0123", label: "files" };

function entry(change: Partial<CallEntry> = {}): CallEntry {
  return {
    time: 1000,
    server: "files",
    serverId: "0123",
    tool: "read",
    status: "completed",
    execution: "executed",
    attempts: 1,
    duplicate: false,
    waitedMs: 0,
    ...change,
  };
}

async function folder(): Promise<string> {
  return join((await testMachine()).root, "calls");
}

test("keeps of a call neither its keys nor what was said", () => {
  const report: CallReport = {
    requestId: "secret-request",
    transactionId: "secret-transaction",
    idempotencyKey: "secret-key",
    tool: "t".repeat(1000),
    attempts: 2,
    duplicate: false,
    ack: true,
    execution: "executed",
    status: "failed",
    waitedMs: 12.34,
    durationMs: 56.78,
    error: { code: "tool_error", message: "secret-message" },
  };
  const kept = callEntry(report, IDENTITY, 1000);
  expect(JSON.stringify(kept)).not.toContain("secret");
  expect(kept).toMatchObject({ tool: "t".repeat(128), attempts: 2, waitedMs: 12, durationMs: 57, code: "tool_error" });
});

test("writes what it is given, one call a line, for its user alone", async () => {
  const path = await folder();
  const log = new CallLog(path);
  for (let time = 1; time <= 100; time += 1) log.add(entry({ time }));
  await log.close();
  const files = await callLogFiles(path);
  expect(files).toHaveLength(1);
  const lines = (await readFile(String(files[0]), "utf8")).trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).time)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
  expect((await stat(String(files[0]))).mode & 0o777).toBe(0o600);
  expect(log.dropped).toBe(0);
});

test("many proxies write side by side, and nothing is lost", async () => {
  const path = await folder();
  const logs = Array.from({ length: 8 }, () => new CallLog(path));
  for (let round = 0; round < 50; round += 1) {
    for (const log of logs) log.add(entry());
    await logs[round % logs.length]?.close();
  }
  await Promise.all(logs.map((log) => log.close()));
  expect((await readCallStatistics(path, 0)).totals.calls).toBe(400);
});

test("begins a new file when one is full, and removes the oldest beyond the total", async () => {
  const path = await folder();
  const limits = { ...CALL_LOG_LIMITS, maxFileBytes: 1000, maxTotalBytes: 5000 };
  const log = new CallLog(path, limits);
  for (let count = 0; count < 200; count += 1) {
    log.add(entry({ time: count }));
    await log.close();
  }
  const files = await callLogFiles(path);
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  // The file that is being written, and the last line of each, come on top.
  expect(total).toBeLessThan(5000 + 2 * 1300);
  expect(total).toBeGreaterThan(3000);
  const { notable, totals } = await readCallStatistics(path, 199);
  expect(totals.calls).toBe(1);
  expect(notable).toEqual([]);
});

test("keeps the file of a proxy that began long ago and writes still", async () => {
  const path = await folder();
  const old = new CallLog(path);
  old.add(entry({ tool: "old" }));
  await old.close();
  const [oldFile] = await callLogFiles(path);
  const other = new CallLog(path, { ...CALL_LOG_LIMITS, maxFileBytes: 1, maxTotalBytes: 500 });
  const past = new Date(Date.now() - 3_600_000);
  for (let count = 0; count < 5; count += 1) {
    other.add(entry());
    await other.close();
    for (const file of await callLogFiles(path)) if (file !== oldFile) await utimes(file, past, past);
  }
  const { tools } = await readCallStatistics(path, 0);
  expect(tools.find(({ tool }) => tool === "old")?.calls).toBe(1);
  expect(tools.find(({ tool }) => tool === "read")?.calls).toBeLessThan(5);
});

test("a folder that cannot be written to costs the entries, and nothing else", async () => {
  const { root } = await testMachine();
  const blocked = join(root, "file");
  await writeFile(blocked, "in the way");
  const log = new CallLog(join(blocked, "calls"));
  log.add(entry());
  log.add(entry());
  await log.close();
  expect(log.dropped).toBe(2);
  expect(await readFile(blocked, "utf8")).toBe("in the way");
});

test("goes on once the folder can be written to again", async () => {
  const { root, write } = await testMachine();
  const blocked = join(root, "calls");
  await write("calls", "in the way");
  const log = new CallLog(blocked);
  log.add(entry());
  await log.close();
  await rm(blocked);
  log.add(entry({ tool: "later" }));
  await log.close();
  const { tools } = await readCallStatistics(blocked, 0);
  expect(tools.map(({ tool }) => tool)).toEqual(["later"]);
});

test("what waits to be written is bounded", async () => {
  const path = await folder();
  const log = new CallLog(path, { ...CALL_LOG_LIMITS, maxQueuedBytes: 1000 });
  for (let count = 0; count < 1000; count += 1) log.add(entry());
  await log.close();
  expect(log.dropped).toBeGreaterThan(900);
  expect((await readCallStatistics(path, 0)).totals.calls).toBe(1000 - log.dropped);
});

test("what a killed process left half written is passed over, and so is what is none of ours", async () => {
  const path = await folder();
  const log = new CallLog(path);
  log.add(entry());
  await log.close();
  const [file] = await callLogFiles(path);
  await appendFile(String(file), '{"time":1,"server":"fi');
  await writeFile(join(path, "000-other.jsonl"), 'null\n[]\n{"time":"x"}\n{"time":1}\n\u0000\u0000\n');
  await writeFile(join(path, "notes.txt"), JSON.stringify(entry()));
  expect((await readCallStatistics(path, 0)).totals.calls).toBe(1);
});

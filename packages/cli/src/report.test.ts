import { expect, test } from "vitest";
import { type CallEntry, CallLog, callLogFolder } from "./call-log.js";
import { recordedOutput, type TestMachine, testMachine } from "./machine.fixture.js";
import { report } from "./report.js";

const BASE: CallEntry = {
  time: Date.UTC(2026, 0, 1),
  server: "files",
  serverId: "1",
  tool: "read",
  status: "completed",
  execution: "executed",
  attempts: 1,
  duplicate: false,
  waitedMs: 0,
};

async function machineWith(entries: readonly Partial<CallEntry>[]): Promise<TestMachine> {
  const machine = await testMachine();
  const log = new CallLog(callLogFolder(machine.where.stateFolder));
  for (const entry of entries) log.add({ ...BASE, ...entry });
  await log.close();
  return machine;
}

async function told({ where }: TestMachine, request: { since?: number; isJson?: boolean } = {}) {
  const output = recordedOutput();
  expect(await report({ since: 0, isJson: false, ...request }, where, output)).toBe(0);
  return output.stdout.join("\n");
}

const CALLS: readonly Partial<CallEntry>[] = [
  {},
  { attempts: 3 },
  { duplicate: true, attempts: 0 },
  { tool: "write", status: "rejected", execution: "not-executed", attempts: 0, code: "circuit_open" },
  { tool: "write", status: "unknown", execution: "unknown", code: "outcome_unknown" },
  { tool: "write", status: "timeout", execution: "unknown", attempts: 2, code: "deadline" },
  { server: "other", serverId: "2", status: "failed", code: "tool_error" },
  { server: "other", serverId: "2", status: "cancelled", time: Date.UTC(2026, 0, 2) },
];

test("tells for each tool how often what happened, and the latest calls that were not simply answered", async () => {
  expect(await told(await machineWith(CALLS))).toBe(
    `             calls  completed  failed  retried  deduplicated  refused  timed out  cancelled  unknown
files read       3          3       0        1             1        0          0          0        0
files write      3          0       0        1             0        1          1          0        1
other read       2          0       1        0             0        0          0          1        0
total            8          3       1        2             1        1          1          1        1

Retried, deduplicated or not completed, the latest last:
  2026-01-01T00:00:00.000Z  files read: completed, 3 attempts
  2026-01-01T00:00:00.000Z  files read: completed, answered from a record
  2026-01-01T00:00:00.000Z  files write: rejected, 0 attempts, circuit_open
  2026-01-01T00:00:00.000Z  files write: unknown, 1 attempt, outcome_unknown
  2026-01-01T00:00:00.000Z  files write: timeout, 2 attempts, deadline
  2026-01-01T00:00:00.000Z  other read: failed, 1 attempt, tool_error
  2026-01-02T00:00:00.000Z  other read: cancelled, 1 attempt`,
  );
});

test("leaves out what was before the time that is given", async () => {
  const since = Date.UTC(2026, 0, 2);
  const machine = await machineWith(CALLS);
  const { totals, since: from } = JSON.parse(await told(machine, { since, isJson: true }));
  expect(totals).toMatchObject({ calls: 1, cancelled: 1 });
  expect(from).toBe("2026-01-02T00:00:00.000Z");
});

test("tells the same as JSON", async () => {
  const { since, totals, tools, notable } = JSON.parse(await told(await machineWith(CALLS), { isJson: true }));
  expect(since).toBeNull();
  expect(totals).toEqual({
    calls: 8,
    completed: 3,
    failed: 1,
    retried: 2,
    deduplicated: 1,
    refused: 1,
    timedOut: 1,
    cancelled: 1,
    unknown: 1,
  });
  expect(tools.map(({ server, tool }: { server: string; tool: string }) => `${server} ${tool}`)).toEqual([
    "files read",
    "files write",
    "other read",
  ]);
  expect(notable).toHaveLength(7);
});

test("keeps the latest of many calls in the order of time", async () => {
  const entries = Array.from({ length: 500 }, (_, index) => ({ attempts: 2, time: (index * 7919) % 500 }));
  const { notable } = JSON.parse(await told(await machineWith(entries), { isJson: true }));
  expect(notable.map(({ time }: CallEntry) => time)).toEqual(Array.from({ length: 100 }, (_, index) => index + 400));
});

test("tells that there is nothing to tell", async () => {
  expect(await told(await testMachine())).toBe("No calls are on record.");
  expect(JSON.parse(await told(await testMachine(), { isJson: true })).tools).toEqual([]);
});

test("simply answered calls are counted, and not listed", async () => {
  expect(await told(await machineWith([{}]))).not.toContain("the latest last");
});

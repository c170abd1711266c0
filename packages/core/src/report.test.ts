import { expect, test } from "vitest";
import type { CallReport, ToolResult } from "./contract.js";
import { pipeline } from "./pipeline.js";
import { reportOf, stamp, stampResult } from "./report.js";
import { run } from "./run.js";
import { scriptedTool } from "./testing/index.js";

const reporter = (tool: string) => {
  const report = { tool } as CallReport;
  return { report: () => report };
};

test("stamps a frozen result and a frozen error", async () => {
  const result = Object.freeze({ content: Object.freeze([]) });
  expect(reportOf(await run(scriptedTool([{ result }]), { tool: "a" }))?.tool).toBe("a");
  const error = Object.freeze(new Error("no"));
  await expect(run(scriptedTool([{ error }]), { tool: "b" })).rejects.toBe(error);
  expect(reportOf(error)?.tool).toBe("b");
});

test("gives two calls that return one constant result a report each", async () => {
  const result = Object.freeze({ content: [], structuredContent: { a: 1 } });
  const handler = pipeline([], scriptedTool([{ result }], { repeatLast: true }));
  const first = await run(handler, { tool: "first" });
  const second = await run(handler, { tool: "second" });
  expect([reportOf(first)?.tool, reportOf(second)?.tool]).toEqual(["first", "second"]);
  expect(second).toEqual(first);
  expect(second.structuredContent).toBe(first.structuredContent);
});

test("gives the same report for the same value every time", async () => {
  const value = await run(scriptedTool([{ result: { content: [] } }]), { tool: "t" });
  expect(reportOf(value)).toBe(reportOf(value));
  expect(Object.isFrozen(reportOf(value))).toBe(true);
});

test("keeps the identity of an error that two calls threw, and tells of the latest", async () => {
  const error = new Error("shared");
  const handler = pipeline([], scriptedTool([{ error }], { repeatLast: true }));
  await expect(run(handler, { tool: "first" })).rejects.toBe(error);
  await expect(run(handler, { tool: "second" })).rejects.toBe(error);
  expect(reportOf(error)?.tool).toBe("second");
});

test("keeps the identity of a result that is no plain object", () => {
  class Handle {}
  const handle: ToolResult = new Handle();
  stampResult(handle, reporter("first"));
  expect(stampResult(handle, reporter("second"))).toBe(handle);
  expect(reportOf(handle)?.tool).toBe("second");
});

test("is invisible: to JSON, to spreads, to keys", async () => {
  const own = { content: [{ type: "text", text: "hi" }] };
  const plain = JSON.stringify(own);
  const value = await run(scriptedTool([{ result: own }]), { tool: "t" });
  expect(JSON.stringify(value)).toBe(plain);
  expect(Reflect.ownKeys(value)).toEqual(["content"]);
  expect(reportOf({ ...value })).toBeUndefined();
  expect(reportOf(structuredClone(value))).toBeUndefined();
});

test("tells what primitives cannot carry through onReport", async () => {
  for (const error of ["text", 5, undefined, null, Symbol("s")]) {
    const reports: CallReport[] = [];
    const running = run(scriptedTool([{ error }]), { tool: "t" }, { onReport: (report) => reports.push(report) });
    await expect(running).rejects.toBe(error);
    expect(reportOf(error)).toBeUndefined();
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({ status: "failed", execution: "executed" });
  }
});

test("stamps functions and objects without a prototype", () => {
  const values: readonly object[] = [() => undefined, Object.create(null), []];
  for (const value of values) {
    stamp(value, reporter("t"));
    expect(reportOf(value)?.tool).toBe("t");
  }
});

test("has no report for what no pipeline handed out", () => {
  for (const value of [undefined, null, "text", {}, new Error("x")]) expect(reportOf(value)).toBeUndefined();
});

test("carries plain data that survives JSON", async () => {
  const value = await run(scriptedTool([{ result: { content: [], isError: true } }]), {
    tool: "t",
    options: { transactionId: "tx" },
  });
  const report = reportOf(value);
  expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  expect(report).toEqual({
    requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    transactionId: "tx",
    tool: "t",
    attempts: 1,
    duplicate: false,
    ack: true,
    execution: "executed",
    status: "failed",
    waitedMs: 0,
    error: { code: "tool_error", message: "" },
  });
});

test("is shared by all copies of the package in the process", () => {
  const stamps = (globalThis as { readonly [key: symbol]: { get(value: object): unknown } | undefined })[
    Symbol.for("@mcp-tx/core.stamps.v1")
  ];
  const value = {};
  const own = reporter("t");
  stamp(value, own);
  expect(stamps?.get(value)).toBe(own);
});

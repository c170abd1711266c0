import { expect, test } from "vitest";
import { type Caller, callerOf } from "./caller.js";
import type { ToolResult } from "./contract.js";
import { ToolError } from "./errors.js";
import { reportOf } from "./report.js";
import { run } from "./run.js";
import { scriptedTool } from "./testing/index.js";

function callerFor(result: ToolResult): Caller {
  const tool = scriptedTool([{ result }], { repeatLast: true });
  return callerOf((name, args, options) => run(tool, { tool: name, args, options }));
}

function schema<T>(
  validate: (value: unknown) => { readonly value: T } | { readonly issues: readonly { readonly message: string }[] },
) {
  return { "~standard": { version: 1 as const, vendor: "test", validate } };
}

test("invokes for the value, with its report where the value is an object", async () => {
  const value = await callerFor({ content: [{ type: "text", text: '{"a":1}' }] }).invoke("t");
  expect(value).toEqual({ a: 1 });
  expect(reportOf(value)).toMatchObject({ tool: "t", status: "completed" });
});

test("calls for the result as the tool gave it", async () => {
  const result = { content: [], isError: true };
  expect(await callerFor(result).call("t")).toBe(result);
});

test("throws a tool's failure, with its text and report", async () => {
  const error: unknown = await callerFor({ content: [{ type: "text", text: "no" }], isError: true })
    .invoke("t")
    .catch((thrown: unknown) => thrown);
  expect(ToolError.isInstance(error) && error.text).toBe("no");
  expect(reportOf(error)).toMatchObject({ status: "failed", execution: "executed" });
});

test("validates the value, also by a schema that answers later, and gives what the schema makes of it", async () => {
  const output = schema((value) => ({ value: Number(value) + 1 }));
  expect(await callerFor({ structuredContent: 1 }).invoke("t", {}, { output })).toBe(2);
  const later = {
    "~standard": { ...output["~standard"], validate: async (value: unknown) => ({ value: Number(value) + 1 }) },
  };
  expect(await callerFor({ structuredContent: 1 }).invoke("t", {}, { output: later })).toBe(2);
});

test("names all issues of a value that does not fit, and that the tool ran", async () => {
  const output = schema<number>(() => ({ issues: [{ message: "too small" }, { message: "too odd" }] }));
  const error: unknown = await callerFor({ structuredContent: 1 })
    .invoke("t", {}, { output })
    .catch((thrown: unknown) => thrown);
  expect((error as Error).message).toBe('Tool "t" failed: its output does not fit the schema: too small; too odd');
  expect(ToolError.isInstance(error) && error.outcome.execution).toBe("executed");
  expect(reportOf(error)).toMatchObject({ status: "completed", execution: "executed" });
});

test("passes call options on without its own", async () => {
  const seen: unknown[] = [];
  const caller = callerOf(async (tool, args, options) => {
    seen.push([tool, args, options]);
    return { structuredContent: 1 };
  });
  await caller.invoke("t", { a: 1 }, { output: schema((value) => ({ value })), transactionId: "x" });
  await caller.invoke("t");
  await caller.call("t");
  expect(seen).toEqual([
    ["t", { a: 1 }, { transactionId: "x" }],
    ["t", {}, undefined],
    ["t", {}, undefined],
  ]);
});

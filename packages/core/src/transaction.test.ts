import { expect, test } from "vitest";
import { type Caller, callerOf } from "./caller.js";
import type { CallContext, ToolResult } from "./contract.js";
import { ToolError } from "./errors.js";
import { pipeline } from "./pipeline.js";
import { reportOf } from "./report.js";
import { run } from "./run.js";
import { keyClaiming, type ScriptedStep, type ScriptedTool, scriptedTool } from "./testing/index.js";
import { transaction } from "./transaction.js";

function scripted(
  steps: readonly ScriptedStep[],
  plain = false,
): { readonly caller: Caller; readonly tool: ScriptedTool } {
  const tool = scriptedTool(steps, { repeatLast: true });
  const handler = pipeline(plain ? [] : [keyClaiming()], tool);
  const caller = callerOf((name, args, options) => run(handler, { tool: name, args, options }));
  return { caller, tool };
}

function value(structuredContent: unknown): ScriptedStep {
  return (): ToolResult => ({ structuredContent });
}

function keysOf({ contexts }: ScriptedTool): readonly (string | undefined)[] {
  return contexts.map((ctx: CallContext) => ctx.options.idempotencyKey);
}

test("gives each step its value and a key of its own, and all of them one id", async () => {
  const { caller, tool } = scripted([value({ id: "r1" }), value(3)]);
  const t = transaction(caller, { id: "order-42" });
  expect(await t.invoke("reserve", "inventory.reserve", { sku: "a" })).toEqual({ id: "r1" });
  expect(await t.invoke("charge", "payment.charge")).toBe(3);
  expect(keysOf(tool)).toEqual(['["order-42","reserve"]', '["order-42","charge"]']);
  expect(tool.contexts.map((ctx) => ctx.call.transactionId)).toEqual(["order-42", "order-42"]);
});

test("keeps keys apart whose parts would join to the same string", async () => {
  const { caller, tool } = scripted([value(1)]);
  await transaction(caller, { id: 'a","b' }).invoke("c", "t");
  await transaction(caller, { id: "a" }).invoke('b","c', "t");
  const [first, second] = keysOf(tool);
  expect(first).not.toBe(second);
});

test("makes an id where none is given", () => {
  const { caller } = scripted([value(1)]);
  const ids = [transaction(caller).id, transaction(caller).id];
  expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(ids[0]).not.toBe(ids[1]);
});

test("works on a plain pipeline that claims no key", async () => {
  const { caller, tool } = scripted([value(1)], true);
  expect(await transaction(caller).invoke("one", "t")).toBe(1);
  await expect(caller.call("t", {}, { idempotencyKey: "k" })).rejects.toThrow("nothing honours idempotencyKey");
  expect(tool.executions).toBe(1);
});

test("collects the reports of all steps, also of failed ones, in the order in which they end", async () => {
  const { caller } = scripted([
    value(1),
    { error: new Error("down") },
    { result: { content: [{ type: "text", text: "no" }], isError: true } },
  ]);
  const t = transaction(caller, { id: "tx" });
  await t.invoke("a", "t");
  await t.invoke("b", "t").catch(() => undefined);
  await t.invoke("c", "t").catch(() => undefined);
  expect(t.reports.map(({ step, status, transactionId }) => [step, status, transactionId])).toEqual([
    ["a", "completed", "tx"],
    ["b", "failed", "tx"],
    ["c", "failed", "tx"],
  ]);
  expect(t.attempts).toBe(3);
});

test("refuses a step that is running or done, and runs nothing", async () => {
  const { caller, tool } = scripted([value(1)]);
  const t = transaction(caller);
  const running = t.invoke("a", "t");
  await expect(t.invoke("a", "t")).rejects.toThrow(
    'transaction: step "a" is running or done; another call needs another name',
  );
  await running;
  await expect(t.invoke("a", "t")).rejects.toThrow('step "a" is running or done');
  expect(tool.executions).toBe(1);
});

test("lets a step that failed be tried again, with the same key", async () => {
  const { caller, tool } = scripted([
    { error: new Error("down") },
    { result: { content: [], isError: true } },
    value("ok"),
  ]);
  const t = transaction(caller, { id: "tx" });
  await expect(t.invoke("a", "t")).rejects.toThrow("down");
  await expect(t.invoke("a", "t")).rejects.toThrow(ToolError);
  expect(await t.invoke("a", "t")).toBe("ok");
  expect(new Set(keysOf(tool))).toEqual(new Set(['["tx","a"]']));
  expect(t.reports).toHaveLength(3);
});

test("throws a tool's failure with its text and its report", async () => {
  const { caller } = scripted([{ result: { content: [{ type: "text", text: "no funds" }], isError: true } }]);
  const error: unknown = await transaction(caller)
    .invoke("charge", "payment.charge")
    .catch((thrown: unknown) => thrown);
  expect(ToolError.isInstance(error) && [error.text, error.message]).toEqual([
    "no funds",
    'Tool "payment.charge" failed: no funds',
  ]);
  expect(reportOf(error)).toMatchObject({ tool: "payment.charge", status: "failed", execution: "executed" });
});

test("validates a step's output, and counts it as failed where it does not fit", async () => {
  const { caller } = scripted([value("3"), value(3)]);
  const output = {
    "~standard": {
      version: 1 as const,
      vendor: "test",
      validate: (given: unknown) =>
        typeof given === "number" ? { value: given } : { issues: [{ message: "expected a number" }] },
    },
  };
  const t = transaction(caller);
  await expect(t.invoke("a", "t", {}, { output })).rejects.toThrow(
    "its output does not fit the schema: expected a number",
  );
  const typed: number = await t.invoke("a", "t", {}, { output });
  expect(typed).toBe(3);
});

test("does not let a caller's options replace the key and the id", async () => {
  const { caller, tool } = scripted([value(1)]);
  const own = { idempotencyKey: "mine", transactionId: "mine" } as object;
  await transaction(caller, { id: "tx" }).invoke("a", "t", {}, own);
  expect(keysOf(tool)).toEqual(['["tx","a"]']);
  expect(tool.contexts[0]?.call.transactionId).toBe("tx");
});

test("passes the signal of a step on", async () => {
  const { caller, tool } = scripted([value(1)]);
  const reason = new Error("gone");
  await expect(transaction(caller).invoke("a", "t", {}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(tool.executions).toBe(0);
});

test("refuses what is no caller, no id or no step", async () => {
  const { caller } = scripted([value(1)]);
  expect(() => transaction({} as never)).toThrow("transaction: caller must have a method call()");
  expect(() => transaction(undefined as never)).toThrow("transaction: caller must have a method call()");
  expect(() => transaction(caller, { id: "" })).toThrow("transaction: id must be a non-empty string");
  await expect(transaction(caller).invoke("", "t")).rejects.toThrow("transaction: step must be a non-empty string");
  await expect(transaction(caller).invoke(undefined as never, "t")).rejects.toThrow("transaction: step must be");
});

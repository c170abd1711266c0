import { expect, test } from "vitest";
import type { ToolResult } from "../contract.js";
import { run } from "../run.js";
import { type ScriptedStep, scriptedTool } from "./scripted-tool.js";
import { virtualTime } from "./virtual-time.js";

const result: ToolResult = { content: [{ type: "text", text: "hi" }] };

test("plays its steps in order and counts", async () => {
  const error = new Error("second");
  const tool = scriptedTool([{ result }, { error }, (ctx) => ({ structuredContent: ctx.args })]);
  expect(await run(tool, { tool: "t" })).toBe(result);
  await expect(run(tool, { tool: "t" })).rejects.toBe(error);
  expect(await run(tool, { tool: "t", args: { a: 1 } })).toEqual({ structuredContent: { a: 1 } });
  expect(tool.executions).toBe(3);
  expect(tool.contexts.map((ctx) => ctx.args)).toEqual([{}, {}, { a: 1 }]);
});

test("sleeps a delay on the call's runtime", async () => {
  const time = virtualTime();
  const tool = scriptedTool([{ delayMs: 250, result }]);
  await time.run(run(tool, { tool: "t" }, { runtime: time.runtime }));
  expect(time.now()).toBe(250);
});

test("hangs when it is told to", async () => {
  const time = virtualTime();
  const tool = scriptedTool([{ hang: true }]);
  await expect(time.run(run(tool, { tool: "t" }, { runtime: time.runtime }))).rejects.toThrow("deadlock");
  expect(tool.executions).toBe(1);
});

test("fails a run past the end of the script, unless the last step repeats", async () => {
  const short = scriptedTool([{ result }]);
  await run(short, { tool: "t" });
  await expect(run(short, { tool: "t" })).rejects.toThrow('"t" ran 2 times, but the script has 1 steps');
  const repeating = scriptedTool([{ error: 1 }, { result }], { repeatLast: true });
  await run(repeating, { tool: "t" }).catch(() => undefined);
  for (let index = 0; index < 3; index += 1) await run(repeating, { tool: "t" });
  expect(repeating.executions).toBe(4);
});

const badSteps: readonly (readonly [string, unknown])[] = [
  ["steps[0] is null", null],
  ["steps[0] is string", "result"],
  ['steps[0] has an unknown key "content"', result],
  ["steps[0] has no result, error or hang", { delayMs: 1 }],
  ["steps[0] has both result and error", { result, error: 1 }],
  ["steps[0] has a result that is no object", { result: "text" }],
  ["steps[0] has a hang that is not true", { hang: false }],
  ["steps[0] has both hang and delayMs", { hang: true, delayMs: 1 }],
  ["steps[0] has a delayMs that is no number >= 0", { result, delayMs: -1 }],
  ["steps[0] has a delayMs that is no number >= 0", { result, delayMs: "1" }],
];

test.each(badSteps)("refuses a script: %s", (message, step) => {
  expect(() => scriptedTool([step as ScriptedStep])).toThrow(message);
});

test("refuses a script without steps", () => {
  expect(() => scriptedTool([])).toThrow("non-empty array");
  expect(() => scriptedTool({ result } as never)).toThrow("non-empty array");
});

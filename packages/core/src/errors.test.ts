import { expect, onTestFinished, test } from "vitest";
import {
  AttemptTimeoutError,
  DeadlineError,
  McpTxError,
  OutcomeUnknownError,
  RateLimitError,
  StoreUnavailableError,
  ToolError,
} from "./errors.js";
import { run } from "./run.js";
import { scriptedTool } from "./testing/index.js";

const errors = [
  [
    new DeadlineError('Tool "pay" was not called: the deadline of the call had passed.', { execution: "not-executed" }),
    "DeadlineError",
    "deadline",
    "not-executed",
    DeadlineError,
  ],
  [new AttemptTimeoutError("pay", 50), "AttemptTimeoutError", "attempt_timeout", "unknown", AttemptTimeoutError],
  [new OutcomeUnknownError("pay"), "OutcomeUnknownError", "outcome_unknown", "unknown", OutcomeUnknownError],
  [
    new RateLimitError("pay", { retryAfterMs: 1500.2 }),
    "RateLimitError",
    "rate_limited",
    "not-executed",
    RateLimitError,
  ],
  [
    new StoreUnavailableError("pay", { store: "the store of its rate limit", cause: new Error("ECONNREFUSED") }),
    "StoreUnavailableError",
    "store_unavailable",
    "not-executed",
    StoreUnavailableError,
  ],
  [new ToolError("pay", "no funds"), "ToolError", "tool_error", "executed", ToolError],
] as const;

test.each(errors)("%s tells its name, its code and whether the tool ran", (error, name, code, execution, type) => {
  expect([error.name, error.code, error.outcome.code, error.outcome.execution]).toEqual([name, code, code, execution]);
  expect(error).toBeInstanceOf(Error);
  expect(McpTxError.isInstance(error)).toBe(true);
  expect(type.isInstance(error)).toBe(true);
  for (const [, , , , other] of errors) if (other !== type) expect(other.isInstance(error)).toBe(false);
});

test.each(errors)("%s names the tool in words, without a stack, a path or a type name", (error, name) => {
  expect(error.message).toContain('"pay"');
  expect(error.message).not.toMatch(/\bat |node_modules|\/|Error/);
  expect(error.stack ?? "").not.toMatch(/\n\s+at /);
  expect(error.toString()).toBe(`${name}: ${error.message}`);
});

test("says what to do next", () => {
  expect(new OutcomeUnknownError("pay").message).toMatch(/Do not call it again before checking/);
  expect(new AttemptTimeoutError("pay", 50).message).toMatch(/within 50 ms.*may still be running; check/);
  expect(new RateLimitError("pay", { retryAfterMs: 1500.2 }).message).toMatch(/again in 1501 ms, not earlier/);
  expect(new RateLimitError("pay").message).toMatch(/again later/);
});

test("captures a stack when it is asked to, and leaves the process's limit as it was", () => {
  const limit = Error.stackTraceLimit;
  const outcome = { status: "failure", execution: "unknown", transient: false } as const;
  expect(new McpTxError("m", "deadline", { outcome }).stack).not.toMatch(/\n\s+at /);
  expect(new McpTxError("m", "deadline", { outcome, captureStack: true }).stack).toMatch(/\n\s+at /);
  expect(Error.stackTraceLimit).toBe(limit);
});

test("is raised also where the intrinsics are frozen", () => {
  const limit = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit");
  if (limit === undefined) throw new Error("this engine has no stackTraceLimit");
  onTestFinished(() => void Object.defineProperty(Error, "stackTraceLimit", limit));
  Object.defineProperty(Error, "stackTraceLimit", { ...limit, writable: false });
  expect(new OutcomeUnknownError("pay").stack).toMatch(/\n\s+at /);
});

test("keeps its cause, and has none where none was given", () => {
  const cause = new Error("socket closed");
  expect(new OutcomeUnknownError("pay", { cause }).cause).toBe(cause);
  expect("cause" in new OutcomeUnknownError("pay")).toBe(false);
});

test("is an instance for another copy of the package, and nothing else is", () => {
  const brand = Symbol.for("@mcp-tx/core.error");
  const fromAnotherCopy = Object.assign(new Error("m"), { [brand]: true, code: "deadline" });
  expect(McpTxError.isInstance(fromAnotherCopy)).toBe(true);
  expect(DeadlineError.isInstance(fromAnotherCopy)).toBe(true);
  for (const value of [new Error("m"), { code: "deadline" }, null, undefined, "deadline", 5]) {
    expect(McpTxError.isInstance(value)).toBe(false);
    expect(DeadlineError.isInstance(value)).toBe(false);
  }
});

test("carries the report of the call that it ended", async () => {
  const error = new OutcomeUnknownError("pay");
  expect(error.report).toBeUndefined();
  await expect(run(scriptedTool([{ error }]), { tool: "pay" })).rejects.toBe(error);
  expect(error.report).toMatchObject({ tool: "pay", attempts: 1, execution: "executed", status: "failed" });
});

test("tells when to come back", () => {
  expect(new RateLimitError("pay", { retryAfterMs: 7 }).retryAfterMs).toBe(7);
  expect(new DeadlineError("m", { execution: "unknown", retryAfterMs: 8 }).retryAfterMs).toBe(8);
  expect(new ToolError("pay", "x").retryAfterMs).toBeUndefined();
});

test("says so when a tool failed and gave no reason", () => {
  expect(new ToolError("pay", "").message).toBe('Tool "pay" failed and gave no reason.');
  expect(new ToolError("pay", "no funds").text).toBe("no funds");
});

test("looking whether a value is ours never throws, whatever was thrown", () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  for (const value of [proxy, null, undefined, "text", () => undefined]) {
    expect(McpTxError.isInstance(value)).toBe(false);
    expect(DeadlineError.isInstance(value)).toBe(false);
  }
});

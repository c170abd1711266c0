import { expect, test } from "vitest";
import { withGate, withInnermost } from "./admit.js";
import { context } from "./testing/index.js";

test("keeps everything else of the context", () => {
  const ctx = context({ tool: "pay", args: { a: 1 }, attempt: 2, deadline: 5, signal: new AbortController().signal });
  const gated = withGate(ctx, () => undefined);
  expect({ ...gated, admit: undefined }).toEqual({ ...ctx, admit: undefined });
  expect(Object.keys(gated).sort()).toEqual(Object.keys(ctx).sort());
  expect(gated.call).toBe(ctx.call);
});

test("keeps everything else of the context beside an innermost middleware, the gates too", () => {
  const ctx = withGate(context({ attempt: 2, deadline: 5 }), () => undefined);
  const derived = withInnermost(ctx, (inner, next) => next(inner));
  expect({ ...derived, innermost: undefined }).toEqual({ ...ctx, innermost: undefined });
  expect(derived.innermost).toBeTypeOf("function");
});

test("asks the gates that are there first", () => {
  const asked: string[] = [];
  const outer = withGate(context(), () => asked.push("outer"));
  withGate(outer, () => asked.push("inner")).admit?.();
  expect(asked).toEqual(["outer", "inner"]);
});

test("does not ask a gate behind one that refuses", () => {
  const asked: string[] = [];
  const refusing = withGate(context(), () => {
    throw new Error("shut");
  });
  const gated = withGate(refusing, () => asked.push("inner"));
  expect(() => gated.admit?.()).toThrow("shut");
  expect(asked).toEqual([]);
});

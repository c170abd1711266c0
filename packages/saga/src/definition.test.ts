import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import { SagaDefinitionError } from "./errors.js";
import { createSagaRunner } from "./runner.js";
import { hashOf, type PlainStep } from "./structure.js";
import { world } from "./world.fixture.js";

function problemsOf(define: () => unknown): readonly string[] {
  try {
    define();
  } catch (error) {
    if (SagaDefinitionError.isInstance(error)) return error.problems;
    throw error;
  }
  return [];
}

/** Steps as somebody without types writes them. */
function steps(...given: readonly unknown[]): readonly PlainStep[] {
  return given as readonly PlainStep[];
}

const good = { name: "pay", tool: "charge" };
const looped: { name: string; steps: unknown[] } = { name: "loop", steps: [] };
looped.steps.push({ name: "again", saga: looped });
const inner: { name: string; steps: unknown[] } = { name: "inner", steps: [] };
const outer = { name: "outer", steps: [{ name: "down", saga: inner }] };
inner.steps.push({ name: "up", saga: outer });

const BAD: readonly (readonly [what: string, given: readonly unknown[], problem: RegExp])[] = [
  ["two steps of one name", [good, good], /two steps are named "pay"/],
  ["one name inside and outside of a group", [good, { parallel: [good] }], /two steps are named "pay"/],
  ["one name for a step and a nested saga", [good, { name: "pay", saga: defineSaga("s", [good]) }], /"pay"/],
  ["a step that is no object", [5], /step 1 must be an object/],
  ["a step without a name", [{ tool: "charge" }], /name of step 1 must be a string/],
  ["an empty name", [{ ...good, name: "" }], /step 1 must have from 1 to 100/],
  ["a name of 101 characters", [{ ...good, name: "x".repeat(101) }], /from 1 to 100/],
  ["a name with NUL", [{ ...good, name: "a\0" }], /without NUL/],
  ["a name with half a character", [{ ...good, name: "\ud800" }], /text/],
  ["a step named input", [{ ...good, name: "input" }], /"input"/],
  ["a step named __proto__", [{ ...good, name: "__proto__" }], /"__proto__"/],
  ["a step without a tool", [{ name: "pay" }], /step "pay": tool/],
  ["a step with an empty tool", [{ name: "pay", tool: "" }], /step "pay": tool/],
  ["a property that no step has", [{ ...good, compensation: {} }], /step "pay": unknown property "compensation"/],
  ["args that are a list", [{ ...good, args: [] }], /step "pay": args/],
  ["args that cannot be serialised", [{ ...good, args: { at: { n: 1n } } }], /step "pay": args\.at\.n/],
  ["args that contain themselves", [{ ...good, args: cyclic() }], /step "pay": .*contains itself/],
  ["a bad retry", [{ ...good, retry: { maxAttempts: 0 } }], /step "pay": retry: maxAttempts/],
  ["a bad timeout", [{ ...good, timeoutMs: 0 }], /step "pay": timeoutMs/],
  ["a timeout that is not a number", [{ ...good, timeoutMs: Number.NaN }], /step "pay": timeoutMs/],
  ["a flag that is no boolean", [{ ...good, pivot: "yes" }], /step "pay": pivot/],
  ["an output that is no schema", [{ ...good, output: {} }], /step "pay": output/],
  ["a compensation that is a name", [{ ...good, compensate: "refund" }], /step "pay": compensate/],
  ["a compensation without a tool", [{ ...good, compensate: {} }], /step "pay": compensate: tool/],
  ["a compensation with a stranger", [{ ...good, compensate: { tool: "t", when: 1 } }], /step "pay": .*"when"/],
  ["a compensation of bad args", [{ ...good, compensate: { tool: "t", args: { n: 1n } } }], /step "pay": compensate/],
  [
    "a forward step with a compensation",
    [{ ...good, forward: true, compensate: { tool: "t" } }],
    /step "pay".*forward/,
  ],
  [
    "two pivots",
    [
      { ...good, pivot: true },
      { name: "b", tool: "t", pivot: true },
    ],
    /step "b".*pivot/,
  ],
  [
    "a pivot beside a nested pivot",
    [
      { ...good, pivot: true },
      { name: "n", saga: defineSaga("s").step({ name: "x", tool: "t", pivot: true }) },
    ],
    /step "n".*pivot/,
  ],
  ["a pivot in a group", [{ parallel: [{ ...good, pivot: true }] }], /step "pay".*pivot/],
  ["an empty group", [{ parallel: [] }], /parallel group 1/],
  ["a group that is no list", [{ parallel: good }], /parallel group 1/],
  ["a group in a group", [{ parallel: [{ parallel: [good] }] }], /step 1 of parallel group 1/],
  ["a saga in a group", [{ parallel: [{ name: "n", saga: looped }] }], /step 1 of parallel group 1/],
  ["a group with other properties", [{ parallel: [good], name: "both" }], /parallel group 1.*"name"/],
  ["a nested saga with a compensation", [{ name: "n", saga: defineSaga("s", [good]), compensate: {} }], /step "n"/],
  ["a nested saga that is a name", [{ name: "n", saga: "s" }], /step "n"/],
  ["a nested saga without steps", [{ name: "n", saga: { name: "s", steps: [] } }], /step "n".*no steps/],
  ["a nested saga with a bad step", [{ name: "n", saga: { name: "s", steps: [{ name: "x" }] } }], /step "n": step "x"/],
  ["a nested input that is no function", [{ name: "n", saga: defineSaga("s", [good]), input: {} }], /step "n": input/],
  ["a saga in itself", [{ name: "n", saga: looped }], /step "n": .*step "again".*"loop" contains itself/],
  ["sagas in each other", [{ name: "n", saga: outer }], /"outer" contains itself/],
];

function cyclic(): object {
  const value: { self?: object } = {};
  value.self = value;
  return { value };
}

describe("defineSaga", () => {
  it.each(BAD)("refuses %s, naming the place", (_what, given, problem) => {
    expect(problemsOf(() => defineSaga("order", steps(...given))).join("; ")).toMatch(problem);
  });

  it("names everything that is wrong at once", () => {
    const problems = problemsOf(() =>
      defineSaga("order", steps({ name: "a" }, { name: "b", tool: "t", timeoutMs: -1 })),
    );
    expect(problems).toEqual([expect.stringContaining('"a"'), expect.stringContaining('"b"')]);
  });

  it("refuses a bad step of the builder where it is added", () => {
    const begun = defineSaga("order").step(good);
    expect(problemsOf(() => begun.step(good))).toEqual([expect.stringContaining('"pay"')]);
    expect(begun.nodes).toHaveLength(1);
  });

  it.each(["", "x".repeat(101), 5, "a\0"])("refuses the name %j", (name) => {
    expect(() => defineSaga(name as string, steps(good))).toThrow(SagaDefinitionError);
  });

  it("refuses a version that is no text, and steps that are no list", () => {
    expect(() => defineSaga("order", { version: 1 as never })).toThrow(/version/);
    expect(() => defineSaga("order", [good], { version: 1 as never })).toThrow(/version/);
    expect(() => defineSaga("order", "pay" as never)).toThrow(/order|steps/);
  });

  it("keeps static arguments as they were when it was defined", () => {
    const args = { sku: "ABC" };
    const saga = defineSaga("order").step({ ...good, args });
    args.sku = "XYZ";
    expect(saga.nodes).toMatchObject([{ steps: [{ args: { sku: "ABC" } }] }]);
  });

  it("has a hash of its structure and version, not of its functions", () => {
    const base = defineSaga("order").step({ ...good, args: () => ({ a: 1 }), compensate: { tool: "refund" } });
    const same = defineSaga("order").step({ ...good, args: () => ({ b: 2 }), compensate: { tool: "refund" } });
    expect(hashOf(same)).toBe(hashOf(base));
    const others = [
      defineSaga("order", { version: "2" }).step({ ...good, args: () => ({}), compensate: { tool: "refund" } }),
      defineSaga("other").step({ ...good, args: () => ({}), compensate: { tool: "refund" } }),
      defineSaga("order").step({ ...good, args: () => ({}), compensate: { tool: "cancel" } }),
      defineSaga("order").step({ ...good, args: () => ({}) }),
      defineSaga("order").step({ ...good, args: { a: 1 }, compensate: { tool: "refund" } }),
      defineSaga("order").step({ ...good, tool: "debit", args: () => ({}), compensate: { tool: "refund" } }),
      defineSaga("order").parallel([
        { ...good, args: () => ({}), compensate: { tool: "refund" } },
        { name: "b", tool: "t" },
      ]),
      defineSaga("order").step({ ...good, pivot: true, args: () => ({}), compensate: { tool: "refund" } }),
      defineSaga("order").step({ ...good, atomic: true, args: () => ({}), compensate: { tool: "refund" } }),
    ].map(hashOf);
    expect(new Set([hashOf(base), ...others]).size).toBe(others.length + 1);
  });

  it("has the same hash as a list and as a builder", () => {
    expect(hashOf(defineSaga("order", [good, { parallel: [{ name: "b", tool: "t" }] }]))).toBe(
      hashOf(
        defineSaga("order")
          .step(good)
          .parallel([{ name: "b", tool: "t" }]),
      ),
    );
  });

  it("calls nothing of a definition that is refused", async () => {
    const { caller, log } = world({ names: ["charge"] });
    const runner = createSagaRunner({ caller: caller() });
    await expect(runner.run(defineSaga("order"), {})).rejects.toThrow(/no steps/);
    await expect(runner.run({ name: "order" } as never, {})).rejects.toThrow(TypeError);
    expect(() => createSagaRunner({ caller: caller(), sagas: [defineSaga("order")] })).toThrow(/no steps/);
    expect(log).toEqual([]);
  });
});

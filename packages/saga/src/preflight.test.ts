import { describe, expect, it } from "vitest";
import { defineSaga, type SagaDefinition } from "./definition.js";
import type { ToolInfo } from "./preflight.js";
import { createSagaRunner } from "./runner.js";
import { world } from "./world.fixture.js";

const strict = {
  type: "object",
  required: ["sku"],
  properties: { sku: { type: "string" }, count: { type: "integer" }, how: { enum: ["fast", "slow"] } },
  additionalProperties: false,
};
const TOOLS: readonly ToolInfo[] = [
  { name: "reserve", inputSchema: strict },
  { name: "release" },
  { name: "look", annotations: { readOnlyHint: true } },
  { name: "wipe", annotations: { destructiveHint: true } },
];

function scene(tools: Parameters<typeof createSagaRunner>[0]["tools"] = TOOLS) {
  const { caller, log, time } = world({ names: TOOLS.map(({ name }) => name) });
  const warnings: string[] = [];
  const runner = createSagaRunner({
    caller: caller(),
    runtime: time.runtime,
    tools,
    onEvent: (name, detail) => {
      if (name === "saga.warning") warnings.push((detail as { readonly message: string }).message);
    },
  });
  return { runner, log, warnings, time };
}

const saga = defineSaga("order");
const REFUSED: readonly (readonly [what: string, definition: SagaDefinition<object>, problem: RegExp])[] = [
  ["a tool that the server does not have", saga.step({ name: "a", tool: "gone" }), /step "a" calls tool "gone"/],
  [
    "a compensation that the server does not have",
    saga.step({ name: "a", tool: "look", compensate: { tool: "gone" } }),
    /compensation of step "a" calls tool "gone"/,
  ],
  [
    "an unknown tool of a nested saga",
    saga.step({ name: "n", saga: saga.step({ name: "a", tool: "gone" }) }),
    /step "n\.a" calls tool "gone"/,
  ],
  ["a missing argument", saga.step({ name: "a", tool: "reserve", args: {} }), /step "a".*"sku" is missing/],
  [
    "an argument of another type",
    saga.step({ name: "a", tool: "reserve", args: { sku: 5 } }),
    /"sku" must be of type string/,
  ],
  [
    "an argument that is no integer",
    saga.step({ name: "a", tool: "reserve", args: { sku: "", count: 0.5 } }),
    /"count"/,
  ],
  [
    "an argument outside of its words",
    saga.step({ name: "a", tool: "reserve", args: { sku: "", how: "no" } }),
    /"how"/,
  ],
  [
    "an argument that is not taken",
    saga.step({ name: "a", tool: "reserve", args: { sku: "", x: 1 } }),
    /"x" is not taken/,
  ],
  [
    "an argument of a compensation",
    saga.step({ name: "a", tool: "look", compensate: { tool: "reserve", args: {} } }),
    /compensation of step "a".*"sku" is missing/,
  ],
  [
    "no compensation before a pivot",
    saga.step({ name: "a", tool: "release" }).step({ name: "p", tool: "release", pivot: true }),
    /step "a" comes before the pivot and has no compensation/,
  ],
  [
    "no compensation in a nested saga before a pivot",
    saga
      .step({ name: "n", saga: saga.step({ name: "a", tool: "release" }) })
      .step({ name: "p", tool: "release", pivot: true }),
    /step "n\.a" comes before the pivot/,
  ],
  [
    "no compensation before a nested pivot",
    saga
      .step({ name: "a", tool: "release" })
      .step({ name: "n", saga: saga.step({ name: "p", tool: "release", pivot: true }) }),
    /step "a" comes before the pivot/,
  ],
];

describe("preflight", () => {
  it.each(REFUSED)("refuses %s before anything runs, naming the step", async (_what, definition, problem) => {
    const { runner, log } = scene();
    await expect(runner.run(definition, {}, { id: "1" })).rejects.toThrow(problem);
    expect(log).toEqual([]);
    expect(await runner.get("1")).toBeUndefined();
  });

  it("asks no compensation of steps before a pivot that change nothing or go forward", async () => {
    const { runner, time } = scene();
    const definition = saga
      .step({ name: "a", tool: "look" })
      .step({ name: "b", tool: "release", readOnly: true })
      .step({ name: "c", tool: "release", forward: true })
      .step({ name: "p", tool: "release", pivot: true })
      .step({ name: "d", tool: "release" });
    expect(await time.run(runner.run(definition, {}))).toMatchObject({ status: "completed" });
  });

  it("wants a compensation before a pivot also when nobody says which tools there are", async () => {
    const { caller } = world({ names: ["release"] });
    const definition = saga.step({ name: "a", tool: "look" }).step({ name: "p", tool: "release", pivot: true });
    await expect(createSagaRunner({ caller: caller() }).run(definition, {})).rejects.toThrow(/step "a"/);
  });

  it("warns of a destructive step without a compensation, and of one that is never undone", async () => {
    const { runner, warnings, time } = scene();
    const definition = saga
      .step({ name: "p", tool: "look", pivot: true })
      .step({ name: "a", tool: "wipe" })
      .step({ name: "b", tool: "release", compensate: { tool: "release" } });
    await time.run(runner.run(definition, {}));
    expect(warnings).toEqual([expect.stringContaining('step "a" calls a destructive'), expect.stringContaining('"b"')]);
  });

  it("fails a step whose resolved arguments do not fit, without calling its tool", async () => {
    const { runner, log, time } = scene();
    const definition = saga
      .step({ name: "a", tool: "release", compensate: { tool: "release" } })
      .step({ name: "b", tool: "reserve", args: () => ({ sku: 1 }) });
    const outcome = await time.run(runner.run(definition, {}));
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["a"] });
    expect(outcome.steps[1]).toMatchObject({ status: "not-run", error: { message: expect.stringMatching(/"sku"/) } });
    expect(log).toEqual(["release", "release"]);
  });

  it("reads the tools once, from a list or from what tools/list gives", async () => {
    let asked = 0;
    const { runner, time } = scene(async () => {
      asked += 1;
      return { tools: TOOLS };
    });
    for (const id of ["1", "2"]) await time.run(runner.run(saga.step({ name: "a", tool: "look" }), {}, { id }));
    expect(asked).toBe(1);
  });

  it("passes on why the tools could not be read, and asks again the next time", async () => {
    let asked = 0;
    const { runner, time } = scene(async () => {
      asked += 1;
      if (asked === 1) throw new Error("not connected");
      return TOOLS;
    });
    const definition = saga.step({ name: "a", tool: "look" });
    await expect(runner.run(definition, {})).rejects.toThrow("not connected");
    expect(await time.run(runner.run(definition, {}))).toMatchObject({ status: "completed" });
  });

  it("refuses tools that are no list", async () => {
    const { runner } = scene(async () => ({ tools: 5 }) as never);
    await expect(runner.run(saga.step({ name: "a", tool: "look" }), {})).rejects.toThrow(/tools must give an array/);
    expect(() => scene(5 as never)).toThrow(/tools must be/);
  });
});

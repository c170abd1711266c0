import { virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import { createSagaRunner } from "./runner.js";
import { Lost, toolbox } from "./toolbox.fixture.js";

const order = defineSaga<{ sku: string }>("order")
  .step({ name: "reserve", tool: "reserve", args: (s) => ({ sku: s.input.sku }), compensate: { tool: "release" } })
  .parallel([
    { name: "label", tool: "label", compensate: { tool: "unlabel" } },
    { name: "invoice", tool: "invoice", compensate: { tool: "void" } },
  ])
  .step({ name: "charge", tool: "charge", args: (s) => ({ for: s.reserve }), compensate: { tool: "refund" } })
  .step({ name: "ship", tool: "ship" });

function boxWith(fail: Record<string, (run: number) => unknown> = {}) {
  const names = ["reserve", "release", "label", "unlabel", "invoice", "void", "charge", "refund", "ship"];
  const time = virtualTime();
  const box = toolbox(
    Object.fromEntries(names.map((name) => [name, (_args, run) => fail[name]?.(run) ?? { did: name, run }])),
    [],
    { runtime: time.runtime },
  );
  const runner = createSagaRunner({ caller: box.caller, runtime: time.runtime });
  return { time, box, runner };
}

const failing = (): never => {
  throw new Error("out of stock");
};

describe("createSagaRunner", () => {
  it("runs every step once, in order, and gives their results", async () => {
    const { time, box, runner } = boxWith();
    const outcome = await time.run(runner.run(order, { sku: "ABC" }, { id: "1" }));
    expect(box.log).toEqual(["reserve", "label", "invoice", "charge", "ship"]);
    expect(outcome).toMatchObject({
      status: "completed",
      results: { reserve: { did: "reserve" }, ship: { did: "ship" } },
    });
    expect(box.effects[0]?.args).toEqual({ sku: "ABC" });
    expect(box.effects[3]?.args).toEqual({ for: { did: "reserve", run: 1 } });
  });

  it("undoes what was done in reverse order of completion when a step fails", async () => {
    const { time, box, runner } = boxWith({ charge: failing });
    const outcome = await time.run(runner.run(order, { sku: "ABC" }, { id: "1" }));
    expect(box.log).toEqual(["reserve", "label", "invoice", "charge", "refund", "void", "unlabel", "release"]);
    expect(outcome).toMatchObject({
      status: "compensated",
      compensated: ["charge", "invoice", "label", "reserve"],
      error: { message: expect.stringContaining("out of stock") },
    });
    expect(box.effects.at(-1)?.args).toEqual({
      originalArgs: { sku: "ABC" },
      originalResult: { did: "reserve", run: 1 },
    });
  });

  it("reports a compensation that fails as failed, goes on with the others, and is stuck", async () => {
    const { time, box, runner } = boxWith({ charge: failing, void: failing });
    const outcome = await time.run(runner.run(order, { sku: "ABC" }, { id: "1" }));
    expect(box.log.filter((name) => name === "void")).toHaveLength(5);
    expect(outcome).toMatchObject({
      status: "stuck",
      compensated: ["charge", "label", "reserve"],
      failedCompensations: ["invoice"],
    });
    expect(await runner.list({ status: "stuck" })).toHaveLength(1);
  });

  it("goes on from a failed compensation when it is resumed", async () => {
    const { time, box, runner } = boxWith({
      charge: failing,
      void: (run) => (run <= 5 ? failing() : { ok: true }),
    });
    await time.run(runner.run(order, { sku: "ABC" }, { id: "1" }));
    const outcome = await time.run(runner.resume("1"));
    expect(outcome).toMatchObject({ status: "compensated", failedCompensations: [] });
    expect(box.log.filter((name) => name === "release")).toHaveLength(1);
  });

  it("compensates a step of which nobody knows whether it ran, and is stuck", async () => {
    const { time, box, runner } = boxWith({
      charge: () => {
        throw new Lost();
      },
    });
    const outcome = await time.run(runner.run(order, { sku: "ABC" }, { id: "1" }));
    expect(outcome).toMatchObject({ status: "stuck", unknown: ["charge"], failedCompensations: [] });
    expect(box.log).toEqual(["reserve", "label", "invoice", "charge", "refund", "void", "unlabel", "release"]);
  });

  it("gives the recorded outcome again for the same id, and runs nothing", async () => {
    const { time, box, runner } = boxWith();
    const first = await time.run(runner.run(order, { sku: "ABC" }, { id: "1" }));
    const second = await time.run(runner.run(order, { sku: "ABC" }, { id: "1" }));
    expect(second).toEqual(JSON.parse(JSON.stringify(first)));
    expect(box.log).toHaveLength(5);
    await expect(runner.run(order, { sku: "XYZ" }, { id: "1" })).rejects.toThrow(/another input/);
  });
});

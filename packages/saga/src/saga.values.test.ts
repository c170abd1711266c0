import type { SagaStore } from "@mcp-tx/core/stores";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineSaga, unchecked } from "./definition.js";
import { keyOf } from "./keys.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { diesAt } from "./mortal.fixture.js";
import { createSagaRunner } from "./runner.js";
import { LostAnswer, type ProcessOptions, type WorldOptions, world } from "./world.fixture.js";

function scene(options: Omit<WorldOptions, "names"> & { readonly names?: readonly string[] } = {}) {
  const tools = world({ names: ["a", "undo-a", "b", "undo-b", "c"], ...options });
  const { runtime } = tools.time;
  const store = memorySagaStore({ runtime });
  const runner = (process: ProcessOptions = {}, over: SagaStore = store) =>
    createSagaRunner({ caller: tools.caller(process), store: over, runtime, leaseMs: 1000 });
  return { ...tools, store, runner };
}

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
const NOT_JSON: readonly (readonly [what: string, value: unknown])[] = [
  ["a BigInt", 1n],
  ["a function", () => 1],
  ["a symbol", Symbol("s")],
  ["NaN", Number.NaN],
  ["Infinity", Infinity],
  ["a cycle", cyclic],
  [
    "something that throws when it is read",
    new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error("no");
        },
      },
    ),
  ],
  [
    "a toJSON that throws",
    {
      toJSON: () => {
        throw new Error("no");
      },
    },
  ],
];

describe("values that are no JSON", () => {
  it.each(NOT_JSON)("fail their step as a result: %s", async (_what, value) => {
    const { runner, time, log } = scene({ tools: { b: () => ({ value }) } });
    const saga = defineSaga("s")
      .step({ name: "a", tool: "a", compensate: { tool: "undo-a" } })
      .step({ name: "b", tool: "b", atomic: true, compensate: { tool: "undo-b" } });
    const outcome = await time.run(runner().run(saga, {}));
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["b", "a"] });
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });

  it.each(NOT_JSON)("fail their step as arguments, without calling it: %s", async (_what, value) => {
    const { runner, time, log } = scene();
    const saga = defineSaga("s")
      .step({ name: "a", tool: "a", compensate: { tool: "undo-a" } })
      .step({ name: "b", tool: "b", args: () => ({ value }), compensate: { tool: "undo-b" } });
    const outcome = await time.run(runner().run(saga, {}));
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["a"], unknown: [] });
    expect(outcome.steps[1]).toMatchObject({ step: "b", status: "not-run", calls: 0 });
    expect(log).toEqual(["a", "undo-a"]);
  });

  it.each(NOT_JSON)("are refused as an input before anything is written: %s", async (_what, value) => {
    const { runner, log } = scene();
    const one = runner();
    await expect(one.run(defineSaga("s").step({ name: "a", tool: "a" }), { value }, { id: "1" })).rejects.toThrow();
    expect(await one.get("1")).toBeUndefined();
    expect(log).toEqual([]);
  });

  it("do not make a compensation run twice when it gives them", async () => {
    const { runner, time, log } = scene({
      tools: {
        "undo-a": () => ({ n: 1n }),
        b: () => {
          throw new Error("no");
        },
      },
    });
    const saga = defineSaga("s")
      .step({ name: "a", tool: "a", compensate: { tool: "undo-a" } })
      .step({ name: "b", tool: "b" });
    const outcome = await time.run(runner().run(saga, {}));
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["a"] });
    expect(log).toEqual(["a", "b", "undo-a"]);
  });

  it("do not make a forward step run twice, nor when it is resumed", async () => {
    const { runner, time, log } = scene({ tools: { b: () => ({ n: 1n }) } });
    const one = runner();
    const saga = defineSaga("s").step({ name: "a", tool: "a", pivot: true }).step({ name: "b", tool: "b" });
    expect(await time.run(one.run(saga, {}, { id: "1" }))).toMatchObject({ status: "stuck" });
    expect(await time.run(one.resume("1"))).toMatchObject({ status: "stuck" });
    expect(log).toEqual(["a", "b"]);
  });
});

describe("arguments", () => {
  it("fail their step when they cannot be made, and those of a compensation make it fail", async () => {
    const { runner, time, log } = scene();
    const broken = (): never => {
      throw new RangeError("no stock");
    };
    const saga = defineSaga("s")
      .step({ name: "a", tool: "a", compensate: { tool: "undo-a", args: broken } })
      .step({ name: "b", tool: "b", args: broken });
    const outcome = await time.run(runner().run(saga, {}));
    expect(outcome).toMatchObject({
      status: "stuck",
      error: { name: "RangeError", message: "no stock" },
      failedCompensations: ["a"],
    });
    expect(log).toEqual(["a"]);
  });

  it.each([[null], [5], [[]], ["x"]])("that are %j instead of an object fail their step", async (value) => {
    const { runner, time, log } = scene();
    const saga = defineSaga("s").step({ name: "a", tool: "a", args: () => value as never });
    expect(await time.run(runner().run(saga, {}))).toMatchObject({ status: "compensated" });
    expect(log).toEqual([]);
  });

  it("are journaled and not made again when the saga is carried on", async () => {
    const { runner, time, args, store } = scene({ announces: true });
    let made = 0;
    const saga = defineSaga("s").step({
      name: "a",
      tool: "a",
      args: () => {
        made += 1;
        return { made };
      },
    });
    const dead = diesAt("after a");
    const first = runner({ wire: dead.wire }, dead.over(store)).run(saga, {}, { id: "1" });
    await expect(time.run(Promise.race([first, dead.stopped]))).rejects.toThrow('"after a"');
    await time.advance(1001);
    const outcome = await time.run(runner().run(saga, {}, { id: "1" }));
    expect(outcome).toMatchObject({ status: "completed", steps: [{ args: { made: 1 } }] });
    expect([made, args]).toEqual([1, [{ made: 1 }]]);
  });

  it("are given a copy of the state: what one changes no other sees", async () => {
    const { runner, time, args } = scene();
    const saga = defineSaga<{ list: number[] }>("s")
      .step({
        name: "a",
        tool: "a",
        args: (s) => {
          s.input.list.push(2);
          return { list: s.input.list };
        },
      })
      .step({ name: "b", tool: "b", args: (s) => ({ list: s.input.list }) });
    await time.run(runner().run(saga, { list: [1] }));
    expect(args).toEqual([{ list: [1, 2] }, { list: [1] }]);
  });

  it("of a compensation are the original arguments and result, null for one that is not known", async () => {
    const { runner, time, args, log } = scene();
    const saga = defineSaga("s")
      .step({ name: "a", tool: "a", args: { n: 1 }, compensate: { tool: "undo-a" } })
      .step({ name: "b", tool: "b", args: { n: 2 }, compensate: { tool: "undo-b" } });
    await time.run(
      runner({
        wire: async (tool, send) => {
          const answer = await send();
          if (tool === "b") throw new LostAnswer("gone");
          return answer;
        },
      }).run(saga, {}),
    );
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
    expect(args.slice(2)).toEqual([
      { originalArgs: { n: 2 }, originalResult: null },
      { originalArgs: { n: 1 }, originalResult: { did: "a" } },
    ]);
  });
});

describe("results", () => {
  it("are what the output schema makes of them, and fail their step when it refuses them", async () => {
    const { runner, time } = scene();
    const upper = { ...unchecked<string>()["~standard"], validate: () => ({ value: "OK" }) };
    const never = { ...unchecked<string>()["~standard"], validate: () => ({ issues: [{ message: "not so" }] }) };
    const saga = defineSaga("s")
      .step({ name: "a", tool: "a", output: { "~standard": upper }, compensate: { tool: "undo-a" } })
      .step({ name: "b", tool: "b", output: { "~standard": never }, atomic: true, compensate: { tool: "undo-b" } });
    const outcome = await time.run(runner().run(saga, {}));
    expect(outcome).toMatchObject({
      results: { a: "OK" },
      compensated: ["b", "a"],
      error: { message: expect.stringContaining("not so") },
    });
  });
});

describe("keys", () => {
  it("are the same for every call of a unit, with a higher epoch for each failure that is repeated", async () => {
    const fails = (_args: unknown, run: number) => {
      if (run < 3) throw new Error("not yet");
      return {};
    };
    const { runner, time, seen } = scene({ tools: { a: fails } });
    const saga = defineSaga("s").step({ name: "a", tool: "a", retry: { maxAttempts: 3 } });
    expect(await time.run(runner().run(saga, {}, { id: "1" }))).toMatchObject({
      status: "completed",
      steps: [{ calls: 3 }],
    });
    const key = '["saga","s","1",["a"],"action"]';
    expect(seen).toEqual([0, 1, 2].map((epoch) => ({ tool: "a", key, epoch })));
  });

  it("never meet: two units have one key only when name, id, path and phase are the same", () => {
    const text = fc.string({ unit: fc.constantFrom('"', ",", "[", "]", "a", "\\", "\n"), maxLength: 4 });
    const unit = fc.tuple(
      text,
      text,
      fc.array(text, { minLength: 1, maxLength: 3 }),
      fc.constantFrom("action", "compensation"),
    );
    fc.assert(
      fc.property(unit, unit, (one, other) => {
        const [first, second] = [keyOf(...(one as Unit)), keyOf(...(other as Unit))];
        expect(first === second).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
      { seed: 1, numRuns: 1000 },
    );
  });

  it("are never shared by two sagas of equal steps", async () => {
    const { runner, time, seen } = scene({
      tools: {
        c: () => {
          throw new Error("no");
        },
      },
    });
    const step = { name: "a", tool: "a", compensate: { tool: "undo-a" } };
    const last = { name: "c", tool: "c" };
    const one = runner();
    await time.run(one.run(defineSaga("s").step(step).step(last), {}, { id: "1" }));
    await time.run(one.run(defineSaga("s").step(step).step(last), {}, { id: "2" }));
    await time.run(one.run(defineSaga("t").step(step).step(last), {}, { id: "3" }));
    await time.run(
      one.run(defineSaga("t").step({ name: "n", saga: defineSaga("s").step(step).step(last) }), {}, { id: "4" }),
    );
    const keys = seen.map(({ key }) => key);
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys).toHaveLength(12);
  });

  it("that a server would refuse for their length are refused before anything runs", async () => {
    const { runner, log } = scene();
    const deep = (left: number): ReturnType<typeof defineSaga> =>
      left === 0
        ? defineSaga("s").step({ name: "x".repeat(100), tool: "a" })
        : defineSaga("s").step({ name: "n".repeat(100), saga: deep(left - 1) });
    await expect(runner().run(deep(10), {}, { id: "i".repeat(256) })).rejects.toThrow(/more than 1024 characters/);
    expect(log).toEqual([]);
  });

  it.each(["", "x".repeat(257), "a\0", "\ud800", 5])("refuses the id %j", async (id) => {
    const { runner } = scene();
    await expect(
      runner().run(defineSaga("s").step({ name: "a", tool: "a" }), {}, { id: id as string }),
    ).rejects.toThrow(/id/);
  });
});

type Unit = Parameters<typeof keyOf>;

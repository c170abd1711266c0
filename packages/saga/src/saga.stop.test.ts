import { countingSignal } from "@mcp-tx/core/testing";
import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { diesAt } from "./mortal.fixture.js";
import { createSagaRunner } from "./runner.js";
import type { SagaRunnerOptions } from "./runner-types.js";
import { never, type Wire, type WorldTool, world } from "./world.fixture.js";

const NAMES = ["a", "undo-a", "b", "undo-b", "c", "undo-c", "d", "undo-d"];

function scene(tools: Readonly<Record<string, WorldTool>> = {}) {
  const server = world({ names: NAMES, tools });
  const { time } = server;
  const slow: Wire = async (_tool, send) => {
    const answer = await send();
    await time.runtime.sleep(10);
    return answer;
  };
  const store = memorySagaStore({ runtime: time.runtime });
  const runner = (options: Partial<SagaRunnerOptions> = {}, own: Wire = slow) =>
    createSagaRunner({ caller: server.caller({ wire: own }), store, runtime: time.runtime, leaseMs: 1000, ...options });
  return { ...server, store, runner };
}

const step = <const N extends string>(name: N) => ({ name, tool: name, compensate: { tool: `undo-${name}` } });
const plain = defineSaga("s").step(step("a")).step(step("b")).step(step("c"));
const pivoted = defineSaga("p")
  .step(step("a"))
  .step({ name: "b", tool: "b", pivot: true })
  .step({ name: "c", tool: "c" });

function abortAt(ms: number, { time }: ReturnType<typeof scene>): AbortSignal {
  const controller = new AbortController();
  void time.runtime.sleep(ms).then(() => controller.abort(new Error("the user left")));
  return controller.signal;
}

describe("a step's timeout", () => {
  it("ends a call that hangs, compensates the step that nobody knows, and leaves the saga stuck", async () => {
    const here = scene();
    const wire: Wire = (tool, send) => (tool === "b" ? send().then(never<never>) : send());
    const saga = defineSaga("s")
      .step(step("a"))
      .step({ ...step("b"), timeoutMs: 50 });
    const outcome = await here.time.run(here.runner({}, wire).run(saga, {}));
    expect(outcome).toMatchObject({ status: "stuck", unknown: ["b"], compensated: ["b", "a"] });
    expect(here.log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });

  it("of a compensation makes it fail, and the others go on", async () => {
    const fail = () => {
      throw new Error("no");
    };
    const here = scene({ c: fail });
    const wire: Wire = (tool, send) => (tool === "undo-b" ? send().then(never<never>) : send());
    const hanging = { name: "b", tool: "b", compensate: { tool: "undo-b", timeoutMs: 50 } } as const;
    const saga = defineSaga("s").step(step("a")).step(hanging).step(step("c"));
    const outcome = await here.time.run(here.runner({}, wire).run(saga, {}));
    expect(outcome).toMatchObject({ status: "stuck", failedCompensations: ["b"], compensated: ["c", "a"] });
    expect(outcome.steps[1]?.compensation).toMatchObject({ status: "unknown" });
  });
});

describe("an abort", () => {
  it.each([
    [0, []],
    [5, ["a", "undo-a"]],
    [15, ["a", "b", "undo-b", "undo-a"]],
    [25, ["a", "b", "c"]],
  ])("after %i ms, before the pivot, lets the call end and undoes what was done", async (ms, log) => {
    const here = scene();
    const controller = new AbortController();
    if (ms === 0) controller.abort(new Error("the user left"));
    const signal = ms === 0 ? controller.signal : abortAt(ms, here);
    const outcome = await here.time.run(here.runner().run(plain, {}, { signal }));
    expect(here.log).toEqual(log);
    if (ms === 25) expect(outcome).toMatchObject({ status: "completed" });
    else expect(outcome).toMatchObject({ status: "compensated", error: { message: "the user left" } });
  });

  it("behind the pivot stops nothing", async () => {
    for (const ms of [15, 25]) {
      const here = scene();
      const outcome = await here.time.run(here.runner().run(pivoted, {}, { signal: abortAt(ms, here) }));
      expect(outcome).toMatchObject({ status: "completed" });
    }
  });

  it("lets the siblings of a group come to their end", async () => {
    const here = scene();
    const wire: Wire = async (tool, send) => {
      const answer = await send();
      await here.time.runtime.sleep(tool === "b" ? 30 : 10);
      return answer;
    };
    const saga = defineSaga("s")
      .parallel([step("a"), step("b")])
      .step(step("c"));
    const outcome = await here.time.run(here.runner({}, wire).run(saga, {}, { signal: abortAt(15, here) }));
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["b", "a"] });
  });

  it("does not stop the siblings of a step that failed either", async () => {
    const fail = () => {
      throw new Error("no");
    };
    const here = scene({ a: fail });
    const wire: Wire = async (tool, send) => {
      if (tool === "b") await here.time.runtime.sleep(30);
      return send();
    };
    const saga = defineSaga("s").parallel([{ ...step("a"), atomic: true }, step("b")]);
    const outcome = await here.time.run(here.runner({}, wire).run(saga, {}));
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["b"] });
  });

  it("ends the wait before a repetition", async () => {
    const fail = () => {
      throw new Error("not yet");
    };
    const here = scene({ b: fail });
    const patient = { ...step("b"), retry: { maxAttempts: 100, baseDelayMs: 60_000, maxDelayMs: 60_000 } };
    const outcome = await here.time.run(
      here.runner().run(defineSaga("s").step(step("a")).step(patient), {}, { signal: abortAt(100, here) }),
    );
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["b", "a"] });
    expect(here.time.now()).toBe(120);
  });

  it("aborts a call that is under way once the grace is over, and compensates it", async () => {
    const here = scene();
    const wire: Wire = (tool, send) => (tool === "b" ? send().then(never<never>) : send());
    const running = here.runner({ graceMs: 500 }, wire).run(plain, {}, { signal: abortAt(100, here) });
    const outcome = await here.time.run(running);
    expect(outcome).toMatchObject({ status: "stuck", unknown: ["b"], compensated: ["b", "a"] });
    expect(here.time.now()).toBe(600);
  });

  it("does not reach the compensations", async () => {
    const controller = new AbortController();
    const fail = () => {
      throw new Error("no");
    };
    const here = scene({ b: fail });
    const outcome = await here.time.run(
      here
        .runner({ graceMs: 0 }, (tool, send) => {
          if (tool === "undo-b") controller.abort();
          return send();
        })
        .run(plain, {}, { signal: controller.signal }),
    );
    expect(outcome).toMatchObject({ status: "compensated", compensated: ["b", "a"] });
  });
});

describe("a saga that has ended", () => {
  it("leaves neither a timer nor a listener behind, however it ended", async () => {
    const fail = () => {
      throw new Error("no");
    };
    for (const tools of [{}, { c: fail }]) {
      const here = scene(tools);
      const counted = countingSignal();
      await here.time.run(here.runner().run(plain, {}, { signal: counted.signal, timeoutMs: 60_000 }));
      expect([here.time.timers, counted.listeners]).toEqual([0, 0]);
    }
  });
});

describe("a deadline", () => {
  it("stops the saga like an abort", async () => {
    const here = scene();
    const outcome = await here.time.run(here.runner().run(plain, {}, { timeoutMs: 15 }));
    expect(outcome).toMatchObject({ status: "compensated", error: { name: "DeadlineError" } });
    expect(here.log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });

  it("counts from the beginning, also for a process that carries the saga on", async () => {
    const here = scene();
    const dead = diesAt("before b");
    const first = here.runner({ store: dead.over(here.store) }, dead.wire).run(plain, {}, { id: "1", timeoutMs: 5000 });
    await expect(here.time.run(Promise.race([first, dead.stopped]))).rejects.toThrow("before b");
    await here.time.advance(5000);
    const second = here.runner({ sagas: [plain] });
    const outcomes = await here.time.run(second.recover());
    expect(outcomes).toMatchObject([{ status: "stuck", unknown: ["b"], compensated: ["b", "a"] }]);
    expect(here.log).not.toContain("c");
  });

  it.each([0, -1, Number.NaN, "5"])("of %j is refused", async (timeoutMs) => {
    const here = scene();
    await expect(here.runner().run(plain, {}, { timeoutMs: timeoutMs as number })).rejects.toThrow(/timeoutMs/);
  });
});

describe("the time for undoing", () => {
  it("ends compensations that do not get done, and reports them", async () => {
    const fail = () => {
      throw new Error("no");
    };
    const here = scene({ c: fail, "undo-b": fail });
    const patient = { maxAttempts: Infinity, baseDelayMs: 100, jitter: "none" } as const;
    const running = here.runner({ compensationBudgetMs: 1000, compensationRetry: patient }).run(plain, {});
    const outcome = await here.time.run(running);
    expect(outcome).toMatchObject({ status: "stuck", failedCompensations: expect.arrayContaining(["b"]) });
    expect(outcome.compensated).toContain("c");
    expect(here.time.now()).toBeLessThan(1100);
  });

  it("ends a compensation that hangs", async () => {
    const fail = () => {
      throw new Error("no");
    };
    const here = scene({ c: fail });
    const wire: Wire = (tool, send) => (tool === "undo-c" ? send().then(never<never>) : send());
    const outcome = await here.time.run(here.runner({ compensationBudgetMs: 1000 }, wire).run(plain, {}));
    expect(outcome).toMatchObject({ status: "stuck", failedCompensations: expect.arrayContaining(["c"]) });
    expect(outcome.compensated.length + outcome.failedCompensations.length).toBe(3);
  });
});

import type { Verification } from "@mcp-tx/core";
import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { diesAt } from "./mortal.fixture.js";
import { createSagaRunner } from "./runner.js";
import type { SagaRunnerOptions } from "./runner-types.js";
import { LostAnswer, type ProcessOptions, type Wire, type WorldTool, world } from "./world.fixture.js";

const step = <const N extends string>(name: N) => ({ name, tool: name, compensate: { tool: `undo-${name}` } });
const saga = defineSaga("s").step(step("a")).step(step("b"));
const forward = defineSaga("f").step({ name: "a", tool: "a", pivot: true }).step({ name: "b", tool: "b" });
const once = { maxAttempts: 1 };

function scene(tools: Readonly<Record<string, WorldTool>> = {}) {
  const server = world({ names: ["a", "undo-a", "b", "undo-b", "c"], tools });
  const { runtime } = server.time;
  const store = memorySagaStore({ runtime });
  const runner = (process: ProcessOptions = {}, options: Partial<SagaRunnerOptions> = {}) =>
    createSagaRunner({
      ...{ caller: server.caller(process), store, runtime, leaseMs: 1000, sagas: [saga, forward] },
      ...{ compensationRetry: once, forwardRetry: once, ...options },
    });
  return { ...server, store, runner };
}

/** A tool that fails until it has been run so often. */
const failing =
  (times: number): WorldTool =>
  (_args, run) => {
    if (run <= times) throw new Error("not yet");
    return { run };
  };
const losing =
  (lost: string): Wire =>
  async (tool, send) => {
    const answer = await send();
    if (tool === lost) throw new LostAnswer("gone");
    return answer;
  };

describe("resume", () => {
  it("goes forward behind the pivot, again and again", async () => {
    const { runner, time, log, seen } = scene({ b: failing(2) });
    const one = runner();
    expect(await time.run(one.run(forward, {}, { id: "1" }))).toMatchObject({ status: "stuck", compensated: [] });
    expect(await time.run(one.resume("1"))).toMatchObject({ status: "stuck" });
    expect(await time.run(one.resume("1"))).toMatchObject({ status: "completed", results: { b: { run: 3 } } });
    expect(log).toEqual(["a", "b", "b", "b"]);
    expect(seen.map(({ epoch }) => epoch)).toEqual([0, 0, 1, 2]);
  });

  it("tries failed compensations again, and nothing else", async () => {
    const { runner, time, log } = scene({ b: failing(9), "undo-a": failing(1) });
    const one = runner();
    expect(await time.run(one.run(saga, {}, { id: "1" }))).toMatchObject({
      status: "stuck",
      failedCompensations: ["a"],
    });
    const outcome = await time.run(one.resume("1"));
    expect(outcome).toMatchObject({ status: "compensated", failedCompensations: [], compensated: ["b", "a"] });
    expect(log).toEqual(["a", "b", "undo-b", "undo-a", "undo-a"]);
  });

  const found = { execution: "executed", result: { content: [], structuredContent: { did: "b" } } } as const;
  it.each<[Verification["execution"], Verification, string, string[]]>([
    ["executed", found, "completed", ["b", "a"]],
    ["not-executed", { execution: "not-executed" }, "not-run", ["a"]],
  ])(
    "settles an unknown step that verify says was %s, and never runs it again",
    async (_what, answer, status, compensated) => {
      const { runner, time, log } = scene();
      const verify = (): Verification => answer;
      const first = await time.run(runner({ wire: losing("b") }).run(saga, {}, { id: "1" }));
      expect(first).toMatchObject({ status: "stuck", unknown: ["b"] });
      const outcome = await time.run(runner({ verify }).resume("1"));
      expect(outcome).toMatchObject({ status: "compensated", unknown: [], compensated });
      expect(outcome.steps[1]).toMatchObject({ step: "b", status });
      expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
    },
  );

  it("leaves an unknown step unknown when nobody can say", async () => {
    const { runner, time, log } = scene();
    await time.run(runner({ wire: losing("b") }).run(saga, {}, { id: "1" }));
    const outcome = await time.run(runner().resume("1"));
    expect(outcome).toMatchObject({ status: "stuck", unknown: ["b"], compensated: ["b", "a"] });
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });

  it("is carried on by another process when its own dies", async () => {
    const { runner, time, log, store } = scene({ b: failing(9), "undo-a": failing(1) });
    await time.run(runner().run(saga, {}, { id: "1" }));
    const dead = diesAt("before undo-a");
    const lost = runner({ wire: dead.wire }, { store: dead.over(store) }).resume("1");
    await expect(time.run(Promise.race([lost, dead.stopped]))).rejects.toThrow("before undo-a");
    await time.advance(1001);
    // No longer unfinished, but stuck: only an operator lets it go on.
    expect(await time.run(runner().recover())).toEqual([]);
    await time.run(runner().resume("1"));
    expect(log.filter((tool) => tool === "undo-a").length).toBeLessThanOrEqual(2);
  });

  it("refuses sagas that are not stuck, not there or not known", async () => {
    const { runner, time } = scene({ b: failing(9), "undo-b": failing(9) });
    const one = runner();
    await time.run(one.run(defineSaga("c").step({ name: "c", tool: "c" }), {}, { id: "done" }));
    await time.run(one.run(saga, {}, { id: "stuck" }));
    await expect(one.resume("done")).rejects.toThrow(/is completed, and only a stuck one/);
    await expect(one.resume("gone")).rejects.toThrow(/no saga "gone"/);
    await expect(runner({}, { sagas: [] }).resume("stuck")).rejects.toThrow(/does not know/);
  });
});

describe("abandon", () => {
  it("keeps a stuck saga as it is and runs nothing of it any more", async () => {
    const { runner, time, log } = scene({ b: failing(9), "undo-a": failing(9) });
    const one = runner();
    await time.run(one.run(saga, {}, { id: "1" }));
    const info = await time.run(one.abandon("1"));
    expect(info).toMatchObject({ status: "abandoned", outcome: { status: "stuck", failedCompensations: ["a"] } });
    await expect(one.resume("1")).rejects.toThrow(/is abandoned/);
    await expect(one.abandon("1")).rejects.toThrow(/has ended already/);
    const before = log.length;
    expect(await time.run(one.run(saga, {}, { id: "1" }))).toMatchObject({ status: "stuck" });
    expect(log).toHaveLength(before);
  });

  it("gives up what a dead process left, but not what somebody works on", async () => {
    const { runner, time, store } = scene();
    const dead = diesAt("before b");
    const lost = runner({ wire: dead.wire }, { store: dead.over(store) }).run(saga, {}, { id: "1" });
    await expect(time.run(Promise.race([lost, dead.stopped]))).rejects.toThrow();
    await expect(runner().abandon("1")).rejects.toThrow(/run elsewhere/);
    await time.advance(1001);
    expect(await runner().abandon("1")).toMatchObject({ status: "abandoned", outcome: { status: "stuck" } });
    expect(await runner().recover()).toEqual([]);
    await expect(runner().abandon("gone")).rejects.toThrow(/no saga/);
  });
});

describe("recover", () => {
  /** Sagas that a dead process left before their second step. */
  async function left(here: ReturnType<typeof scene>, ids: readonly string[], definition = saga): Promise<void> {
    for (const id of ids) {
      const dead = diesAt("before a");
      const lost = here.runner({ wire: dead.wire }, { store: dead.over(here.store) }).run(definition, {}, { id });
      await expect(here.time.run(Promise.race([lost, dead.stopped]))).rejects.toThrow();
    }
    await here.time.advance(1001);
  }

  it("carries all others on before it says which it does not know", async () => {
    const here = scene();
    await left(here, ["1", "3"]);
    await left(here, ["2"], defineSaga("s", { version: "old" }).step(step("a")).step(step("b")));
    const error: unknown = await here.time.run(here.runner().recover()).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(AggregateError);
    expect((error as AggregateError).errors.map(String)).toEqual([expect.stringContaining('saga "2"')]);
    const statuses = (await here.runner().list()).map(({ id, status, isKnown }) => [id, status, isKnown]);
    expect(statuses).toEqual([
      ["1", "stuck", true],
      ["2", "running", false],
      ["3", "stuck", true],
    ]);
  });

  it("carries on at most so many at the same time", async () => {
    const here = scene();
    await left(here, ["1", "2", "3", "4", "5"]);
    let present = 0;
    let most = 0;
    const wire: Wire = async (_tool, send) => {
      present += 1;
      most = Math.max(most, present);
      await here.time.runtime.sleep(100);
      present -= 1;
      return send();
    };
    const outcomes = await here.time.run(here.runner({ wire }).recover({ concurrency: 2 }));
    expect([outcomes.length, most]).toEqual([5, 2]);
    await expect(here.runner().recover({ concurrency: 0 })).rejects.toThrow(/concurrency/);
  });

  it("looks for no more once it is aborted", async () => {
    const here = scene();
    await left(here, ["1", "2", "3"]);
    const controller = new AbortController();
    const wire: Wire = (_tool, send) => {
      controller.abort();
      return send();
    };
    const outcomes = await here.time.run(here.runner({ wire }).recover({ concurrency: 1, signal: controller.signal }));
    expect(outcomes).toHaveLength(1);
    expect(await here.store.list({ status: "running", limit: 9 })).toHaveLength(2);
  });

  it("takes each saga once when two processes recover at once", async () => {
    const here = scene();
    await left(here, ["1", "2", "3"]);
    const both = await here.time.run(Promise.all([here.runner().recover(), here.runner().recover()]));
    expect(
      both
        .flat()
        .map(({ id }) => id)
        .sort(),
    ).toEqual(["1", "2", "3"]);
    expect(here.log).toEqual(["undo-a", "undo-a", "undo-a"]);
  });

  it("leaves what has ended, what is stuck and what somebody works on", async () => {
    const here = scene({ b: failing(9), "undo-b": failing(9) });
    await here.time.run(here.runner().run(saga, {}, { id: "stuck" }));
    const slow: Wire = (_tool, send) => here.time.runtime.sleep(500).then(send);
    const running = here.runner({ wire: slow }).run(saga, {}, { id: "running" });
    await here.time.advance(100);
    expect(await here.runner().recover()).toEqual([]);
    await here.time.run(running);
  });
});

import type { SagaStore } from "@mcp-tx/core/stores";
import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import { SagaConflictError, SagaInProgressError, SagaInterruptedError } from "./errors.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { diesAt } from "./mortal.fixture.js";
import { createSagaRunner } from "./runner.js";
import type { SagaRunnerOptions } from "./runner-types.js";
import { type Wire, type WorldTool, world } from "./world.fixture.js";

const step = <const N extends string>(name: N) => ({ name, tool: name, compensate: { tool: `undo-${name}` } });
const saga = defineSaga<{ n?: number }>("s").step(step("a")).step(step("b"));

function scene(tools: Readonly<Record<string, WorldTool>> = {}) {
  const server = world({ names: ["a", "undo-a", "b", "undo-b"], tools });
  const { runtime } = server.time;
  const store = memorySagaStore({ runtime });
  const runner = (options: Partial<SagaRunnerOptions> = {}, wire?: Wire) =>
    createSagaRunner({ caller: server.caller({ wire }), store, runtime, leaseMs: 1000, sagas: [saga], ...options });
  return { ...server, store, runner };
}

type Method = "create" | "claim" | "append" | "end" | "entries" | "extend" | "release";

/** A store whose method does something else for some of its calls, counted from 1. */
function faulty(
  store: SagaStore,
  method: Method,
  fault: (call: number, proceed: () => Promise<unknown>) => Promise<unknown>,
): SagaStore {
  let calls = 0;
  return new Proxy(store, {
    get(target, name) {
      const own = Reflect.get(target, name) as unknown;
      if (typeof own !== "function") return own;
      if (name !== method) return own.bind(target);
      return (...given: unknown[]) => {
        calls += 1;
        return fault(calls, async () => own.apply(target, given));
      };
    },
  });
}

const down = (): Promise<never> => Promise.reject(new Error("the store is down"));

describe("a store that fails", () => {
  it.each(["create", "append", "end", "entries"] as const)(
    "at %s interrupts the run; it is carried on later",
    async (method) => {
      const { store, runner, time, log } = scene();
      const broken = runner({ store: faulty(store, method, down) });
      await expect(time.run(broken.run(saga, {}, { id: "1" }))).rejects.toThrow(/down|interrupted/i);
      if (method !== "create") expect(await store.get("1")).toMatchObject({ status: "running" });
      await time.advance(1001);
      const healthy = runner();
      await time.run(healthy.recover());
      expect(await time.run(healthy.run(saga, {}, { id: "1" }))).toMatchObject({ status: "completed" });
      expect(log).toEqual(["a", "b"]);
    },
  );

  it.each(["append", "end"] as const)("at %s is told as an interruption with its cause", async (method) => {
    const { store, runner, time } = scene();
    const broken = runner({ store: faulty(store, method, down) });
    const error: unknown = await time.run(broken.run(saga, {}, { id: "1" })).catch((reason: unknown) => reason);
    expect(SagaInterruptedError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ cause: { message: "the store is down" }, message: expect.stringContaining('"1"') });
  });

  it.each(["create", "append", "end"] as const)("once at %s is asked again", async (method) => {
    const { store, runner, time, log } = scene();
    const shaky = faulty(store, method, (call, proceed) => (call === 1 ? down() : proceed()));
    expect(await time.run(runner({ store: shaky }).run(saga, {}))).toMatchObject({ status: "completed" });
    expect(log).toEqual(["a", "b"]);
  });

  it.each(["create", "append", "end"] as const)(
    "to answer at %s is asked again, and nothing happens twice",
    async (method) => {
      const { store, runner, time, log } = scene();
      const shaky = faulty(store, method, async (call, proceed) => {
        const answer = await proceed();
        return call === 1 ? down() : answer;
      });
      const one = runner({ store: shaky });
      expect(await time.run(one.run(saga, {}, { id: "1" }))).toMatchObject({ status: "completed" });
      expect(await store.get("1")).toMatchObject({ status: "completed" });
      expect((await store.entries("1")).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
      expect(log).toEqual(["a", "b"]);
    },
  );

  it("when the lease is given back does not hide why", async () => {
    const { store, runner, time } = scene();
    const broken = faulty(faulty(store, "append", down), "release", down);
    await expect(time.run(runner({ store: broken }).run(saga, {}))).rejects.toThrow(SagaInterruptedError);
  });
});

describe("the lease", () => {
  it("that another process has taken ends the run: it runs and writes nothing more", async () => {
    const { store, runner, time, log } = scene();
    const thief: Wire = async (tool, send) => {
      const answer = await send();
      if (tool === "a") {
        await time.runtime.sleep(1);
        await store.release("1", (await store.get("1"))?.token ?? "");
        await store.claim("1", { token: "thief", leaseMs: 1000, from: ["running"] });
      }
      return answer;
    };
    await expect(time.run(runner({}, thief).run(saga, {}, { id: "1" }))).rejects.toThrow(/taken it over/);
    expect(log).toEqual(["a"]);
    expect(await store.get("1")).toMatchObject({ token: "thief", status: "running" });
    expect(await store.entries("1")).toHaveLength(1);
  });

  it("is kept up while a step takes long", async () => {
    const { store, runner, time } = scene();
    const slow: Wire = async (_tool, send) => {
      await time.runtime.sleep(5000);
      return send();
    };
    const running = runner({}, slow).run(saga, {}, { id: "1" });
    await time.advance(4000);
    await expect(runner().run(saga, {}, { id: "1" })).rejects.toThrow(SagaInProgressError);
    expect(await store.list({ unowned: true, limit: 1 })).toEqual([]);
    expect(await time.run(running)).toMatchObject({ status: "completed" });
    expect(time.timers).toBe(0);
  });

  it("that ran out without an answer lets no further call leave", async () => {
    const { store, runner, time, log } = scene();
    const deaf = faulty(store, "extend", down);
    const slow: Wire = async (_tool, send) => {
      const answer = await send();
      await time.runtime.sleep(1500);
      return answer;
    };
    await expect(time.run(runner({ store: deaf }, slow).run(saga, {}, { id: "1" }))).rejects.toThrow(/lease ran out/);
    expect(log).toEqual(["a"]);
  });
});

describe("run", () => {
  it("joins the run of the same saga in this process", async () => {
    const { runner, time, log } = scene();
    const one = runner();
    const both = Promise.all([one.run(saga, { n: 1 }, { id: "1" }), one.run(saga, { n: 1 }, { id: "1" })]);
    const [first, second] = await time.run(both);
    expect(second).toEqual(first);
    expect(log).toEqual(["a", "b"]);
  });

  it("refuses an id that is another saga's, while it runs and afterwards", async () => {
    const { runner, time } = scene();
    const one = runner();
    const others = [
      () => one.run(saga, { n: 2 }, { id: "1" }),
      () => one.run(defineSaga<{ n?: number }>("t").step(step("a")), { n: 1 }, { id: "1" }),
      () =>
        one.run(
          defineSaga<{ n?: number }>("s", { version: "2" }).step(step("a")).step(step("b")),
          { n: 1 },
          { id: "1" },
        ),
    ];
    const running = one.run(saga, { n: 1 }, { id: "1" });
    for (const other of others) await expect(other()).rejects.toThrow(SagaConflictError);
    await time.run(running);
    for (const other of others) await expect(other()).rejects.toThrow(SagaConflictError);
  });

  it("takes members of an input in any order for the same", async () => {
    const { runner, time } = scene();
    const one = runner();
    const loose = defineSaga<object>("loose").step(step("a"));
    await time.run(one.run(loose, { a: 1, b: { c: 1, d: 2 } }, { id: "1" }));
    expect(await time.run(one.run(loose, { b: { d: 2, c: 1 }, a: 1 }, { id: "1" }))).toMatchObject({
      status: "completed",
    });
  });

  it("says when to ask again for one that another process runs", async () => {
    const { runner, time } = scene();
    const slow: Wire = (_tool, send) => time.runtime.sleep(500).then(send);
    const running = runner({}, slow).run(saga, {}, { id: "1" });
    await time.advance(100);
    const error: unknown = await runner()
      .run(saga, {}, { id: "1" })
      .catch((reason: unknown) => reason);
    expect(SagaInProgressError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ code: "idempotency_in_progress", retryAfterMs: 900 });
    await time.run(running);
  });

  it("carries on what a dead process left", async () => {
    const { runner, time, store, log } = scene();
    const dead = diesAt("before b");
    const first = runner({ store: dead.over(store) }, dead.wire).run(saga, {}, { id: "1" });
    await expect(time.run(Promise.race([first, dead.stopped]))).rejects.toThrow();
    await time.advance(1001);
    // Nobody knows whether b ran: that tool cannot be asked.
    const outcome = await time.run(runner().run(saga, {}, { id: "1" }));
    expect(outcome).toMatchObject({ status: "stuck", unknown: ["b"], compensated: ["b", "a"] });
    expect(log).toEqual(["a", "undo-b", "undo-a"]);
  });

  it("lets two runners on one store run a saga once", async () => {
    const { runner, time, log } = scene();
    const runs = Promise.allSettled([runner().run(saga, {}, { id: "1" }), runner().run(saga, {}, { id: "1" })]);
    const [first, second] = await time.run(runs);
    expect(first).toMatchObject({ status: "fulfilled", value: { status: "completed" } });
    expect(second.status === "rejected" && SagaInProgressError.isInstance(second.reason)).toBe(true);
    expect(log).toEqual(["a", "b"]);
  });
});

describe("close", () => {
  it("lets a running saga come to its next step and leaves it there, for others at once", async () => {
    const { runner, time, store, log } = scene();
    const slow: Wire = (_tool, send) => time.runtime.sleep(500).then(send);
    const first = runner({}, slow);
    const running = first.run(saga, {}, { id: "1" });
    const checked = expect(running).rejects.toThrow(/closed/);
    await time.advance(100);
    await time.run(first.close());
    await checked;
    expect(log).toEqual(["a"]);
    expect(await store.list({ status: "running", unowned: true, limit: 1 })).toHaveLength(1);
    expect(await time.run(runner().recover())).toMatchObject([{ status: "completed" }]);
    expect(log).toEqual(["a", "b"]);
  });

  it("refuses new runs and leaves no timer", async () => {
    const { runner, time } = scene();
    const one = runner();
    await one.close();
    await expect(one.run(saga, {})).rejects.toThrow(SagaInterruptedError);
    expect(time.timers).toBe(0);
  });
});

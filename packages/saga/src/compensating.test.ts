import { describe, expect, it } from "vitest";
import { type CompensatingOptions, type CompensatingScope, compensating } from "./compensating.js";
import { unchecked } from "./definition.js";
import { SagaConflictError, SagaFailedError, SagaInProgressError, SagaInterruptedError } from "./errors.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { diesAt } from "./mortal.fixture.js";
import { createSagaRunner } from "./runner.js";
import { LostAnswer, never, type ProcessOptions, type Wire, type WorldTool, world } from "./world.fixture.js";

type Work<T> = (s: CompensatingScope) => Promise<T>;

function scene(tools: Readonly<Record<string, WorldTool>> = {}) {
  const server = world({ names: ["a", "undo-a", "b", "undo-b", "c"], tools });
  const { runtime } = server.time;
  const store = memorySagaStore({ runtime });
  const start = <T>(
    work: Work<T>,
    options: Partial<CompensatingOptions> = {},
    process: ProcessOptions = {},
  ): Promise<T> => compensating(server.caller(process), { id: "1", store, runtime, leaseMs: 1000, ...options }, work);
  const run = <T>(...given: Parameters<typeof start<T>>): Promise<T> => server.time.run(start(...given));
  return { ...server, store, start, run };
}

const undo = (name: string) => ({ compensate: { tool: `undo-${name}` } });
const fail = (): never => {
  throw new Error("no stock");
};
const both: Work<unknown> = async (s) => {
  await s.invoke("a", "a", { n: 1 }, undo("a"));
  return s.invoke("b", "b", { n: 2 }, undo("b"));
};

async function failureOf(work: Promise<unknown>): Promise<SagaFailedError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (SagaFailedError.isInstance(error)) return error;
  throw new Error(`no SagaFailedError: ${String(error)}`);
}

describe("compensating", () => {
  it("undoes what was done when a step fails, and says so with the step's own error as cause", async () => {
    const { run, log, args } = scene({ b: fail });
    const error = await failureOf(run(both));
    expect(error.outcome).toMatchObject({
      status: "compensated",
      compensated: ["b", "a"],
      error: { name: "ToolError" },
    });
    expect(error.cause).toMatchObject({ name: "ToolError", message: expect.stringContaining("no stock") });
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
    expect(args.slice(2)).toEqual([
      { originalArgs: { n: 2 }, originalResult: null },
      { originalArgs: { n: 1 }, originalResult: { did: "a" } },
    ]);
  });

  it("undoes what was done when the work itself throws", async () => {
    const { run, log } = scene();
    const mistake = new RangeError("a mistake");
    const error = await failureOf(
      run(async (s) => {
        await both(s);
        throw mistake;
      }),
    );
    expect(error.cause).toBe(mistake);
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });

  it("gives what the work gives, and calls each tool once", async () => {
    const { run, log, store } = scene();
    expect(await run(both)).toEqual({ did: "b" });
    expect(log).toEqual(["a", "b"]);
    expect(await store.get("1")).toMatchObject({ status: "completed", name: "compensating" });
  });

  it("gives the recorded value again for the same id, and runs nothing", async () => {
    const { run, log } = scene();
    const first = await run(both);
    expect(await run(() => Promise.reject(new Error("must not run")))).toEqual(first);
    expect(log).toEqual(["a", "b"]);
  });

  it("gives the recorded failure again for the same id", async () => {
    const { run, log } = scene({ b: fail });
    await failureOf(run(both));
    const again = await failureOf(run(both));
    expect(again.outcome).toMatchObject({ status: "compensated" });
    expect(log).toHaveLength(4);
  });

  it("goes on when the work catches a step's failure", async () => {
    const { run, log } = scene({ a: fail });
    const value = await run(async (s) => {
      const other = await s.invoke("a", "a").catch(() => "plan B");
      await s.invoke("b", "b", {}, undo("b"));
      return other;
    });
    expect(value).toBe("plan B");
    expect(log).toEqual(["a", "b"]);
  });

  it("compensates a failure that was caught, too, when the work fails later", async () => {
    const { run } = scene({ a: fail });
    const error = await failureOf(
      run(async (s) => {
        await s.invoke("a", "a", {}, undo("a")).catch(() => undefined);
        await s.invoke("b", "b", {}, { ...undo("b"), atomic: true });
        throw new Error("later");
      }),
    );
    expect(error.outcome).toMatchObject({ compensated: ["b", "a"] });
  });

  it("does not compensate an atomic step that failed, but one whose result is of no use", async () => {
    const { run, log } = scene({ b: fail });
    const refuse = {
      "~standard": { ...unchecked<string>()["~standard"], validate: () => ({ issues: [{ message: "odd" }] }) },
    };
    const error = await failureOf(
      run(async (s) => {
        await s.invoke("a", "a", {}, { ...undo("a"), atomic: true, output: refuse }).catch(() => undefined);
        return s.invoke("b", "b", {}, { ...undo("b"), atomic: true });
      }),
    );
    expect(error.outcome).toMatchObject({ status: "compensated", compensated: ["a"] });
    expect(log).toEqual(["a", "b", "undo-a"]);
  });

  it("runs invokes at the same time, and waits for those that nobody waited for", async () => {
    const { run, log, time } = scene({ b: fail });
    const slow: Wire = (tool, send) => (tool === "a" ? time.runtime.sleep(50).then(send) : send());
    const work: Work<unknown> = (s) => Promise.all([s.invoke("a", "a", {}, undo("a")), s.invoke("b", "b")]);
    const error = await failureOf(run(work, {}, { wire: slow }));
    expect(error.outcome).toMatchObject({ status: "compensated", compensated: ["a"] });
    expect(log).toEqual(["b", "a", "undo-a"]);
  });

  it("refuses a step that comes after the work has ended", async () => {
    const { run, log } = scene();
    let kept: CompensatingScope | undefined;
    await run(async (s) => {
      kept = s;
    });
    await expect(kept?.invoke("a", "a")).rejects.toThrow(/step "a" comes too late/);
    expect(log).toEqual([]);
  });

  it("refuses a step of a name that was called before, and one without a name", async () => {
    const { run, log } = scene();
    await run(async (s) => {
      await s.invoke("a", "a");
      await expect(s.invoke("a", "a")).rejects.toThrow(/step "a" was called before/);
      await expect(s.invoke("", "a")).rejects.toThrow(/step must be/);
      await expect(s.invoke("c", "c", {}, { retry: { maxAttempts: 0 } })).rejects.toThrow(/maxAttempts/);
    });
    expect(log).toEqual(["a"]);
  });

  it("fails a step whose arguments or result cannot be serialised", async () => {
    const { run, log } = scene({ b: () => ({ n: 1n }) });
    const error = await failureOf(
      run(async (s) => {
        await expect(s.invoke("a", "a", { n: 1n })).rejects.toThrow(/serialised/);
        return s.invoke("b", "b", {}, undo("b"));
      }),
    );
    expect(error.outcome).toMatchObject({ status: "compensated", compensated: ["b"] });
    expect(log).toEqual(["b", "undo-b"]);
  });

  it("fails, and undoes, when the value of the work cannot be kept", async () => {
    const { run, log } = scene();
    const error = await failureOf(
      run(async (s) => {
        await s.invoke("a", "a", {}, undo("a"));
        return { n: 1n };
      }),
    );
    expect(error.outcome).toMatchObject({
      status: "compensated",
      error: { message: expect.stringContaining("the value") },
    });
    expect(log).toEqual(["a", "undo-a"]);
  });

  it("is stuck when a step is unknown or a compensation fails", async () => {
    const lossy: Wire = async (tool, send) => {
      await send();
      if (tool === "a") throw new LostAnswer("gone");
      return send();
    };
    const unknown = scene();
    expect((await failureOf(unknown.run(both, {}, { wire: lossy }))).outcome).toMatchObject({
      status: "stuck",
      unknown: ["a"],
      compensated: ["a"],
    });
    const failing = scene({ b: fail, "undo-a": fail });
    const compensationRetry = { maxAttempts: 2 };
    expect((await failureOf(failing.run(both, { compensationRetry }))).outcome).toMatchObject({
      status: "stuck",
      failedCompensations: ["a"],
      compensated: ["b"],
    });
    expect(failing.log.filter((tool) => tool === "undo-a")).toHaveLength(2);
  });

  it("makes a compensation's arguments of the result, or of nothing when nobody knows it", async () => {
    const { run, args } = scene();
    const work: Work<unknown> = async (s) => {
      await s.invoke<{ did: string }>(
        "a",
        "a",
        {},
        { compensate: { tool: "undo-a", args: (r) => ({ of: r?.did ?? "?" }) } },
      );
      throw new Error("later");
    };
    await failureOf(run(work));
    expect(args.at(-1)).toEqual({ of: "a" });
  });

  it("aborts the step that is under way, and undoes without it", async () => {
    const { start, time, log } = scene();
    const controller = new AbortController();
    const hanging: Wire = (tool, send) => (tool === "b" ? send().then(never<never>) : send());
    const running = failureOf(start(both, { signal: controller.signal }, { wire: hanging }));
    await time.advance(10);
    controller.abort(new Error("the user left"));
    const error = await time.run(running);
    expect(error.outcome).toMatchObject({ status: "stuck", unknown: ["b"], compensated: ["b", "a"] });
    expect(log).toEqual(["a", "b", "undo-b", "undo-a"]);
  });
});

describe("compensating, when its process dies", () => {
  async function dead(point: string) {
    const here = scene();
    const process = diesAt(point);
    const lost = here.start(both, { store: process.over(here.store) }, { wire: process.wire });
    lost.catch(() => undefined);
    await expect(here.time.run(Promise.race([lost, process.stopped]))).rejects.toThrow(point);
    return here;
  }

  it("undoes what was done when somebody asks for the same id again", async () => {
    const { run, time, log } = await dead("before b");
    await expect(run(both)).rejects.toThrow(SagaInProgressError);
    await time.advance(1001);
    const error = await failureOf(run(both));
    expect(error.outcome).toMatchObject({ status: "stuck", unknown: ["b"], compensated: ["b", "a"] });
    expect(error.cause).toBeUndefined();
    expect(log).toEqual(["a", "undo-b", "undo-a"]);
  });

  it("lets any runner undo it, with the arguments that were journaled", async () => {
    const { time, log, args, store, caller } = await dead("before b");
    await time.advance(1001);
    const runner = createSagaRunner({ caller: caller(), store, runtime: time.runtime });
    expect(await time.run(runner.recover())).toMatchObject([{ id: "1", status: "stuck", compensated: ["b", "a"] }]);
    expect(log).toEqual(["a", "undo-b", "undo-a"]);
    expect(args[2]).toEqual({ originalArgs: { n: 1 }, originalResult: { did: "a" } });
  });

  it("gives the value again when only its end was not written", async () => {
    const { run, time, log } = await dead("before end");
    await time.advance(1001);
    expect(await run(both)).toEqual({ did: "b" });
    expect(log).toEqual(["a", "b"]);
  });

  it("has nothing to undo when it died before its first step", async () => {
    const { run, time, log } = await dead("after create");
    await time.advance(1001);
    expect((await failureOf(run(both))).outcome).toMatchObject({ status: "compensated", compensated: [] });
    expect(log).toEqual([]);
  });
});

describe("compensating, asked wrongly", () => {
  it("refuses an id that is a saga of another kind", async () => {
    const { run } = scene();
    await run(both);
    await expect(run(both, { name: "other" })).rejects.toThrow(SagaConflictError);
  });

  it("is interrupted when its journal cannot be written", async () => {
    const { run, store, log } = scene();
    const broken = new Proxy(store, {
      get: (target, name) =>
        name === "append" ? () => Promise.reject(new Error("down")) : Reflect.get(target, name)?.bind?.(target),
    });
    await expect(run(both, { store: broken })).rejects.toThrow(SagaInterruptedError);
    expect(log).toEqual([]);
  });

  it("is interrupted also when the work swallows it", async () => {
    const { run, store } = scene();
    const broken = new Proxy(store, {
      get: (target, name) =>
        name === "append" ? () => Promise.reject(new Error("down")) : Reflect.get(target, name)?.bind?.(target),
    });
    const careless: Work<string> = async (s) => {
      await s.invoke("a", "a").catch(() => undefined);
      return "fine";
    };
    await expect(run(careless, { store: broken })).rejects.toThrow(SagaInterruptedError);
  });

  it.each<[string, unknown]>([
    ["an empty id", { id: "" }],
    ["an empty name", { name: "" }],
    ["a store that is none", { store: {} }],
    ["an option that it does not have", { retries: 1 }],
    ["a signal that is none", { signal: {} }],
  ])("refuses %s", async (_what, options) => {
    const { run } = scene();
    await expect(run(both, options as CompensatingOptions)).rejects.toThrow(TypeError);
  });

  it("refuses work that is no function", async () => {
    const { run } = scene();
    await expect(run(5 as never)).rejects.toThrow(/work must be a function/);
  });
});

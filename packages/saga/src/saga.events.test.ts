import type { Middleware, PinnedRecord } from "@mcp-tx/core";
import type { SagaStore } from "@mcp-tx/core/stores";
import { describe, expect, it } from "vitest";
import { defineSaga } from "./definition.js";
import type { SagaEvents, SagaListener } from "./events.js";
import { memorySagaStore } from "./memory-saga-store.js";
import { createSagaRunner } from "./runner.js";
import type { SagaRunnerOptions } from "./runner-types.js";
import { formatTimeline } from "./timeline.js";
import { type ProcessOptions, type Wire, world } from "./world.fixture.js";

const step = <const N extends string>(name: N) => ({ name, tool: name, compensate: { tool: `undo-${name}` } });
const saga = defineSaga("s").step(step("a")).step(step("b"));

function scene(fails = true) {
  const b = () => {
    if (fails) throw new Error("no stock");
    return {};
  };
  const server = world({ names: ["a", "undo-a", "b", "undo-b"], tools: { b } });
  const { runtime } = server.time;
  const store = memorySagaStore({ runtime });
  const runner = (options: Partial<SagaRunnerOptions> = {}, process: ProcessOptions = {}) =>
    createSagaRunner({ caller: server.caller(process), store, runtime, leaseMs: 1000, ...options });
  return { ...server, store, runner };
}

/** A store that says of itself that it survives. */
function durable(store: SagaStore): SagaStore {
  return new Proxy(store, {
    get(target, name) {
      const own = Reflect.get(target, name) as unknown;
      return name === "durable" ? true : typeof own === "function" ? own.bind(target) : own;
    },
  });
}

describe("events", () => {
  it("tell a saga's story in order", async () => {
    const { runner, time } = scene();
    const told: string[] = [];
    const onEvent: SagaListener = (name, detail) => {
      const { step: of, phase, status } = detail as Partial<SagaEvents["saga.step.end"]>;
      told.push([name, of, phase, status].filter((part) => part !== undefined).join(" "));
    };
    await time.run(runner({ onEvent }).run(saga, {}));
    expect(told).toEqual([
      "saga.start",
      "saga.step.start a action",
      "saga.step.end a action completed",
      "saga.step.start b action",
      "saga.step.end b action failed",
      "saga.turn",
      "saga.step.start b compensation",
      "saga.step.end b compensation completed",
      "saga.step.start a compensation",
      "saga.step.end a compensation completed",
      "saga.end compensated",
    ]);
  });

  it("cannot harm the saga that they tell of", async () => {
    const { runner, time } = scene();
    const onEvent = (): never => {
      throw new Error("the log is full");
    };
    expect(await time.run(runner({ onEvent }).run(saga, {}))).toMatchObject({ status: "compensated" });
  });

  it("tell of an interruption with its reason, and of a saga that is carried on", async () => {
    const { runner, time, store } = scene(false);
    const told: unknown[] = [];
    const onEvent: SagaListener = (name, detail) => {
      if (name === "saga.interrupted") told.push((detail as SagaEvents["saga.interrupted"]).error);
      if (name === "saga.start") told.push((detail as SagaEvents["saga.start"]).recovered);
    };
    const broken = new Proxy(store, {
      get: (target, name) =>
        name === "end" ? () => Promise.reject(new Error("down")) : Reflect.get(target, name)?.bind?.(target),
    });
    const error: unknown = await time
      .run(runner({ onEvent, store: broken }).run(saga, {}, { id: "1" }))
      .catch((e: unknown) => e);
    await time.run(runner({ onEvent, sagas: [saga] }).recover());
    expect(told).toEqual([false, error, true]);
  });
});

describe("the timeline", () => {
  it("is plain data, and a text for people", async () => {
    const { runner, time } = scene();
    const slow: Wire = (_tool, send) => time.runtime.sleep(5).then(send);
    const one = runner({}, { wire: slow });
    await time.run(one.run(saga, {}, { id: "1" }));
    const timeline = await one.timeline("1");
    expect(JSON.parse(JSON.stringify(timeline))).toEqual(timeline);
    expect(timeline?.events.map(({ type, step: of, phase }) => [type, of, phase].join(" "))).toEqual([
      "sent a action",
      "ended a action",
      "sent b action",
      "ended b action",
      "turned  ",
      "sent b compensation",
      "ended b compensation",
      "sent a compensation",
      "ended a compensation",
    ]);
    const text = timeline === undefined ? "" : formatTimeline(timeline);
    expect(text.split("\n")).toHaveLength(10);
    expect(text).toMatch(/^s 1: compensated/);
    expect(text).toMatch(/10 ms {2}b: failed, b \(1 attempt, .*no stock/);
    expect(text).toContain("undo a: completed, undo-a");
    expect(await one.timeline("gone")).toBeUndefined();
  });
});

describe("records of calls", () => {
  /** What `idempotency()` does for a call that pins its record. */
  function keeping(options: { readonly durable?: boolean; readonly bypasses?: boolean } = {}) {
    const kept: PinnedRecord[] = [];
    const released: PinnedRecord[] = [];
    const keeper: Middleware = (ctx, next) => {
      const record = { storeId: "records", key: ctx.options.idempotencyKey ?? "", token: `${kept.length}` };
      kept.push(record);
      ctx.options.pinned?.(record);
      return next(ctx);
    };
    const records = {
      durable: options.durable ?? true,
      bypasses: options.bypasses ?? false,
      letGo: async (record: PinnedRecord) => {
        released.push(record);
        return true;
      },
    };
    return { kept, letGo: released, middleware: Object.assign(keeper, { records }) };
  }

  it("are pinned under a durable journal and let go once the saga has ended", async () => {
    const { runner, time, store } = scene();
    const { kept, letGo, middleware } = keeping();
    await time.run(runner({ store: durable(store) }, { middleware: [middleware] }).run(saga, {}));
    expect(kept).toHaveLength(4);
    expect(letGo).toEqual(kept);
  });

  it("stay while a saga is stuck, and go when it is abandoned", async () => {
    const { runner, time, store } = scene();
    const { letGo, middleware } = keeping();
    const wire: Wire = (tool, send) => (tool === "undo-a" ? Promise.reject(new Error("gone")) : send());
    const one = runner({ store: durable(store) }, { middleware: [middleware], wire });
    expect(await time.run(one.run(saga, {}, { id: "1" }))).toMatchObject({ status: "stuck" });
    expect(letGo).toEqual([]);
    await one.abandon("1");
    expect(letGo.length).toBeGreaterThan(2);
  });

  it("are not pinned under a journal that is lost with the process", async () => {
    const { runner, time } = scene();
    const { kept, letGo, middleware } = keeping({ durable: false });
    await time.run(runner({}, { middleware: [middleware] }).run(saga, {}));
    expect([kept.length, letGo]).toEqual([4, []]);
  });

  it("that are lost with the process are refused under a journal that is not, as is going on without them", () => {
    const { runner, store } = scene();
    for (const options of [{ durable: false }, { bypasses: true }]) {
      const { middleware } = keeping(options);
      expect(() => runner({ store: durable(store) }, { middleware: [middleware] })).toThrow(/idempotency\(\)/);
      expect(() => runner({}, { middleware: [middleware] })).not.toThrow();
    }
  });
});

describe("createSagaRunner", () => {
  const { caller } = world({ names: ["a"] });
  it.each<[string, unknown, RegExp]>([
    ["no caller", {}, /caller/],
    ["a caller that calls nothing", { caller: {} }, /caller/],
    ["a bundle of stores", { caller: caller(), store: { saga: {} } }, /member "saga"/],
    ["something that is no store", { caller: caller(), store: {} }, /store/],
    ["an option that it does not have", { caller: caller(), retries: 3 }, /retries/],
    ["a lease of no time", { caller: caller(), leaseMs: 0 }, /leaseMs/],
    ["a negative grace", { caller: caller(), graceMs: -1 }, /graceMs/],
    ["no time for undoing", { caller: caller(), compensationBudgetMs: 0 }, /compensationBudgetMs/],
    ["a bad patience", { caller: caller(), compensationRetry: { maxAttempts: 0 } }, /compensationRetry/],
    ["a bad forward patience", { caller: caller(), forwardRetry: { jitter: "some" } }, /forwardRetry/],
    ["sagas that are no list", { caller: caller(), sagas: saga }, /sagas/],
    ["a saga that is none", { caller: caller(), sagas: [{}] }, /defineSaga/],
    ["a runtime that is none", { caller: caller(), runtime: {} }, /runtime/],
  ])("refuses %s", (_what, options, problem) => {
    expect(() => createSagaRunner(options as SagaRunnerOptions)).toThrow(problem);
  });
});
